package kms_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// startVault returns a server with the key transit/release on P-256, and how to
// reach it with a token file.
func startVault(t testing.TB) (*vaulttest.Server, kms.StoreConfig) {
	t.Helper()
	server := vaulttest.New(t)
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	auth := kms.Auth{TokenFile: writeFile(t, []byte(server.Token+"\n"))}
	return server, kms.StoreConfig{Endpoint: server.URL, Auth: auth}
}

func openVaultKey(t testing.TB, cfg kms.StoreConfig, uri string) kms.Signer {
	t.Helper()
	return openConfig(t, kms.Config{URI: uri, Store: newStore(t, cfg)})
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

// vaultWorld is a server without a network, for synctest's time.
func vaultWorld(t *testing.T) (*vaulttest.Server, kms.StoreConfig) {
	t.Helper()
	server := vaulttest.Offline()
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	auth := kms.Auth{TokenFile: writeFile(t, []byte(server.Token+"\n"))}
	return server, kms.StoreConfig{Endpoint: server.URL, Transport: server, Auth: auth}
}

// A real connection breaks in more ways than a simulated one.
func TestVaultConnectionFaults(t *testing.T) {
	for name, fault := range map[string]fault{"dropped": drop, "cut short": with("Content-Length", "1000", raw(http.StatusOK, `{"data":`)), "hangs": hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, cfg := startVault(t)
			cfg.Timeout = 500 * time.Millisecond
			store := newStore(t, cfg)
			s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
			var sent atomic.Int64
			server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				if sent.Add(1) > 2 {
					return false
				}
				fault(w, r)
				return true
			})
			if _, err := s.Sign(deadline(t, time.Minute), payload); err != nil {
				t.Errorf("signing: %v", err)
			}
			wantCounts(t, store, spoilt{times: 2, outcome: "unavailable"}, sent.Load())
		})
	}
}

func vaultCloud() cloud {
	return cloud{
		opened: []string{"keys"}, signed: "sign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server, cfg := vaultWorld(t)
			return server.Server, cfg, "hashivault://release"
		},
		throttled: vaultThrottled,
		down: func(w http.ResponseWriter) {
			vaulttest.Fail(w, http.StatusServiceUnavailable, "Vault is sealed")
		},
		disabled: func(w http.ResponseWriter) {
			vaulttest.Fail(w, http.StatusBadRequest, "1 error occurred:\n\t* refusing to use soft-deleted key\n\n")
		},
	}
}

func vaultThrottled(w http.ResponseWriter) {
	vaulttest.Fail(w, http.StatusTooManyRequests, `request path "transit/sign/release": rate limit quota exceeded`)
}
