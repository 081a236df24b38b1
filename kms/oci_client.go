package kms

import (
	"context"
	"net/http"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// An ociClient sends requests about the keys of one vault.
type ociClient struct {
	store              *Store
	login              *renewable[ociIdentity]
	crypto, management common.BaseClient
}

func newOCIClient(store *Store, ref ociRef) (*ociClient, error) {
	crypto, management, err := ref.endpoints(store.config)
	if err != nil {
		return nil, err
	}
	find, err := ociFinder(store)
	if err != nil {
		return nil, err
	}
	base := common.DefaultBaseClientWithSigner(nil)
	base.HTTPClient = &exchange{client: store.client(), refusal: ociRefusal}
	base.Configuration = common.CustomClientConfiguration{} // the store retries and breaks circuits
	c := &ociClient{store: store, crypto: base, management: base}
	c.login = newRenewable(find, sameOCIIdentity, func(e *StoreError) bool { return e.Code == "NotAuthenticated" })
	c.crypto.Host, c.management.Host = crypto, management
	return c, nil
}

// An ociRequest is one of keymanagement's.
type ociRequest interface {
	HTTPRequest(method, path string, body *common.OCIReadSeekCloser, headers map[string]string) (http.Request, error)
}

func (c *ociClient) get(ctx context.Context, op, path string, request ociRequest, out any) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, as *ociIdentity) error {
		return ociSend(ctx, c.management, as, http.MethodGet, path, request, out)
	})
}

func (c *ociClient) post(ctx context.Context, op, path string, request ociRequest, out any) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, as *ociIdentity) error {
		return ociSend(ctx, c.crypto, as, http.MethodPost, path, request, out)
	})
}

// ociSend makes one request and reads its answer. The library's own methods
// are not used for that: they run every request in a goroutine that they
// neither wait for nor synchronise with when the context ends.
func ociSend(ctx context.Context, client common.BaseClient, as *ociIdentity, method, path string, request ociRequest, out any) error {
	req, err := request.HTTPRequest(method, path, nil, nil)
	if err != nil {
		return err
	}
	client.Signer = common.DefaultRequestSigner(as)
	return ociCall(ctx, client, &req, out)
}

func ociCall(ctx context.Context, client common.BaseClient, req *http.Request, out any) error {
	resp, err := client.Call(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is in memory
	if err := common.UnmarshalResponse(resp, out); err != nil {
		return notUnderstood(err.Error())
	}
	return nil
}
