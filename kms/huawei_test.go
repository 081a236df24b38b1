package kms_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/huaweitest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

func newHuawei(t *testing.T) *huaweitest.Server {
	t.Helper()
	for _, name := range []string{"HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID", "HUAWEICLOUD_SDK_SECURITY_TOKEN"} {
		if os.Getenv(name) != "" {
			t.Setenv(name, "") // the developer's own
		}
	}
	return huaweitest.New(t)
}

func huaweiConfig(t *testing.T, server *huaweitest.Server) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{
		Endpoint: server.URL,
		Project:  server.Project,
		Auth:     kms.Auth{AccessKey: server.AccessKey, SecretKeyFile: writeFile(t, []byte(server.SecretKey+"\n"))},
	}
}

func huaweiCloud() cloud {
	return cloud{
		opened: []string{"describe-key", "get-publickey"}, signed: "sign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := huaweitest.Offline()
			return server.Server, huaweiConfig(t, server), "huaweikms://" + server.CreateKey(t, "EC_P256")
		},
		throttled: func(w http.ResponseWriter) { huaweitest.Throttle()(w, nil) },
		down: func(w http.ResponseWriter) {
			huaweitest.Refuse(http.StatusInternalServerError, "KMS.0102", "Abnormal KMS I/O.")(w, nil)
		},
		disabled: func(w http.ResponseWriter) {
			huaweitest.Refuse(http.StatusBadRequest, "KMS.0209", "The key has been disabled.")(w, nil)
		},
	}
}

func TestHuaweiSuite(t *testing.T) {
	server := newHuawei(t)
	rsaKey := server.CreateKey(t, "RSA_2048")
	ids := map[policy.Algorithm]string{
		policy.ECDSASHA256: server.CreateKey(t, "EC_P256"),
		policy.ECDSASHA384: server.CreateKey(t, "EC_P384"),
		policy.SM2SM3:      server.CreateKey(t, "SM2"),
	}
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		id := ids[alg]
		if id == "" {
			id = rsaKey
		}
		t.Run(name, func(t *testing.T) {
			store := newStore(t, huaweiConfig(t, server))
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				s := openConfig(t, kms.Config{URI: "huaweikms://" + id, Store: store, Algorithm: alg})
				if s.Public().Algorithm() != alg || s.Version() != id {
					t.Errorf("opened %s with %s, want %s with %s", s.Version(), s.Public().Algorithm(), id, alg)
				}
				return s
			})
		})
	}
}

func TestHuaweiUsualAlgorithm(t *testing.T) {
	server := newHuawei(t)
	store := newStore(t, huaweiConfig(t, server))
	for spec, want := range map[string]policy.Algorithm{"EC_P256": policy.ECDSASHA256, "EC_P384": policy.ECDSASHA384, "SM2": policy.SM2SM3} {
		s := openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, spec), Store: store})
		if got := s.Public().Algorithm(); got != want {
			t.Errorf("%s signs with %s, want %s", spec, got, want)
		}
	}
	_, err := kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + server.CreateKey(t, "EC_P384"), Store: store, Algorithm: policy.ECDSASHA256})
	wantError(t, err, kms.ErrKeyMismatch, "P-256", "P-384")
	_, err = kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + server.CreateKey(t, "RSA_2048"), Store: store})
	wantError(t, err, kms.ErrKeyMismatch, "needs an algorithm")
}

// An alias that is moved, as one does to rotate, changes what is opened next.
func TestHuaweiAliasIsResolvedOnce(t *testing.T) {
	server := newHuawei(t)
	first, second := server.CreateKey(t, "EC_P256"), server.CreateKey(t, "EC_P256")
	server.SetAlias("alias/release", first)
	store := newStore(t, huaweiConfig(t, server))
	cfg := kms.Config{URI: "huaweikms://alias/release", Store: store}
	before := openConfig(t, cfg)
	server.SetAlias("alias/release", second)
	after := openConfig(t, cfg)
	wantSignature(t, before, before.Public())
	wantSignature(t, after, after.Public())
	if before.Version() != first || after.Version() != second || before.Public().Fingerprint() == after.Public().Fingerprint() {
		t.Errorf("signers of %s and %s, want %s and %s", before.Version(), after.Version(), first, second)
	}
}

func TestHuaweiKeyState(t *testing.T) {
	server := newHuawei(t)
	store := newStore(t, huaweiConfig(t, server))
	for _, tt := range []struct{ state, atOpening, atSigning string }{
		{huaweitest.Disabled, "is disabled", "KMS.0209: The key has been disabled."},
		{huaweitest.PendingDeletion, "is to be deleted", "KMS.0210: The key is in Scheduled deletion state"},
		{"1", "waits to be activated", "KMS.1301"},
		{"5", "waits for its key material", "KMS.1301"},
		{"7", `"7"; allowed: 2`, "KMS.1301"},
	} {
		cfg := kms.Config{URI: "huaweikms://" + server.CreateKey(t, "EC_P256"), Store: store}
		s := openConfig(t, cfg)
		server.SetState(s.Version(), tt.state)
		sent := store.Requests()
		_, err := s.Sign(t.Context(), []byte("message"))
		wantError(t, err, kms.ErrKeyState, tt.atSigning, s.Version())
		now := store.Requests()
		if one := (kms.Request{Operation: "sign", Outcome: "failed"}); now[one] != sent[one]+1 {
			t.Errorf("state %s: %d attempts, want 1", tt.state, now[one]-sent[one])
		}
		_, err = kms.Open(t.Context(), cfg)
		wantError(t, err, kms.ErrKeyState, tt.atOpening)
		server.SetState(s.Version(), huaweitest.Enabled)
		wantSignature(t, s, s.Public())
	}
	_, err := kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + server.CreateKey(t, "AES_256"), Store: store})
	wantError(t, err, kms.ErrKeyState, "ENCRYPT_DECRYPT", "AES_256", "allowed: SIGN_VERIFY")
}

func TestHuaweiNotFound(t *testing.T) {
	server := newHuawei(t)
	store := newStore(t, huaweiConfig(t, server))
	for _, name := range []string{"0d0466b0-e727-4d9c-b35d-f84bb474a37f", "alias/unknown"} {
		_, err := kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + name, Store: store})
		wantError(t, err, kms.ErrNotFound, name, "KMS.0207")
	}
}

// Refusals are not tried again: Huawei locks an access key after five.
func TestHuaweiDenied(t *testing.T) {
	const other = "another-secret-0123456789"
	tests := []struct {
		name  string
		spoil func(server *huaweitest.Server, cfg *kms.StoreConfig)
		words []string
	}{
		{"wrong secret", func(_ *huaweitest.Server, cfg *kms.StoreConfig) {
			cfg.Auth.SecretKeyFile = writeFile(t, []byte(other))
		}, []string{"APIGW.0301", "verify aksk signature fail"}},
		{"unknown access key", func(_ *huaweitest.Server, cfg *kms.StoreConfig) {
			cfg.Auth.AccessKey = "AKUNKNOWN"
		}, []string{"APIGW.0301", "ak not exist"}},
		{"clock behind", func(server *huaweitest.Server, _ *kms.StoreConfig) { server.SetClock(16 * time.Minute) },
			[]string{"APIGW.0301", "check the clock"}},
		{"clock ahead", func(server *huaweitest.Server, _ *kms.StoreConfig) { server.SetClock(-16 * time.Minute) },
			[]string{"APIGW.0301", "check the clock"}},
		{"no permission", func(server *huaweitest.Server, _ *kms.StoreConfig) {
			server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				huaweitest.Refuse(http.StatusForbidden, "KMS.0307", "The user role has no permission to access the API.")(w, r)
				return true
			})
		}, []string{"KMS.0307", "no permission"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newHuawei(t)
			cfg := huaweiConfig(t, server)
			id := server.CreateKey(t, "EC_P256")
			tt.spoil(server, &cfg)
			store := newStore(t, cfg)
			_, err := kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + id, Store: store})
			wantError(t, err, kms.ErrDenied, tt.words...)
			tellsNoSecret(t, err, server.SecretKey, other)
			if sent := store.Requests(); len(sent) != 1 || sent[kms.Request{Operation: "describe", Outcome: "denied"}] != 1 {
				t.Errorf("requests %v, want one that is denied", sent)
			}
		})
	}
}

func TestHuaweiSecretIsRenewed(t *testing.T) {
	server := newHuawei(t)
	cfg := huaweiConfig(t, server)
	cfg.Limits = oneAtATime
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, "EC_P256"), Store: store})
	server.SetSecret("the-next-secret")
	_, err := s.Sign(t.Context(), []byte("message"))
	wantError(t, err, kms.ErrDenied)
	rewrite(t, cfg.Auth.SecretKeyFile, "the-next-secret"+"\n")
	wantSignature(t, s, s.Public())
	if denied := store.Requests()[kms.Request{Operation: "sign", Outcome: "denied"}]; denied != 2 {
		t.Errorf("%d requests were denied, want 2", denied)
	}
	server.SetSecret("the-last-secret")
	if err := os.Remove(cfg.Auth.SecretKeyFile); err != nil {
		t.Fatal(err)
	}
	_, err = s.Sign(t.Context(), []byte("message"))
	wantError(t, err, kms.ErrDenied, "other credentials", "secret_key_file")
	tellsNoSecret(t, err, "the-next-secret", "the-last-secret")
}

func TestHuaweiOtherKeySigns(t *testing.T) {
	server := newHuawei(t)
	store := newStore(t, huaweiConfig(t, server))
	rsaKey := server.CreateKey(t, "RSA_2048")
	for _, tt := range []struct {
		name string
		bend func(own, other string) func(*huaweitest.Signing)
		want error
	}{
		{"another key", func(_, other string) func(*huaweitest.Signing) {
			return func(s *huaweitest.Signing) { s.Key = other }
		}, kms.ErrInvalidSignature},
		{"another key, and says so", func(_, other string) func(*huaweitest.Signing) {
			return func(s *huaweitest.Signing) { s.Key, s.Answered = other, other }
		}, kms.ErrKeyMismatch},
		{"another key of another kind", func(_, _ string) func(*huaweitest.Signing) {
			return func(s *huaweitest.Signing) { s.Key, s.Algorithm = rsaKey, "RSASSA_PKCS1_V1_5_SHA_256" }
		}, kms.ErrInvalidSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own, other := server.CreateKey(t, "EC_P256"), server.CreateKey(t, "EC_P256")
			s := openConfig(t, kms.Config{URI: "huaweikms://" + own, Store: store})
			server.Bend(tt.bend(own, other))
			defer server.Bend(nil)
			if _, err := s.Sign(t.Context(), []byte("message")); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestHuaweiOtherAlgorithm(t *testing.T) {
	server := newHuawei(t)
	s := openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, "RSA_2048"), Store: newStore(t, huaweiConfig(t, server)), Algorithm: policy.RSAPSSSHA256})
	server.Bend(func(s *huaweitest.Signing) { s.Algorithm = "RSASSA_PKCS1_V1_5_SHA_256" })
	if _, err := s.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrInvalidSignature) {
		t.Errorf("got %v, want ErrInvalidSignature", err)
	}
}

func TestHuaweiSwappedKey(t *testing.T) {
	server := newHuawei(t)
	store := newStore(t, huaweiConfig(t, server))
	s := openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, "EC_P256"), Store: store})
	server.Replace(t, s.Version())
	_, err := s.Sign(t.Context(), []byte("message"))
	wantError(t, err, kms.ErrKeyMismatch, s.Public().Fingerprint())
}

func TestHuaweiURIs(t *testing.T) {
	server := newHuawei(t)
	refusesURIs(t, newStore(t, huaweiConfig(t, server)), []string{
		"huaweikms:", "huaweikms://", "huaweikms:///0d0466b0-e727-4d9c-b35d-f84bb474a37f",
		"huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37", "huaweikms://0D0466B0-E727-4D9C-B35D-F84BB474A37F",
		"huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f/", "huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f#1",
		"huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f?version=919c82d4-8046-4722-9094-35c3c6524cff",
		"huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f?", "huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f?secret=topsecret",
		"huaweikms://alias/", "huaweikms://alias", "huaweikms://alias/a b", "huaweikms://alias/a\n", "huaweikms://release",
		"huaweikms://user:topsecret@kms/0d0466b0-e727-4d9c-b35d-f84bb474a37f",
	})
}

func TestHuaweiConfiguration(t *testing.T) {
	server := newHuawei(t)
	id := server.CreateKey(t, "EC_P256")
	for _, tt := range []struct {
		name   string
		change func(*kms.StoreConfig)
		words  string
	}{
		{"no region", func(c *kms.StoreConfig) { c.Endpoint = "" }, "region"},
		{"odd region", func(c *kms.StoreConfig) { c.Endpoint, c.Region = "", "evil.example.com/" }, "region"},
		{"endpoint with a password", func(c *kms.StoreConfig) { c.Endpoint = "https://user:topsecret@kms.example.com" }, "endpoint"},
		{"endpoint with a path", func(c *kms.StoreConfig) { c.Endpoint += "/v1.0" }, "endpoint"},
		{"endpoint of another scheme", func(c *kms.StoreConfig) { c.Endpoint = "ftp://kms.example.com" }, "endpoint"},
		{"no project", func(c *kms.StoreConfig) { c.Project = "" }, "HUAWEICLOUD_SDK_PROJECT_ID"},
		{"odd project", func(c *kms.StoreConfig) { c.Project = "../other" }, "project"},
		{"no secret", func(c *kms.StoreConfig) { c.Auth.SecretKeyFile = "" }, "secret_key_file"},
		{"no access key", func(c *kms.StoreConfig) { c.Auth.AccessKey = "" }, "access_key"},
		{"no credentials", func(c *kms.StoreConfig) { c.Auth = kms.Auth{} }, "HUAWEICLOUD_SDK_AK"},
		{"an empty secret", func(c *kms.StoreConfig) { c.Auth.SecretKeyFile = writeFile(t, []byte(" ")) }, "is empty"},
		{"a missing secret", func(c *kms.StoreConfig) { c.Auth.SecretKeyFile = "/nowhere/secret" }, "secret_key_file"},
		{"a secret that others read", func(c *kms.StoreConfig) {
			if err := os.Chmod(c.Auth.SecretKeyFile, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "permissions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := huaweiConfig(t, server)
			tt.change(&cfg)
			store := newStore(t, cfg)
			_, err := kms.Open(t.Context(), kms.Config{URI: "huaweikms://" + id, Store: store})
			if sent := store.Requests(); err == nil || len(sent) != 0 {
				t.Fatalf("error %v after requests %v, want an error before any", err, sent)
			}
			wantError(t, err, err, tt.words)
			tellsNoSecret(t, err, server.SecretKey, "topsecret")
		})
	}
}

func TestHuaweiEnvironment(t *testing.T) {
	server := newHuawei(t)
	t.Setenv("HUAWEICLOUD_SDK_AK", server.AccessKey)
	t.Setenv("HUAWEICLOUD_SDK_SK", server.SecretKey)
	t.Setenv("HUAWEICLOUD_SDK_PROJECT_ID", server.Project)
	store := newStore(t, kms.StoreConfig{Endpoint: server.URL + "/"})
	s := openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, "SM2"), Store: store})
	wantSignature(t, s, s.Public())
}

// A security token is sent and signed; an identifier of the machine, which the
// library writes into the user's home if nobody names the program, is not sent.
func TestHuaweiHeaders(t *testing.T) {
	server := newHuawei(t)
	t.Setenv("HUAWEICLOUD_SDK_AK", server.AccessKey)
	t.Setenv("HUAWEICLOUD_SDK_SK", server.SecretKey)
	t.Setenv("HUAWEICLOUD_SDK_SECURITY_TOKEN", "temporary")
	headers := make(chan http.Header, 10)
	server.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		headers <- r.Header.Clone()
		return false
	})
	openConfig(t, kms.Config{URI: "huaweikms://" + server.CreateKey(t, "EC_P256"), Store: newStore(t, kms.StoreConfig{Endpoint: server.URL, Project: server.Project})})
	sent := <-headers
	if got := sent.Get("X-Security-Token"); got != "temporary" || !strings.Contains(sent.Get("Authorization"), "x-security-token") {
		t.Errorf("token %q, want the environment's, and signed: %v", got, sent)
	}
	if got, want := sent.Get("User-Agent"), "huaweicloud-usdk-go/3.0; sealwright"; got != want {
		t.Errorf("User-Agent %q, want %q", got, want)
	}
}

func TestHuaweiEndpoint(t *testing.T) {
	const id = "0d0466b0-e727-4d9c-b35d-f84bb474a37f"
	server := newHuawei(t)
	for region, want := range map[string]string{
		"cn-north-4":  "https://kms.cn-north-4.myhuaweicloud.com/v1.0/" + server.Project + "/kms/describe-key",
		"eu-west-101": "https://kms.eu-west-101.myhuaweicloud.eu/v1.0/" + server.Project + "/kms/describe-key",
	} {
		cfg := huaweiConfig(t, server)
		cfg.Endpoint, cfg.Region = "", region
		if got, err := firstURL(t, "huaweikms://"+id, cfg); got != want {
			t.Errorf("%s is asked at %s, want %s: %v", region, got, want, err)
		}
	}
}
