package registry

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/turn"
)

// maxSessions is how many repositories' tokens are remembered.
const maxSessions = 1024

// catalogScope is the key of the session that lists repositories. It is no
// valid repository name.
const catalogScope = ""

// deletePrefix stands before a repository in the key of the session that
// deletes there. Others do without that right, which most accounts lack.
const deletePrefix = "delete "

// metadataPrefix stands before a repository in the key of the session that
// lists its manifests at Azure, where neither reading nor writing them is
// enough for that.
const metadataPrefix = "metadata "

// An authenticator gets what requests are authorised with: one ping per host,
// and one token per repository where the host wants tokens.
//
// go-containerregistry speaks the token protocol, and refuses token servers at
// private addresses. Its transports are not used: they renew a token once per
// waiting request, with the scopes of the last refusal.
type authenticator struct {
	host      name.Registry
	transport http.RoundTripper
	keychain  authn.Keychain
	turns     turn.Order
	sessions  *lru[string, *session]

	mu        sync.Mutex
	challenge *ggcr.Challenge // nil before the first ping
}

// A session is an Authorization header for one scope. It never changes.
type session struct {
	header  string    // "" for anonymous
	renew   time.Time // zero: when it is refused
	renewed bool      // by asking a server: another one may be given next time
}

func (s *session) usable(now time.Time) bool {
	return s != nil && (s.renew.IsZero() || now.Before(s.renew))
}

// same reports whether s is what was refused as other.
func (s *session) same(other *session) bool {
	return s != nil && other != nil && s.header == other.header
}

// session returns the session for scope, any but stale, which was refused.
func (a *authenticator) session(ctx context.Context, scope string, stale *session) (*session, error) {
	good := func() (*session, bool) {
		s, _ := a.sessions.get(scope)
		return s, s != stale && s.usable(time.Now())
	}
	if s, ok := good(); ok {
		return s, nil
	}
	// Whoever waits for the token may be a live request, even if the one that
	// fetches it is not.
	ctx = budget.WithLane(ctx, budget.Live)
	done, err := a.turns.Take(ctx, "session "+scope)
	if err != nil {
		return nil, err
	}
	defer done()
	if s, ok := good(); ok {
		return s, nil
	}
	s, err := a.login(ctx, scope, stale)
	if err != nil {
		a.forget(scope)
		return nil, a.failure(ctx, err)
	}
	a.sessions.put(scope, s)
	return s, nil
}

func (a *authenticator) forget(scope string) {
	a.sessions.drop(func(key string) bool { return key == scope })
}

// login resolves the credentials anew. Those that a cloud gives for a while may
// end before their time; then others are asked for, once.
func (a *authenticator) login(ctx context.Context, scope string, stale *session) (*session, error) {
	challenge, err := a.ping(ctx)
	if err != nil {
		return nil, err
	}
	var target authn.Resource = a.host
	if scope != catalogScope {
		target = a.host.Repo(repositoryOf(scope))
	}
	credentials, err := authn.Resolve(ctx, a.keychain, target)
	if err != nil {
		return nil, err
	}
	s, err := a.loginWith(ctx, scope, credentials, challenge)
	given, ok := credentials.(*temporary)
	if !ok || !refused(err) && !s.same(stale) {
		return s, err
	}
	given.drop()
	if credentials, err = authn.Resolve(ctx, a.keychain, target); err != nil {
		return nil, err
	}
	return a.loginWith(ctx, scope, credentials, challenge)
}

func (a *authenticator) loginWith(ctx context.Context, scope string, credentials authn.Authenticator,
	challenge *ggcr.Challenge,
) (*session, error) {
	config, err := authn.Authorization(ctx, credentials)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(challenge.Scheme, "bearer") && config.RegistryToken == "" {
		return a.exchange(ctx, scope, credentials, challenge)
	}
	s := &session{header: basic(config)}
	if given, ok := credentials.(*temporary); ok {
		s.renew = given.renew
	}
	return s, nil
}

// repositoryOf returns the repository in the key of a session.
func repositoryOf(scope string) string {
	return strings.TrimPrefix(strings.TrimPrefix(scope, deletePrefix), metadataPrefix)
}

// ping learns once per host how it wants to be talked to.
func (a *authenticator) ping(ctx context.Context) (*ggcr.Challenge, error) {
	known := func() *ggcr.Challenge {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.challenge
	}
	if c := known(); c != nil {
		return c, nil
	}
	done, err := a.turns.Take(ctx, "ping")
	if err != nil {
		return nil, err
	}
	defer done()
	if c := known(); c != nil {
		return c, nil
	}
	asked := &pinger{RoundTripper: a.transport}
	c, err := ggcr.Ping(ctx, a.host, asked)
	if err != nil {
		return nil, cmp.Or(asked.failure(), err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenge = c
	return c, nil
}

// A pinger remembers why the question in the configured scheme failed. Ping asks
// an insecure host by https too, and may report that this was refused.
type pinger struct {
	http.RoundTripper
	mu  sync.Mutex
	err error
}

func (p *pinger) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.RoundTripper.RoundTrip(req)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = err
	}
	return resp, err
}

func (p *pinger) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// exchange gets a token to read and write. Servers that refuse the whole of
// it to accounts that may only read are asked for less.
func (a *authenticator) exchange(ctx context.Context, scope string, credentials authn.Authenticator,
	challenge *ggcr.Challenge,
) (*session, error) {
	var token *ggcr.Token
	var err error
	for _, s := range a.scopes(scope) {
		token, err = ggcr.Exchange(ctx, a.host, credentials, a.transport, []string{s}, challenge)
		if !refused(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	s := &session{header: "Bearer " + token.Token, renewed: true}
	if token.Token == "" { // some servers only send this one
		s.header = "Bearer " + token.AccessToken
	}
	if token.ExpiresIn > 0 { // renewed a little early: clocks and requests take time
		s.renew = time.Now().Add(time.Duration(token.ExpiresIn) * time.Second * 9 / 10)
	}
	return s, nil
}

// scopes returns what a session's token is asked for, the most first.
func (a *authenticator) scopes(scope string) []string {
	repository := a.host.Repo(repositoryOf(scope))
	switch {
	case scope == catalogScope:
		return []string{a.host.Scope(ggcr.CatalogScope)}
	case strings.HasPrefix(scope, deletePrefix):
		return []string{repository.Scope(ggcr.DeleteScope), repository.Scope(ggcr.PushScope)}
	case strings.HasPrefix(scope, metadataPrefix):
		return []string{repository.Scope("metadata_read")}
	default:
		return []string{repository.Scope(ggcr.PushScope), repository.Scope(ggcr.PullScope)}
	}
}

func refused(err error) bool {
	var answer *ggcr.Error
	return errors.As(err, &answer) &&
		(answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// basic returns the header for credentials that are sent as they are.
func basic(config *authn.AuthConfig) string {
	switch {
	case config.RegistryToken != "":
		return "Bearer " + config.RegistryToken
	case config.Username != "" && config.Password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(config.Username+":"+config.Password))
	case config.Auth != "":
		return "Basic " + config.Auth
	default:
		return ""
	}
}

// failure classifies what went wrong on the way to a session. Only texts that
// cannot contain a token or a query are passed on.
func (a *authenticator) failure(ctx context.Context, err error) error {
	const doing = "authenticating"
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	var answer *ggcr.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("%s: %w", doing, fromLibrary(answer))
	}
	for _, known := range []error{ErrRateLimited, ErrUnavailable, ErrTooLarge, ErrUnsupported} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w (%s)", doing, known, plain(withoutURL(err)))
		}
	}
	return fmt.Errorf("%s: %w: %s", doing, ErrUnauthorized, plain(withoutURL(err)))
}

// withoutURL returns the text of err without the request's URL, which names
// the account and may hold more.
func withoutURL(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	first, _, _ := strings.Cut(err.Error(), "\n") // a server's answer may follow
	return first
}
