package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
)

// What is read of an answer's body at most, in bytes.
const (
	maxErrorBody = 64 << 10
	maxTokenBody = 1 << 20
	maxPageBody  = 32 << 20
)

const (
	// headerTimeout is how long an answer may be awaited.
	headerTimeout = time.Minute
	// attemptTimeout is how long a request and its answer may take, body
	// included, if the context has no deadline.
	attemptTimeout = 2 * time.Minute
)

// A transport sends every request that has to do with one registry: to the
// registry, its token server and its storage. All share the registry's
// budget, are counted, retried, and read up to a limit.
type transport struct {
	base      http.RoundTripper
	budget    *budget.Budget
	tally     *tally
	host      string // as in URLs
	insecure  bool
	userAgent string
	limit     int64 // bytes of a successful answer's body
	local     bool  // plain http to this machine and to its cloud's metadata is permitted too
}

var _ http.RoundTripper = (*transport)(nil)

// limited returns the same transport with another limit.
func (t *transport) limited(limit int64) *transport {
	other := *t
	other.limit = limit
	return &other
}

// newBase returns the only thing that dials.
func newBase(concurrency int) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           2 * concurrency, // registry, token server, storage
		MaxIdleConnsPerHost:    concurrency,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // digests are over bytes as stored
	}
}

// RoundTrip sends req, again if need be, until its context's deadline; at most
// maxAttempts times, of attemptTimeout each, if it has none. What it gives up
// on, it returns as it is.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.GetBody != nil {
		defer func() { _ = req.Body.Close() }() // copies of it are sent
	}
	if err := t.permitted(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		resp, wait, err := t.attempt(req)
		if !transient(resp, err) || !repeatable(req) {
			return resp, err
		}
		if wait == 0 {
			wait = backoff(attempt)
		}
		if !worthwhile(req.Context(), attempt, wait) {
			return resp, err
		}
		discard(resp) // and with it the place in the budget
		if err := pause(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// permitted fails closed: what is configured as https is never asked by http,
// not even on loopback addresses, and no other host by less.
func (t *transport) permitted(u *url.URL) error {
	if u.User != nil {
		return fmt.Errorf("URL of %s contains credentials: %w", u.Host, ErrUnsupported)
	}
	want := scheme(t.insecure)
	switch {
	case u.Scheme == want, u.Scheme == "https" && !sameHost(u.Host, t.host, want):
		return nil
	case t.local && u.Scheme == "http" && isMetadata(u.Hostname()):
		return nil
	default:
		return fmt.Errorf("%s is refused for %s (insecure: %t): %w", u.Scheme, u.Host, t.insecure, ErrUnsupported)
	}
}

func scheme(insecure bool) string {
	if insecure {
		return "http"
	}
	return "https"
}

// attempt sends req once. wait is what the host asked us to wait.
func (t *transport) attempt(req *http.Request) (resp *http.Response, wait time.Duration, err error) {
	ctx := req.Context()
	if err := t.budget.Acquire(ctx); err != nil {
		if errors.Is(err, budget.ErrPaused) {
			err = fmt.Errorf("%w: %w", ErrRateLimited, err)
		}
		closeBody(req)
		return nil, 0, err
	}
	sent := time.Now()
	bounded, cancel := withTimeout(ctx)
	end := sync.OnceFunc(func() {
		cancel()
		t.budget.Release()
	})
	out, err := t.outgoing(bounded, req)
	if err != nil {
		end()
		return nil, 0, err
	}
	resp, err = t.base.RoundTrip(out)
	if err != nil {
		end()
		t.tally.add(req.Method, 0)
		return nil, 0, noAnswer(ctx, err)
	}
	t.tally.add(req.Method, resp.StatusCode)
	resp.Body = t.guard(resp, end, func(err error) error { return noAnswer(ctx, err) })
	wait, throttled := throttling(resp, time.Now())
	if throttled {
		t.budget.Throttled(sent, wait)
	}
	return resp, wait, nil
}

// withTimeout bounds one attempt, which else an answer that trickles, or a
// server that does not read what it is sent, could keep for ever.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, attemptTimeout,
		fmt.Errorf("no complete answer within %s", attemptTimeout))
}

// outgoing returns a copy of req to send. Its body is always a fresh one: the
// caller, too, may send the same request twice, for instance after a token
// was renewed.
func (t *transport) outgoing(ctx context.Context, req *http.Request) (*http.Request, error) {
	out := req.WithContext(ctx)
	if out.Header.Get("User-Agent") == "" {
		out.Header = req.Header.Clone()
		if out.Header == nil {
			out.Header = http.Header{}
		}
		out.Header.Set("User-Agent", t.userAgent)
	}
	if req.Body == nil || req.Body == http.NoBody || req.GetBody == nil {
		return out, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("rewinding the request's body: %w", err)
	}
	out.Body = body
	return out, nil
}

// noAnswer turns a network error into ErrUnavailable, by its text: a dial
// that timed out claims to be context.DeadlineExceeded, which only our own
// context's end is.
func noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if permanent(err) {
		return fmt.Errorf("%w: %s (%w)", ErrUnavailable, err.Error(), errPermanent)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, err.Error())
}

// repeatable reports whether req can be sent again. All our requests may be:
// GET, HEAD and PUT by nature, a POST only starts an upload or gets a token.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// worthwhile reports whether another attempt after wait has a chance.
func worthwhile(ctx context.Context, attempt int, wait time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return attempt < maxAttempts
	}
	return time.Now().Add(wait).Before(deadline)
}

// guard wraps the body of an answer: it is limited, and its end is the end of
// the request, also in the budget. broken names what goes wrong before.
func (t *transport) guard(resp *http.Response, end func(), broken func(error) error) io.ReadCloser {
	b := &body{inner: resp.Body, left: t.limit, done: end, broken: broken}
	if resp.StatusCode >= http.StatusBadRequest {
		b.left, b.cut = maxErrorBody, true
	}
	return b
}

// A body is an answer's body that ends after some bytes: with ErrTooLarge, or
// silently if cut is set, as what an error says is for people.
type body struct {
	inner  io.ReadCloser
	left   int64
	cut    bool
	done   func()
	broken func(error) error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 { // one more shows whether there is more
		p = p[:b.left+1]
	}
	n, err := b.inner.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.broken(err)
	}
	if int64(n) > b.left {
		n = int(b.left)
		err = io.EOF
		if !b.cut {
			err = fmt.Errorf("answer's body: %w", ErrTooLarge)
		}
	}
	b.left -= int64(n)
	if err != nil {
		b.done()
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	defer b.done()
	return b.inner.Close()
}

// discard reads what is left of an answer, so that its connection is used
// again, and closes it. Large answers are not worth that.
func discard(resp *http.Response) {
	if resp == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	_ = resp.Body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// sameHost compares host[:port] of URLs with that scheme.
func sameHost(a, b, scheme string) bool {
	return canonicalHost(a, scheme) == canonicalHost(b, scheme)
}

func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	if scheme == "http" {
		return strings.TrimSuffix(host, ":80")
	}
	return strings.TrimSuffix(host, ":443")
}
