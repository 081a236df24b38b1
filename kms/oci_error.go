package kms

import (
	"encoding/json"
	"net/http"
)

// ociRefusal is what an answer other than 200 means. The vault does not tell a
// key that is not there from one that we may not use.
func ociRefusal(status int, body []byte) *StoreError {
	if status == http.StatusOK {
		return nil
	}
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
