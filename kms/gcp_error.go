package kms

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"
)

// gcpError translates an error of Google's library.
func gcpError(err error) error {
	var ours *StoreError
	if err == nil || errors.As(err, &ours) || errors.Is(err, ErrKeyMismatch) {
		return stripped(err, ours)
	}
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		code, message := gcpStatus([]byte(answer.Body))
		if code == "" {
			code = fmt.Sprintf("HTTP %d", answer.Code)
		}
		return &StoreError{Kind: gcpKind(code, answer.Code), Code: plain(code), Message: message, RetryAfter: askedToWait(answer.Header)}
	}
	var at *url.Error
	if errors.As(err, &at) {
		return networkError(err)
	}
	return notUnderstood("it is not what the API says")
}

// stripped takes off what an HTTP client has wrapped around an error of ours.
func stripped(err error, ours *StoreError) error {
	if ours != nil {
		return ours
	}
	return err
}

// gcpStatus reads what Google's APIs say in an error's body.
func gcpStatus(body []byte) (code, message string) {
	var answer struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return "", "" // not Google's
	}
	return answer.Error.Status, answer.Error.Message
}

func gcpKind(code string, status int) error {
	switch code {
	case "RESOURCE_EXHAUSTED":
		return ErrThrottled
	case "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "UNKNOWN":
		return ErrUnavailable
	case "UNAUTHENTICATED", "PERMISSION_DENIED":
		return ErrDenied
	case "NOT_FOUND":
		return ErrNotFound
	case "FAILED_PRECONDITION":
		return ErrKeyState
	}
	return kindOfStatus(status)
}

// gcpLoginError translates an error of asking for a token.
func gcpLoginError(err error) error {
	var ours *StoreError
	if errors.As(err, &ours) {
		return ours
	}
	var answer *auth.Error
	var at *url.Error
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		status := answer.Response.StatusCode
		kind := kindOfStatus(status)
		if !errors.Is(kind, ErrThrottled) && !errors.Is(kind, ErrUnavailable) {
			kind = ErrDenied
		}
		code, message := oauthRefusal(answer.Body)
		if code == "" {
			code = fmt.Sprintf("token: HTTP %d", status)
		}
		return &StoreError{Kind: kind, Code: plain(code), Message: message, RetryAfter: askedToWait(answer.Response.Header)}
	case errors.As(err, &at):
		return networkError(err)
	}
	// Such as a private key that cannot be parsed; the words could repeat it.
	return &StoreError{Kind: ErrDenied, Code: "credentials", Message: "no token can be had with them"}
}

// oauthRefusal reads the error of a token endpoint, RFC 6749 section 5.2.
func oauthRefusal(body []byte) (code, message string) {
	var answer struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return "", ""
	}
	return answer.Code, answer.Description
}

// gcpRefusesLogin reports whether an answer is about the credentials, and not about
// what their owner may do.
func gcpRefusesLogin(answer *StoreError) bool {
	switch answer.Code {
	case "UNAUTHENTICATED", "HTTP 401", "invalid_grant", "invalid_client":
		return true
	}
	return false
}
