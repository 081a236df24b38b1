package kms_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
	"github.com/sealwright/sealwright/kms/kmstest/ocitest"
)

// An ociVault is a loopback vault and a user of it.
type ociVault struct {
	*ocitest.Server
	config string
}

func newOCIVault(t *testing.T) *ociVault {
	s := ocitest.New(t)
	return &ociVault{s, s.AddUser(t, "DEFAULT")}
}

func (v *ociVault) store(t *testing.T, change func(*kms.StoreConfig)) *kms.Store {
	t.Helper()
	cfg := kms.StoreConfig{Endpoint: v.URL, Auth: kms.Auth{ConfigFile: v.config, Profile: "DEFAULT"}}
	if change != nil {
		change(&cfg)
	}
	return newStore(t, cfg)
}

func (v *ociVault) open(t *testing.T, key string, alg policy.Algorithm) kms.Signer {
	t.Helper()
	signer, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Algorithm: alg, Store: v.store(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = signer.Close() })
	return signer
}

func ociCloud() cloud {
	return cloud{
		opened: []string{"GetKey", "GetKeyVersion"}, signed: "Sign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := ocitest.Offline()
			auth := kms.Auth{ConfigFile: server.AddUser(t, "DEFAULT"), Profile: "DEFAULT"}
			return server.Server, kms.StoreConfig{Auth: auth}, "ocikms://" + server.CreateKey(t, "NIST_P256")
		},
		throttled: func(w http.ResponseWriter) {
			ocitest.Refuse(w, http.StatusTooManyRequests, "TooManyRequests", "Tenancy is throttled.")
		},
		down: func(w http.ResponseWriter) {
			ocitest.Refuse(w, http.StatusInternalServerError, "InternalServerError", "An internal error occurred.")
		},
		disabled: func(w http.ResponseWriter) {
			ocitest.Refuse(w, http.StatusConflict, "IncorrectState", "The key is not in the ENABLED state.")
		},
	}
}

func TestOCISuite(t *testing.T) {
	t.Parallel()
	vault := newOCIVault(t)
	rsaKey := vault.CreateKey(t, "RSA_2048")
	keys := map[policy.Algorithm]string{
		policy.ECDSASHA256: vault.CreateKey(t, "NIST_P256"), policy.ECDSASHA384: vault.CreateKey(t, "NIST_P384"),
		policy.RSAPSSSHA256: rsaKey, policy.RSAPSSSHA384: rsaKey, policy.RSAPSSSHA512: rsaKey,
		policy.RSAPKCS1SHA256: rsaKey, policy.RSAPKCS1SHA384: rsaKey, policy.RSAPKCS1SHA512: rsaKey,
	}
	for alg, key := range keys {
		t.Run(string(alg), func(t *testing.T) {
			kmstest.Suite(t, func(t *testing.T) kms.Signer { return vault.open(t, key, alg) })
		})
	}
}

func TestOCIUsualAlgorithm(t *testing.T) {
	vault := newOCIVault(t)
	signer := vault.open(t, vault.CreateKey(t, "NIST_P384"), "")
	if got := signer.Public().Algorithm(); got != policy.ECDSASHA384 {
		t.Errorf("algorithm %s", got)
	}
}

func TestOCIErrorCodes(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   error
	}{
		{400, "InvalidParameter", kms.ErrUnsupported}, {400, "RelatedResourceNotAuthorizedOrNotFound", kms.ErrDenied},
		{401, "NotAuthenticated", kms.ErrDenied}, {403, "NotAuthorized", kms.ErrDenied}, {404, "NotAuthorizedOrNotFound", kms.ErrDenied},
		{404, "NotFound", kms.ErrNotFound}, {409, "IncorrectState", kms.ErrKeyState}, {409, "Conflict", kms.ErrKeyState},
		{409, "ExternalServerIncorrectState", kms.ErrUnavailable}, {429, "TooManyRequests", kms.ErrThrottled},
		{500, "InternalServerError", kms.ErrUnavailable}, {503, "ServiceUnavailable", kms.ErrUnavailable},
	} {
		err := ociCloud().signAnswered(t, with("Retry-After", "3600", func(w http.ResponseWriter, _ *http.Request) { // so that nothing is tried again
			ocitest.Refuse(w, tt.status, tt.code, "Words.")
		}))
		var answer *kms.StoreError
		if !errors.Is(err, tt.want) || !errors.As(err, &answer) || answer.Code != tt.code || !strings.HasSuffix(answer.Message, "Words.") {
			t.Errorf("error %v, want %v", err, tt.want)
		}
	}
}

// ociOn answers one operation with f; nil leaves it to the server.
func ociOn(operation string, f http.HandlerFunc) func(string, http.ResponseWriter, *http.Request) bool {
	if f == nil {
		return nil
	}
	return func(asked string, w http.ResponseWriter, r *http.Request) bool {
		if asked != operation {
			return false
		}
		f(w, r)
		return true
	}
}

func TestOCIOpenRefuses(t *testing.T) {
	t.Parallel()
	vault := newOCIVault(t)
	p256, aes := vault.CreateKey(t, "NIST_P256"), vault.CreateKey(t, "AES_256")
	disabled, pending := vault.CreateKey(t, "NIST_P256"), vault.CreateKey(t, "NIST_P256")
	vault.SetState(disabled, "DISABLED")
	vault.SetVersionState(pending, "PENDING_DELETION")
	const noKey = "ocid1.key.oc1.iad.afnexamplevault.doesnotexist"
	const noVersion = "ocid1.keyversion.oc1.iad.afnexamplevault.x.doesnotexist"
	tests := []struct {
		name, key string
		alg       policy.Algorithm
		want      error
		says      string
	}{
		{"RSA algorithm of an EC key", p256, policy.RSAPSSSHA256, kms.ErrKeyMismatch, "RSA_PSS_SHA_256 needs an RSA key"},
		{"AES key", aes, "", kms.ErrKeyMismatch, "AES"},
		{"curve we do not have", vault.CreateKey(t, "NIST_P521"), "", kms.ErrKeyMismatch, "P-521"},
		{"RSA key without an algorithm", vault.CreateKey(t, "RSA_2048"), "", kms.ErrKeyMismatch, "needs an algorithm"},
		{"SM2", p256, policy.SM2SM3, kms.ErrUnsupported, "an OCI vault has: ECDSA_SHA_256, ECDSA_SHA_384, RSA_PSS_SHA_256"},
		{"disabled key", disabled, "", kms.ErrKeyState, "is DISABLED; allowed: ENABLED"},
		{"version about to be deleted", pending, "", kms.ErrKeyState, "is PENDING_DELETION; allowed: ENABLED"},
		{"unknown key", noKey, "", kms.ErrDenied, "no permission, or no such key"},
		{"unknown version", p256 + "?version=" + noVersion, "", kms.ErrDenied, "no such key or version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + tt.key, Algorithm: tt.alg, Store: vault.store(t, nil)})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestOCIBadURIs(t *testing.T) {
	vault := newOCIVault(t)
	const key = "ocikms://ocid1.key.oc1.iad.afnexamplevault.abuwcljexample"
	for _, uri := range []string{
		"ocikms:", "ocikms://", "ocikms:ocid1.key.oc1.iad.afn.abu", "ocikms://release",
		"ocikms://ocid1.vault.oc1.iad.afn.abu", "ocikms://ocid1.key.oc1.iad.afn", "ocikms://ocid1.key.oc1..afn.abu",
		"ocikms://ocid1.key.oc1.iad.evil.example.com.abu", "ocikms://ocid1.key.oc1.iad.a/b.abu", "ocikms://ocid1.key.oc1.iad.afn.abu/",
		"ocikms://ocid1.key.oc1.iad.afn.ABU", "ocikms://ocid1.key.oc1.iad.afn.a%62u", "ocikms://ocid1.key.oc1.iad.afn.abu\n",
		key + "?", key + "?version=", key + "?version=3", key + "?version=ocid1.key.oc1.iad.afn.abu", key + "?v=1",
		key + "?version=ocid1.keyversion.oc1.iad.afn.x.abu&x=1", key + "#3", key + "?version=ocid1.keyversion.oc1.iad.afn.x.abu#",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: vault.store(t, nil)})
		if err == nil || !strings.Contains(err.Error(), "allowed: ocikms://ocid1.key.REALM") {
			t.Errorf("%q: error %v, want one that says what is allowed", uri, err)
		}
	}
}

func TestOCIVersionIsPinned(t *testing.T) {
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "NIST_P256")
	before := vault.open(t, key, "")
	second := vault.Rotate(t, key)
	after, old := vault.open(t, key, ""), vault.open(t, key+"?version="+before.Version(), "")
	switch {
	case before.Version() == second:
		t.Error("the signer from before the rotation has the new version")
	case after.Version() != second:
		t.Errorf("the signer from after the rotation has version %s, want %s", after.Version(), second)
	case old.Version() != before.Version() || old.Public().Fingerprint() != before.Public().Fingerprint():
		t.Error("the signer of the old version is another one")
	case before.Public().Fingerprint() == after.Public().Fingerprint():
		t.Error("both versions have one key")
	}
	for _, signer := range []kms.Signer{before, after, old} {
		signature, err := signer.Sign(t.Context(), []byte("message"))
		if err != nil {
			t.Fatal(err)
		}
		if err := signer.Public().Verify([]byte("message"), signature); err != nil {
			t.Error(err)
		}
	}
}

func TestOCISwappedKey(t *testing.T) {
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "NIST_P256")
	signer := vault.open(t, key, "")
	vault.Replace(t, key)
	if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrKeyMismatch) {
		t.Errorf("error %v, want ErrKeyMismatch", err)
	}
}

func TestOCILies(t *testing.T) {
	t.Parallel()
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "RSA_2048")
	signer := vault.open(t, key, policy.RSAPSSSHA256)
	other := vault.CreateKey(t, "NIST_P256")
	tests := []struct {
		name, operation, field string
		value                  any
		want                   error
	}{
		{"another version", "Sign", "keyVersionId", "ocid1.keyversion.oc1.iad.afn.x.another", kms.ErrKeyMismatch},
		{"no version", "Sign", "keyVersionId", nil, kms.ErrKeyMismatch},
		{"another key", "Sign", "keyId", other, kms.ErrKeyMismatch},
		{"another algorithm", "Sign", "signingAlgorithm", "SHA_256_RSA_PKCS1_V1_5", kms.ErrKeyMismatch},
		{"no base64", "Sign", "signature", "!", kms.ErrUnavailable},
		{"no signature", "Sign", "signature", nil, kms.ErrInvalidSignature},
		{"another's signature", "Sign", "signature", base64.StdEncoding.EncodeToString(make([]byte, 256)), kms.ErrInvalidSignature},
		{"key without version", "GetKey", "currentKeyVersion", nil, kms.ErrUnavailable},
		{"current version elsewhere", "GetKey", "currentKeyVersion", "../../evil", kms.ErrUnavailable},
		{"key without shape", "GetKey", "keyShape", nil, kms.ErrUnavailable},
		{"described key is another", "GetKey", "id", other, kms.ErrUnavailable},
		{"key in no state", "GetKey", "lifecycleState", nil, kms.ErrKeyState},
		{"version of another key", "GetKeyVersion", "keyId", other, kms.ErrKeyMismatch},
		{"no public key", "GetKeyVersion", "publicKey", nil, nil},
		{"public key is none", "GetKeyVersion", "publicKey", "secret", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer vault.Alter(nil)
			vault.Alter(func(operation string, answer map[string]any) {
				if operation == tt.operation {
					answer[tt.field] = tt.value
				}
			})
			_, err := signer.Sign(t.Context(), []byte("message"))
			if tt.operation != "Sign" {
				_, err = kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Algorithm: policy.RSAPSSSHA256, Store: vault.store(t, nil)})
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOCIWrongCredentials(t *testing.T) {
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "NIST_P256")
	vault.WriteUser(t, vault.config, "DEFAULT", false)
	store := vault.store(t, nil)
	_, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Store: store})
	if !errors.Is(err, kms.ErrDenied) || !strings.Contains(err.Error(), "NotAuthenticated") {
		t.Fatalf("error %v, want ErrDenied", err)
	}
	if strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), vault.URL) {
		t.Errorf("error says too much: %v", err)
	}
	if n := store.Requests()[kms.Request{Operation: "describe", Outcome: "denied"}]; n != 1 {
		t.Errorf("asked %d times, want once: the same credentials are refused again", n)
	}
}

func TestOCICredentialsRenewedInPlace(t *testing.T) {
	vault := newOCIVault(t)
	signer := vault.open(t, vault.CreateKey(t, "NIST_P256"), "")
	vault.Forget()
	vault.WriteUser(t, vault.config, "DEFAULT", true)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	vault.Forget()
	if err := os.Remove(vault.config); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrDenied) || !strings.Contains(err.Error(), "config_file") {
		t.Errorf("error %v, want ErrDenied that names config_file", err)
	}
}

func TestOCIConfigFile(t *testing.T) {
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "NIST_P256")
	good, err := os.ReadFile(vault.config)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, profile string
		change        func(config string) string
		mode          os.FileMode
		want          string // "": it works
	}{
		{"another profile", "ADMIN", func(c string) string { return strings.Replace(c, "[DEFAULT]", "[ADMIN]", 1) }, 0o600, ""},
		{"spaces and comments", "", func(c string) string { return strings.ReplaceAll(c, "=", " = ") + "# end\n" }, 0o600, ""},
		{"Windows line ends", "", func(c string) string { return strings.ReplaceAll(c, "\n", "\r\n") }, 0o600, ""},
		{"profile after it", "", func(c string) string { return c + "[LAST]\nuser=nobody\n" }, 0o600, ""},
		{"no such profile", "ADMIN", func(c string) string { return c }, 0o600, `has no profile "ADMIN"`},
		{"no user", "", func(c string) string { return strings.Replace(c, "\nuser="+ocitest.User, "", 1) }, 0o600, "user is missing"},
		{"no key", "", func(c string) string { return strings.Replace(c, "key_file", "key_fyle", 1) }, 0o600, "key_file is missing"},
		{"quotes in an id", "", func(c string) string { return strings.Replace(c, "tenancy=", `tenancy="`, 1) }, 0o600, "tenancy is missing or no such thing"},
		{"key is none", "", func(c string) string { return c[:strings.Index(c, "key_file")] + "key_file=" + vault.config }, 0o600, "key_file holds no RSA key"},
		{"others can read it", "", func(c string) string { return c }, 0o644, "has permissions 0644"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(tt.change(string(good))), tt.mode); err != nil {
				t.Fatal(err)
			}
			store := vault.store(t, func(cfg *kms.StoreConfig) { cfg.Auth = kms.Auth{ConfigFile: file, Profile: tt.profile} })
			_, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Store: store})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOCISessionToken(t *testing.T) {
	vault := newOCIVault(t)
	config, err := os.ReadFile(vault.config)
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("header.unknown.signature\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(config), "\nuser="+ocitest.User, "\nsecurity_token_file="+token, 1)
	if err := os.WriteFile(vault.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	var keyID string
	vault.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		keyID = r.Header.Get("Authorization")
		return false
	})
	_, err = kms.Open(t.Context(), kms.Config{URI: "ocikms://" + vault.CreateKey(t, "NIST_P256"), Store: vault.store(t, nil)})
	if !errors.Is(err, kms.ErrDenied) || strings.Contains(err.Error(), "header.unknown") {
		t.Errorf("error %v, want ErrDenied without the token", err)
	}
	if !strings.Contains(keyID, `keyId="ST$header.unknown.signature"`) {
		t.Errorf("Authorization %s has not the session token", keyID)
	}
}

func TestOCIDefaultConfigFile(t *testing.T) {
	vault := newOCIVault(t)
	key := vault.CreateKey(t, "NIST_P256")
	for _, variable := range []string{"OCI_CLI_CONFIG_FILE", "OCI_CONFIG_FILE", "HOME"} {
		t.Run(variable, func(t *testing.T) {
			for _, other := range []string{"OCI_CLI_AUTH", "OCI_CLI_PROFILE", "OCI_CLI_CONFIG_FILE", "OCI_CONFIG_FILE"} {
				t.Setenv(other, "")
			}
			file := vault.config
			if variable == "HOME" {
				home := t.TempDir()
				if err := os.Symlink(filepath.Dir(vault.config), filepath.Join(home, ".oci")); err != nil {
					t.Fatal(err)
				}
				file = home
			}
			t.Setenv(variable, file)
			store := vault.store(t, func(cfg *kms.StoreConfig) { cfg.Auth = kms.Auth{} })
			if _, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Store: store}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOCIInstancePrincipal(t *testing.T) {
	vault := newOCIVault(t)
	vault.AddInstance(t)
	key := vault.CreateKey(t, "NIST_P256")
	t.Setenv("OCI_CLI_AUTH", "instance_principal")
	t.Setenv("OCI_METADATA_BASE_URL", vault.MetadataURL())
	t.Setenv("OCI_SDK_AUTH_CLIENT_REGION_URL", vault.URL)
	asInstance := func(cfg *kms.StoreConfig) { cfg.Auth, cfg.Limits = kms.Auth{}, oneAtATime }
	store := vault.store(t, asInstance)
	signer, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	vault.Forget() // as if the token had expired
	if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
		t.Error(err)
	}
	if n := store.Requests()[kms.Request{Operation: "login", Outcome: "ok"}]; n != 2 {
		t.Errorf("logged in %d times, want 2", n)
	}
	for _, operation := range []string{"Metadata", "Token"} {
		for name, tt := range map[string]struct {
			fault http.HandlerFunc
			want  error
		}{
			"denied": {func(w http.ResponseWriter, _ *http.Request) { ocitest.Refuse(w, 401, "NotAuthenticated", "no") }, kms.ErrDenied},
			"odd":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, kms.ErrUnavailable},
		} {
			t.Run(operation+" "+name, func(t *testing.T) {
				defer vault.Intercept(nil)
				vault.Intercept(ociOn(operation, tt.fault))
				_, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + key, Store: vault.store(t, asInstance)})
				if !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			})
		}
	}
}

func TestOCIUnknownAuth(t *testing.T) {
	vault := newOCIVault(t)
	t.Setenv("OCI_CLI_AUTH", "resource_principal")
	store := vault.store(t, func(cfg *kms.StoreConfig) { cfg.Auth = kms.Auth{} })
	_, err := kms.Open(t.Context(), kms.Config{URI: "ocikms://" + vault.CreateKey(t, "NIST_P256"), Store: store})
	if err == nil || !strings.Contains(err.Error(), "allowed: api_key, security_token, instance_principal") {
		t.Errorf("error %v, want one that says what is allowed", err)
	}
}

func TestOCIHosts(t *testing.T) {
	vault := newOCIVault(t)
	tests := []struct{ region, endpoint, ofKey, want string }{
		{"", "", "iad", "https://afn-management.kms.us-ashburn-1.oraclecloud.com"},
		{"", "", "eu-frankfurt-1", "https://afn-management.kms.eu-frankfurt-1.oraclecloud.com"},
		{"", "", "sjc", "https://afn-management.kms.us-sanjose-1.oci.oraclecloud.com"},
		{"", "", "eu-frankfurt-2", "https://afn-management.kms.eu-frankfurt-2.oci.oraclecloud.eu"},
		{"us-phoenix-1", "", "iad", "https://afn-management.kms.us-phoenix-1.oraclecloud.com"},
		{"", "", "xyz", ""},
		{"evil.example.com", "", "iad", ""},
		{"", "https://afn-crypto.kms.xx-new-1.oci.example.com", "iad", "https://afn-management.kms.xx-new-1.oci.example.com"},
		{"", "https://afn-management.kms.xx-new-1.oci.example.com/", "iad", "https://afn-management.kms.xx-new-1.oci.example.com"},
		{"", "http://127.0.0.1:8080", "iad", "http://127.0.0.1:8080"},
		{"", "127.0.0.1:8080", "iad", ""},
		{"", "https://example.com/path", "iad", ""},
	}
	for _, tt := range tests {
		t.Run(tt.region+tt.endpoint+tt.ofKey, func(t *testing.T) {
			cfg := kms.StoreConfig{Region: tt.region, Endpoint: tt.endpoint, Auth: kms.Auth{ConfigFile: vault.config, Profile: "DEFAULT"}}
			got, err := firstURL(t, "ocikms://ocid1.key.oc1."+tt.ofKey+".afn.abuexample", cfg)
			if host, _, _ := strings.Cut(got, "/20180608"); host != tt.want {
				t.Errorf("asked %s, want %s; error %v", got, tt.want, err)
			}
		})
	}
}
