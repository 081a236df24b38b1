package kms

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

func vaultCode(resp *http.Response) string { return "HTTP " + strconv.Itoa(resp.StatusCode) }

// vaultFailure is what an answer other than 200 means.
func vaultFailure(resp *http.Response, words []string) error {
	message := strings.Join(words, "; ")
	if message == "" && resp.StatusCode/100 == 3 {
		message = "it points elsewhere: the endpoint must be a server that is active or forwards"
	}
	return &StoreError{
		Kind:       vaultKind(resp.StatusCode, message),
		Code:       vaultCode(resp),
		Message:    message,
		RetryAfter: askedToWait(resp.Header),
	}
}

// vaultKinds tell by its words what an error means: the server has no codes,
// and says 400 or 500 to most.
var vaultKinds = []struct {
	words string
	kind  error
}{
	{"soft-deleted", ErrKeyState},
	{"less than the minimum encryption key version", ErrKeyState},
	{"does not contain a private part", ErrKeyState},
	{"higher than the latest key version", ErrNotFound},
	{"no such key version", ErrNotFound},
	{"key not found", ErrNotFound},
	{"does not support signing", ErrUnsupported},
	{"does not support decryption", ErrUnsupported},
	{"disallowed by policy (too old)", ErrKeyState}, // min_decryption_version
	{"invalid ciphertext", ErrKeyMismatch},
	{"message authentication failed", ErrKeyMismatch},
	{"past the max TTL", ErrUnsupported}, // of a renewal
	{"missing client token", ErrDenied},
	{"invalid token", ErrDenied},
	{"rate limit quota exceeded", ErrThrottled},
	{"is sealed", ErrUnavailable},
}

func vaultKind(status int, message string) error {
	for _, known := range vaultKinds {
		if strings.Contains(message, known.words) {
			return known.kind
		}
	}
	switch {
	case status/100 == 3, // a standby
		status == http.StatusPreconditionFailed, // a replica that has not caught up
		status == 472, status == 473:            // a replica or standby that does not serve
		return ErrUnavailable
	}
	return kindOfStatus(status)
}

// refusedLogin calls a refused login by its name: AppRole answers 400 to a
// wrong secret id.
func refusedLogin(op string, err error) error {
	var answer *StoreError
	if op == "login" && errors.As(err, &answer) && answer.Code == "HTTP 400" {
		return &StoreError{Kind: ErrDenied, Code: answer.Code, Message: answer.Message}
	}
	return err
}

// vaultRefusesLogin reports whether an answer can be about the token: the server
// does not tell that from what the token may do.
func vaultRefusesLogin(answer *StoreError) bool {
	return isDenied(answer) && strings.HasPrefix(answer.Code, "HTTP ")
}
