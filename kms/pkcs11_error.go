package kms

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// unreachable says what is missing when nobody answers at the socket.
func (h *pkcs11Helper) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &StoreError{Kind: ErrUnavailable, Code: "no helper", Message: fmt.Sprintf(
			"nobody listens at %s; PKCS#11 keys need the second program running: sealwright-pkcs11 --socket %s --module MODULE.so --pin-file FILE", h.socket, h.socket)}
	case errors.Is(err, fs.ErrPermission):
		return &StoreError{Kind: ErrDenied, Code: "helper", Message: fmt.Sprintf("%s is another user's: run sealwright-pkcs11 as the same user", h.socket)}
	}
	return networkError(err)
}

// pkcs11Fault reads the helper's account of what went wrong.
func pkcs11Fault(status int, answer []byte) error {
	kind := kindOfStatus(status)
	switch status {
	case http.StatusConflict:
		kind = ErrKeyState
	case http.StatusPreconditionFailed:
		kind = ErrKeyMismatch
	}
	var fault pkcs11api.Fault
	if json.Unmarshal(answer, &fault) != nil || fault.Code == "" {
		fault = pkcs11api.Fault{Code: fmt.Sprintf("HTTP %d", status), Message: "is it sealwright-pkcs11 that listens?"}
	}
	return &StoreError{Kind: kind, Code: plain(fault.Code), Message: fault.Message}
}
