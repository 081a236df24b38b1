package kms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// startVault returns a server with the key transit/release on P-256, and how to
// reach it with a token file.
func startVault(t testing.TB) (*vaulttest.Server, kms.StoreConfig) {
	t.Helper()
	server := vaulttest.New()
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	auth := kms.Auth{TokenFile: writeFile(t, []byte(server.Token+"\n"))}
	return server, kms.StoreConfig{Endpoint: server.Start(t), Auth: auth}
}

func openVaultKey(t testing.TB, cfg kms.StoreConfig, uri string) kms.Signer {
	t.Helper()
	return openConfig(t, kms.Config{URI: uri, Store: newVaultStore(t, cfg)})
}

// vaultOpenFails opens a key that cannot be.
func vaultOpenFails(t *testing.T, cfg kms.Config) error {
	t.Helper()
	s, err := kms.Open(t.Context(), cfg)
	if err == nil {
		_ = s.Close() // it should not be there
		t.Fatalf("%s was opened", cfg.URI)
	}
	return err
}

// vaultSigning reports whether the request is for signatures.
func vaultSigning(r *http.Request) bool { return strings.Contains(r.URL.Path, "/sign/") }

// newVaultStore returns a store with limits that no test reaches, unless cfg
// has some.
func newVaultStore(t testing.TB, cfg kms.StoreConfig) *kms.Store {
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

// wantVaultError fails unless err is kind and says words.
func wantVaultError(t *testing.T, err, kind error, words ...string) {
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

func vaultContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func vaultRaw(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may have left
	}
}

func vaultThrottled(w http.ResponseWriter, _ *http.Request) {
	vaulttest.Fail(w, http.StatusTooManyRequests, `request path "transit/sign/release": rate limit quota exceeded`)
}

func vaultSealed(w http.ResponseWriter, _ *http.Request) {
	vaulttest.Fail(w, http.StatusServiceUnavailable, "Vault is sealed")
}

func vaultDrops(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func vaultHangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func vaultCutsShort(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	vaultRaw(http.StatusOK, `{"data":`)(w, r)
}

// vaultWorld is a server without a network, for synctest's time.
func vaultWorld(t *testing.T) (*vaulttest.Server, kms.StoreConfig) {
	t.Helper()
	server := vaulttest.New()
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	auth := kms.Auth{TokenFile: writeFile(t, []byte(server.Token+"\n"))}
	return server, kms.StoreConfig{Endpoint: "http://vault.example", Transport: server, Auth: auth}
}

func TestVaultFaults(t *testing.T) {
	const always = 1 << 30
	for _, tt := range []struct {
		name    string
		fault   http.HandlerFunc
		times   int64         // how many answers are spoilt
		limit   time.Duration // of the signature
		want    error         // nil: it is signed in the end
		outcome string
	}{
		{"throttled", vaultThrottled, 5, time.Minute, nil, "throttled"},
		{"throttled for ever", vaultThrottled, always, 20 * time.Second, kms.ErrThrottled, "throttled"},
		{"a short outage", vaultSealed, 5, time.Minute, nil, "unavailable"},
		{"a long outage", vaultSealed, always, time.Minute, kms.ErrUnavailable, "unavailable"},
		{"dropped connections", vaultDrops, always, 20 * time.Second, kms.ErrUnavailable, "unavailable"},
		{"two hang", vaultHangs, 2, time.Minute, nil, "unavailable"},
		{"all hang", vaultHangs, always, 3 * time.Second, context.DeadlineExceeded, ""},
		{"not JSON", vaultRaw(http.StatusOK, "<html>welcome to the hotel</html>"), always, 20 * time.Second, kms.ErrUnavailable, "unavailable"},
		{"a proxy's error", vaultRaw(http.StatusBadGateway, "<html>"), always, 20 * time.Second, kms.ErrUnavailable, "unavailable"},
		{"too large", vaultRaw(http.StatusOK, `{"a":"`+strings.Repeat("x", 2<<20)+`"}`), always, 20 * time.Second, kms.ErrUnavailable, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, cfg := vaultWorld(t)
				store := newVaultStore(t, cfg)
				s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
				var sent atomic.Int64
				server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if sent.Add(1) > tt.times {
						return false
					}
					tt.fault(w, r)
					return true
				})
				start := time.Now()
				_, err := s.Sign(vaultContext(t, tt.limit), payload)
				if !errors.Is(err, tt.want) {
					t.Errorf("signing returned %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took > tt.limit {
					t.Errorf("it took %s, allowed were %s", took, tt.limit)
				}
				if tt.outcome != "" {
					wantVaultCounts(t, store, tt.outcome, sent.Load(), tt.times)
				}
			})
		})
	}
}

// A real connection breaks in more ways than a simulated one.
func TestVaultConnectionFaults(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{"dropped": vaultDrops, "cut short": vaultCutsShort, "hangs": vaultHangs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, cfg := startVault(t)
			cfg.Timeout = 500 * time.Millisecond
			store := newVaultStore(t, cfg)
			s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
			var sent atomic.Int64
			server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if sent.Add(1) > 2 {
					return false
				}
				fault(w, r)
				return true
			})
			if _, err := s.Sign(vaultContext(t, time.Minute), payload); err != nil {
				t.Errorf("signing: %v", err)
			}
			wantVaultCounts(t, store, "unavailable", sent.Load(), sent.Load())
		})
	}
}

// wantVaultCounts checks that the store counted what was sent, and of that 1 to
// spoilt with the outcome.
func wantVaultCounts(t *testing.T, store *kms.Store, outcome string, sent, spoilt int64) {
	t.Helper()
	requests := store.Requests()
	if n := requests[kms.Request{Operation: "sign", Outcome: outcome}]; n == 0 || n > spoilt {
		t.Errorf("%d attempts were %s, want 1 to %d: %v", n, outcome, spoilt, requests)
	}
	var counted int64
	for request, n := range requests {
		if request.Operation == "sign" {
			counted += n
		}
	}
	if counted != sent {
		t.Errorf("%d requests were sent, %d were counted", sent, counted)
	}
}
