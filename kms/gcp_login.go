package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
)

const gcpScope = "https://www.googleapis.com/auth/cloudkms"

// A gcpLogin holds credentials as Google's tools find them: the file that the
// key store names, else GOOGLE_APPLICATION_CREDENTIALS, else gcloud's own file,
// else the metadata server. Its zero value with a client is ready; it is safe
// for concurrent use.
type gcpLogin struct {
	client *http.Client
	file   string

	mu    sync.Mutex
	found *auth.Credentials // caches its token; nil: to be looked for

	onInstance atomic.Bool // the metadata server has given a token
}

func (l *gcpLogin) current() *auth.Credentials {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found
}

// forget has credentials be looked for again, if they are still those that were
// refused.
func (l *gcpLogin) forget(refused *auth.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if refused == nil || l.found == refused {
		l.found = nil
	}
}

// token's errors are StoreErrors.
func (l *gcpLogin) token(ctx context.Context) (token *auth.Token, quotaProject string, err error) {
	l.mu.Lock()
	if l.found == nil {
		l.found, err = l.look()
	}
	found := l.found
	l.mu.Unlock()
	if err != nil {
		return nil, "", &StoreError{Kind: ErrDenied, Code: "credentials", Message: err.Error()}
	}
	if token, err = found.Token(ctx); err != nil {
		return nil, "", gcpLoginError(err)
	}
	quotaProject, err = found.QuotaProjectID(ctx)
	return token, quotaProject, err
}

// look reads files alone.
func (l *gcpLogin) look() (*auth.Credentials, error) {
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
	return auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: cachedToken(gcpInstance{l.client, &l.onInstance})}), nil
}

func (l *gcpLogin) read(file string) (*auth.Credentials, error) {
	content, err := readSecret(file, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading Google credentials: %w", err)
	}
	var header struct {
		Type credentials.CredType `json:"type"`
	}
	if json.Unmarshal(content, &header) != nil { // the error could repeat the content
		return nil, fmt.Errorf("google credentials in %s are not JSON", file)
	}
	switch header.Type {
	case credentials.ServiceAccount, credentials.AuthorizedUser, credentials.ExternalAccount,
		credentials.ImpersonatedServiceAccount, credentials.ExternalAccountAuthorizedUser:
	default:
		return nil, fmt.Errorf("google credentials in %s have type %s; allowed: service_account, authorized_user, external_account, impersonated_service_account, external_account_authorized_user",
			file, shorten(string(header.Type)))
	}
	found, err := credentials.NewCredentialsFromJSON(header.Type, content, &credentials.DetectOptions{
		Scopes: []string{gcpScope}, Client: l.client, DisableAsyncRefresh: true,
	})
	if err != nil {
		return nil, fmt.Errorf("google credentials in %s cannot be used: %w", file, err)
	}
	return found, nil
}

func cachedToken(provider auth.TokenProvider) auth.TokenProvider {
	return auth.NewCachedTokenProvider(provider, &auth.CachedTokenProviderOptions{DisableAsyncRefresh: true})
}

// gcpInstance asks the metadata server for a token. Google's library would
// dial it by itself, and retry.
type gcpInstance struct {
	client   *http.Client
	answered *atomic.Bool
}

// Token implements auth.TokenProvider.
func (g gcpInstance) Token(ctx context.Context) (*auth.Token, error) {
	host := os.Getenv("GCE_METADATA_HOST")
	if host == "" {
		host = "metadata.google.internal"
	}
	at := "http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token?scopes=" + gcpScope
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil) //nolint:gosec // the operator names the host
	if err != nil {
		return nil, errors.New("GCE_METADATA_HOST is no host")
	}
	req.Header.Set("Metadata-Flavor", "Google")
	resp, err := g.client.Do(req) //nolint:gosec // the same
	switch {
	case err != nil && g.answered.Load():
		return nil, networkError(err)
	case err != nil: // most likely there is none
		return nil, &StoreError{Kind: ErrDenied, Code: "credentials",
			Message: "none in key_stores or the environment, and no metadata server answers"}
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, &auth.Error{Response: resp}
	}
	var answer struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Seconds int    `json:"expires_in"`
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil || answer.Token == "" { // the error could repeat it
		return nil, &StoreError{Kind: ErrUnavailable, Code: "credentials", Message: "the metadata server's answer cannot be read"}
	}
	g.answered.Store(true)
	expiry := time.Now().Add(time.Duration(answer.Seconds) * time.Second)
	return &auth.Token{Value: answer.Token, Type: answer.Type, Expiry: expiry}, nil
}

// gcpTransport puts a token into each request.
type gcpTransport struct {
	base  http.RoundTripper
	login *gcpLogin
}

func (g gcpTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, quotaProject, err := g.login.token(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper must
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Value)
	if quotaProject != "" {
		req.Header.Set("X-Goog-User-Project", quotaProject)
	}
	return g.base.RoundTrip(req)
}
