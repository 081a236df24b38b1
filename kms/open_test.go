package kms_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
)

func TestFileSignersKeepTheContract(t *testing.T) {
	for _, k := range oneEach() {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, newKey(t, k))
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				return openConfig(t, kms.Config{URI: "file:" + path, Algorithm: k.alg})
			})
		})
	}
}

// The size of an RSA key makes no difference but in time.
func TestFileSignersOfEverySize(t *testing.T) {
	for _, k := range algKeys() {
		s := open(t, newKey(t, k), k.alg)
		if bits := s.Public().Bits(); k.bits != 0 && bits != k.bits {
			t.Errorf("%s: key of %d bits", k, bits)
		}
		if signature := sign(t, s, []byte("message")); k.bits != 0 && len(signature) != k.bits/8 {
			t.Errorf("%s: signature of %d bytes", k, len(signature))
		}
		wantSignature(t, s, s.Public())
	}
}

func TestSchemes(t *testing.T) {
	path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
	for _, uri := range []string{"file:" + path, "file://" + path} {
		openConfig(t, kms.Config{URI: uri})
	}
	for uri, want := range map[string]string{
		"files:/etc/sealwright/release.key":         `unknown scheme "files"`,
		"hunter2-plugin://user:hunter3@example.com": `unknown scheme "hunter2-plugin"`,
		"/etc/sealwright/release.key":               "no scheme",
		"":                                          "no scheme",
		"FILE:/etc/sealwright/release.key":          "no scheme",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri})
		if !errors.Is(err, kms.ErrScheme) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "allowed: file:") {
			t.Errorf("%s: got %v, want ErrScheme with %q and the allowed schemes", uri, err, want)
		}
		if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "hunter2-plugin", ""), "hunter") {
			t.Errorf("the error quotes the URI's secret: %v", err)
		}
	}
	for _, uri := range []string{"awskms:///alias/release", "pkcs11:token=release?pin-value=hunter2", "plugin:release"} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri})
		if err == nil || !strings.Contains(err.Error(), "no key store given") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s without a store: got %v", uri, err)
		}
	}
	for _, uri := range []string{"file:", "file://", "file://host/key.pem", "file:///nowhere/release.key"} {
		if _, err := kms.Open(t.Context(), kms.Config{URI: uri}); err == nil || errors.Is(err, kms.ErrScheme) {
			t.Errorf("%s: got %v, want an error about the file", uri, err)
		}
	}
}

func TestPin(t *testing.T) {
	path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
	pin := openConfig(t, kms.Config{URI: "file:" + path}).Public().Fingerprint()
	openConfig(t, kms.Config{URI: "file:" + path, PublicKeySHA256: pin})

	other := strings.Repeat("0", 64)
	_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path, PublicKeySHA256: other})
	if !errors.Is(err, kms.ErrKeyMismatch) || !strings.Contains(err.Error(), pin) || !strings.Contains(err.Error(), other) {
		t.Errorf("got %v, want ErrKeyMismatch with both fingerprints", err)
	}
	for _, bad := range []string{strings.ToUpper(pin), pin[:63], pin + "0", "sha256:" + pin, strings.Repeat("z", 1000)} {
		_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path, PublicKeySHA256: bad})
		if err == nil || !strings.Contains(err.Error(), "public_key_sha256") || !strings.Contains(err.Error(), "64 lower-case hex digits") || len(err.Error()) > 200 {
			t.Errorf("%.70s: got %v, want the field and what is allowed", bad, err)
		}
	}
}

func TestOpenChecksTheAlgorithm(t *testing.T) {
	path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
	if _, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path, Algorithm: policy.RSAPSSSHA256}); !errors.Is(err, kms.ErrKeyMismatch) {
		t.Errorf("got %v, want ErrKeyMismatch", err)
	}
	_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path, Algorithm: "MD5"})
	if err == nil || !strings.Contains(err.Error(), `"MD5"`) || !strings.Contains(err.Error(), "allowed: ECDSA_SHA_256") {
		t.Errorf("got %v, want the algorithm and the allowed ones", err)
	}
}

func TestOpenObeysItsContext(t *testing.T) {
	path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
	ctx, cancel := context.WithCancel(t.Context())
	s, err := kms.Open(ctx, kms.Config{URI: "file:" + path})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	// Its end bounds the opening, not the signer.
	sign(t, s, []byte("message"))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := kms.Open(ctx, kms.Config{URI: "file:" + path}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}
