package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/turn"
)

// A cloudKeychain has the registry credentials that a cloud gives for a while.
// They are got when they are first asked for, shared by all who ask, and got
// again before they end or when they were refused. It is safe for concurrent
// use.
type cloudKeychain struct {
	get  cloudLogin
	name string // where they come from
	now  func() time.Time

	turns   turn.Order
	mu      sync.Mutex
	held    *temporary
	refused bool // what was held last
}

// A cloudLogin asks a cloud for registry credentials. anew says that what it
// gave last was refused before its time. expires is zero if it is not known.
type cloudLogin func(ctx context.Context, anew bool) (config authn.AuthConfig, expires time.Time, err error)

var _ authn.ContextKeychain = (*cloudKeychain)(nil)

func newCloudKeychain(name string, get cloudLogin) *cloudKeychain {
	return &cloudKeychain{get: get, name: name, now: time.Now}
}

// Resolve implements authn.Keychain.
func (k *cloudKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain.
func (k *cloudKeychain) ResolveContext(ctx context.Context, _ authn.Resource) (authn.Authenticator, error) {
	if held, _ := k.current(); held != nil {
		return held, nil
	}
	done, err := k.turns.Take(ctx, "login")
	if err != nil {
		return nil, err
	}
	defer done()
	held, anew := k.current()
	if held != nil {
		return held, nil
	}
	config, expires, err := k.get(ctx, anew)
	if err != nil {
		return nil, err
	}
	given := &temporary{config: config, renew: renewal(k.now(), expires)}
	given.drop = func() { k.drop(given) }
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.refused = given, false
	return given, nil
}

// current returns what is held and still good, or whether what was held was
// refused.
func (k *cloudKeychain) current() (held *temporary, refused bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || !k.held.renew.IsZero() && !k.now().Before(k.held.renew) {
		return nil, k.refused
	}
	return k.held, false
}

func (k *cloudKeychain) drop(refused *temporary) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == refused { // and not by another request before
		k.held, k.refused = nil, true
	}
}

// renewal is when something that ends is got again: a little early, as clocks
// differ and requests take time.
func renewal(now, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return now.Add(expires.Sub(now) * 9 / 10)
}

// A temporary is credentials of a cloudKeychain.
type temporary struct {
	config authn.AuthConfig
	renew  time.Time // zero: when they are refused
	drop   func()    // has others be got next time
}

// Authorization implements authn.Authenticator.
func (t *temporary) Authorization() (*authn.AuthConfig, error) {
	config := t.config
	return &config, nil
}

// anonymous reports whether no credentials are configured.
func anonymous(k authn.Keychain) bool {
	return k == nil || k == staticKeychain{}
}

// A loginSender sends what it takes to get credentials: through the registry's
// transport, and so within its budget. Plain HTTP is for this machine and for
// what clouds tell their machines; whatever else the transport permits is HTTPS.
type loginSender struct{ transport *transport }

// metadataTimeout is how long a machine's metadata may take. On machines that
// have none, nobody refuses.
const metadataTimeout = 5 * time.Second

// newLoginClient returns a client for libraries that get credentials.
func newLoginClient(t *transport) *http.Client {
	own := t.limited(maxTokenBody)
	own.local = true
	return &http.Client{Transport: loginSender{own}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// RoundTrip implements http.RoundTripper. The answer has been read.
func (s loginSender) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := budget.WithLane(req.Context(), budget.Live) // live requests may wait for it
	metadata := req.URL.Scheme == "http" && isMetadata(req.URL.Hostname())
	if metadata {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, metadataTimeout)
		defer cancel()
	}
	resp, err := s.answer(req.WithContext(ctx))
	if err != nil && metadata && req.Context().Err() == nil {
		return nil, fmt.Errorf("%w: no metadata service answers at %s", ErrUnauthorized, req.URL.Host)
	}
	return resp, err
}

func (s loginSender) answer(req *http.Request) (*http.Response, error) {
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body) // which the transport limits
	_ = resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	return resp, nil
}

// isMetadata reports whether host is this machine, or where clouds tell their
// machines who they are: link-local addresses, Amazon's two beside them, Google's
// name, and what the operator says is in the place of that.
func isMetadata(host string) bool {
	if host == "localhost" || host == "metadata.google.internal" || host != "" && host == gceMetadataHost() {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	switch ip.String() {
	case "fd00:ec2::254", "fd00:ec2::23":
		return true
	}
	return ip.IsLoopback() || ip.IsLinkLocalUnicast()
}

// gceMetadataHost is the host that the operator names instead of Google's.
func gceMetadataHost() string {
	host, _, _ := strings.Cut(os.Getenv("GCE_METADATA_HOST"), ":")
	return host
}
