package kms_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// vaultKeys are the server's types of keys, each with what it can do.
var vaultKeys = []struct {
	kind       string
	algorithms []policy.Algorithm
}{
	{"ecdsa-p256", []policy.Algorithm{policy.ECDSASHA256}},
	{"ecdsa-p384", []policy.Algorithm{policy.ECDSASHA384}},
	{"rsa-2048", []policy.Algorithm{
		policy.RSAPSSSHA256, policy.RSAPSSSHA384, policy.RSAPSSSHA512,
		policy.RSAPKCS1SHA256, policy.RSAPKCS1SHA384, policy.RSAPKCS1SHA512,
	}},
	{"rsa-3072", []policy.Algorithm{policy.RSAPSSSHA384}},
	{"rsa-4096", []policy.Algorithm{policy.RSAPKCS1SHA512}},
}

func TestVaultSignersKeepTheContract(t *testing.T) {
	for _, k := range vaultKeys {
		server, cfg := startVault(t)
		server.CreateKey(t, "transit/"+k.kind, k.kind)
		store := newStore(t, cfg)
		for _, alg := range k.algorithms {
			t.Run(k.kind+"/"+string(alg), func(t *testing.T) {
				t.Parallel()
				kmstest.Suite(t, func(t *testing.T) kms.Signer {
					s, err := kms.Open(t.Context(), kms.Config{URI: "hashivault://" + k.kind, Store: store, Algorithm: alg})
					if err != nil {
						t.Fatal(err)
					}
					if s.Version() != "1" {
						t.Errorf("version %q, want 1", s.Version())
					}
					return s
				})
			})
		}
	}
}

func TestVaultURIs(t *testing.T) {
	server, cfg := startVault(t)
	server.CreateKey(t, "team-a/signing.v2/release_1", "ecdsa-p256")
	server.CreateKey(t, "transit/r", "ecdsa-p256")
	for uri, version := range map[string]string{
		"hashivault://release":                               "1",
		"hashivault://r":                                     "1",
		"openbao://transit/release":                          "1",
		"hashivault://team-a/signing.v2/release_1":           "1",
		"hashivault://team-a/signing.v2/release_1?version=1": "1",
	} {
		if s := openVaultKey(t, cfg, uri); s.Version() != version {
			t.Errorf("%s opened version %s, want %s", uri, s.Version(), version)
		}
	}
	store := newStore(t, cfg)
	for _, uri := range []string{
		"hashivault:", "hashivault:release", "hashivault:/release", "hashivault://", "hashivault:///release", "hashivault://transit/",
		"hashivault://transit//release", "hashivault:///", "hashivault://../release", "hashivault://a/../release", "hashivault://./release",
		"hashivault://release/", "hashivault://release%2fother", "hashivault://rele ase", "hashivault://release#1", "hashivault://r\nelease",
		"hashivault://user:hunter2@transit/release", "hashivault://-release", "hashivault://release.", "hashivault://" + strings.Repeat("k", 256),
		"hashivault://release?", "hashivault://release?version", "hashivault://release?version=", "hashivault://release?version=0",
		"hashivault://release?version=01", "hashivault://release?version=-1", "hashivault://release?version=latest",
		"hashivault://release?version=1&version=2", "hashivault://release?version=1?version=2", "hashivault://release?ver=1",
		"hashivault://release?version=9999999999", "openbao://release?version=1%30",
	} {
		err := vaultOpenFails(t, kms.Config{URI: uri, Store: store})
		if !strings.Contains(err.Error(), "allowed: //[MOUNT/]KEY[?version=N]") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want what is allowed, and nothing of the URI", uri, err)
		}
	}
	if sent := store.Requests(); len(sent) != 0 {
		t.Errorf("requests were made: %v", sent)
	}
}

func TestVaultAddresses(t *testing.T) {
	t.Setenv("VAULT_ADDR", "")
	t.Setenv("BAO_ADDR", "")
	for endpoint, want := range map[string]string{
		"":                                    "set the key store's endpoint, or VAULT_ADDR",
		"vault.example.com:8200":              "endpoint of the key store is no URL of a host; allowed: https://",
		"ftp://vault.example.com":             "endpoint of the key store is no URL of a host",
		"https://":                            "endpoint of the key store is no URL of a host",
		"https://me:hunter2@vault.example":    "endpoint of the key store is no URL of a host",
		"https://vault.example?token=hunter2": "endpoint of the key store is no URL of a host",
		"https://vault.example#hunter2":       "endpoint of the key store is no URL of a host",
		"https://hunter2\n":                   "endpoint of the key store is no URL of a host",
		"http://vault.example.com:8200":       "endpoint of the key store is plain HTTP",
	} {
		err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, kms.StoreConfig{Endpoint: endpoint})})
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %q", endpoint, err, want)
		}
	}
	server, cfg := startVault(t)
	address := cfg.Endpoint
	cfg.Endpoint = ""
	t.Setenv("VAULT_ADDR", address+"/")
	openVaultKey(t, cfg, "hashivault://release")
	openVaultKey(t, cfg, "openbao://release") // falls back to it
	t.Setenv("VAULT_ADDR", "http://nowhere.invalid")
	err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "VAULT_ADDR or BAO_ADDR is plain HTTP") {
		t.Errorf("got %v, want no token sent in plain HTTP", err)
	}
	t.Setenv("BAO_ADDR", address)
	openVaultKey(t, cfg, "openbao://release")
	t.Setenv("BAO_ADDR", "https://")
	err = vaultOpenFails(t, kms.Config{URI: "openbao://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "VAULT_ADDR or BAO_ADDR is no URL of a host") {
		t.Errorf("got %v, want the variable's name", err)
	}
	if n := len(server.Batches()); n != 0 {
		t.Errorf("opening signed %d times", n)
	}
}

func TestVaultSignsWithThePinnedVersion(t *testing.T) {
	server, cfg := startVault(t)
	store := newStore(t, cfg)
	before := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
	server.Rotate(t, "transit/release")
	server.Rotate(t, "transit/release")
	after := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
	second := openConfig(t, kms.Config{URI: "hashivault://release?version=2", Store: store})
	fingerprints := map[string]bool{}
	for want, s := range map[string]kms.Signer{"1": before, "2": second, "3": after} {
		sign(t, s, payload)
		if s.Version() != want {
			t.Errorf("version %s, want %s", s.Version(), want)
		}
		fingerprints[s.Public().Fingerprint()] = true
	}
	if len(fingerprints) != 3 {
		t.Errorf("three versions have %d public keys", len(fingerprints))
	}
}

func TestVaultRefusesKeysThatDoNotFit(t *testing.T) {
	server, cfg := startVault(t)
	for _, kind := range []string{"aes256-gcm96", "ecdsa-p521", "rsa-2048"} {
		server.CreateKey(t, "transit/"+kind, kind)
	}
	server.CreateKey(t, "transit/old", "ecdsa-p256")
	server.Rotate(t, "transit/old")
	server.Rotate(t, "transit/old")
	server.SetMinVersion("transit/old", 2)
	server.SetMinEncryption("transit/old", 3)
	server.CreateKey(t, "transit/deleted", "ecdsa-p256")
	server.SoftDelete("transit/deleted", true)
	store := newStore(t, cfg)
	for _, tt := range []struct {
		key   string
		alg   policy.Algorithm
		kind  error
		words string
	}{
		{"aes256-gcm96", "", kms.ErrKeyMismatch, `type "aes256-gcm96"`},
		{"ecdsa-p521", "", kms.ErrKeyMismatch, "allowed: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096"},
		{"rsa-2048", "", kms.ErrKeyMismatch, "needs an algorithm"},
		{"rsa-2048", policy.ECDSASHA256, kms.ErrKeyMismatch, "needs a P-256 key"},
		{"release", policy.RSAPSSSHA256, kms.ErrKeyMismatch, "this is a P-256 key"},
		{"release", policy.SM2SM3, kms.ErrUnsupported, "SM2DSA_SM3"},
		{"release?version=2", "", kms.ErrNotFound, "the key has no version 2; the latest is 1"},
		{"old?version=1", "", kms.ErrNotFound, "the latest is 3"},
		{"old?version=2", "", kms.ErrKeyState, "min_encryption_version is 3"},
		{"deleted", "", kms.ErrKeyState, "soft-deleted"},
		{"absent", "", kms.ErrNotFound, "transit/absent"},
		{"elsewhere/release", "", kms.ErrNotFound, "elsewhere/release"},
	} {
		err := vaultOpenFails(t, kms.Config{URI: "hashivault://" + tt.key, Store: store, Algorithm: tt.alg})
		wantError(t, err, tt.kind, tt.words)
	}
	openConfig(t, kms.Config{URI: "hashivault://old?version=3", Store: store})
	for request := range store.Requests() {
		if request.Operation != "public_key" {
			t.Errorf("opening made a request to %s", request.Operation)
		}
	}
}

// What happens to a key after it was opened is said at the next signature,
// once and without trying again.
func TestVaultKeyChangesAfterOpening(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *vaulttest.Server)
		kind   error
		words  string
	}{
		{"soft-deleted", func(_ *testing.T, s *vaulttest.Server) { s.SoftDelete("transit/release", true) }, kms.ErrKeyState, "soft-deleted"},
		{"deleted", func(_ *testing.T, s *vaulttest.Server) { s.Delete("transit/release") }, kms.ErrNotFound, "signing key not found"},
		{"version barred", func(t *testing.T, s *vaulttest.Server) {
			s.Rotate(t, "transit/release")
			s.SetMinEncryption("transit/release", 2)
		}, kms.ErrKeyState, "less than the minimum"},
		{"swapped", func(t *testing.T, s *vaulttest.Server) { s.Replace(t, "transit/release", 1) }, kms.ErrKeyMismatch, "opened with fingerprint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, cfg := startVault(t)
			store := newStore(t, cfg)
			s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
			tt.change(t, server)
			_, err := s.Sign(t.Context(), payload)
			wantError(t, err, tt.kind, tt.words)
			if strings.Count(err.Error(), tt.kind.Error()) != 1 {
				t.Errorf("the error repeats itself: %v", err)
			}
			requests := store.Requests()
			if n := requests[kms.Request{Operation: "sign", Outcome: "failed"}] + requests[kms.Request{Operation: "sign", Outcome: "ok"}]; n != 1 {
				t.Errorf("%d requests for a signature, want one: %v", n, requests)
			}
		})
	}
}

func TestVaultAnswersAreNotTrusted(t *testing.T) {
	replace := func(old, with string) func(*vaulttest.Output) {
		return func(o *vaulttest.Output) { o.Signature = strings.Replace(o.Signature, old, with, 1) }
	}
	for _, tt := range []struct {
		name  string
		alter func(*vaulttest.Output)
		kind  error
		words string
	}{
		{"another version's prefix", replace(":v1:", ":v2:"), kms.ErrKeyMismatch, `version "v2" signed instead of "v1"`},
		{"another version's number", func(o *vaulttest.Output) { o.Version = 2 }, kms.ErrKeyMismatch, "signed instead"},
		{"no number", func(o *vaulttest.Output) { o.Version = 0 }, nil, ""},
		{"no prefix", replace("vault:v1:", ""), kms.ErrUnavailable, "vault:vN:BASE64"},
		{"no base64", replace("vault:v1:", "vault:v1:*"), kms.ErrUnavailable, "base64"},
		{"no signature", func(o *vaulttest.Output) { o.Signature = "" }, kms.ErrUnavailable, "vault:vN:BASE64"},
		{"another signature", replace("vault:v1:", "vault:v1:AAAA"), kms.ErrInvalidSignature, ""},
		{"an unknown error", func(o *vaulttest.Output) { o.Error = "out of \x1b[31mcheese\n" }, kms.ErrUnsupported, "out of  [31mcheese"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, cfg := vaultWorld(t)
				s := openVaultKey(t, cfg, "hashivault://release")
				server.Bend(tt.alter)
				_, err := s.Sign(deadline(t, 5*time.Second), payload) // what may pass is tried again
				if tt.kind == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantError(t, err, tt.kind, tt.words)
			})
		})
	}
}

// A server that ignores what the request says of padding must not go
// unnoticed.
func TestVaultAlgorithmIsTheOneAskedFor(t *testing.T) {
	server, cfg := startVault(t)
	server.CreateKey(t, "transit/rsa", "rsa-2048")
	cfg.Transport = swapsPadding{http.DefaultTransport}
	store := newStore(t, cfg)
	for _, alg := range []policy.Algorithm{policy.RSAPSSSHA256, policy.RSAPKCS1SHA256} {
		s := openConfig(t, kms.Config{URI: "hashivault://rsa", Store: store, Algorithm: alg})
		_, err := s.Sign(t.Context(), payload)
		wantError(t, err, kms.ErrInvalidSignature)
	}
}

// swapsPadding is a transport that has RSA keys sign with the other padding.
type swapsPadding struct{ base http.RoundTripper }

func (s swapsPadding) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	swapped := strings.NewReplacer(`"pss"`, `"pkcs1v15"`, `"pkcs1v15"`, `"pss"`).Replace(string(body))
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(swapped)), int64(len(swapped))
	return s.base.RoundTrip(r)
}

func TestVaultStatuses(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		kind   error
		words  string
	}{
		{http.StatusTemporaryRedirect, "", kms.ErrUnavailable, "HTTP 307: it points elsewhere"},
		{http.StatusPreconditionFailed, `{"errors":["required index state not present"]}`, kms.ErrUnavailable, "required index state"},
		{472, `{"errors":[]}`, kms.ErrUnavailable, "HTTP 472"},
		{http.StatusTooManyRequests, `{"errors":[]}`, kms.ErrThrottled, "HTTP 429"},
		{http.StatusBadGateway, `<html>`, kms.ErrUnavailable, "HTTP 502"},
		{http.StatusBadRequest, `{"errors":["rate limit quota exceeded"]}`, kms.ErrThrottled, "HTTP 400"},
		{http.StatusBadRequest, `{"errors":["failed to parse JSON input"]}`, kms.ErrUnsupported, "failed to parse"},
		{http.StatusMethodNotAllowed, `{"errors":["unsupported operation"]}`, kms.ErrUnsupported, "unsupported operation"},
		{http.StatusInternalServerError, `{"errors":["1 error occurred:\n\t* refusing to use soft-deleted key\n\n"]}`, kms.ErrKeyState, "soft-deleted"},
		{http.StatusOK, `{"data":null}`, kms.ErrUnavailable, "no data"},
		{http.StatusOK, `{"data":{"batch_results":[]}}`, kms.ErrUnavailable, "0 results for 1 digests"},
		{http.StatusOK, `{"data":{"batch_results":7}}`, kms.ErrUnavailable, "not of the transit engine"},
	} {
		synctest.Test(t, func(t *testing.T) {
			server, cfg := vaultWorld(t)
			s := openVaultKey(t, cfg, "hashivault://release")
			server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				raw(tt.status, tt.body)(w, r)
				return true
			})
			_, err := s.Sign(deadline(t, 5*time.Second), payload)
			wantError(t, err, tt.kind, tt.words)
		})
	}
}

func TestVaultWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		s := openVaultKey(t, cfg, "hashivault://release")
		throttle := true
		server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
			if !throttle {
				return false
			}
			w.Header().Set("Retry-After", "30")
			vaultThrottled(w)
			return true
		})
		start := time.Now()
		_, err := s.Sign(deadline(t, 20*time.Second), payload)
		var answer *kms.StoreError
		if !errors.As(err, &answer) || answer.RetryAfter != 30*time.Second || time.Since(start) > time.Second {
			t.Errorf("got %v after %s, want at once that half a minute is too late", err, time.Since(start))
		}
		throttle = false
		if _, err := s.Sign(deadline(t, time.Minute), payload); err != nil || time.Since(start) < 30*time.Second {
			t.Errorf("got %v after %s, want a signature when the pause is over", err, time.Since(start))
		}
	})
}

func TestVaultUnreachable(t *testing.T) {
	_, cfg := startVault(t)
	cfg.Endpoint = "http://127.0.0.1:1"
	_, err := kms.Open(deadline(t, 300*time.Millisecond), kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	wantError(t, err, kms.ErrUnavailable, "opening hashivault key transit/release", "connection refused")
}
