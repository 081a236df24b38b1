package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	googleauth "cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/sealwright/sealwright/engine/turn"
)

const (
	// garUser is the user name that goes with an access token.
	garUser = "oauth2accesstoken"
	// garScope is what it takes to write images.
	garScope = "https://www.googleapis.com/auth/cloud-platform"
	// maxCredentials is how large a file of credentials may be, in bytes.
	maxCredentials = 1 << 20
)

// A garLogin gets access tokens. Where the registry's own credentials are a
// service account's key or an access token, it is theirs; else it is that of the
// file that is configured, of GOOGLE_APPLICATION_CREDENTIALS, of gcloud's own
// file, or of the metadata server, whichever comes first. It is safe for
// concurrent use.
type garLogin struct {
	client   *http.Client
	registry *Client
	keychain authn.Keychain // nil: none is configured
	file     string

	turns turn.Order
	mu    sync.Mutex
	held  garToken
}

// A garToken is an access token and the project that pays for requests, if
// that is another one.
type garToken struct {
	value        string
	expires      time.Time // zero: not known
	renew        time.Time // zero: when it is refused
	quotaProject string
	key          string // of the registry, that it is of
}

func newGARLogin(client *Client, cfg Config) *garLogin {
	l := &garLogin{client: newLoginClient(client.transport), registry: client, file: cfg.Cloud.ConfigFile}
	if !anonymous(cfg.Keychain) {
		l.keychain = cfg.Keychain
	}
	return l
}

// registryLogin is the cloudLogin of Google's registries.
func (l *garLogin) registryLogin(ctx context.Context, anew bool) (authn.AuthConfig, time.Time, error) {
	refused := ""
	if anew {
		refused = l.last().value
	}
	token, err := l.token(ctx, refused)
	if err != nil {
		return authn.AuthConfig{}, time.Time{}, err
	}
	return authn.AuthConfig{Username: garUser, Password: token.value}, token.expires, nil
}

func (l *garLogin) last() garToken {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// token returns an access token that has not expired, and is another one than
// refused if there is one. Files are read again for each token.
func (l *garLogin) token(ctx context.Context, refused string) (garToken, error) {
	const doing = "looking for Google credentials"
	key, ready, err := l.configured(ctx)
	if err != nil {
		return garToken{}, fmt.Errorf("%s: %w: %w", doing, ErrUnauthorized, err)
	}
	if ready.value != "" {
		return ready, nil
	}
	done, err := l.turns.Take(ctx, "token")
	if err != nil {
		return garToken{}, err
	}
	defer done()
	held := l.last()
	if held.value != "" && held.value != refused && held.key == string(key) && (held.renew.IsZero() || time.Now().Before(held.renew)) {
		return held, nil
	}
	token, err := l.fetch(ctx, key)
	if err != nil {
		return garToken{}, fmt.Errorf("%s: %w", doing, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = token
	return token, nil
}

// fetch gets a token anew. Google's library would keep it, and give it out while
// it replaces it behind our back.
func (l *garLogin) fetch(ctx context.Context, key []byte) (garToken, error) {
	found, err := l.look(key)
	if err != nil {
		return garToken{}, fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	token, err := found.Token(ctx)
	if ctx.Err() != nil {
		return garToken{}, ctx.Err()
	}
	if err != nil {
		return garToken{}, googleLoginError(err)
	}
	quotaProject, err := found.QuotaProjectID(ctx)
	if err != nil {
		return garToken{}, fmt.Errorf("%w: quota project", ErrUnauthorized)
	}
	return garToken{
		value: token.Value, expires: token.Expiry, renew: renewal(time.Now(), token.Expiry), quotaProject: quotaProject, key: string(key),
	}, nil
}

// configured returns the key or the token that the registry's own credentials
// are, if any are configured.
func (l *garLogin) configured(ctx context.Context) (key []byte, token garToken, err error) {
	if l.keychain == nil {
		return nil, garToken{}, nil
	}
	resolved, err := authn.Resolve(ctx, l.keychain, l.registry.host)
	if err != nil {
		return nil, garToken{}, err
	}
	config, err := authn.Authorization(ctx, resolved)
	if err != nil {
		return nil, garToken{}, err
	}
	switch config.Username {
	case "_json_key":
		return []byte(config.Password), garToken{}, nil
	case "_json_key_base64":
		key, err := base64.StdEncoding.DecodeString(config.Password)
		if err != nil {
			return nil, garToken{}, errors.New("password of _json_key_base64 is not base64")
		}
		return key, garToken{}, nil
	case garUser:
		return nil, garToken{value: config.Password}, nil
	}
	return nil, garToken{}, errors.New("the registry's user has no access token; allowed: _json_key, _json_key_base64, oauth2accesstoken, or no auth at all")
}

// look reads files alone.
func (l *garLogin) look(key []byte) (*googleauth.Credentials, error) {
	if key != nil {
		return l.parse("the password of the registry", key)
	}
	if l.file != "" {
		return l.read(l.file)
	}
	if file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); file != "" {
		return l.read(file)
	}
	if home, err := os.UserHomeDir(); err == nil {
		file := filepath.Join(home, ".config", "gcloud", "application_default_credentials.json")
		if _, err := os.Stat(file); err == nil {
			return l.read(file)
		}
	}
	return googleauth.NewCredentials(&googleauth.CredentialsOptions{TokenProvider: googleInstance{l.client}}), nil
}

func (l *garLogin) read(file string) (*googleauth.Credentials, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("reading Google credentials: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, maxCredentials))
	if err != nil {
		return nil, fmt.Errorf("reading Google credentials: %w", err)
	}
	return l.parse(file, content)
}

// parse never repeats the content.
func (l *garLogin) parse(from string, content []byte) (*googleauth.Credentials, error) {
	var header struct {
		Type credentials.CredType `json:"type"`
	}
	if json.Unmarshal(content, &header) != nil {
		return nil, fmt.Errorf("google credentials in %s are not JSON", from)
	}
	switch header.Type {
	case credentials.ServiceAccount, credentials.AuthorizedUser, credentials.ExternalAccount,
		credentials.ImpersonatedServiceAccount, credentials.ExternalAccountAuthorizedUser:
	default:
		return nil, fmt.Errorf("google credentials in %s have type %q; allowed: service_account, authorized_user, external_account, impersonated_service_account, external_account_authorized_user",
			from, plain(string(header.Type)))
	}
	found, err := credentials.NewCredentialsFromJSON(header.Type, content, &credentials.DetectOptions{
		Scopes: []string{garScope}, Client: l.client,
	})
	if err != nil {
		return nil, fmt.Errorf("google credentials in %s cannot be used: %w", from, err)
	}
	return found, nil
}

// googleLoginError says why there is no token, in words that are not the
// answer's: that may repeat what was sent.
func googleLoginError(err error) error {
	for _, known := range []error{ErrRateLimited, ErrUnavailable, ErrTooLarge, ErrUnauthorized} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %s", known, plain(withoutURL(err)))
		}
	}
	var answer *googleauth.Error
	if errors.As(err, &answer) && answer.Response != nil {
		return newResponseError(answer.Response.StatusCode, nil)
	}
	return fmt.Errorf("%w: %s", ErrUnauthorized, plain(withoutURL(err)))
}

// googleInstance asks the metadata server for a token. Google's library would
// dial it by itself, and retry.
type googleInstance struct{ client *http.Client }

// Token implements auth.TokenProvider.
func (g googleInstance) Token(ctx context.Context) (*googleauth.Token, error) {
	host := os.Getenv("GCE_METADATA_HOST")
	if host == "" {
		host = "metadata.google.internal"
	}
	at := "http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token?scopes=" + garScope
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil) //nolint:gosec // the operator names the host
	if err != nil {
		return nil, fmt.Errorf("GCE_METADATA_HOST is no host: %w", ErrUnauthorized)
	}
	req.Header.Set("Metadata-Flavor", "Google")
	resp, err := g.client.Do(req) //nolint:gosec // the same
	if err != nil {
		return nil, fmt.Errorf("none is configured, and %w", err)
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, &googleauth.Error{Response: resp}
	}
	var answer struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Seconds int    `json:"expires_in"`
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil || answer.Token == "" { // the error could repeat it
		return nil, fmt.Errorf("%w: the metadata server's answer cannot be read", ErrUnavailable)
	}
	expiry := time.Now().Add(time.Duration(answer.Seconds) * time.Second)
	return &googleauth.Token{Value: answer.Token, Type: answer.Type, Expiry: expiry}, nil
}
