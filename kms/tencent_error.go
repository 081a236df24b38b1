package kms

import (
	"encoding/json"
	"net/http"
	"strings"
)

// tencentRefusal reads the errors of the API, whose status is 200.
func tencentRefusal(status int, body []byte) *StoreError {
	var said struct {
		Response struct {
			Error struct{ Code, Message string }
		}
	}
	err := json.Unmarshal(body, &said)
	refused := said.Response.Error
	switch {
	case err == nil && refused.Code != "":
		return &StoreError{Kind: tencentKind(refused.Code, status), Code: plain(refused.Code), Message: refused.Message}
	case status != http.StatusOK:
		return &StoreError{Kind: kindOfStatus(status)}
	case err != nil:
		return notUnderstood("it is not what the API says")
	}
	return nil
}

// tencentKind is what a code means. Its first word is common to all of
// Tencent's APIs, the second is of KMS. The status is 200 for faults too.
func tencentKind(code string, status int) error {
	switch code {
	case "ResourceUnavailable.CmkNotFound", "InvalidParameterValue.InvalidKeyId":
		return ErrNotFound
	case "ResourceUnavailable.CmkDisabled", "ResourceUnavailable.CmkArchived", "ResourceUnavailable.CmkStateNotSupport",
		"ResourceUnavailable.KeyDisabled", "ResourceUnavailable.KeyPendingDelete":
		return ErrKeyState
	case "UnsupportedOperation.ServiceTemporaryUnavailable":
		return ErrUnavailable
	}
	family, _, _ := strings.Cut(code, ".")
	switch family {
	case "RequestLimitExceeded":
		return ErrThrottled
	case "InternalError":
		return ErrUnavailable
	case "AuthFailure", "UnauthorizedOperation":
		return ErrDenied
	case "ResourceNotFound":
		return ErrNotFound
	}
	return kindOfStatus(status)
}
