package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"syscall"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A pkcs11Key signs with a private key of a PKCS#11 token, which the helper
// sealwright-pkcs11 has at hand.
type pkcs11Key struct {
	helper   *pkcs11Helper
	selector pkcs11api.Selector // pinned to the id and the public half
	public   *PublicKey
}

// openPKCS11 opens a key of a PKCS#11 token. Its URI is that of RFC 7512:
//
//	pkcs11:token=release;object=signing;id=%01
//
// with object, id or both, and, to be sure of the token that the helper serves,
// token, serial, manufacturer and model. A PIN or a module in the URI is
// refused: both are the helper's. An object has no versions; the key's CKA_ID
// stands for one, and a signer stays with the key that it was opened with.
func openPKCS11(ctx context.Context, cfg Config) (Signer, error) {
	selector, err := parsePKCS11(cfg.URI)
	if err != nil {
		return nil, err
	}
	helper := newPKCS11Helper(cfg.Store)
	k := &pkcs11Key{helper: helper, selector: selector}
	if err := k.open(ctx, cfg.Algorithm); err != nil {
		helper.close()
		return nil, fmt.Errorf("opening the PKCS#11 key: %w", err)
	}
	return k, nil
}

func (k *pkcs11Key) open(ctx context.Context, alg policy.Algorithm) error {
	found, err := k.helper.key(ctx, k.selector)
	if err != nil {
		return err
	}
	if k.public, err = pkcs11Public(found, alg); err != nil {
		return err
	}
	if alg = k.public.Algorithm(); !slices.Contains(found.Algorithms, alg) {
		return fmt.Errorf("%w: %s with the %s key of token %s; allowed: %v", ErrUnsupported, alg, plain(found.Kind), plain(found.Token), found.Algorithms)
	}
	// Labels and ids may come to name another key; what it is does not change.
	k.selector.ID, k.selector.PublicKeySHA256 = found.ID, k.public.Fingerprint()
	return nil
}

func (k *pkcs11Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	alg := k.public.Algorithm()
	answer, err := k.helper.sign(ctx, pkcs11api.SignRequest{Key: k.selector, Algorithm: alg, Digest: digest})
	switch {
	case err != nil:
		return nil, err
	case answer.Algorithm != alg:
		return nil, fmt.Errorf("%w: the helper signed with %s, not with %s", ErrKeyMismatch, plain(string(answer.Algorithm)), alg)
	case answer.PublicKeySHA256 != k.public.Fingerprint():
		return nil, fmt.Errorf("%w: the helper signed with another key", ErrKeyMismatch)
	}
	return answer.Signature, nil
}

func (k *pkcs11Key) Public() *PublicKey { return k.public }

// Version is the key's CKA_ID in hex; "" if it has none.
func (k *pkcs11Key) Version() string { return k.selector.ID }

func (k *pkcs11Key) Close() error {
	k.helper.close()
	return nil
}

// fetch asks for the key without its public half, so that another key in its
// place is told and not only missed.
func (k *pkcs11Key) fetch(ctx context.Context) (*PublicKey, error) {
	named := k.selector
	named.PublicKeySHA256 = ""
	found, err := k.helper.key(ctx, named)
	if err != nil {
		return nil, err
	}
	// Another key may need another algorithm.
	for _, alg := range append([]policy.Algorithm{k.public.Algorithm()}, found.Algorithms...) {
		if public, err := pkcs11Public(found, alg); err == nil {
			return public, nil
		}
	}
	return nil, fmt.Errorf("the %s key in its place: %w", plain(found.Kind), ErrKeyMismatch)
}

// pkcs11Public returns the public half of a key for use with alg.
func pkcs11Public(found pkcs11api.Key, alg policy.Algorithm) (*PublicKey, error) {
	key, err := parseSPKI(found.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key: %w", err)
	}
	return NewPublicKey(key, alg)
}

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
