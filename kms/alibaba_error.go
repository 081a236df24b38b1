package kms

import (
	"encoding/json"
	"net/http"
	"strings"
)

// alibabaRefusal is what an answer other than 200 means. Alibaba's codes say
// more than the status: a throttled request is a 400 or a 429, an unknown
// access key a 404.
func alibabaRefusal(status int, body []byte) *StoreError {
	if status == http.StatusOK {
		return nil
	}
	var said struct{ Code, Message string }
	if err := json.Unmarshal(body, &said); err != nil {
		said.Code, said.Message = "", "" // half of an answer misleads
	}
	if said.Code == "SignatureDoesNotMatch" || said.Code == "IncompleteSignature" {
		said.Message, _, _ = strings.Cut(said.Message, "server ") // what follows repeats headers, a session token among them
	}
	e := &StoreError{Kind: kindOfStatus(status), Code: plain(said.Code), Message: said.Message}
	if kind := alibabaKind(said.Code); kind != nil {
		e.Kind = kind
	}
	return e
}

// alibabaKind is what a code means, nil if the status says as much.
func alibabaKind(code string) error {
	switch code {
	case "Rejected.Throttling":
		return ErrThrottled
	case "Forbidden.KeyNotFound", "Forbidden.AliasNotFound", "Forbidden.KeyVersionNotFound", "InvalidKeyVersion.NotFound":
		return ErrNotFound
	case "Rejected.Disabled", "Rejected.PendingDeletion", "Rejetced.PendingDeletion", // also documented like that
		"Rejected.PendingImport", "Rejected.Unavailable", "Rejected.StateModifiedFailed", "Forbidden.DKMSInstanceStateInvalid":
		return ErrKeyState
	case "InternalFailure", "InternalError", "ServiceUnavailable", "ServiceUnavailableTemporary", "SerivceUnavailableTemporary":
		return ErrUnavailable
	case "UnsupportedOperation", "Rejected.UnsupportedOperation":
		return ErrUnsupported
	}
	switch {
	case strings.HasPrefix(code, "Throttling"):
		return ErrThrottled
	case strings.HasPrefix(code, "Forbidden"), alibabaRefusesLogin(&StoreError{Code: code}),
		code == "NoPermission", code == "IllegalTimestamp", strings.HasPrefix(code, "InvalidTimeStamp"):
		return ErrDenied
	}
	return nil
}

// alibabaRefusesLogin reports whether an answer is about the access key, which
// can have been replaced, and not about what it may do.
func alibabaRefusesLogin(e *StoreError) bool {
	switch e.Code {
	case "SignatureDoesNotMatch", "IncompleteSignature", "Forbidden.AccessKey", "Forbidden.AccessKeyDisabled",
		"InvalidAccessKeySecret", "MissingSecurityToken":
		return true
	}
	return strings.HasPrefix(e.Code, "InvalidAccessKeyId") || strings.HasPrefix(e.Code, "InvalidSecurityToken")
}
