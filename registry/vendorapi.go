package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A vendorAPI is a registry's own HTTP API, which is asked for what the
// distribution API does not tell. Its requests share the budget, the counters
// and the retries of the registry's client. Redirects are not followed: they
// would take the credentials along. It is safe for concurrent use.
type vendorAPI struct {
	transport *transport
	base      *url.URL
	// credentials are looked up for each request, so that rotated ones are found.
	credentials func(ctx context.Context) (authorise, error)
	// diagnose finds a vendor's codes and words in the body of a refusal.
	diagnose func(body []byte) []diagnostic
	// kind is what a refusal means where status and codes of the distribution
	// API mean something else; nil where they do not.
	kind func(e *ResponseError) error
}

// An authorise puts credentials on a request that is about to be sent. It is
// called again for each attempt, because signatures hold for minutes only.
type authorise func(req *http.Request, body []byte) error

// newVendorAPI returns the API at cfg.API, or else at usual.
func newVendorAPI(c *Client, cfg Config, usual string) (*vendorAPI, error) {
	base, err := apiURL(cfg, usual)
	if err != nil {
		return nil, err
	}
	t := c.transport.limited(maxPageBody)
	t.host, t.insecure = base.Host, base.Scheme == "http"
	return &vendorAPI{
		transport:   t,
		base:        base,
		credentials: func(context.Context) (authorise, error) { return func(*http.Request, []byte) error { return nil }, nil },
		diagnose:    func([]byte) []diagnostic { return nil },
	}, nil
}

// apiURL does not repeat what it refuses: it may hold a password.
func apiURL(cfg Config, usual string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(cfg.API, usual))
	switch {
	case err != nil, u.Host == "", u.User != nil, u.Opaque != "", u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("api: want https://HOST[:PORT][/PATH]")
	case u.Scheme != "https" && (u.Scheme != "http" || !cfg.Insecure):
		return nil, fmt.Errorf("api: scheme %q: want https, or http for a registry that is insecure", plain(u.Scheme))
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// isAt reports whether the API is served by the host that images are named by.
func (a *vendorAPI) isAt(c *Client) bool {
	return sameHost(a.base.Host, c.host.RegistryStr(), a.base.Scheme)
}

// pageSize is how many entries to ask for at once where most are served at most.
func pageSize(cfg Config, most int) int {
	if cfg.PageSize > 0 {
		return min(cfg.PageSize, most)
	}
	return most
}

// A vendorCall is one request of a vendor's API.
type vendorCall struct {
	method   string   // "": GET
	segments []string // of the path after the API's base; each is escaped whole
	query    url.Values
	header   http.Header
	body     []byte // nil: none
}

func (a *vendorAPI) request(ctx context.Context, call vendorCall) (*http.Request, error) {
	to := a.base.String()
	for _, s := range call.segments {
		to += "/" + url.PathEscape(s)
	}
	if len(call.segments) == 0 {
		to += "/"
	}
	if len(call.query) > 0 {
		to += "?" + call.query.Encode()
	}
	var content io.Reader
	if call.body != nil {
		content = bytes.NewReader(call.body)
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(call.method, http.MethodGet), to, content)
	if err != nil {
		return nil, fmt.Errorf("request: %w: %s", ErrCorrupt, plain(withoutURL(err)))
	}
	req.Header.Set("Accept", "application/json")
	for key, values := range call.header {
		req.Header[key] = values
	}
	return req, nil
}

// ask sends a call and decodes the JSON of its answer into out. Answers that
// break off are asked for again.
func (a *vendorAPI) ask(ctx context.Context, call vendorCall, out any) (http.Header, error) {
	raw, header, err := a.read(ctx, call)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("answer is not the JSON it should be: %w: %s", ErrCorrupt, jsonFault(err))
	}
	return header, nil
}

func (a *vendorAPI) read(ctx context.Context, call vendorCall) ([]byte, http.Header, error) {
	sign, err := a.credentials(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: credentials for %s: %w", ErrUnauthorized, a.base.Host, err)
	}
	t := *a.transport
	t.base = signing{next: a.transport.base, sign: sign, body: call.body}
	for attempt := 1; ; attempt++ {
		req, err := a.request(ctx, call)
		if err != nil {
			return nil, nil, err
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode < 200 || resp.StatusCode >= 300 {
			return nil, nil, a.refusal(resp)
		}
		raw, err := readAll(resp, t.limit)
		switch {
		case err == nil:
			return raw, resp.Header, nil
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

func (a *vendorAPI) refusal(resp *http.Response) *ResponseError {
	defer discard(resp)
	var said []diagnostic
	if raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)); err == nil {
		said = a.diagnose(raw)
	}
	if resp.StatusCode < http.StatusBadRequest {
		said = []diagnostic{{Message: "redirects of this API are not followed"}}
	}
	e := newResponseError(resp.StatusCode, said)
	if a.kind != nil {
		e.kind = cmp.Or(a.kind(e), e.kind)
	}
	return e
}

// signing puts credentials on each attempt of a request.
type signing struct {
	next http.RoundTripper
	sign authorise
	body []byte
}

// RoundTrip implements http.RoundTripper.
func (s signing) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	if err := s.sign(out, s.body); err != nil {
		closeBody(req)
		return nil, err
	}
	return s.next.RoundTrip(out)
}

// A cloudKey is an access key of a vendor's cloud: a public half, a secret half,
// and a token if the key is temporary.
type cloudKey struct{ id, secret, token string }

// cloudKey returns how to get the access key of cfg, or of the environment
// variables that hold its halves; tokenVar may be "".
func (cfg Config) cloudKey(idVar, secretVar, tokenVar string) (func() (cloudKey, error), error) {
	switch {
	case cfg.Cloud.AccessKey == "" && cfg.Cloud.Secret == nil:
		read := func() (cloudKey, error) { return environmentKey(idVar, secretVar, tokenVar) }
		_, err := read()
		return read, err
	case cfg.Cloud.AccessKey == "" || cfg.Cloud.Secret == nil:
		return nil, errors.New("cloud: want access_key and secret_file, or neither")
	}
	return func() (cloudKey, error) {
		secret, err := cfg.Cloud.secret()
		return cloudKey{id: cfg.Cloud.AccessKey, secret: secret}, err
	}, nil
}

func (c Cloud) secret() (string, error) {
	raw, err := c.Secret()
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" {
		return "", errors.New("the secret is empty")
	}
	return secret, nil
}

// login returns how an API is asked that takes a token of its own, in the header
// that token says, or else the registry's user name and password.
func (c *Client) login(cfg Config, token func(token string) (key, value string)) func(context.Context) (authorise, error) {
	return c.loginAs(cfg, token, func(account *authn.AuthConfig) (key, value string) { return "Authorization", basic(account) })
}

func bearer(token string) (key, value string) { return "Authorization", "Bearer " + token }

// loginAs is login with a header for the registry's account.
func (c *Client) loginAs(cfg Config, token func(string) (key, value string),
	account func(*authn.AuthConfig) (key, value string),
) func(context.Context) (authorise, error) {
	return func(ctx context.Context) (authorise, error) {
		var key, value string
		if cfg.Cloud.Secret != nil {
			secret, err := cfg.Cloud.secret()
			if err != nil {
				return nil, err
			}
			key, value = token(secret)
		} else {
			credentials, err := authn.Resolve(ctx, c.auth.keychain, c.host)
			if err != nil {
				return nil, err
			}
			config, err := authn.Authorization(ctx, credentials)
			if err != nil {
				return nil, err
			}
			key, value = account(config)
		}
		return func(req *http.Request, _ []byte) error {
			if value != "" {
				req.Header.Set(key, value)
			}
			return nil
		}, nil
	}
}

// listedType returns the media type of a manifest as a listing says it; "",
// which has it asked for, if it is none that is known.
func listedType(said string) string {
	if isManifest(said) {
		return said
	}
	return ""
}

// listedArtifactType returns an artifact type, or the media type of a config, as
// a listing says it; "" if that does not tell an image from a signature: cosign's
// have the config of an image, and are told by their layers.
func listedArtifactType(said string) string {
	switch types.MediaType(said) {
	case types.OCIConfigJSON, types.DockerConfigJSON, types.OCIManifestSchema1, types.DockerManifestSchema2, emptyConfig:
		return ""
	default:
		return said
	}
}

// listedDigest returns a digest as a listing says it. One that is not valid comes
// with an error, as something that is never a digest, so that the error concerns
// its entry alone.
func listedDigest(said string) (v1.Hash, error) {
	digest, err := v1.NewHash(said)
	if err != nil {
		return v1.Hash{Algorithm: "invalid", Hex: plain(said)}, fmt.Errorf("digest %q is not valid: %w", plain(said), ErrCorrupt)
	}
	return digest, nil
}

func environmentKey(idVar, secretVar, tokenVar string) (cloudKey, error) {
	key := cloudKey{id: os.Getenv(idVar), secret: os.Getenv(secretVar)}
	if key.id == "" || key.secret == "" {
		return cloudKey{}, fmt.Errorf("no access key: want cloud.access_key and cloud.secret_file, or the environment variables %s and %s", idVar, secretVar)
	}
	if tokenVar != "" {
		key.token = os.Getenv(tokenVar)
	}
	return key, nil
}
