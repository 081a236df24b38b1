package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A pkcs11Helper is a client of sealwright-pkcs11.
type pkcs11Helper struct {
	store  *Store
	socket string
	http   *http.Client
	idle   func()
}

func newPKCS11Helper(store *Store) *pkcs11Helper {
	socket := store.config.Helper
	if socket == "" {
		socket = pkcs11api.DefaultSocket
	}
	var dialer net.Dialer
	transport := &http.Transport{
		// Whatever the address in the request: only the socket is ever dialed.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost:    store.config.Limits.Concurrency,
		MaxResponseHeaderBytes: 16 << 10,
	}
	return &pkcs11Helper{store: store, socket: socket, idle: transport.CloseIdleConnections,
		http: &http.Client{Transport: limitedAnswers{transport}}}
}

func (h *pkcs11Helper) close() { h.idle() }

func (h *pkcs11Helper) key(ctx context.Context, s pkcs11api.Selector) (pkcs11api.Key, error) {
	var key pkcs11api.Key
	err := h.ask(ctx, "public_key", http.MethodGet, pkcs11api.KeyPath+"?"+s.Query().Encode(), nil, &key)
	return key, err
}

func (h *pkcs11Helper) sign(ctx context.Context, r pkcs11api.SignRequest) (pkcs11api.Signature, error) {
	var answer pkcs11api.Signature
	body, err := json.Marshal(r)
	if err != nil {
		return answer, fmt.Errorf("encoding the request: %w", err)
	}
	err = h.ask(ctx, "sign", http.MethodPost, pkcs11api.SignPath, body, &answer)
	return answer, err
}

// ask sends one kind of request and decodes the answer into out.
func (h *pkcs11Helper) ask(ctx context.Context, op, method, path string, body []byte, out any) error {
	return h.store.call(ctx, op, func(ctx context.Context) error {
		// The host is only for HTTP's sake.
		req, err := http.NewRequestWithContext(ctx, method, "http://sealwright-pkcs11"+path, bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("asking the helper: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := h.http.Do(req)
		if err != nil {
			return h.unreachable(err)
		}
		defer func() { _ = resp.Body.Close() }() // read to its end or given up
		answer, err := io.ReadAll(resp.Body)
		if errors.Is(err, errTooLong) {
			return &StoreError{Kind: ErrUnsupported, Code: "helper", Message: err.Error()}
		}
		if err != nil {
			return networkError(err)
		}
		if resp.StatusCode != http.StatusOK {
			return pkcs11Fault(resp.StatusCode, answer)
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return &StoreError{Kind: ErrUnsupported, Code: "helper", Message: "its answer is not understood; is it sealwright-pkcs11 of the same release? " + err.Error()}
		}
		return nil
	})
}
