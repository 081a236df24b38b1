package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// An azureClient asks one vault.
type azureClient struct {
	store *Store
	vault *url.URL

	mu  sync.Mutex
	sdk *azkeys.Client // caches its token
}

func newAzureClient(store *Store, host string) (*azureClient, error) {
	if store.config.Auth != (Auth{}) {
		return nil, errors.New("auth of the key store is set, but azurekms takes credentials from the AZURE_ environment variables alone")
	}
	c := &azureClient{store: store, vault: &url.URL{Scheme: "https", Host: host}}
	if store.config.Endpoint != "" {
		var err error
		if c.vault, err = endpointURL(store.config.Endpoint); err != nil {
			return nil, err
		}
	}
	return c, c.connect()
}

// connect reads credentials anew; it sends nothing.
func (c *azureClient) connect() error {
	options := policy.ClientOptions{
		Transport:                       azureSender{c.store.client()},
		Retry:                           policy.RetryOptions{MaxRetries: -1}, // none but ours
		Cloud:                           azureCloud(c.vault.Hostname()),
		InsecureAllowCredentialWithHTTP: c.vault.Scheme == "http", // as the endpoint asks
	}
	credential, err := azureCredential(options)
	if err != nil {
		return fmt.Errorf("azure credentials: %w", err)
	}
	sdk, err := azkeys.NewClient(c.vault.String(), azureLogin{credential}, &azkeys.ClientOptions{
		ClientOptions:                        options,
		DisableChallengeResourceVerification: c.store.config.Endpoint != "", // whose host is nobody's vault
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sdk = sdk
	return nil
}

func (c *azureClient) client() *azkeys.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sdk
}

// call is Store.call; it asks once more with new credentials if Azure does not
// accept those that were used: Microsoft's library keeps a certificate and a
// token for as long as they say they are valid.
func (c *azureClient) call(ctx context.Context, op string, request func(ctx context.Context, sdk *azkeys.Client) error) error {
	attempt := func(ctx context.Context) error { return azureError(request(ctx, c.client())) }
	err := c.store.call(ctx, op, attempt)
	var answer *StoreError
	if !errors.As(err, &answer) || !azureRefusesLogin(answer.Code) {
		return err
	}
	if renewal := c.connect(); renewal != nil {
		return fmt.Errorf("%w; reading the credentials again: %w", err, renewal)
	}
	return c.store.call(ctx, op, attempt)
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

// azureCloud is the national cloud that a vault is in. The public one is the
// default and must not be named, or AZURE_AUTHORITY_HOST would not count.
func azureCloud(vault string) cloud.Configuration {
	switch {
	case os.Getenv("AZURE_AUTHORITY_HOST") != "":
	case strings.HasSuffix(vault, ".azure.cn"):
		return cloud.AzureChina
	case strings.HasSuffix(vault, ".usgovcloudapi.net"), strings.HasSuffix(vault, ".azure.us"):
		return cloud.AzureGovernment
	}
	return cloud.Configuration{}
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

// azureLogin makes the errors of a credential StoreErrors, which the library
// around it would make indistinguishable from others.
type azureLogin struct{ inner azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (l azureLogin) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := l.inner.GetToken(ctx, options)
	if err != nil {
		return azcore.AccessToken{}, azureLoginError(err)
	}
	return token, nil
}

// azureSender sends the library's requests. It drops a challenge that the
// library would panic on.
type azureSender struct{ client *http.Client }

// Do implements policy.Transporter.
func (s azureSender) Do(req *http.Request) (*http.Response, error) {
	resp, err := s.client.Do(req) //nolint:gosec // the operator names the vault and the authority
	if err != nil {
		return nil, err
	}
	if _, rest, ok := strings.Cut(resp.Header.Get("WWW-Authenticate"), "authorization="); ok {
		authority, _, _ := strings.Cut(strings.TrimLeft(rest, `"`), " ")
		if strings.Count(authority, "/") < 3 {
			resp.Header.Del("WWW-Authenticate")
		}
	}
	return resp, nil
}
