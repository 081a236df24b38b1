package kms_test

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/azuretest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

const azureRelease = "azurekms://acme.vault.azure.net/release"

// azureConfig reaches server with the client's secret in the environment.
func azureConfig(t testing.TB, server *azuretest.Server) kms.StoreConfig {
	t.Helper()
	noAzureEnvironment(t, server)
	t.Setenv("AZURE_CLIENT_SECRET", azuretest.Secret)
	return azureAlone(t, server)
}

// azureAlone reaches server with what the environment has.
func azureAlone(t testing.TB, server *azuretest.Server) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{Name: "azure", Endpoint: server.URL, CAFile: writeFile(t, server.CA)}
}

// noAzureEnvironment hides what the machine may have of Azure, and names the
// server's authority and client.
func noAzureEnvironment(t testing.TB, server *azuretest.Server) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "IDENTITY_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AZURE_AUTHORITY_HOST", server.URL)
	t.Setenv("AZURE_TENANT_ID", azuretest.Tenant)
	t.Setenv("AZURE_CLIENT_ID", azuretest.Client)
}

// azureKind is the kind of key an algorithm needs.
func azureKind(alg policy.Algorithm) string {
	switch alg {
	case policy.ECDSASHA256:
		return "P-256"
	case policy.ECDSASHA384:
		return "P-384"
	}
	return "RSA-2048"
}

func TestAzureKeepsTheContract(t *testing.T) {
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		t.Run(name, func(t *testing.T) {
			server := azuretest.New(t)
			store := newStore(t, azureConfig(t, server))
			server.CreateVersion(t, "release", azureKind(alg))
			if alg == policy.SM2SM3 {
				_, err := kms.Open(t.Context(), kms.Config{URI: azureRelease, Store: store, Algorithm: alg})
				wantError(t, err, kms.ErrUnsupported, "RSA_PKCS1_SHA_512")
				return
			}
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				return openConfig(t, kms.Config{URI: azureRelease, Store: store, Algorithm: alg})
			})
		})
	}
}

func TestAzureSignsWithLargerRSAKeys(t *testing.T) {
	for kind, alg := range map[string]policy.Algorithm{"RSA-3072": policy.RSAPSSSHA384, "RSA-4096": policy.RSAPKCS1SHA512} {
		server := azuretest.New(t)
		server.CreateVersion(t, "release", kind)
		s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, azureConfig(t, server)), Algorithm: alg})
		wantSignature(t, s, s.Public())
	}
}

func azureCloud() cloud {
	return cloud{
		opened: []string{"key"}, signed: "sign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := azuretest.Offline()
			server.CreateVersion(t, "release", "P-256")
			return server.Server, azureConfig(t, server), azureRelease
		},
		throttled: azuretest.Throttle,
		down: func(w http.ResponseWriter) {
			azuretest.WriteError(w, http.StatusServiceUnavailable, "ServiceUnavailable", "", "The service is unavailable.")
		},
		disabled: func(w http.ResponseWriter) {
			azuretest.WriteError(w, http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key.")
		},
	}
}

func TestAzureKeyURIs(t *testing.T) {
	server := azuretest.New(t)
	first, second := server.CreateVersion(t, "release", "P-256"), server.CreateVersion(t, "release", "P-256")
	store := newStore(t, azureConfig(t, server))
	for uri, version := range map[string]string{azureRelease: second, azureRelease + "/" + first: first} {
		s := openConfig(t, kms.Config{URI: uri, Store: store})
		if s.Version() != version {
			t.Errorf("%s: version is %s, want %s", uri, s.Version(), version)
		}
		wantSignature(t, s, s.Public())
	}
	refusesURIs(t, newStore(t, azureConfig(t, server)), []string{
		"azurekms:", "azurekms://", "azurekms:///release", "azurekms://acme.vault.azure.net", "azurekms://acme.vault.azure.net/",
		azureRelease + "/", azureRelease + "/1/2", azureRelease + "?version=1", azureRelease + "#1", azureRelease + "\n",
		"azurekms://user:pass@acme.vault.azure.net/release", "azurekms://https://acme.vault.azure.net/release",
		"azurekms://acme..vault/release", "azurekms://acme.vault.azure.net/re_lease", "azurekms://acme.vault.azure.net/re%2flease",
		"azurekms://acme.vault.azure.net/../keys", "azurekms://acme.vault.azure.net:port/release",
	})
}

func TestAzureRotationAfterOpening(t *testing.T) {
	server := azuretest.New(t)
	first := server.CreateVersion(t, "release", "P-256")
	store := newStore(t, azureConfig(t, server))
	before := openConfig(t, kms.Config{URI: azureRelease, Store: store})
	second := server.CreateVersion(t, "release", "P-256")
	wantSignature(t, before, before.Public())
	after := openConfig(t, kms.Config{URI: azureRelease, Store: store})
	if before.Version() != first || after.Version() != second || before.Public().Fingerprint() == after.Public().Fingerprint() {
		t.Errorf("versions are %s and %s, want %s and %s", before.Version(), after.Version(), first, second)
	}
}

func TestAzureKeysThatMayNotSign(t *testing.T) {
	now := time.Now()
	altering := func(change func(key map[string]any)) func(*azuretest.Server) {
		return func(s *azuretest.Server) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "key" {
					change(answer["key"].(map[string]any))
				}
			})
		}
	}
	set := func(field string, value any) func(*azuretest.Server) {
		return altering(func(key map[string]any) { key[field] = value })
	}
	tests := []struct {
		name, kind string
		alg        policy.Algorithm
		uri        string
		change     func(s *azuretest.Server)
		want       error
		words      string
	}{
		{"disabled", "P-256", "", azureRelease, func(s *azuretest.Server) { s.Disable("release") }, kms.ErrKeyState, "enabled"},
		{"for verification", "P-256", "", azureRelease, func(s *azuretest.Server) { s.SetOperations("release", "verify") }, kms.ErrKeyState, "key_ops"},
		{"not valid yet", "P-256", "", azureRelease, func(s *azuretest.Server) { s.SetValidity("release", now.Add(time.Hour), time.Time{}) }, kms.ErrKeyState, "nbf"},
		{"no longer valid", "P-256", "", azureRelease, func(s *azuretest.Server) { s.SetValidity("release", time.Time{}, now.Add(-time.Hour)) }, kms.ErrKeyState, "exp"},
		{"of another curve", "P-384", policy.ECDSASHA256, azureRelease, func(*azuretest.Server) {}, kms.ErrKeyMismatch, "P-256"},
		{"RSA without an algorithm", "RSA-2048", "", azureRelease, func(*azuretest.Server) {}, kms.ErrKeyMismatch, "RSA_PSS_SHA_256"},
		{"none", "P-256", "", "azurekms://acme.vault.azure.net/none", func(*azuretest.Server) {}, kms.ErrNotFound, "KeyNotFound"},
		{"no such version", "P-256", "", azureRelease + "/0123456789abcdef", func(*azuretest.Server) {}, kms.ErrNotFound, "KeyNotFound"},
		{"of an unknown type", "P-256", "", azureRelease, set("kty", "oct"), kms.ErrKeyMismatch, "oct"},
		{"of an unknown curve", "P-256", "", azureRelease, set("crv", "P-256K"), kms.ErrKeyMismatch, "P-256K"},
		{"a huge exponent", "RSA-2048", policy.RSAPSSSHA256, azureRelease, set("e", strings.Repeat("A_", 20)), kms.ErrKeyMismatch, "exponent"},
		{"an answer about another key", "P-256", "", azureRelease, set("kid", "https://acme.vault.azure.net/keys/other/1"), kms.ErrKeyMismatch, "keys/other"},
		{"an answer about no version", "P-256", "", azureRelease, set("kid", "https://acme.vault.azure.net/keys/release"), kms.ErrUnavailable, "names no version"},
		{"an answer about nothing", "P-256", "", azureRelease, set("kid", "%"), kms.ErrUnavailable, "names no version"},
		{"an empty answer", "P-256", "", azureRelease, func(s *azuretest.Server) {
			s.Alter(func(_ string, answer map[string]any) { clear(answer) })
		}, kms.ErrUnavailable, "names no version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := azuretest.New(t)
			server.CreateVersion(t, "release", tt.kind)
			tt.change(server)
			_, err := kms.Open(t.Context(), kms.Config{URI: tt.uri, Store: newStore(t, azureConfig(t, server)), Algorithm: tt.alg})
			wantError(t, err, tt.want, tt.words)
		})
	}
}

func TestAzureKeyChangesAfterOpening(t *testing.T) {
	answering := func(field, value string) func(*testing.T, *azuretest.Server) {
		return func(_ *testing.T, s *azuretest.Server) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "sign" {
					answer[field] = value
				}
			})
		}
	}
	failing := func(status int, code, inner string) func(*testing.T, *azuretest.Server) {
		return func(_ *testing.T, s *azuretest.Server) {
			s.Intercept(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
				azuretest.WriteError(w, status, code, inner, "no")
				return true
			})
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, s *azuretest.Server)
		want   error
		words  string
	}{
		{"disabled", func(_ *testing.T, s *azuretest.Server) { s.Disable("release") }, kms.ErrKeyState, "KeyDisabled"},
		{"may no longer sign", func(_ *testing.T, s *azuretest.Server) { s.SetOperations("release", "verify") }, kms.ErrKeyState, "KeyOperationForbidden"},
		{"being deleted", failing(http.StatusConflict, "Conflict", "ObjectIsBeingDeleted"), kms.ErrKeyState, "ObjectIsBeingDeleted"},
		{"permission taken away", failing(http.StatusForbidden, "Forbidden", "ForbiddenByRbac"), kms.ErrDenied, "ForbiddenByRbac"},
		{"swapped", func(t *testing.T, s *azuretest.Server) { s.Replace(t, "release", "P-256") }, kms.ErrKeyMismatch, "fingerprint"},
		{"another version signs", answering("kid", "https://acme.vault.azure.net/keys/release/0"), kms.ErrKeyMismatch, "another key"},
		{"nothing says which key signs", answering("kid", ""), kms.ErrKeyMismatch, "another key"},
		{"a signature of something else", answering("value", "AAAA"), kms.ErrInvalidSignature, "pair"},
		{"no signature", answering("value", ""), kms.ErrInvalidSignature, "pair"},
		{"zeros", answering("value", strings.Repeat("AAAA", 16)), kms.ErrInvalidSignature, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := azuretest.New(t)
			server.CreateVersion(t, "release", "P-256")
			s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, azureConfig(t, server))})
			tt.change(t, server)
			signature, err := s.Sign(t.Context(), []byte("message"))
			wantError(t, err, tt.want, tt.words)
			if signature != nil {
				t.Error("there is a signature beside the error")
			}
		})
	}
}

func TestAzureCredentials(t *testing.T) {
	server := azuretest.New(t)
	server.CreateVersion(t, "release", "P-256")
	open := func(t *testing.T) kms.Signer {
		return openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, azureAlone(t, server))})
	}
	t.Run("workload identity", func(t *testing.T) {
		noAzureEnvironment(t, server)
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", writeFile(t, []byte(azuretest.FederatedToken)))
		s := open(t)
		wantSignature(t, s, s.Public())
	})
	t.Run("managed identity", func(t *testing.T) {
		noAzureEnvironment(t, server)
		t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
		t.Setenv("IDENTITY_HEADER", "geheim")
		_, err := kms.Open(t.Context(), kms.Config{URI: azureRelease, Store: newStore(t, azureAlone(t, server))})
		wantError(t, err, kms.ErrDenied, "")
		if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error says too much: %v", err)
		}
		t.Setenv("IDENTITY_HEADER", azuretest.IdentityHeader)
		s := open(t)
		wantSignature(t, s, s.Public())
	})
	t.Run("certificate", func(t *testing.T) {
		noAzureEnvironment(t, server)
		file := writeFile(t, server.CreateCertificate(t))
		t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", file)
		s := open(t)
		wantSignature(t, s, s.Public())
		renewed := server.CreateCertificate(t)
		server.ForgetTokens()
		_, err := s.Sign(t.Context(), []byte("message"))
		wantError(t, err, kms.ErrDenied, "invalid_client")
		if err := os.WriteFile(file, renewed, 0o600); err != nil {
			t.Fatal(err)
		}
		wantSignature(t, s, s.Public())
	})
	t.Run("a token that is no longer valid", func(t *testing.T) {
		s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, azureConfig(t, server))})
		server.ForgetTokens()
		wantSignature(t, s, s.Public())
	})
	t.Run("a wrong secret", func(t *testing.T) {
		cfg := azureConfig(t, server)
		t.Setenv("AZURE_CLIENT_SECRET", "geheim")
		_, err := kms.Open(t.Context(), kms.Config{URI: azureRelease, Store: newStore(t, cfg)})
		wantError(t, err, kms.ErrDenied, "invalid_client", "AADSTS7000215")
		if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error says too much: %v", err)
		}
	})
	t.Run("a secret without its owner", func(t *testing.T) {
		cfg := azureConfig(t, server)
		t.Setenv("AZURE_CLIENT_ID", "")
		_, err := kms.Open(t.Context(), kms.Config{URI: azureRelease, Store: newStore(t, cfg)})
		if err == nil || !strings.Contains(err.Error(), "AZURE_CLIENT_ID") {
			t.Errorf("error is %v, want one about AZURE_CLIENT_ID", err)
		}
	})
	t.Run("fields of other stores", func(t *testing.T) {
		cfg := azureConfig(t, server)
		cfg.Auth.AccessKey = "AK"
		_, err := kms.Open(t.Context(), kms.Config{URI: azureRelease, Store: newStore(t, cfg)})
		if err == nil || !strings.Contains(err.Error(), "AZURE_") {
			t.Errorf("error is %v, want one about the environment", err)
		}
	})
}

func TestAzureTokenFaults(t *testing.T) {
	for name, f := range map[string]fault{
		"throttled": raw(http.StatusTooManyRequests, `{"error":"temporarily_unavailable"}`),
		"an outage": raw(http.StatusServiceUnavailable, "<html>"),
		"dropped":   drop,
	} {
		t.Run(name, func(t *testing.T) {
			server := azuretest.New(t)
			server.CreateVersion(t, "release", "P-256")
			left := 2
			server.Intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
				if op != "token" || left == 0 {
					return false
				}
				left--
				f(w, r)
				return true
			})
			s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, azureConfig(t, server))})
			wantSignature(t, s, s.Public())
		})
	}
}

// A challenge says where to get a token; one that makes no sense must not bring
// the process down, and one of a stranger must not get a token.
func TestAzureChallenges(t *testing.T) {
	for _, challenge := range []string{
		"", "Bearer", `Bearer authorization="x" resource="https://vault.azure.net"`, `Bearer authorization="" resource=""`,
		`Bearer authorization="https://login.example.com" resource="https://vault.azure.net"`, `Bearer authorization=`, `Basic realm="x"`,
	} {
		server := azuretest.New(t)
		server.CreateVersion(t, "release", "P-256")
		server.SetChallenge(challenge)
		ctx := deadline(t, 500*time.Millisecond)
		_, err := kms.Open(ctx, kms.Config{URI: azureRelease, Store: newStore(t, azureConfig(t, server))})
		if err == nil {
			t.Errorf("challenge %q was answered", challenge)
		}
	}
	t.Run("of a stranger", func(t *testing.T) {
		server := azuretest.New(t)
		cfg := azureConfig(t, server)
		cfg.Endpoint = "" // the server is taken for the vault that the URI names
		_, err := kms.Open(t.Context(), kms.Config{URI: strings.Replace(azureRelease, "acme.vault.azure.net", strings.TrimPrefix(server.URL, "https://"), 1), Store: newStore(t, cfg)})
		wantError(t, err, kms.ErrDenied, "challenge resource")
		if n := server.Calls("token"); n != 0 {
			t.Errorf("%d tokens were asked for", n)
		}
	})
}

// All that Microsoft's library asks for goes through the store's transport.
func TestAzureUsesTheStoresTransport(t *testing.T) {
	server := azuretest.New(t)
	server.CreateVersion(t, "release", "P-256")
	cfg := azureConfig(t, server)
	asked := &recorder{base: newTrusting(t, server.CA)}
	cfg.CAFile, cfg.Transport = "", asked
	s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, cfg)})
	wantSignature(t, s, s.Public())
	if urls := asked.seen(); len(urls) != 5 { // challenge, discovery, token, key, sign
		t.Errorf("%d requests came through the store's transport, want 5: %v", len(urls), urls)
	}
}

// Many callers whose token is refused at once get one new one.
func TestAzureRenewsOnce(t *testing.T) {
	server := azuretest.New(t)
	server.CreateVersion(t, "release", "P-256")
	cfg := azureConfig(t, server)
	cfg.Limits = oneAtATime
	s := openConfig(t, kms.Config{URI: azureRelease, Store: newStore(t, cfg)})
	before := server.Calls("token")
	server.ForgetTokens()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := s.Sign(t.Context(), []byte("message")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := server.Calls("token") - before; n != 1 {
		t.Errorf("%d tokens were asked for, want 1", n)
	}
}
