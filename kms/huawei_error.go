package kms

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
)

// huaweiRefusal reads the errors of KMS itself and of the API gateway before it.
func huaweiRefusal(status int, body []byte) *StoreError {
	type words struct {
		Code    string `json:"error_code"`
		Message string `json:"error_msg"`
	}
	var said struct {
		Error words `json:"error"`
		words
	}
	if status == http.StatusOK {
		return nil
	}
	if json.Unmarshal(body, &said) != nil {
		said.Error, said.words = words{}, words{} // half of an answer misleads
	}
	code := cmp.Or(said.Error.Code, said.Code)
	return &StoreError{Kind: huaweiKind(code, status), Code: plain(code), Message: cmp.Or(said.Error.Message, said.Message)}
}

// huaweiKind is what a code means: of KMS itself, or of the API gateway before
// it. The status alone says too little: KMS answers most faults with 400.
func huaweiKind(code string, status int) error {
	switch code {
	case "KMS.0205", "KMS.0207": // no id, no such key
		return ErrNotFound
	case "KMS.0209", "KMS.0210", "KMS.0211", "KMS.1301": // disabled, to be deleted, a default key, not enabled
		return ErrKeyState
	case "KMS.0301", "KMS.0302", "KMS.0303", "KMS.0305", "KMS.0306", "KMS.0307": // token, permission
		return ErrDenied
	case "KMS.0101", "KMS.0102": // internal, input and output
		return ErrUnavailable
	}
	gateway, isGateway := strings.CutPrefix(strings.Replace(code, "APIGW.", "APIG.", 1), "APIG.")
	switch {
	case !isGateway:
		return kindOfStatus(status)
	case gateway == "0308":
		return ErrThrottled
	case gateway == "0301", gateway == "0302", gateway == "0303", gateway == "0304", gateway == "0305", gateway == "0306", gateway == "0307":
		return ErrDenied
	}
	return kindOfStatus(status)
}
