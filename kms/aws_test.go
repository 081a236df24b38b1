package kms_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/kmstest/awstest"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// awsConfig reaches server with its first credentials.
func awsConfig(t testing.TB, server *awstest.Server) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{
		Name: "aws", Endpoint: server.URL, Region: awstest.Region,
		Auth: kms.Auth{AccessKey: awstest.AccessKey, SecretKeyFile: writeFile(t, []byte(awstest.SecretKey+"\n"))},
	}
}

// awsSpec is the kind of key an algorithm needs.
func awsSpec(k algKey) string {
	switch {
	case k.bits == 2048:
		return "RSA_2048"
	case k.bits == 3072:
		return "RSA_3072"
	case k.bits == 4096:
		return "RSA_4096"
	case k.alg == policy.ECDSASHA256:
		return "ECC_NIST_P256"
	case k.alg == policy.ECDSASHA384:
		return "ECC_NIST_P384"
	}
	return "SM2"
}

func TestAWSKeepsTheContract(t *testing.T) {
	for _, k := range oneEach() {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			arn := server.CreateKey(t, awsSpec(k))
			store := newStore(t, awsConfig(t, server))
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				return openConfig(t, kms.Config{URI: "awskms:///" + arn, Store: store, Algorithm: k.alg})
			})
		})
	}
}

func TestAWSSignsWithLargerRSAKeys(t *testing.T) {
	for _, k := range []algKey{{policy.RSAPSSSHA384, 3072}, {policy.RSAPKCS1SHA512, 4096}} {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			uri := "awskms:///" + server.CreateKey(t, awsSpec(k))
			s := openConfig(t, kms.Config{URI: uri, Store: newStore(t, awsConfig(t, server)), Algorithm: k.alg})
			wantSignature(t, s, s.Public())
		})
	}
}

func awsCloud() cloud {
	return cloud{
		opened: []string{"DescribeKey", "GetPublicKey"}, signed: "Sign",
		offline: func(t *testing.T) (*loopback.Server, kms.StoreConfig, string) {
			server := awstest.Offline()
			return server.Server, awsConfig(t, server), "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
		},
		throttled: awstest.Throttle,
		down: func(w http.ResponseWriter) {
			awstest.WriteError(w, http.StatusInternalServerError, "KMSInternalException", "")
		},
		disabled: func(w http.ResponseWriter) {
			awstest.WriteError(w, http.StatusBadRequest, "DisabledException", "arn:aws:kms:eu-west-1:123456789012:key/x is disabled.")
		},
	}
}

func TestAWSKeyURIs(t *testing.T) {
	server := awstest.New(t)
	arn := server.CreateKey(t, "ECC_NIST_P256")
	server.SetAlias("alias/team/release", arn)
	store := newStore(t, awsConfig(t, server))
	id := arn[strings.LastIndex(arn, "/")+1:]
	prefix := strings.TrimSuffix(arn, "key/"+id)
	for _, uri := range []string{
		"awskms:///" + arn, "awskms:///" + id, "awskms:///alias/team/release", "awskms:///" + prefix + "alias/team/release",
	} {
		s := openConfig(t, kms.Config{URI: uri, Store: store})
		if s.Version() != arn {
			t.Errorf("%s: version is %s, want %s", uri, s.Version(), arn)
		}
		wantSignature(t, s, s.Public())
	}
	refusesURIs(t, newStore(t, awsConfig(t, server)), []string{
		"awskms:", "awskms://", "awskms:///", "awskms:///alias/", "awskms:///release", "awskms://" + arn, "awskms:///" + arn + "?version=1",
		"awskms:///" + arn + "/", "awskms:///" + strings.ToUpper(arn), "awskms:///key/" + id, "awskms:///alias/a b", "awskms:///alias/a%2fb",
		"awskms:///arn:aws:s3:eu-west-1:123456789012:key/" + id, "awskms:///" + id + "#1", "awskms://user:pass@host/" + id,
		"awskms://host:port/" + id, "awskms:///" + arn + "\n",
		"awskms://kms.example.com/" + id, // and the store has an endpoint too
	})
}

func TestAWSRefusesContradictorySettings(t *testing.T) {
	server := awstest.New(t)
	uri := "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
	secret := writeFile(t, []byte(awstest.SecretKey))
	tests := []struct {
		name string
		cfg  kms.StoreConfig
		uri  string
		want string
	}{
		{"an access key alone", kms.StoreConfig{Auth: kms.Auth{AccessKey: "AK"}}, uri, "secret_key_file"},
		{"a secret alone", kms.StoreConfig{Auth: kms.Auth{SecretKeyFile: secret}}, uri, "access_key"},
		{"two ways", kms.StoreConfig{Auth: kms.Auth{AccessKey: "AK", SecretKeyFile: secret, Profile: "p"}}, uri, "config_file"},
		{"another store's way", kms.StoreConfig{Auth: kms.Auth{TokenFile: "t"}}, uri, "does not use"},
		{"an endpoint that is no URL", kms.StoreConfig{Endpoint: "kms.example.com"}, uri, "https://HOST"},
		{"an endpoint with a password", kms.StoreConfig{Endpoint: "https://u:geheim@kms.example.com"}, uri, "https://HOST"},
		{"no region", kms.StoreConfig{}, "awskms:///alias/release", "AWS_REGION"},
	}
	noAWSEnvironment(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := kms.Open(t.Context(), kms.Config{URI: tt.uri, Store: newStore(t, tt.cfg)})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("error is %v, want one about %s", err, tt.want)
			}
		})
	}
}

// noAWSEnvironment hides what the machine may have of AWS.
func noAWSEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // puts it back in the end
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestAWSAliasIsResolvedAtOpening(t *testing.T) {
	server := awstest.New(t)
	first, second := server.CreateKey(t, "ECC_NIST_P256"), server.CreateKey(t, "ECC_NIST_P256")
	server.SetAlias("alias/release", first)
	store := newStore(t, awsConfig(t, server))
	open := func() kms.Signer { return openConfig(t, kms.Config{URI: "awskms:///alias/release", Store: store}) }
	before := open()
	server.SetAlias("alias/release", second)
	wantSignature(t, before, before.Public())
	after := open()
	if before.Version() != first || after.Version() != second {
		t.Errorf("versions are %s and %s, want %s and %s", before.Version(), after.Version(), first, second)
	}
	if before.Public().Fingerprint() == after.Public().Fingerprint() {
		t.Error("both are the same key")
	}
}

func TestAWSKeysThatMayNotSign(t *testing.T) {
	tests := []struct {
		name, spec string
		alg        policy.Algorithm
		change     func(s *awstest.Server, arn string)
		want       error
		words      string
	}{
		{"disabled", "ECC_NIST_P256", "", func(s *awstest.Server, arn string) { s.SetState(arn, "Disabled") }, kms.ErrKeyState, "Disabled"},
		{"to be deleted", "ECC_NIST_P256", "", func(s *awstest.Server, arn string) { s.SetState(arn, "PendingDeletion") }, kms.ErrKeyState, "PendingDeletion"},
		{"for encryption", "RSA_2048", policy.RSAPSSSHA256, func(s *awstest.Server, arn string) { s.SetUsage(arn, "ENCRYPT_DECRYPT") }, kms.ErrKeyState, "SIGN_VERIFY"},
		{"of another curve", "ECC_NIST_P384", policy.ECDSASHA256, func(*awstest.Server, string) {}, kms.ErrKeyMismatch, "P-256"},
		{"RSA without an algorithm", "RSA_2048", "", func(*awstest.Server, string) {}, kms.ErrKeyMismatch, "RSA_PSS_SHA_256"},
		{"without the algorithm", "RSA_2048", policy.RSAPSSSHA512, func(s *awstest.Server, _ string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "DescribeKey" {
					answer["KeyMetadata"].(map[string]any)["SigningAlgorithms"] = []string{"RSASSA_PSS_SHA_256"}
				}
			})
		}, kms.ErrUnsupported, "RSASSA_PSS_SHA_256"},
		{"an answer about another key", "ECC_NIST_P256", "", func(s *awstest.Server, _ string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "GetPublicKey" {
					answer["KeyId"] = "arn:aws:kms:eu-west-1:123456789012:key/other"
				}
			})
		}, kms.ErrKeyMismatch, "key/other"},
		{"an answer about no key", "ECC_NIST_P256", "", func(s *awstest.Server, _ string) {
			s.Alter(func(_ string, answer map[string]any) { clear(answer) })
		}, kms.ErrUnavailable, "names no key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			arn := server.CreateKey(t, tt.spec)
			tt.change(server, arn)
			_, err := kms.Open(t.Context(), kms.Config{URI: "awskms:///" + arn, Store: newStore(t, awsConfig(t, server)), Algorithm: tt.alg})
			wantError(t, err, tt.want, tt.words)
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := kms.Open(t.Context(), kms.Config{URI: "awskms:///alias/none", Store: newStore(t, awsConfig(t, awstest.New(t)))})
		wantError(t, err, kms.ErrNotFound, "NotFoundException", "alias/none")
	})
}

func TestAWSKeyChangesAfterOpening(t *testing.T) {
	answering := func(field, value string) func(*testing.T, *awstest.Server, string) {
		return func(_ *testing.T, s *awstest.Server, _ string) {
			s.Alter(func(op string, answer map[string]any) {
				if op == "Sign" {
					answer[field] = value
				}
			})
		}
	}
	failing := func(status int, code string) func(*testing.T, *awstest.Server, string) {
		return func(_ *testing.T, s *awstest.Server, _ string) {
			s.Intercept(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
				awstest.WriteError(w, status, code, "no")
				return true
			})
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, s *awstest.Server, arn string)
		want   error
		words  string
	}{
		{"disabled", func(_ *testing.T, s *awstest.Server, arn string) { s.SetState(arn, "Disabled") }, kms.ErrKeyState, "DisabledException"},
		{"to be deleted", func(_ *testing.T, s *awstest.Server, arn string) { s.SetState(arn, "PendingDeletion") }, kms.ErrKeyState, "KMSInvalidStateException"},
		{"swapped", func(t *testing.T, s *awstest.Server, arn string) { s.Replace(t, arn) }, kms.ErrKeyMismatch, "fingerprint"},
		{"another key signs", answering("KeyId", "arn:aws:kms:eu-west-1:123456789012:key/other"), kms.ErrKeyMismatch, "key/other"},
		{"another algorithm signs", answering("SigningAlgorithm", "ECDSA_SHA_512"), kms.ErrKeyMismatch, "ECDSA_SHA_512"},
		{"a signature of something else", answering("Signature", "AAAA"), kms.ErrInvalidSignature, ""},
		{"permission taken away", failing(http.StatusBadRequest, "AccessDeniedException"), kms.ErrDenied, "AccessDeniedException"},
		{"an unknown error", failing(http.StatusBadRequest, "SomethingNewException"), kms.ErrUnsupported, "SomethingNewException"},
		{"forbidden without a word", func(_ *testing.T, s *awstest.Server, _ string) {
			s.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				raw(http.StatusForbidden, "")(w, r)
				return true
			})
		}, kms.ErrDenied, "HTTP 403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			arn := server.CreateKey(t, "ECC_NIST_P256")
			s := openConfig(t, kms.Config{URI: "awskms:///" + arn, Store: newStore(t, awsConfig(t, server))})
			tt.change(t, server, arn)
			signature, err := s.Sign(t.Context(), []byte("message"))
			wantError(t, err, tt.want, tt.words)
			if signature != nil {
				t.Error("there is a signature beside the error")
			}
		})
	}
}

func TestAWSWrongCredentials(t *testing.T) {
	const wrong = "wrong/secret/that/must/not/be/shown/anywhere"
	server := awstest.New(t)
	uri := "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
	for _, tt := range []struct{ id, code string }{
		{awstest.AccessKey, "InvalidSignatureException"},
		{"AKIDUNKNOWN", "UnrecognizedClientException"},
	} {
		cfg := awsConfig(t, server)
		cfg.Auth = kms.Auth{AccessKey: tt.id, SecretKeyFile: writeFile(t, []byte(wrong))}
		store := newStore(t, cfg)
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: store})
		wantError(t, err, kms.ErrDenied, tt.code)
		if strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), "Canonical") {
			t.Errorf("the error says too much: %v", err)
		}
		if n := store.Requests()[kms.Request{Operation: "describe", Outcome: "denied"}]; n != 1 {
			t.Errorf("the same credentials were tried %d times, want 1", n)
		}
	}
}

func TestAWSReadsRenewedSecret(t *testing.T) {
	server := awstest.New(t)
	cfg := awsConfig(t, server)
	cfg.Limits = oneAtATime
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: "awskms:///" + server.CreateKey(t, "ECC_NIST_P256"), Store: store})
	server.SetSecret(awstest.AccessKey, "renewed")
	if err := os.WriteFile(cfg.Auth.SecretKeyFile, []byte("renewed"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSignature(t, s, s.Public())
	wantSignature(t, s, s.Public())
	if n := store.Requests()[kms.Request{Operation: "sign", Outcome: "denied"}]; n != 1 {
		t.Errorf("%d requests were denied, want 1", n)
	}
	server.SetSecret(awstest.AccessKey, "renewed again")
	if err := os.Chmod(cfg.Auth.SecretKeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := s.Sign(t.Context(), []byte("message"))
	wantError(t, err, kms.ErrDenied, "InvalidSignatureException", "permissions 0644")
}

func TestAWSCredentialsFile(t *testing.T) {
	noAWSEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER") // the store's own go first
	t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
	server := awstest.New(t)
	uri := "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
	keys := "aws_access_key_id = " + awstest.AccessKey + "\naws_secret_access_key = " + awstest.SecretKey + "\n"
	for _, tt := range []struct{ name, content, profile string }{
		{"the default profile", "[default]\n" + keys, ""},
		{"a profile of a credentials file", "[default]\naws_access_key_id = x\naws_secret_access_key = y\n[release]\n" + keys, "release"},
		{"a profile of a configuration file", "[profile release]\nregion = eu-west-1\n" + keys, "release"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := kms.StoreConfig{Endpoint: server.URL, Auth: kms.Auth{ConfigFile: writeFile(t, []byte(tt.content)), Profile: tt.profile}}
			s := openConfig(t, kms.Config{URI: uri, Store: newStore(t, cfg)})
			wantSignature(t, s, s.Public())
		})
	}
	t.Run("no such profile", func(t *testing.T) {
		cfg := kms.StoreConfig{Endpoint: server.URL, Auth: kms.Auth{ConfigFile: writeFile(t, []byte("[default]\n"+keys)), Profile: "release"}}
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: newStore(t, cfg)})
		if err == nil || !strings.Contains(err.Error(), "release") || strings.Contains(err.Error(), awstest.SecretKey) {
			t.Errorf("error is %v, want one about the profile", err)
		}
	})
	t.Run("readable for all", func(t *testing.T) {
		file := writeFile(t, []byte("[default]\n"+keys))
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		cfg := kms.StoreConfig{Endpoint: server.URL, Auth: kms.Auth{ConfigFile: file}}
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: newStore(t, cfg)})
		wantError(t, err, kms.ErrDenied, "permissions 0644")
	})
}

func TestAWSEnvironment(t *testing.T) {
	server := awstest.New(t)
	server.SetAlias("alias/release", server.CreateKey(t, "ECC_NIST_P256"))
	t.Run("keys", func(t *testing.T) {
		noAWSEnvironment(t)
		t.Setenv("AWS_ACCESS_KEY_ID", awstest.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", awstest.SecretKey)
		t.Setenv("AWS_REGION", awstest.Region)
		t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
		s := openConfig(t, kms.Config{URI: "awskms:///alias/release", Store: newStore(t, kms.StoreConfig{})})
		wantSignature(t, s, s.Public())
	})
	// A pod's role: STS is asked through the same transport as KMS.
	t.Run("web identity", func(t *testing.T) {
		noAWSEnvironment(t)
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte(awstest.WebIdentityToken), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/signer")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
		t.Setenv("AWS_REGION", awstest.Region)
		t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
		t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
		asked := &recorder{base: http.DefaultTransport}
		store := newStore(t, kms.StoreConfig{Transport: asked})
		s := openConfig(t, kms.Config{URI: "awskms:///alias/release", Store: store})
		wantSignature(t, s, s.Public())
		if urls := asked.seen(); len(urls) != 4 { // the role, DescribeKey, GetPublicKey, Sign
			t.Errorf("%d requests came through the store's transport, want 4: %v", len(urls), urls)
		}
		if n := server.Calls("AssumeRoleWithWebIdentity"); n != 1 {
			t.Errorf("STS was asked %d times, want 1", n)
		}
		if err := os.WriteFile(token, []byte("forged"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := kms.Open(t.Context(), kms.Config{URI: "awskms:///alias/release", Store: newStore(t, kms.StoreConfig{})})
		wantError(t, err, kms.ErrDenied, "InvalidIdentityToken")
	})
	t.Run("nothing", func(t *testing.T) {
		noAWSEnvironment(t)
		_, err := kms.Open(t.Context(), kms.Config{URI: "awskms:///alias/release", Store: newStore(t, kms.StoreConfig{Endpoint: server.URL, Region: awstest.Region})})
		wantError(t, err, kms.ErrDenied, "no instance metadata")
	})
}

// A login that hangs must not take those after it along: Amazon's library lets
// no caller's context end one, and has all others wait for it.
func TestAWSLoginThatHangs(t *testing.T) {
	noAWSEnvironment(t)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/signer")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", writeFile(t, []byte(awstest.WebIdentityToken)))
	synctest.Test(t, func(t *testing.T) {
		server := awstest.Offline()
		uri := "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
		t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
		store := newStore(t, kms.StoreConfig{Endpoint: server.URL, Region: awstest.Region, Transport: &stallsOnce{base: server}})
		start := time.Now()
		s, err := kms.Open(deadline(t, time.Minute), kms.Config{URI: uri, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < kms.DefaultTimeout || took > 2*kms.DefaultTimeout {
			t.Errorf("opening took %s, want one timeout of %s", took, kms.DefaultTimeout)
		}
		wantSignature(t, s, s.Public())
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// stallsOnce is a transport that gives no more than the header of the first
// answer.
type stallsOnce struct {
	base    http.RoundTripper
	stalled atomic.Bool
}

func (s *stallsOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.base.RoundTrip(r)
	if err == nil && s.stalled.CompareAndSwap(false, true) {
		resp.Body = io.NopCloser(untilDone(r.Context().Done()))
	}
	return resp, err
}

type untilDone <-chan struct{}

func (u untilDone) Read([]byte) (int, error) { <-u; return 0, context.Canceled }

// What the environment names is asked by HTTPS too.
func TestAWSEndpointOfTheEnvironment(t *testing.T) {
	noAWSEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", awstest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awstest.SecretKey)
	t.Setenv("AWS_REGION", awstest.Region)
	for endpoint, want := range map[string]string{
		"http://kms.example.com": "plain HTTP", "https://kms.example.com": "not sent", "http://localhost:4566": "not sent", "https://me:secret@kms.example.com": "no URL",
	} {
		t.Setenv("AWS_ENDPOINT_URL_KMS", endpoint)
		_, err := firstURL(t, "awskms:///alias/release", kms.StoreConfig{})
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", endpoint, err, want)
		}
		tellsNoSecret(t, err, "secret@")
	}
	t.Setenv("AWS_REGION", "evil.example.com/")
	if url, err := firstURL(t, "awskms:///alias/release", kms.StoreConfig{}); url != "" || !strings.Contains(err.Error(), "no region") {
		t.Errorf("a region that is none: asked %s, %v", url, err)
	}
}

// Metadata that do not answer for a moment are no refusal once they have given
// credentials.
func TestAWSInstanceMetadataAway(t *testing.T) {
	noAWSEnvironment(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	synctest.Test(t, func(t *testing.T) {
		server := awstest.Offline()
		uri := "awskms:///" + server.CreateKey(t, "ECC_NIST_P256")
		store := newStore(t, kms.StoreConfig{Endpoint: server.URL, Region: awstest.Region, Transport: server, Limits: oneAtATime})
		s := openConfig(t, kms.Config{URI: uri, Store: store})
		server.ForgetSessions()
		left := 5
		server.Intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
			if op != "Metadata" || left == 0 {
				return false
			}
			left--
			drop(w, r)
			return true
		})
		if _, err := s.Sign(deadline(t, time.Minute), []byte("message")); err != nil {
			t.Error(err)
		}
		if left != 0 {
			t.Errorf("metadata were asked %d times too few", left)
		}
	})
}
