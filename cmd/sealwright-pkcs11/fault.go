//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A fault is an error as the daemon is told of it.
type fault struct {
	status  int // of the HTTP answer; see package pkcs11api
	code    string
	message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

// faultOf says what an error is to the daemon.
func faultOf(err error) *fault {
	var known *fault
	if errors.As(err, &known) {
		return known
	}
	var rv pkcs11.Error
	if errors.As(err, &rv) {
		name := nameOf(rv)
		// The words around the token's own say at which step it failed.
		message := strings.ReplaceAll(err.Error(), rv.Error(), name)
		if hint := hintOf(rv); hint != "" {
			message += ": " + hint
		}
		return &fault{statusOf(rv), name, message}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &fault{http.StatusTooManyRequests, pkcs11api.CodeBusy, "every session with the token is busy: raise --sessions if the token allows it"}
	}
	return &fault{http.StatusServiceUnavailable, "INTERNAL", err.Error()}
}

// nameOf returns a return value's name in the standard, or its number if it is
// the vendor's own.
func nameOf(rv pkcs11.Error) string {
	text := rv.Error()
	if name := text[strings.LastIndexByte(text, ' ')+1:]; name != "" {
		return name
	}
	return fmt.Sprintf("CKR_0x%08X", uint(rv))
}

func statusOf(rv pkcs11.Error) int {
	switch rv {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED,
		pkcs11.CKR_USER_PIN_NOT_INITIALIZED, pkcs11.CKR_USER_TYPE_INVALID, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN, pkcs11.CKR_USER_TOO_MANY_TYPES:
		return http.StatusForbidden
	case pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID:
		return http.StatusNotFound
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_ACTION_PROHIBITED:
		return http.StatusConflict
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_KEY_TYPE_INCONSISTENT, pkcs11.CKR_KEY_SIZE_RANGE,
		pkcs11.CKR_DATA_INVALID, pkcs11.CKR_DATA_LEN_RANGE, pkcs11.CKR_FUNCTION_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID,
		pkcs11.CKR_CURVE_NOT_SUPPORTED:
		return http.StatusUnprocessableEntity
	case pkcs11.CKR_SESSION_COUNT, pkcs11.CKR_HOST_MEMORY, pkcs11.CKR_DEVICE_MEMORY:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// hintOf is what an operator may want to know beyond a return value's name.
func hintOf(rv pkcs11.Error) string {
	switch rv {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE:
		return "the token refuses the PIN"
	case pkcs11.CKR_PIN_EXPIRED:
		return "set a new PIN with the vendor's tools"
	case pkcs11.CKR_PIN_LOCKED:
		return "too many wrong PINs: the security officer must unlock the token"
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return "the token has no user PIN yet"
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED:
		return "the token is not there"
	case pkcs11.CKR_DEVICE_ERROR:
		return "the token or the way to it is broken"
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED:
		return "the key is not for signing (CKA_SIGN)"
	case pkcs11.CKR_MECHANISM_INVALID:
		return "the token or the key does not have this algorithm"
	case pkcs11.CKR_SESSION_COUNT:
		return "the token allows fewer sessions: lower --sessions"
	}
	return ""
}

// isLoss reports whether err shows that sessions or the login are gone, or the
// token was: connecting anew may help.
func isLoss(err error) bool {
	var rv pkcs11.Error
	if !errors.As(err, &rv) {
		return false
	}
	switch rv {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_USER_NOT_LOGGED_IN,
		pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_DEVICE_ERROR,
		pkcs11.CKR_SLOT_ID_INVALID, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, pkcs11.CKR_GENERAL_ERROR:
		return true
	}
	return false
}

// isStale reports whether err shows that an object was deleted since it was
// found.
func isStale(err error) bool {
	var rv pkcs11.Error
	return errors.As(err, &rv) && (rv == pkcs11.CKR_KEY_HANDLE_INVALID || rv == pkcs11.CKR_OBJECT_HANDLE_INVALID)
}
