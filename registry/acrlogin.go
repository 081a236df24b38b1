package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-containerregistry/pkg/authn"
)

// An acrLogin exchanges a token of Entra ID (Azure Active Directory) for a
// refresh token of the registry, which then gives the tokens of each scope. It
// is safe for concurrent use.
type acrLogin struct {
	client   *http.Client
	registry *Client
	api      *vendorAPI // of the registry's host

	mu    sync.Mutex
	found azcore.TokenCredential // caches its token; nil: to be looked for
}

func newACRLogin(client *Client, cfg Config) (*acrLogin, error) {
	cfg.API = client.scheme + "://" + client.host.RegistryStr()
	api, err := newVendorAPI(client, cfg, "")
	if err != nil {
		return nil, err
	}
	api.transport = api.transport.limited(maxTokenBody)
	api.diagnose = func(raw []byte) []diagnostic {
		var answer struct {
			Errors []diagnostic `json:"errors"`
		}
		_ = json.Unmarshal(raw, &answer) // not JSON: the status says enough
		for i := range answer.Errors {
			answer.Errors[i].Message = "" // it may repeat the token
		}
		return answer.Errors
	}
	return &acrLogin{client: newLoginClient(client.transport), registry: client, api: api}, nil
}

// registryLogin is the cloudLogin of Azure's registries.
func (l *acrLogin) registryLogin(ctx context.Context, anew bool) (authn.AuthConfig, time.Time, error) {
	refresh, err := l.exchange(ctx, anew)
	if errors.Is(err, ErrUnauthorized) && !anew {
		refresh, err = l.exchange(ctx, true) // the token of Entra ID may have been revoked
	}
	if err != nil {
		return authn.AuthConfig{}, time.Time{}, err
	}
	return authn.AuthConfig{IdentityToken: refresh}, tokenExpiry(refresh), nil
}

func (l *acrLogin) exchange(ctx context.Context, anew bool) (refresh string, err error) {
	token, err := l.token(ctx, anew)
	if err != nil {
		return "", fmt.Errorf("looking for Azure credentials: %w", err)
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {l.registry.host.RegistryStr()}, "access_token": {token}}
	if tenant := os.Getenv("AZURE_TENANT_ID"); tenant != "" {
		form.Set("tenant", tenant)
	}
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	_, err = l.api.ask(ctx, vendorCall{
		method: http.MethodPost, segments: []string{"oauth2", "exchange"}, body: []byte(form.Encode()),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}, &answer)
	if err != nil {
		return "", fmt.Errorf("exchanging the token of Entra ID: %w", err)
	}
	if answer.Refresh == "" {
		return "", fmt.Errorf("exchanging the token of Entra ID: no refresh token: %w", ErrCorrupt)
	}
	return answer.Refresh, nil
}

// token returns a token of Entra ID.
func (l *acrLogin) token(ctx context.Context, anew bool) (string, error) {
	l.mu.Lock()
	if l.found == nil || anew {
		found, err := azureCredential(policy.ClientOptions{
			Transport: l.client,
			Retry:     policy.RetryOptions{MaxRetries: -1}, // the transport tries again
			Cloud:     azureCloud(l.registry.host.RegistryStr()),
		})
		if err != nil {
			l.mu.Unlock()
			return "", fmt.Errorf("%w: %s", ErrUnauthorized, plain(err.Error()))
		}
		l.found = found
	}
	found := l.found
	l.mu.Unlock()
	token, err := found.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azureAudience(l.registry.host.RegistryStr())}})
	if err != nil {
		return "", azureLoginError(ctx, err)
	}
	return token.Token, nil
}

// azureCredential finds credentials in the order of Microsoft's own default: a
// client's secret or certificate, a workload identity, a managed identity. The
// tools of developers, which that would run next, are not asked.
func azureCredential(options policy.ClientOptions) (azcore.TokenCredential, error) {
	private := azurePrivateAuthority(os.Getenv("AZURE_AUTHORITY_HOST"))
	switch {
	case os.Getenv("AZURE_CLIENT_SECRET") != "" || os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") != "":
		return azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	case os.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	}
	managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if id := os.Getenv("AZURE_CLIENT_ID"); id != "" {
		managed.ID = azidentity.ClientID(id)
	}
	return azidentity.NewManagedIdentityCredential(managed)
}

// azureCloud is the national cloud that a registry is in. The public one is the
// default and must not be named, or AZURE_AUTHORITY_HOST would not count.
func azureCloud(host string) cloud.Configuration {
	switch {
	case os.Getenv("AZURE_AUTHORITY_HOST") != "":
	case strings.HasSuffix(host, ".azurecr.cn"):
		return cloud.AzureChina
	case strings.HasSuffix(host, ".azurecr.us"):
		return cloud.AzureGovernment
	}
	return cloud.Configuration{}
}

// azureAudience is who a token of Entra ID is for. Registries of the public
// cloud can be told to refuse those for its resource manager.
func azureAudience(host string) string {
	switch {
	case strings.HasSuffix(host, ".azurecr.cn"):
		return "https://management.chinacloudapi.cn/.default"
	case strings.HasSuffix(host, ".azurecr.us"):
		return "https://management.usgovcloudapi.net/.default"
	default:
		return "https://containerregistry.azure.net/.default"
	}
}

// azurePrivateAuthority reports whether the authority is one that Microsoft's
// public directory of authorities cannot vouch for.
func azurePrivateAuthority(authority string) bool {
	at, err := url.Parse(authority)
	if err != nil || authority == "" {
		return false // the library says what is wrong
	}
	switch at.Hostname() {
	case "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return false
	}
	return true
}

// azureLoginError says why there is no token. An answer's own words are left
// out but for its first line: the library repeats all of it.
func azureLoginError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, known := range []error{ErrRateLimited, ErrUnavailable, ErrTooLarge} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %s", known, plain(withoutURL(err)))
		}
	}
	var failed *azidentity.AuthenticationFailedError
	if errors.As(err, &failed) && failed.RawResponse != nil {
		kind := ErrUnauthorized
		if status := failed.RawResponse.StatusCode; status == http.StatusTooManyRequests || status >= 500 {
			kind = kindOf(status, nil)
		}
		return fmt.Errorf("%w: Entra ID answers %d", kind, failed.RawResponse.StatusCode)
	}
	return fmt.Errorf("%w: %s", ErrUnauthorized, plain(withoutURL(err)))
}

// tokenExpiry returns when a JSON web token says that it ends. It is read to
// renew it in time, and believed by nobody; zero if it does not say.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil || claims.Expires <= 0 || claims.Expires > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expires), 0)
}
