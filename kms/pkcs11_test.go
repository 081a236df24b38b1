package kms_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A fakeHelper speaks the protocol of sealwright-pkcs11 with a key in memory
// and answers wrongly on purpose. How the real one is used with a real token is
// tested beside it.
type fakeHelper struct {
	socket string
	key    *ecdsa.PrivateKey

	mu       sync.Mutex
	requests []string
	answer   func(w http.ResponseWriter, r *http.Request) bool // reports whether it has answered
}

func startFakeHelper(t *testing.T) *fakeHelper {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "swkms") // a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fakeHelper{socket: filepath.Join(dir, "s"), key: key}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(f)
	_ = server.Listener.Close() // not the one that is used
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return f
}

func (f *fakeHelper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, pkcs11api.MaxRequest))
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.requests = append(f.requests, r.URL.Path+" "+r.URL.RawQuery+string(body))
	answer := f.answer
	f.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	if r.URL.Path == pkcs11api.KeyPath {
		_ = json.NewEncoder(w).Encode(f.describe())
		return
	}
	var req pkcs11api.SignRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(f.signature(req.Digest))
}

func (f *fakeHelper) describe() pkcs11api.Key {
	der, _ := x509.MarshalPKIXPublicKey(f.key.Public()) // our own key
	return pkcs11api.Key{Token: "release", Object: "signing", ID: "01", Kind: "P-256", PublicKey: der, Algorithms: []policy.Algorithm{policy.ECDSASHA256}}
}

func (f *fakeHelper) signature(digest []byte) pkcs11api.Signature {
	signature, _ := f.key.Sign(rand.Reader, digest, crypto.SHA256) // fails for no digest of SHA-256
	sum := sha256.Sum256(f.describe().PublicKey)
	return pkcs11api.Signature{Signature: signature, Algorithm: policy.ECDSASHA256, PublicKeySHA256: hex.EncodeToString(sum[:])}
}

// answers sets what is answered instead of the right thing.
func (f *fakeHelper) answers(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeHelper) store(t *testing.T) *kms.Store {
	t.Helper()
	s, err := kms.NewStore(kms.StoreConfig{Helper: f.socket})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fakeHelper) open(t *testing.T, store *kms.Store) kms.Signer {
	t.Helper()
	s, err := kms.Open(t.Context(), kms.Config{URI: "pkcs11:token=release;object=signing", Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func pkcs11Text(status int, text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return true
	}
}

// What is asked names the key by what does not change.
func TestPKCS11RequestsArePinned(t *testing.T) {
	f := startFakeHelper(t)
	s := f.open(t, f.store(t))
	if _, err := s.Sign(t.Context(), []byte("message")); err != nil {
		t.Fatal(err)
	}
	if want := pkcs11api.KeyPath + " object=signing&token=release"; f.requests[0] != want {
		t.Errorf("opening asked %s, want %s", f.requests[0], want)
	}
	digest := sha256.Sum256([]byte("message"))
	want, err := json.Marshal(pkcs11api.SignRequest{Digest: digest[:], Algorithm: policy.ECDSASHA256,
		Key: pkcs11api.Selector{Token: "release", Object: "signing", ID: "01", PublicKeySHA256: s.Public().Fingerprint()}})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.requests[1]; got != pkcs11api.SignPath+" "+string(want) {
		t.Errorf("signing asked %s, want %s", got, want)
	}
}

func TestPKCS11Faults(t *testing.T) {
	for _, tt := range []struct {
		status int
		answer string
		want   error
		says   string
	}{
		{403, `{"code":"CKR_PIN_LOCKED","message":"too many wrong PINs"}`, kms.ErrDenied, "CKR_PIN_LOCKED: too many wrong PINs"},
		{404, `{"code":"KEY_NOT_FOUND","message":"m"}`, kms.ErrNotFound, "KEY_NOT_FOUND"},
		{409, `{"code":"CKR_KEY_FUNCTION_NOT_PERMITTED","message":"m"}`, kms.ErrKeyState, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
		{412, `{"code":"KEY_CHANGED","message":"m"}`, kms.ErrKeyMismatch, "KEY_CHANGED"},
		{422, `{"code":"CKR_MECHANISM_INVALID","message":"m"}`, kms.ErrUnsupported, "CKR_MECHANISM_INVALID"},
		{400, `{"code":"BAD_REQUEST","message":"m"}`, kms.ErrUnsupported, "BAD_REQUEST"},
		{429, `{"code":"SESSIONS_BUSY","message":"m"}`, kms.ErrThrottled, "SESSIONS_BUSY"},
		{503, `{"code":"CKR_DEVICE_ERROR","message":"m"}`, kms.ErrUnavailable, "CKR_DEVICE_ERROR"},
		{503, `{"code":"FROM_THE_FUTURE","message":"m"}`, kms.ErrUnavailable, "FROM_THE_FUTURE"},
		{500, `oops`, kms.ErrUnavailable, "HTTP 500"},
		{404, `404 page not found`, kms.ErrNotFound, "is it sealwright-pkcs11 that listens?"},
		{200, `hello`, kms.ErrUnsupported, "its answer is not understood"},
		{200, `{"public_key":`, kms.ErrUnsupported, "its answer is not understood"},
		{200, `{"public_key":"` + strings.Repeat("A", 2<<20) + `"}`, kms.ErrUnsupported, "more than 1048576 bytes"},
		{200, `{"id":"01"}`, nil, "decoding the public key"},
		{403, `{"code":"X\nY","message":"a\u001bb\n` + strings.Repeat("z", 1000) + `"}`, kms.ErrDenied, "X Y: a b zzz"},
	} {
		t.Run(fmt.Sprintf("%d %.30s", tt.status, tt.answer), func(t *testing.T) {
			t.Parallel() // those that are asked again take their time
			f := startFakeHelper(t)
			f.answers(pkcs11Text(tt.status, tt.answer))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := kms.Open(ctx, kms.Config{URI: "pkcs11:object=signing", Store: f.store(t)})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 600 {
				t.Errorf("%v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestPKCS11WrongAnswersToSign(t *testing.T) {
	f := startFakeHelper(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	changed := func(change func(*pkcs11api.Signature)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != pkcs11api.SignPath {
				return false
			}
			answer := f.signature(digest[:])
			change(&answer)
			_ = json.NewEncoder(w).Encode(answer)
			return true
		}
	}
	for name, tt := range map[string]struct {
		change func(*pkcs11api.Signature)
		want   error
	}{
		"another algorithm": {func(s *pkcs11api.Signature) { s.Algorithm = policy.ECDSASHA384 }, kms.ErrKeyMismatch},
		"no algorithm":      {func(s *pkcs11api.Signature) { s.Algorithm = "" }, kms.ErrKeyMismatch},
		"another key":       {func(s *pkcs11api.Signature) { s.PublicKeySHA256 = strings.Repeat("0", 64) }, kms.ErrKeyMismatch},
		"no signature":      {func(s *pkcs11api.Signature) { s.Signature = nil }, kms.ErrInvalidSignature},
		"another key's signature": {func(s *pkcs11api.Signature) {
			s.Signature, _ = other.Sign(rand.Reader, digest[:], crypto.SHA256) // fails for no digest of SHA-256
		}, kms.ErrInvalidSignature},
	} {
		t.Run(name, func(t *testing.T) {
			s := f.open(t, f.store(t))
			f.answers(changed(tt.change))
			defer f.answers(nil)
			if _, err := s.Sign(t.Context(), []byte("message")); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	t.Run("another key behind the id", func(t *testing.T) {
		s := f.open(t, f.store(t))
		f.answers(changed(func(s *pkcs11api.Signature) { s.Signature[len(s.Signature)-1] ^= 1 }))
		defer f.answers(nil)
		f.key = other
		if _, err := s.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrKeyMismatch) {
			t.Errorf("%v, want ErrKeyMismatch", err)
		}
	})
}

func TestPKCS11IsAskedAgain(t *testing.T) {
	f := startFakeHelper(t)
	store := f.store(t)
	s := f.open(t, store)
	left := []string{`{"code":"CKR_TOKEN_NOT_PRESENT","message":"m"}`, `{"code":"CKR_DEVICE_ERROR","message":"m"}`}
	f.answers(func(w http.ResponseWriter, r *http.Request) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(left) == 0 {
			return false
		}
		answer := left[0]
		left = left[1:]
		return pkcs11Text(http.StatusServiceUnavailable, answer)(w, r)
	})
	if _, err := s.Sign(t.Context(), []byte("message")); err != nil {
		t.Fatal(err)
	}
	counts := store.Requests()
	if counts[kms.Request{Operation: "sign", Outcome: "unavailable"}] != 2 || counts[kms.Request{Operation: "sign", Outcome: "ok"}] != 1 {
		t.Errorf("counted %v, want 2 unavailable and 1 ok", counts)
	}
}

func TestPKCS11HelperHangsOrDrops(t *testing.T) {
	f := startFakeHelper(t)
	s := f.open(t, f.store(t))
	t.Run("hangs", func(t *testing.T) {
		f.answers(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		if _, err := s.Sign(deadline(t, 50*time.Millisecond), []byte("message")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want context.DeadlineExceeded", err)
		}
	})
	t.Run("drops", func(t *testing.T) {
		f.answers(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
		if _, err := s.Sign(deadline(t, 300*time.Millisecond), []byte("message")); !errors.Is(err, kms.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	})
	f.answers(nil)
	if _, err := s.Sign(t.Context(), []byte("message")); err != nil {
		t.Error(err)
	}
}

func TestPKCS11AlgorithmTheTokenLacks(t *testing.T) {
	f := startFakeHelper(t)
	f.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		key := f.describe()
		key.Algorithms = nil
		_ = json.NewEncoder(w).Encode(key)
		return true
	})
	_, err := kms.Open(t.Context(), kms.Config{URI: "pkcs11:object=signing", Store: f.store(t)})
	if !errors.Is(err, kms.ErrUnsupported) || !strings.Contains(err.Error(), "ECDSA_SHA_256 with the P-256 key of token release") {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}
