package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// An azureClient asks one vault. What is renewed is Microsoft's client: it
// keeps a certificate and a token for as long as they say they are valid.
type azureClient struct {
	store *Store
	vault *url.URL
	login *renewable[azkeys.Client]
}

func newAzureClient(store *Store, host string) (*azureClient, error) {
	if store.config.Auth != (Auth{}) {
		return nil, errors.New("auth of the key store is set, but azurekms takes credentials from the AZURE_ environment variables alone")
	}
	c := &azureClient{store: store, vault: &url.URL{Scheme: "https", Host: host}}
	if store.config.Endpoint != "" {
		var err error
		if c.vault, err = endpointURL(ofStore, store.config.Endpoint); err != nil {
			return nil, err
		}
	}
	same := func(_, _ *azkeys.Client) bool { return false } // nothing shows what is in them
	c.login = newRenewable(c.connect, same, azureRefusesLogin)
	return c, nil
}

// connect reads credentials anew; it sends nothing.
func (c *azureClient) connect(context.Context) (*azkeys.Client, error) {
	options := policy.ClientOptions{
		Transport:                       azureSender{c.store.client()},
		Retry:                           policy.RetryOptions{MaxRetries: -1}, // none but ours
		Cloud:                           azureCloud(c.vault.Hostname()),
		InsecureAllowCredentialWithHTTP: c.vault.Scheme == "http", // on loopback
	}
	credential, err := azureCredential(options)
	if err != nil {
		return nil, fmt.Errorf("azure credentials: %w", err)
	}
	return azkeys.NewClient(c.vault.String(), azureLogin{credential}, &azkeys.ClientOptions{
		ClientOptions:                        options,
		DisableChallengeResourceVerification: c.store.config.Endpoint != "", // whose host is nobody's vault
	})
}

// call makes one kind of request to the vault.
func (c *azureClient) call(ctx context.Context, op string, request func(ctx context.Context, sdk *azkeys.Client) error) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, sdk *azkeys.Client) error {
		return azureError(request(ctx, sdk))
	})
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
