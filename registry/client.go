package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/turn"
)

const (
	maxRedirects = 10
	maxKnown     = 16384 // blobs remembered to be in the registry
	readAttempts = 3     // of an answer that breaks off while it is read
)

// A Client is a Store over the distribution API of one registry host. It is
// safe for concurrent use.
type Client struct {
	host      name.Registry
	said      string // the host as configured
	scheme    string
	pageSize  int
	limits    Limits
	transport *transport
	auth      *authenticator
	known     *lru[place, struct{}]
	uploads   turn.Order
}

var _ Store = (*Client)(nil)

// A place is a blob in a repository.
type place struct {
	repository string
	digest     v1.Hash
}

// NewClient returns a client for the host of cfg, whatever the kind. It sends
// no request.
func NewClient(cfg Config) (*Client, error) {
	cfg, host, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	base := cfg.Transport
	if base == nil {
		base = newBase(cfg.Limits.Concurrency)
	}
	t := &transport{
		base:      base,
		budget:    budget.New(budget.Limits(cfg.Limits)),
		tally:     &tally{},
		host:      host.RegistryStr(),
		insecure:  cfg.Insecure,
		userAgent: cfg.UserAgent,
		limit:     maxTokenBody,
	}
	return &Client{
		host:      host,
		said:      cfg.Host,
		scheme:    scheme(cfg.Insecure),
		pageSize:  cfg.PageSize,
		limits:    cfg.Limits,
		transport: t,
		auth: &authenticator{
			host: host, transport: t, keychain: cfg.Keychain,
			sessions: newLRU[string, *session](maxSessions),
		},
		known: newLRU[place, struct{}](maxKnown),
	}, nil
}

// Host returns the host as configured.
func (c *Client) Host() string { return c.said }

// Requests returns how many requests were sent so far.
func (c *Client) Requests() Counters { return c.transport.tally.snapshot() }

// Budget returns how the budget of the registry's host stands.
func (c *Client) Budget() budget.State { return c.transport.budget.State() }

// Reach implements Registry: a registry that wants a login first has answered.
func (c *Client) Reach(ctx context.Context) error {
	resp, err := c.send(ctx, call{method: http.MethodGet, url: c.url("/v2/", nil), limit: maxTokenBody}, &session{})
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.said, err)
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it says something
	if err := responseError(resp); errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) {
		return fmt.Errorf("asking %s: %w", c.said, err)
	}
	return nil
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() error {
	if base, ok := c.transport.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
	return nil
}

// A call is one request, before it is authorised.
type call struct {
	method  string
	url     *url.URL
	scope   string // repository whose session authorises it, or catalogScope
	header  http.Header
	body    []byte // nil: none
	limit   int64  // of the answer's body, in bytes
	storage bool   // the answer may be at another host
}

// url returns the URL of an API path whose parts are known to be valid names.
func (c *Client) url(path string, query url.Values) *url.URL {
	return &url.URL{Scheme: c.scheme, Host: c.host.RegistryStr(), Path: path, RawQuery: query.Encode()}
}

// do sends a call with the session of its scope, and once more with a new
// session if that is refused. The answer is a success; its body must be
// closed.
func (c *Client) do(ctx context.Context, call call) (*http.Response, error) {
	current, err := c.auth.session(ctx, call.scope, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, call, current)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		refusal := responseError(resp)
		next, err := c.auth.session(ctx, call.scope, current)
		if err != nil {
			return nil, err
		}
		if !next.renewed && next.header == current.header {
			c.auth.forget(call.scope)
			return nil, refusal
		}
		if resp, err = c.send(ctx, call, next); err != nil {
			return nil, err
		}
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	if resp.StatusCode == http.StatusUnauthorized {
		c.auth.forget(call.scope)
	}
	return nil, responseError(resp)
}

// send follows redirects on the host, and off it only where storage is
// expected, without our credentials.
func (c *Client) send(ctx context.Context, call call, s *session) (*http.Response, error) {
	method, to, home := call.method, call.url, true
	for range maxRedirects {
		req, err := c.request(ctx, call, method, to)
		if err != nil {
			return nil, err
		}
		if home && s.header != "" {
			req.Header.Set("Authorization", s.header)
		}
		resp, err := c.transport.limited(call.limit).RoundTrip(req)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if !redirects(method, resp.StatusCode) || location == "" {
			return resp, nil
		}
		discard(resp)
		if to, err = resolve(to, location); err != nil {
			return nil, fmt.Errorf("redirect: %w", err)
		}
		// Once elsewhere, always elsewhere: what another host sends back to
		// us is none of our requests any more.
		home = home && c.isHome(to)
		if !home && !call.storage {
			return nil, fmt.Errorf("redirect to another host, %s: %w", plain(to.Host), ErrUnsupported)
		}
	}
	return nil, fmt.Errorf("more than %d redirects: %w", maxRedirects, ErrCorrupt)
}

func (c *Client) request(ctx context.Context, call call, method string, to *url.URL) (*http.Request, error) {
	var content io.Reader
	if call.body != nil {
		content = bytes.NewReader(call.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), content)
	if err != nil {
		return nil, fmt.Errorf("request: %w: %s", ErrCorrupt, plain(withoutURL(err)))
	}
	for key, values := range call.header {
		req.Header[key] = values
	}
	return req, nil
}

// redirects reports whether an answer is a redirect to follow. What a browser
// would do with a redirected POST helps nobody here.
func redirects(method string, status int) bool {
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return method == http.MethodGet || method == http.MethodHead
	default:
		return false
	}
}

func (c *Client) isHome(u *url.URL) bool {
	return sameHost(u.Host, c.host.RegistryStr(), c.scheme)
}

// homeURL returns the URL that a header of an answer from base names, which
// must be on our host. There the configured scheme holds, because registries
// behind a proxy that ends TLS think they speak HTTP.
func (c *Client) homeURL(base *url.URL, location string) (*url.URL, error) {
	u, err := resolve(base, location)
	if err != nil {
		return nil, err
	}
	if !c.isHome(u) && !sameHost(u.Host, c.host.RegistryStr(), u.Scheme) {
		return nil, fmt.Errorf("names another host, %s: %w", plain(u.Host), ErrCorrupt)
	}
	u.Scheme, u.Host = c.scheme, c.host.RegistryStr()
	return u, nil
}

// resolve returns the URL that a header of an answer from base names.
func resolve(base *url.URL, location string) (*url.URL, error) {
	u, err := base.Parse(location)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return nil, fmt.Errorf("not a usable URL: %w", ErrCorrupt)
	}
	u.Fragment = ""
	return u, nil
}

// read sends a call and reads the whole answer. Answers that break off are
// asked for again.
func (c *Client) read(ctx context.Context, call call) ([]byte, *http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.do(ctx, call)
		if err != nil {
			return nil, nil, err
		}
		raw, err := readAll(resp, call.limit)
		switch {
		case err == nil:
			return raw, resp, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case errors.Is(err, ErrTooLarge):
			return nil, nil, err
		}
		wait := backoff(attempt)
		if attempt == readAttempts || !worthwhile(ctx, attempt, wait) {
			return nil, nil, fmt.Errorf("reading the answer: %w", err)
		}
		if err := pause(ctx, wait); err != nil {
			return nil, nil, err
		}
	}
}

// readAll reads and closes an answer of at most limit bytes.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("answer of %d bytes, at most %d are read: %w", resp.ContentLength, limit, ErrTooLarge)
	}
	var raw bytes.Buffer
	raw.Grow(int(max(0, resp.ContentLength)))
	_, err := raw.ReadFrom(resp.Body)
	return raw.Bytes(), err
}
