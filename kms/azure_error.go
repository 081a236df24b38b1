package kms

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// azureError translates an error of Microsoft's library.
func azureError(err error) error {
	var ours *StoreError
	if err == nil {
		return nil
	}
	if errors.As(err, &ours) { // of our azureLogin
		return ours
	}
	var answer *azcore.ResponseError
	var at *url.Error
	switch {
	case errors.As(err, &answer):
		code, inner, message, wait := azureAnswer(answer.RawResponse)
		if code == "" {
			code = fmt.Sprintf("HTTP %d", answer.StatusCode)
		}
		kind := azureKind(inner, answer.StatusCode)
		if inner != "" {
			code += "/" + inner
		}
		return &StoreError{Kind: kind, Code: plain(code), Message: message, RetryAfter: wait}
	case errors.As(err, &at):
		return networkError(err)
	case strings.Contains(err.Error(), "challenge resource"):
		return &StoreError{Kind: ErrDenied, Code: "challenge", Message: err.Error()}
	}
	return notUnderstood("it is not what the API says")
}

// azureAnswer reads what Key Vault says in an error's body.
func azureAnswer(resp *http.Response) (code, inner, message string, wait time.Duration) {
	if resp == nil {
		return "", "", "", 0
	}
	wait = askedToWait(resp.Header)
	body, err := runtime.Payload(resp)
	if err != nil {
		return "", "", "", wait
	}
	var answer struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Inner   struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return "", "", "", wait // not Key Vault's
	}
	return answer.Error.Code, answer.Error.Inner.Code, answer.Error.Message, wait
}

// azureKind tells a key that may not sign from a caller who may not ask it to,
// both of which Key Vault forbids with the same status.
func azureKind(inner string, status int) error {
	if status == http.StatusForbidden {
		switch inner {
		case "KeyDisabled", "KeyNotYetValid", "KeyExpired", "KeyOperationForbidden", "KeyOperationNotPermitted":
			return ErrKeyState
		}
	}
	if status == http.StatusConflict { // the key is being deleted or recovered
		return ErrKeyState
	}
	return kindOfStatus(status)
}

// azureRefusesLogin reports whether an answer is about the credentials, and not about
// what their owner may do.
func azureRefusesLogin(answer *StoreError) bool {
	code := answer.Code
	return code == "invalid_client" || code == "HTTP 401" || strings.HasPrefix(code, "Unauthorized")
}

// azureLoginError translates an error of asking for a token.
func azureLoginError(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) {
		return &StoreError{Kind: ErrDenied, Code: "credentials", Message: err.Error()}
	}
	if failed.RawResponse == nil { // nobody answered
		return &StoreError{Kind: ErrUnavailable, Code: "credentials", Message: err.Error()}
	}
	kind := kindOfStatus(failed.RawResponse.StatusCode)
	if !errors.Is(kind, ErrThrottled) && !errors.Is(kind, ErrUnavailable) {
		kind = ErrDenied
	}
	var code, message string
	if body, err := runtime.Payload(failed.RawResponse); err == nil {
		code, message = oauthRefusal(body)
	}
	if code == "" {
		code = fmt.Sprintf("token: HTTP %d", failed.RawResponse.StatusCode)
	}
	return &StoreError{Kind: kind, Code: plain(code), Message: message, RetryAfter: askedToWait(failed.RawResponse.Header)}
}
