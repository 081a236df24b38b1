package kms

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/oracle/oci-go-sdk/v65/common"
)

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

// ociRefusal is what an answer other than 200 means. The vault does not tell a
// key that is not there from one that we may not use.
func ociRefusal(status int, body []byte) *StoreError {
	var said struct{ Code, Message string }
	if err := json.Unmarshal(body, &said); err != nil {
		said.Code, said.Message = "", "" // half of an answer misleads
	}
	e := &StoreError{Kind: kindOfStatus(status), Code: plain(said.Code), Message: said.Message}
	switch said.Code {
	case "NotAuthorizedOrNotFound", "RelatedResourceNotAuthorizedOrNotFound":
		e.Kind = ErrDenied
		e.Message = "no permission, or no such key or version: OCI does not say which: " + said.Message
	case "ExternalServerIncorrectState":
		e.Kind = ErrUnavailable
	default:
		if status == http.StatusConflict {
			e.Kind = ErrKeyState
		}
	}
	return e
}
