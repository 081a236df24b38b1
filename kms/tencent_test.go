package kms_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
	"github.com/sealwright/sealwright/kms/kmstest/tencenttest"
)

func newTencent(t *testing.T) *tencenttest.Server {
	t.Helper()
	for _, name := range []string{"TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_REGION"} {
		if os.Getenv(name) != "" {
			t.Setenv(name, "") // the developer's own
		}
	}
	return tencenttest.New(t)
}

func tencentConfig(t *testing.T, server *tencenttest.Server) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{
		Endpoint: server.URL,
		Region:   server.Region,
		Auth:     kms.Auth{AccessKey: server.SecretID, SecretKeyFile: writeFile(t, []byte(server.SecretKey+"\n"))},
	}
}

func tencentCloud() cloud {
	return cloud{
		opened: []string{"DescribeKey", "GetPublicKey"}, signed: "SignByAsymmetricKey",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := tencenttest.Offline()
			return server.Server, tencentConfig(t, server), "tencentkms://" + server.CreateKey(t, tencenttest.ECC)
		},
		throttled: func(w http.ResponseWriter) { tencenttest.Throttle()(w, nil) },
		down: func(w http.ResponseWriter) {
			tencenttest.Refuse("InternalError", "An internal error has occurred.")(w, nil)
		},
		disabled: func(w http.ResponseWriter) {
			tencenttest.Refuse("ResourceUnavailable.CmkDisabled", "The CMK has been disabled.")(w, nil)
		},
	}
}

func TestTencentSuite(t *testing.T) {
	server := newTencent(t)
	rsaKey := server.CreateKey(t, tencenttest.RSA)
	for alg, id := range map[policy.Algorithm]string{
		policy.ECDSASHA256:    server.CreateKey(t, tencenttest.ECC),
		policy.SM2SM3:         server.CreateKey(t, tencenttest.SM2),
		policy.RSAPSSSHA256:   rsaKey,
		policy.RSAPKCS1SHA256: rsaKey,
	} {
		t.Run(string(alg), func(t *testing.T) {
			store := newStore(t, tencentConfig(t, server))
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				s := openConfig(t, kms.Config{URI: "tencentkms://" + id, Store: store, Algorithm: alg})
				if s.Public().Algorithm() != alg || s.Version() != id {
					t.Errorf("opened %s with %s, want %s with %s", s.Version(), s.Public().Algorithm(), id, alg)
				}
				return s
			})
		})
	}
}

// Tencent takes no digest of SHA-384, so P-384 cannot pass the suite's large
// message; it does what it can and says what it cannot.
func TestTencentP384(t *testing.T) {
	server := newTencent(t)
	store := newStore(t, tencentConfig(t, server))
	s := openConfig(t, kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.ECDSA), Store: store})
	if got := s.Public().Algorithm(); got != policy.ECDSASHA384 {
		t.Errorf("it signs with %s", got)
	}
	group, ctx := errgroup.WithContext(t.Context())
	for _, size := range []int{1, 31, 32, 33, 48, 300, 4095, 4096} {
		group.Go(func() error {
			message := bytes.Repeat([]byte{byte(size)}, size)
			signature, err := s.Sign(ctx, message)
			if err == nil {
				err = s.Public().Verify(message, signature)
			}
			if err != nil {
				return fmt.Errorf("message of %d bytes: %w", size, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	before := store.Requests()
	_, err := s.Sign(t.Context(), make([]byte, 4097))
	wantError(t, err, kms.ErrUnsupported, "4097 bytes", "ECDSA_SHA_384", "digests of 32 bytes alone", "at most 4096 bytes")
	sign := kms.Request{Operation: "sign", Outcome: "ok"}
	if after := store.Requests(); after[sign] != before[sign] || len(after) != len(before) {
		t.Errorf("a request was made for a message that is too long: %v", after)
	}
}

func TestTencentUsualAlgorithm(t *testing.T) {
	server := newTencent(t)
	store := newStore(t, tencentConfig(t, server))
	for usage, want := range map[string]policy.Algorithm{tencenttest.ECC: policy.ECDSASHA256, tencenttest.SM2: policy.SM2SM3} {
		s := openConfig(t, kms.Config{URI: "tencentkms://" + server.CreateKey(t, usage), Store: store})
		if got := s.Public().Algorithm(); got != want {
			t.Errorf("%s signs with %s, want %s", usage, got, want)
		}
	}
	_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.ECC), Store: store, Algorithm: policy.SM2SM3})
	wantError(t, err, kms.ErrKeyMismatch, "an SM2 key", "P-256")
	_, err = kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.RSA), Store: store})
	wantError(t, err, kms.ErrKeyMismatch, "needs an algorithm")
}

func TestTencentLacksLongerHashesForRSA(t *testing.T) {
	server := newTencent(t)
	store := newStore(t, tencentConfig(t, server))
	id := server.CreateKey(t, tencenttest.RSA)
	for _, alg := range []policy.Algorithm{policy.RSAPSSSHA384, policy.RSAPSSSHA512, policy.RSAPKCS1SHA384, policy.RSAPKCS1SHA512} {
		_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + id, Store: store, Algorithm: alg})
		wantError(t, err, kms.ErrUnsupported, string(alg), "ECDSA_SHA_256, ECDSA_SHA_384, RSA_PSS_SHA_256, RSA_PKCS1_SHA_256, SM2DSA_SM3")
	}
	if sent := store.Requests(); len(sent) != 0 {
		t.Errorf("requests were made: %v", sent)
	}
}

func TestTencentKeyState(t *testing.T) {
	server := newTencent(t)
	store := newStore(t, tencentConfig(t, server))
	for _, state := range []string{tencenttest.Disabled, tencenttest.PendingDelete, tencenttest.Archived, "PendingImport"} {
		cfg := kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.ECC), Store: store}
		s := openConfig(t, cfg)
		server.SetState(s.Version(), state)
		failed := kms.Request{Operation: "sign", Outcome: "failed"}
		before := store.Requests()[failed]
		_, err := s.Sign(t.Context(), []byte("message"))
		wantError(t, err, kms.ErrKeyState, "ResourceUnavailable.CmkStateNotSupport", s.Version())
		if tries := store.Requests()[failed] - before; tries != 1 {
			t.Errorf("state %s: %d attempts, want 1", state, tries)
		}
		_, err = kms.Open(t.Context(), cfg)
		wantError(t, err, kms.ErrKeyState, state, "allowed: Enabled")
		server.SetState(s.Version(), tencenttest.Enabled)
		wantSignature(t, s, s.Public())
	}
	_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.Encrypt), Store: store})
	wantError(t, err, kms.ErrKeyState, "ENCRYPT_DECRYPT", "ASYMMETRIC_SIGN_VERIFY_")
}

// The codes of the API that say why a key does not sign, each as the API
// answers them: with status 200.
func TestTencentCodes(t *testing.T) {
	for code, want := range map[string]error{
		"ResourceUnavailable.CmkDisabled":                  kms.ErrKeyState,
		"ResourceUnavailable.CmkArchived":                  kms.ErrKeyState,
		"ResourceUnavailable.KeyPendingDelete":             kms.ErrKeyState,
		"ResourceUnavailable.CmkNotFound":                  kms.ErrNotFound,
		"InvalidParameterValue.InvalidKeyId":               kms.ErrNotFound,
		"UnauthorizedOperation":                            kms.ErrDenied,
		"AuthFailure.UnauthorizedOperation":                kms.ErrDenied,
		"AuthFailure.TokenFailure":                         kms.ErrDenied,
		"RequestLimitExceeded.UinLimitExceeded":            kms.ErrThrottled,
		"UnsupportedOperation.ServiceTemporaryUnavailable": kms.ErrUnavailable,
		"InternalError.Other":                              kms.ErrUnavailable,
		"InvalidParameter":                                 kms.ErrUnsupported,
	} {
		err := tencentCloud().signAnswered(t, plainly(func(w http.ResponseWriter) {
			tencenttest.Refuse(code, "Words of the API.")(w, nil)
		}))
		wantError(t, err, want, code+": Words of the API.")
	}
}

func TestTencentNotFound(t *testing.T) {
	server := newTencent(t)
	const id = "22d79428-61d9-11ea-a3c8-525400a1b2c3"
	_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + id, Store: newStore(t, tencentConfig(t, server))})
	wantError(t, err, kms.ErrNotFound, id, "ResourceUnavailable.CmkNotFound")
}

func TestTencentDenied(t *testing.T) {
	const other = "another-secret-0123456789"
	tests := []struct {
		name  string
		spoil func(server *tencenttest.Server, cfg *kms.StoreConfig)
		code  string
	}{
		{"wrong secret", func(_ *tencenttest.Server, cfg *kms.StoreConfig) {
			cfg.Auth.SecretKeyFile = writeFile(t, []byte(other))
		}, "AuthFailure.SignatureFailure"},
		{"unknown secret id", func(_ *tencenttest.Server, cfg *kms.StoreConfig) { cfg.Auth.AccessKey = "AKIDUNKNOWN" }, "AuthFailure.SecretIdNotFound"},
		{"clock behind", func(server *tencenttest.Server, _ *kms.StoreConfig) { server.SetClock(6 * time.Minute) }, "AuthFailure.SignatureExpire"},
		{"clock ahead", func(server *tencenttest.Server, _ *kms.StoreConfig) { server.SetClock(-6 * time.Minute) }, "AuthFailure.SignatureExpire"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newTencent(t)
			cfg := tencentConfig(t, server)
			id := server.CreateKey(t, tencenttest.ECC)
			tt.spoil(server, &cfg)
			store := newStore(t, cfg)
			_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + id, Store: store})
			wantError(t, err, kms.ErrDenied, tt.code)
			tellsNoSecret(t, err, server.SecretKey, other)
			if sent := store.Requests(); len(sent) != 1 || sent[kms.Request{Operation: "describe", Outcome: "denied"}] != 1 {
				t.Errorf("requests %v, want one that is denied", sent)
			}
		})
	}
}

func TestTencentSecretIsRenewed(t *testing.T) {
	server := newTencent(t)
	cfg := tencentConfig(t, server)
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.ECC), Store: store})
	server.SetSecret("the-next-secret")
	rewrite(t, cfg.Auth.SecretKeyFile, "the-next-secret"+"\n")
	group, ctx := errgroup.WithContext(t.Context())
	for i := range 32 { // all at once, of which none may fail
		group.Go(func() error {
			_, err := s.Sign(ctx, fmt.Append(nil, i))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if ok := store.Requests()[kms.Request{Operation: "sign", Outcome: "ok"}]; ok != 32 {
		t.Errorf("%d requests were answered, want 32", ok)
	}
}

func TestTencentOtherKeySigns(t *testing.T) {
	server := newTencent(t)
	store := newStore(t, tencentConfig(t, server))
	ec, rsaKey := server.CreateKey(t, tencenttest.ECC), server.CreateKey(t, tencenttest.RSA)
	s := openConfig(t, kms.Config{URI: "tencentkms://" + ec, Store: store})
	pss := openConfig(t, kms.Config{URI: "tencentkms://" + rsaKey, Store: store, Algorithm: policy.RSAPSSSHA256})
	other := server.CreateKey(t, tencenttest.ECC)
	server.Bend(func(s *tencenttest.Signing) {
		if s.Algorithm == "RSA_PSS_SHA_256" {
			s.Algorithm = "RSA_PKCS1_SHA_256"
		} else {
			s.Key = other
		}
	})
	for name, signer := range map[string]kms.Signer{"another key": s, "another algorithm": pss} {
		if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrInvalidSignature) {
			t.Errorf("%s: got %v, want ErrInvalidSignature", name, err)
		}
	}
	server.Bend(nil)
	server.Replace(t, ec)
	_, err := s.Sign(t.Context(), []byte("message"))
	wantError(t, err, kms.ErrKeyMismatch, s.Public().Fingerprint())
}

func TestTencentURIs(t *testing.T) {
	server := newTencent(t)
	refusesURIs(t, newStore(t, tencentConfig(t, server)), []string{
		"tencentkms:", "tencentkms://", "tencentkms:///22d79428-61d9-11ea-a3c8-525400a1b2c3",
		"tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c", "tencentkms://22D79428-61d9-11ea-a3c8-525400a1b2c3",
		"tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3/", "tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3#1",
		"tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3?version=1", "tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3?",
		"tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3\n", "tencentkms://alias/release", "tencentkms://release",
		"tencentkms://user:topsecret@kms/22d79428-61d9-11ea-a3c8-525400a1b2c3",
	})
}

func TestTencentConfiguration(t *testing.T) {
	server := newTencent(t)
	id := server.CreateKey(t, tencenttest.ECC)
	for _, tt := range []struct {
		name   string
		change func(*kms.StoreConfig)
		words  string
	}{
		{"no region", func(c *kms.StoreConfig) { c.Region = "" }, "TENCENTCLOUD_REGION"},
		{"odd region", func(c *kms.StoreConfig) { c.Region = "ap guangzhou" }, "region"},
		{"endpoint with a password", func(c *kms.StoreConfig) { c.Endpoint = "https://user:topsecret@kms.example.com" }, "endpoint"},
		{"endpoint with a path", func(c *kms.StoreConfig) { c.Endpoint += "/kms" }, "endpoint"},
		{"endpoint without a scheme", func(c *kms.StoreConfig) { c.Endpoint = "kms.tencentcloudapi.com" }, "endpoint"},
		{"no secret", func(c *kms.StoreConfig) { c.Auth.SecretKeyFile = "" }, "secret_key_file"},
		{"no credentials", func(c *kms.StoreConfig) { c.Auth = kms.Auth{} }, "TENCENTCLOUD_SECRET_ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tencentConfig(t, server)
			tt.change(&cfg)
			store := newStore(t, cfg)
			_, err := kms.Open(t.Context(), kms.Config{URI: "tencentkms://" + id, Store: store})
			if sent := store.Requests(); err == nil || len(sent) != 0 {
				t.Fatalf("error %v after requests %v, want an error before any", err, sent)
			}
			wantError(t, err, err, tt.words)
			tellsNoSecret(t, err, server.SecretKey, "topsecret")
		})
	}
}

func TestTencentEnvironment(t *testing.T) {
	server := newTencent(t)
	t.Setenv("TENCENTCLOUD_SECRET_ID", server.SecretID)
	t.Setenv("TENCENTCLOUD_SECRET_KEY", server.SecretKey)
	t.Setenv("TENCENTCLOUD_REGION", server.Region)
	store := newStore(t, kms.StoreConfig{Endpoint: server.URL + "/"})
	s := openConfig(t, kms.Config{URI: "tencentkms://" + server.CreateKey(t, tencenttest.SM2), Store: store})
	wantSignature(t, s, s.Public())
}

func TestTencentEndpoint(t *testing.T) {
	const id = "22d79428-61d9-11ea-a3c8-525400a1b2c3"
	server := newTencent(t)
	for endpoint, want := range map[string]string{
		"":                                     "https://kms.tencentcloudapi.com/",
		"https://kms.intl.tencentcloudapi.com": "https://kms.intl.tencentcloudapi.com/",
	} {
		cfg := tencentConfig(t, server)
		cfg.Endpoint = endpoint
		if got, err := firstURL(t, "tencentkms://"+id, cfg); !strings.EqualFold(got, want) {
			t.Errorf("%q is asked at %s, want %s: %v", endpoint, got, want, err)
		}
	}
}
