package kms_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/gcptest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// gcpConfig reaches server as a new service account.
func gcpConfig(t testing.TB, server *gcptest.Server) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{Name: "gcp", Endpoint: server.URL, Auth: kms.Auth{ConfigFile: writeFile(t, server.CreateServiceAccount(t))}}
}

const gcpRelease = "gcpkms://" + gcptest.KeyRing + "/cryptoKeys/release"

// gcpAlgorithm is Google's word for an algorithm with 2048 or 4096 bits.
func gcpAlgorithm(alg policy.Algorithm) string {
	return map[policy.Algorithm]string{
		policy.ECDSASHA256:    "EC_SIGN_P256_SHA256",
		policy.ECDSASHA384:    "EC_SIGN_P384_SHA384",
		policy.RSAPSSSHA256:   "RSA_SIGN_PSS_2048_SHA256",
		policy.RSAPSSSHA512:   "RSA_SIGN_PSS_4096_SHA512",
		policy.RSAPKCS1SHA256: "RSA_SIGN_PKCS1_2048_SHA256",
		policy.RSAPKCS1SHA512: "RSA_SIGN_PKCS1_4096_SHA512",
	}[alg]
}

func TestGCPKeepsTheContract(t *testing.T) {
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := gcptest.New(t)
			store := newStore(t, gcpConfig(t, server))
			if gcpAlgorithm(alg) == "" { // Google has RSA with SHA-384 and SM2 nowhere
				_, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: store, Algorithm: alg})
				wantError(t, err, kms.ErrUnsupported, "RSA_PSS_SHA_512")
				return
			}
			server.CreateVersion(t, "release", gcpAlgorithm(alg))
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				return openConfig(t, kms.Config{URI: gcpRelease, Store: store, Algorithm: alg})
			})
		})
	}
}

func TestGCPTakesTheVersionsAlgorithm(t *testing.T) {
	for _, word := range []string{"RSA_SIGN_PSS_3072_SHA256", "RSA_SIGN_PKCS1_3072_SHA256"} {
		server := gcptest.New(t)
		server.CreateVersion(t, "release", word)
		s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, gcpConfig(t, server))})
		if got, pss := s.Public().Algorithm().Family() == policy.RSAPSS, strings.Contains(word, "PSS"); got != pss {
			t.Errorf("%s signs with %s", word, s.Public().Algorithm())
		}
		wantSignature(t, s, s.Public())
	}
}

func gcpCloud() cloud {
	return cloud{
		opened: []string{"ListCryptoKeyVersions", "GetPublicKey"}, signed: "AsymmetricSign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := gcptest.Offline()
			server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
			return server.Server, gcpConfig(t, server), gcpRelease
		},
		throttled: gcptest.Throttle,
		down: func(w http.ResponseWriter) {
			gcptest.WriteError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.")
		},
		disabled: func(w http.ResponseWriter) {
			gcptest.WriteError(w, http.StatusBadRequest, "FAILED_PRECONDITION", "The version is not enabled, current state is: DISABLED.")
		},
	}
}

func TestGCPKeyURIs(t *testing.T) {
	server := gcptest.New(t)
	for range 11 { // as text, version 9 would be the last one
		server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	}
	last := server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	server.SetState(last, gcptest.Disabled)
	store := newStore(t, gcpConfig(t, server))
	for uri, version := range map[string]string{
		gcpRelease:                          "11",
		gcpRelease + "/cryptoKeyVersions/2": "2",
		gcpRelease + "/versions/3":          "3",
	} {
		s := openConfig(t, kms.Config{URI: uri, Store: store})
		if s.Version() != version {
			t.Errorf("%s: version is %s, want %s", uri, s.Version(), version)
		}
		wantSignature(t, s, s.Public())
	}
	refusesURIs(t, newStore(t, gcpConfig(t, server)), []string{
		"gcpkms:", "gcpkms://", "gcpkms://release", "gcpkms:///" + strings.TrimPrefix(gcpRelease, "gcpkms://"), gcpRelease + "/",
		gcpRelease + "/cryptoKeyVersions/", gcpRelease + "/cryptoKeyVersions/0", gcpRelease + "/cryptoKeyVersions/latest", gcpRelease + "/versions/1/2",
		gcpRelease + "?version=1", gcpRelease + "#1", gcpRelease + "\n", strings.Replace(gcpRelease, "acme-prod", "..", 1) + "/../x",
		strings.Replace(gcpRelease, "acme-prod", "", 1), strings.Replace(gcpRelease, "/keyRings/signing", "", 1), gcpRelease + ":asymmetricSign",
		strings.Replace(gcpRelease, "release", "re%2flease", 1), strings.Replace(gcpRelease, "release", "re lease", 1),
	})
}

func TestGCPRotationAfterOpening(t *testing.T) {
	server := gcptest.New(t)
	server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	store := newStore(t, gcpConfig(t, server))
	before := openConfig(t, kms.Config{URI: gcpRelease, Store: store})
	server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	wantSignature(t, before, before.Public())
	after := openConfig(t, kms.Config{URI: gcpRelease, Store: store})
	if before.Version() != "1" || after.Version() != "2" || before.Public().Fingerprint() == after.Public().Fingerprint() {
		t.Errorf("versions are %s and %s, want 1 and 2", before.Version(), after.Version())
	}
}

func TestGCPKeysThatMayNotSign(t *testing.T) {
	tests := []struct {
		name, word string
		alg        policy.Algorithm
		suffix     string
		change     func(s *gcptest.Server, name string)
		want       error
		words      string
	}{
		{"disabled, named", "EC_SIGN_P256_SHA256", "", "/versions/1", func(s *gcptest.Server, name string) { s.SetState(name, gcptest.Disabled) }, kms.ErrKeyState, "DISABLED"},
		{"to be destroyed, named", "EC_SIGN_P256_SHA256", "", "/versions/1", func(s *gcptest.Server, name string) { s.SetState(name, gcptest.DestroyScheduled) }, kms.ErrKeyState, "DESTROY_SCHEDULED"},
		{"all disabled", "EC_SIGN_P256_SHA256", "", "", func(s *gcptest.Server, name string) { s.SetState(name, gcptest.Disabled) }, kms.ErrKeyState, "no version is ENABLED"},
		{"for decryption", "RSA_DECRYPT_OAEP_2048_SHA256", "", "", func(*gcptest.Server, string) {}, kms.ErrKeyState, "RSA_DECRYPT_OAEP_2048_SHA256"},
		{"of another curve", "EC_SIGN_P384_SHA384", policy.ECDSASHA256, "", func(*gcptest.Server, string) {}, kms.ErrKeyMismatch, "ECDSA_SHA_384"},
		{"of another padding", "RSA_SIGN_PKCS1_2048_SHA256", policy.RSAPSSSHA256, "", func(*gcptest.Server, string) {}, kms.ErrKeyMismatch, "RSA_PKCS1_SHA_256"},
		{"no such version", "EC_SIGN_P256_SHA256", "", "/versions/7", func(*gcptest.Server, string) {}, kms.ErrNotFound, "NOT_FOUND"},
		{"an answer about another version", "EC_SIGN_P256_SHA256", "", "", func(s *gcptest.Server, name string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "GetPublicKey" {
					answer["name"] = name + "2"
				}
			})
		}, kms.ErrKeyMismatch, "cryptoKeyVersions/12"},
		{"a description of another version", "EC_SIGN_P256_SHA256", "", "/versions/1", func(s *gcptest.Server, name string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "GetCryptoKeyVersion" {
					answer["name"] = name + "2"
				}
			})
		}, kms.ErrKeyMismatch, "cryptoKeyVersions/12"},
		{"a public key of another algorithm", "EC_SIGN_P256_SHA256", "", "", func(s *gcptest.Server, _ string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "GetPublicKey" {
					answer["algorithm"] = "EC_SIGN_P384_SHA384"
				}
			})
		}, kms.ErrKeyMismatch, "EC_SIGN_P384_SHA384"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := gcptest.New(t)
			tt.change(server, server.CreateVersion(t, "release", tt.word))
			_, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease + tt.suffix, Store: newStore(t, gcpConfig(t, server)), Algorithm: tt.alg})
			wantError(t, err, tt.want, tt.words)
		})
	}
}

func TestGCPKeyChangesAfterOpening(t *testing.T) {
	answering := func(field string, value any) func(*testing.T, *gcptest.Server, string) {
		return func(_ *testing.T, s *gcptest.Server, _ string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "AsymmetricSign" {
					answer[field] = value
				}
			})
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, s *gcptest.Server, name string)
		want   error
		words  string
	}{
		{"disabled", func(_ *testing.T, s *gcptest.Server, name string) { s.SetState(name, gcptest.Disabled) }, kms.ErrKeyState, "FAILED_PRECONDITION"},
		{"swapped", func(t *testing.T, s *gcptest.Server, name string) { s.Replace(t, name) }, kms.ErrKeyMismatch, "fingerprint"},
		{"another version signs", answering("name", gcptest.KeyRing+"/cryptoKeys/release/cryptoKeyVersions/2"), kms.ErrKeyMismatch, "cryptoKeyVersions/2"},
		{"the digest was corrupted", answering("verifiedDigestCrc32c", false), kms.ErrUnavailable, "digest"},
		{"the signature was corrupted", answering("signature", "AAAA"), kms.ErrUnavailable, "signature"},
		{"no checksum", answering("signatureCrc32c", nil), kms.ErrUnavailable, "signature"},
		{"permission taken away", func(_ *testing.T, s *gcptest.Server, _ string) {
			s.Intercept(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
				gcptest.WriteError(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied")
				return true
			})
		}, kms.ErrDenied, "useToSign"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := gcptest.New(t)
			name := server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
			s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, gcpConfig(t, server))})
			tt.change(t, server, name)
			ctx := deadline(t, 5*time.Second)
			signature, err := s.Sign(ctx, []byte("message"))
			wantError(t, err, tt.want, tt.words)
			if signature != nil {
				t.Error("there is a signature beside the error")
			}
		})
	}
}

func TestGCPWrongCredentials(t *testing.T) {
	server, other := gcptest.New(t), gcptest.New(t)
	server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	foreign := strings.ReplaceAll(string(other.CreateServiceAccount(t)), other.URL, server.URL)
	tests := []struct{ name, content, words string }{
		{"an unknown account", foreign, "invalid_grant"},
		{"not JSON", "geheim", "not JSON"},
		{"another type", `{"type": "mystery", "private_key": "geheim"}`, "service_account"},
		{"a broken private key", `{"type": "service_account", "private_key": "geheim", "client_email": "a@b", "token_uri": "` + server.URL + `/token"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := kms.StoreConfig{Endpoint: server.URL, Auth: kms.Auth{ConfigFile: writeFile(t, []byte(tt.content))}}
			_, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: newStore(t, cfg)})
			wantError(t, err, kms.ErrDenied, tt.words)
			if strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("the error says too much: %v", err)
			}
		})
	}
	t.Run("readable for all", func(t *testing.T) {
		cfg := gcpConfig(t, server)
		if err := os.Chmod(cfg.Auth.ConfigFile, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: newStore(t, cfg)})
		wantError(t, err, kms.ErrDenied, "permissions 0644")
	})
}

func TestGCPRefusesSettings(t *testing.T) {
	for _, cfg := range []kms.StoreConfig{{Auth: kms.Auth{Profile: "p"}}, {Endpoint: "cloudkms.googleapis.com"}} {
		if _, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: newStore(t, cfg)}); err == nil || !strings.Contains(err.Error(), "allowed:") {
			t.Errorf("error is %v, want one that says what is allowed", err)
		}
	}
}

func TestGCPRenewsCredentials(t *testing.T) {
	server := gcptest.New(t)
	server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	cfg := gcpConfig(t, server)
	cfg.Limits = oneAtATime
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: gcpRelease, Store: store})
	if n := server.Calls("token"); n != 1 {
		t.Errorf("%d tokens for one opening, want 1", n)
	}
	t.Run("a token that is no longer valid", func(t *testing.T) {
		server.ForgetTokens()
		wantSignature(t, s, s.Public())
		wantSignature(t, s, s.Public())
		if n := server.Calls("token"); n != 2 {
			t.Errorf("%d tokens, want 2", n)
		}
	})
	t.Run("another service account key in the file", func(t *testing.T) {
		server.ForgetServiceAccounts()
		server.ForgetTokens()
		_, err := s.Sign(t.Context(), []byte("message"))
		wantError(t, err, kms.ErrDenied, "invalid_grant")
		if err := os.WriteFile(cfg.Auth.ConfigFile, server.CreateServiceAccount(t), 0o600); err != nil {
			t.Fatal(err)
		}
		wantSignature(t, s, s.Public())
	})
}

func TestGCPTokenFaults(t *testing.T) {
	for name, f := range map[string]fault{
		"throttled": raw(http.StatusTooManyRequests, `{"error":"rate_limit_exceeded"}`),
		"an outage": raw(http.StatusServiceUnavailable, "<html>"),
		"dropped":   drop,
	} {
		t.Run(name, func(t *testing.T) {
			server := gcptest.New(t)
			server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
			left := 2
			server.Intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
				if op != "token" || left == 0 {
					return false
				}
				left--
				f(w, r)
				return true
			})
			s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, gcpConfig(t, server))})
			wantSignature(t, s, s.Public())
		})
	}
}

func TestGCPEnvironment(t *testing.T) {
	server := gcptest.New(t)
	server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
	host := strings.TrimPrefix(server.URL, "http://")
	nothing := func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
		t.Setenv("HOME", t.TempDir())
		t.Setenv("GCE_METADATA_HOST", host)
	}
	t.Run("nothing", func(t *testing.T) {
		nothing(t)
		_, err := kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: newStore(t, kms.StoreConfig{Endpoint: server.URL})})
		wantError(t, err, kms.ErrDenied, "HTTP 404")
		t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
		_, err = kms.Open(t.Context(), kms.Config{URI: gcpRelease, Store: newStore(t, kms.StoreConfig{Endpoint: server.URL})})
		wantError(t, err, kms.ErrDenied, "no metadata server")
	})
	t.Run("variable", func(t *testing.T) {
		nothing(t)
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", writeFile(t, server.CreateServiceAccount(t)))
		s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, kms.StoreConfig{Endpoint: server.URL})})
		wantSignature(t, s, s.Public())
	})
	t.Run("gcloud", func(t *testing.T) {
		nothing(t)
		dir := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "application_default_credentials.json"), server.CreateServiceAccount(t), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, kms.StoreConfig{Endpoint: server.URL})})
		wantSignature(t, s, s.Public())
	})
	// All that Google's library asks for goes through the store's transport.
	t.Run("metadata server", func(t *testing.T) {
		nothing(t)
		server.ServeMetadata()
		asked := &recorder{base: http.DefaultTransport}
		cfg := kms.StoreConfig{Endpoint: server.URL, Transport: asked}
		s := openConfig(t, kms.Config{URI: gcpRelease, Store: newStore(t, cfg)})
		wantSignature(t, s, s.Public())
		if urls := asked.seen(); len(urls) != 4 { // token, list, public key, sign
			t.Errorf("%d requests came through the store's transport, want 4: %v", len(urls), urls)
		}
	})
}

// A metadata server that does not answer for a moment is no refusal once it has
// given a token.
func TestGCPMetadataServerAway(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GCE_METADATA_HOST", "")
	synctest.Test(t, func(t *testing.T) {
		server := gcptest.Offline()
		server.CreateVersion(t, "release", "EC_SIGN_P256_SHA256")
		server.ServeMetadata()
		store := newStore(t, kms.StoreConfig{Endpoint: server.URL, Transport: server, Limits: oneAtATime})
		s := openConfig(t, kms.Config{URI: gcpRelease, Store: store})
		server.ForgetTokens()
		left := 3
		server.Intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
			if op != "metadata" || left == 0 {
				return false
			}
			left--
			drop(w, r)
			return true
		})
		if _, err := s.Sign(deadline(t, time.Minute), []byte("message")); err != nil {
			t.Error(err)
		}
	})
}
