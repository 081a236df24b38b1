package kms_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/alibabatest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// An alibabaKMS is a loopback KMS and a file with a secret that it accepts.
type alibabaKMS struct {
	*alibabatest.Server
	secretFile string
}

func newAlibabaKMS(t *testing.T) *alibabaKMS {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(alibabatest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &alibabaKMS{alibabatest.New(t), file}
}

func (k *alibabaKMS) store(t *testing.T, change func(*kms.StoreConfig)) *kms.Store {
	t.Helper()
	cfg := kms.StoreConfig{Endpoint: k.URL, Auth: kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: k.secretFile}}
	if change != nil {
		change(&cfg)
	}
	return newStore(t, cfg)
}

func (k *alibabaKMS) open(t *testing.T, key string, alg policy.Algorithm) kms.Signer {
	t.Helper()
	signer, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + key, Algorithm: alg, Store: k.store(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = signer.Close() })
	return signer
}

func alibabaCloud() cloud {
	return cloud{
		opened: []string{"DescribeKey", "ListKeyVersions", "GetPublicKey"}, signed: "AsymmetricSign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := alibabatest.Offline()
			auth := kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: writeFile(t, []byte(alibabatest.Secret+"\n"))}
			return server.Server, kms.StoreConfig{Auth: auth}, "alikms://" + server.CreateKey(t, "EC_P256")
		},
		throttled: func(w http.ResponseWriter) {
			alibabatest.Refuse(w, http.StatusBadRequest, "Throttling.User", "Request was denied due to user flow control.")
		},
		down: func(w http.ResponseWriter) {
			alibabatest.Refuse(w, http.StatusInternalServerError, "InternalFailure", "An internal failure occurred.")
		},
		disabled: func(w http.ResponseWriter) {
			alibabatest.Refuse(w, http.StatusConflict, "Rejected.Disabled", "The request was rejected because the key state is Disabled.")
		},
	}
}

func TestAlibabaSuite(t *testing.T) {
	t.Parallel()
	server := newAlibabaKMS(t)
	rsaKey := server.CreateKey(t, "RSA_2048")
	for alg, key := range map[policy.Algorithm]string{
		policy.ECDSASHA256:    server.CreateKey(t, "EC_P256"),
		policy.SM2SM3:         server.CreateKey(t, "EC_SM2"),
		policy.RSAPSSSHA256:   rsaKey,
		policy.RSAPKCS1SHA256: rsaKey,
	} {
		t.Run(string(alg), func(t *testing.T) {
			kmstest.Suite(t, func(t *testing.T) kms.Signer { return server.open(t, key, alg) })
		})
	}
}

func TestAlibabaErrorCodes(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   error
	}{
		{400, "Throttling", kms.ErrThrottled}, {400, "Throttling.Api", kms.ErrThrottled}, {429, "Rejected.Throttling", kms.ErrThrottled},
		{429, "", kms.ErrThrottled},
		{404, "InvalidAccessKeyId.NotFound", kms.ErrDenied}, {400, "InvalidAccessKeyId.Inactive", kms.ErrDenied},
		{400, "SignatureDoesNotMatch", kms.ErrDenied}, {400, "IncompleteSignature", kms.ErrDenied},
		{400, "InvalidSecurityToken.Expired", kms.ErrDenied}, {400, "InvalidTimeStamp.Expired", kms.ErrDenied},
		{403, "Forbidden.NoPermission", kms.ErrDenied}, {403, "Forbidden.InDebt", kms.ErrDenied}, {400, "Forbidden.KmsServiceNotEnabled", kms.ErrDenied},
		{404, "Forbidden.KeyNotFound", kms.ErrNotFound}, {404, "Forbidden.AliasNotFound", kms.ErrNotFound}, {404, "", kms.ErrNotFound},
		{409, "Rejected.Disabled", kms.ErrKeyState}, {409, "Rejected.PendingDeletion", kms.ErrKeyState},
		{409, "Rejetced.PendingDeletion", kms.ErrKeyState}, {409, "Rejected.PendingImport", kms.ErrKeyState},
		{409, "Rejected.Unavailable", kms.ErrKeyState},
		{400, "Rejected.UnsupportedOperation", kms.ErrUnsupported}, {400, "UnsupportedOperation", kms.ErrUnsupported},
		{400, "InvalidParameter", kms.ErrUnsupported},
		{500, "InternalFailure", kms.ErrUnavailable}, {503, "ServiceUnavailableTemporary", kms.ErrUnavailable}, {502, "", kms.ErrUnavailable},
	}
	for _, tt := range tests {
		err := alibabaCloud().signAnswered(t, with("Retry-After", "3600", func(w http.ResponseWriter, _ *http.Request) { // so that nothing is tried again
			alibabatest.Refuse(w, tt.status, tt.code, "Words.")
		}))
		var answer *kms.StoreError
		if !errors.Is(err, tt.want) || !errors.As(err, &answer) || tt.code != "" && answer.Code != tt.code || answer.Message != "Words." {
			t.Errorf("%s: error %v, want %v", tt.code, err, tt.want)
		}
	}
}

func TestAlibabaOpenRefuses(t *testing.T) {
	t.Parallel()
	server := newAlibabaKMS(t)
	p256, disabled := server.CreateKey(t, "EC_P256"), server.CreateKey(t, "EC_P256")
	server.SetState(disabled, "PendingDeletion")
	tests := []struct {
		name, key string
		alg       policy.Algorithm
		want      error
		says      string
	}{
		{"RSA algorithm of an EC key", p256, policy.RSAPSSSHA256, kms.ErrKeyMismatch, "RSA_PSS_SHA_256 needs an RSA key"},
		{"RSA key without an algorithm", server.CreateKey(t, "RSA_2048"), "", kms.ErrKeyMismatch, "needs an algorithm"},
		{"symmetric key", server.CreateKey(t, "Aliyun_AES_256"), "", kms.ErrKeyState, "is ENCRYPT/DECRYPT; allowed: SIGN/VERIFY"},
		{"SHA-512", p256, policy.RSAPSSSHA512, kms.ErrUnsupported, "has: ECDSA_SHA_256, RSA_PSS_SHA_256, RSA_PKCS1_SHA_256, SM2DSA_SM3"},
		{"P-384", p256, policy.ECDSASHA384, kms.ErrUnsupported, "has: ECDSA_SHA_256"},
		{"key about to be deleted", disabled, "", kms.ErrKeyState, "is PendingDeletion; allowed: Enabled"},
		{"unknown key", "key-doesnotexist", "", kms.ErrNotFound, "Forbidden.KeyNotFound"},
		{"unknown alias", "alias/nothing", "", kms.ErrNotFound, "Forbidden.AliasNotFound"},
		{"unknown version", p256 + "?version=none", "", kms.ErrNotFound, "KeyVersionNotFound"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + tt.key, Algorithm: tt.alg, Store: server.store(t, nil)})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestAlibabaBadURIs(t *testing.T) {
	server := newAlibabaKMS(t)
	for _, uri := range []string{
		"alikms:", "alikms://", "alikms:key-1", "alikms:///key-1", "alikms://alias/", "alikms://alias//a", "alikms://alias/a/",
		"alikms://alias/a b", "alikms://alias/" + strings.Repeat("a", 256), "alikms://other/key-1", "alikms://key-1/versions/2",
		"alikms://-key", "alikms://key%2D1", "alikms://user@key-1", "alikms://key-1\n", "alikms://key-1#2",
		"alikms://key-1?", "alikms://key-1?version=", "alikms://key-1?version=a/b", "alikms://key-1?version=a&x=1", "alikms://key-1?v=1",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: server.store(t, nil)})
		if err == nil || !strings.Contains(err.Error(), "allowed: alikms://KEY_ID") {
			t.Errorf("%q: error %v, want one that says what is allowed", uri, err)
		}
	}
}

func TestAlibabaVersionIsPinned(t *testing.T) {
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "EC_P256")
	server.SetAlias("team/release", key)
	before := server.open(t, "alias/team/release", "")
	second := server.Rotate(t, key)
	after, old := server.open(t, key, ""), server.open(t, key+"?version="+before.Version(), "")
	server.SetAlias("team/release", server.CreateKey(t, "EC_P256"))
	switch {
	case before.Version() == second || after.Version() != second:
		t.Errorf("versions %s and %s, the second is %s", before.Version(), after.Version(), second)
	case old.Version() != before.Version() || old.Public().Fingerprint() != before.Public().Fingerprint():
		t.Error("the signer of the old version is another one")
	}
	server.SetPrimary(key, before.Version())
	primary := server.open(t, key, "")
	if primary.Version() != before.Version() {
		t.Error("the primary version was not preferred")
	}
	for _, signer := range []kms.Signer{before, after, old, primary} {
		if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
			t.Error(err) // Open's decorator has verified what was signed
		}
	}
}

// More versions than fit a page: a listing of the first page alone would find
// an old one.
func TestAlibabaManyVersions(t *testing.T) {
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "EC_P256")
	var newest string
	for range 120 {
		newest = server.Rotate(t, key)
	}
	if got := server.open(t, key, "").Version(); got != newest {
		t.Errorf("version %s, want %s", got, newest)
	}
}

func TestAlibabaSwappedKey(t *testing.T) {
	server := newAlibabaKMS(t)
	for _, spec := range []string{"EC_P256", "EC_SM2"} {
		key := server.CreateKey(t, spec)
		signer := server.open(t, key, "")
		server.Replace(t, key)
		if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrKeyMismatch) {
			t.Errorf("%s: error %v, want ErrKeyMismatch", spec, err)
		}
	}
}

func TestAlibabaLies(t *testing.T) {
	t.Parallel()
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "RSA_2048")
	signer := server.open(t, key, policy.RSAPSSSHA256)
	metadata := func(field string, value any) func(map[string]any) {
		return func(answer map[string]any) { answer["KeyMetadata"].(map[string]any)[field] = value }
	}
	set := func(field string, value any) func(map[string]any) {
		return func(answer map[string]any) { answer[field] = value }
	}
	tests := []struct {
		name, action string
		change       func(map[string]any)
		want         error
	}{
		{"another version", "AsymmetricSign", set("KeyVersionId", "another"), kms.ErrKeyMismatch},
		{"no version", "AsymmetricSign", set("KeyVersionId", nil), kms.ErrKeyMismatch},
		{"another key", "AsymmetricSign", set("KeyId", "key-another"), kms.ErrKeyMismatch},
		{"no base64", "AsymmetricSign", set("Value", "!"), kms.ErrUnavailable},
		{"no signature", "AsymmetricSign", set("Value", nil), kms.ErrInvalidSignature},
		{"another's signature", "AsymmetricSign", set("Value", base64.StdEncoding.EncodeToString(make([]byte, 256))), kms.ErrInvalidSignature},
		{"no key id", "DescribeKey", metadata("KeyId", nil), kms.ErrUnavailable},
		{"key id that is none", "DescribeKey", metadata("KeyId", "../evil"), kms.ErrUnavailable},
		{"primary that is none", "DescribeKey", metadata("PrimaryKeyVersion", "../evil"), kms.ErrUnavailable},
		{"no state", "DescribeKey", metadata("KeyState", nil), kms.ErrKeyState},
		{"no versions", "ListKeyVersions", set("KeyVersions", nil), kms.ErrNotFound},
		{"version without date", "ListKeyVersions", func(answer map[string]any) {
			answer["KeyVersions"].(map[string]any)["KeyVersion"].([]map[string]any)[0]["CreationDate"] = "yesterday"
		}, kms.ErrUnavailable},
		{"endless versions", "ListKeyVersions", set("TotalCount", 1<<30), nil},
		{"version of another key", "GetPublicKey", set("KeyId", "key-another"), kms.ErrKeyMismatch},
		{"another version's public key", "GetPublicKey", set("KeyVersionId", "another"), kms.ErrKeyMismatch},
		{"no public key", "GetPublicKey", set("PublicKey", nil), errAny},
		{"public key is none", "GetPublicKey", set("PublicKey", "secret"), errAny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer server.Alter(nil)
			server.Alter(func(action string, answer map[string]any) {
				if action == tt.action {
					tt.change(answer)
				}
			})
			var err error
			if tt.action == "AsymmetricSign" {
				_, err = signer.Sign(t.Context(), []byte("message"))
			} else {
				_, err = kms.Open(t.Context(), kms.Config{URI: "alikms://" + key, Algorithm: policy.RSAPSSSHA256, Store: server.store(t, nil)})
			}
			if (err == nil) != (tt.want == nil) || !errors.Is(tt.want, errAny) && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// errAny stands for an error of no kind.
var errAny = errors.New("any error")

func TestAlibabaWrongCredentials(t *testing.T) {
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "EC_P256")
	for name, change := range map[string]func(*kms.StoreConfig){
		"secret": func(*kms.StoreConfig) { server.SetSecret("another") },
		"access key": func(cfg *kms.StoreConfig) {
			server.SetSecret(alibabatest.Secret)
			cfg.Auth.AccessKey = "LTAI5tAnother"
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := server.store(t, change)
			_, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + key, Store: store})
			if !errors.Is(err, kms.ErrDenied) {
				t.Fatalf("error %v, want ErrDenied", err)
			}
			for _, secret := range []string{alibabatest.Secret, "StringToSign", "x-acs", server.URL} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error holds %q: %v", secret, err)
				}
			}
			if n := store.Requests()[kms.Request{Operation: "describe", Outcome: "denied"}]; n != 1 {
				t.Errorf("asked %d times, want once: the same credentials are refused again", n)
			}
		})
	}
}

func TestAlibabaCredentialsRenewedInPlace(t *testing.T) {
	server := newAlibabaKMS(t)
	signer := server.open(t, server.CreateKey(t, "EC_SM2"), "")
	server.SetSecret("renewed")
	if err := os.WriteFile(server.secretFile, []byte("renewed"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAlibabaFindsCredentials(t *testing.T) {
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "EC_P256")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		auth       kms.Auth
		id, secret string // of the environment
		want       string // "": it works
	}{
		{"environment", kms.Auth{}, alibabatest.AccessKey, alibabatest.Secret, ""},
		{"the key store's before the environment's", kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: server.secretFile}, "other", "other", ""},
		{"none", kms.Auth{}, "", "", "no access key; allowed: auth access_key and secret_key_file"},
		{"half an environment", kms.Auth{}, alibabatest.AccessKey, "", "no access key"},
		{"no secret", kms.Auth{AccessKey: alibabatest.AccessKey}, "", "", "access_key and secret_key_file"},
		{"no access key", kms.Auth{SecretKeyFile: server.secretFile}, "", "", "access_key and secret_key_file"},
		{"no file", kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: empty + "x"}, "", "", "reading secret_key_file"},
		{"empty file", kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: empty}, "", "", "is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", tt.id)
			t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", tt.secret)
			t.Setenv("ALIBABA_CLOUD_SECURITY_TOKEN", "")
			store := server.store(t, func(cfg *kms.StoreConfig) { cfg.Auth = tt.auth })
			_, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + key, Store: store})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAlibabaSecurityToken(t *testing.T) {
	server := newAlibabaKMS(t)
	key := server.CreateKey(t, "EC_P256")
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", alibabatest.AccessKey)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", alibabatest.Secret)
	t.Setenv("ALIBABA_CLOUD_SECURITY_TOKEN", "a-token")
	var seen string
	server.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		seen = r.Header.Get("X-Acs-Security-Token")
		return false
	})
	store := server.store(t, func(cfg *kms.StoreConfig) { cfg.Auth = kms.Auth{} })
	if _, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + key, Store: store}); err != nil {
		t.Fatal(err)
	}
	if seen != "a-token" {
		t.Errorf("token %q was sent", seen)
	}
}

func TestAlibabaHosts(t *testing.T) {
	server := newAlibabaKMS(t)
	t.Setenv("ALIBABA_CLOUD_REGION_ID", "")
	for _, tt := range []struct{ region, endpoint, environment, want string }{
		{"cn-hangzhou", "", "", "https://kms.cn-hangzhou.aliyuncs.com"},
		{"", "", "eu-central-1", "https://kms.eu-central-1.aliyuncs.com"},
		{"cn-hangzhou", "https://kst-1.cryptoservice.kms.aliyuncs.com", "", "https://kst-1.cryptoservice.kms.aliyuncs.com"},
		{"", "http://127.0.0.1:8080/", "", "http://127.0.0.1:8080"},
		{"", "", "", ""},
		{"evil.example.com/", "", "", ""},
		{"", "kms.cn-hangzhou.aliyuncs.com", "", ""},
		{"", "https://example.com/path", "", ""},
	} {
		t.Run(tt.region+tt.endpoint+tt.environment, func(t *testing.T) {
			t.Setenv("ALIBABA_CLOUD_REGION_ID", tt.environment)
			cfg := kms.StoreConfig{Region: tt.region, Endpoint: tt.endpoint, Auth: kms.Auth{AccessKey: alibabatest.AccessKey, SecretKeyFile: server.secretFile}}
			got, err := firstURL(t, "alikms://key-1", cfg)
			if strings.TrimSuffix(got, "/") != tt.want {
				t.Errorf("asked %s, want %s; error %v", got, tt.want, err)
			}
		})
	}
}
