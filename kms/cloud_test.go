package kms_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
)

// newStore returns a store with limits that no test reaches, unless cfg has
// some.
func newStore(t testing.TB, cfg kms.StoreConfig) *kms.Store {
	t.Helper()
	if cfg.Limits == (budget.Limits{}) {
		cfg.Limits = budget.Limits{RequestsPerSecond: 1e5, Concurrency: 64}
	}
	store, err := kms.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// deadline returns a context that ends after d.
func deadline(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// wantError fails unless err is kind and says each of words.
func wantError(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want %v", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

// tellsNoSecret fails if an error tells a secret.
func tellsNoSecret(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

// wantSignature fails unless s signs, and with the key behind public.
func wantSignature(t *testing.T, s kms.Signer, public *kms.PublicKey) {
	t.Helper()
	message := []byte("message")
	signature, err := s.Sign(t.Context(), message)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	if err := public.Verify(message, signature); err != nil {
		t.Error(err)
	}
}

// refusesURIs fails unless each of uris is refused without a request, and
// without being repeated: it may hold a secret.
func refusesURIs(t *testing.T, store *kms.Store, uris []string) {
	t.Helper()
	for _, uri := range uris {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: store})
		scheme, rest, _ := strings.Cut(uri, "://")
		if err == nil {
			t.Errorf("%s was taken for a key", uri)
			continue
		}
		if len(rest) > len("alias/") && !strings.HasPrefix(rest, "projects/") && strings.Contains(err.Error(), scheme+"://"+rest) {
			t.Errorf("the error repeats the URI: %v", err)
		}
	}
	if sent := store.Requests(); len(sent) != 0 {
		t.Errorf("requests were made: %v", sent)
	}
}

// A recorder is a transport that keeps where requests were to go.
type recorder struct {
	base http.RoundTripper // nil: they get no answer

	mu   sync.Mutex
	urls []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.urls = append(r.urls, req.URL.Scheme+"://"+req.URL.Host+req.URL.Path)
	r.mu.Unlock()
	if r.base == nil {
		return nil, errors.New("not sent")
	}
	return r.base.RoundTrip(req)
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.urls
}

// firstURL opens a key and returns where the first request was to go, "" if
// there was none, and why the key was not opened.
func firstURL(t *testing.T, uri string, cfg kms.StoreConfig) (string, error) {
	t.Helper()
	r := &recorder{}
	cfg.Transport = r
	_, err := kms.Open(deadline(t, 50*time.Millisecond), kms.Config{URI: uri, Store: newStore(t, cfg)})
	if err == nil {
		t.Fatal("a key was opened without an answer")
	}
	if urls := r.seen(); len(urls) > 0 {
		return urls[0], err
	}
	return "", err
}

// newTrusting returns a transport that trusts the PEM certificate.
func newTrusting(t *testing.T, ca []byte) http.RoundTripper {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}
