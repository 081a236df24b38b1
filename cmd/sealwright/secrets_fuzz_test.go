package main

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control/apig"
)

// fuzzFile returns what writes a file, and returns its path. It is one file for all
// inputs, as making a directory for each would be most of the work.
func fuzzFile(f *testing.F) func(*testing.T, []byte) string {
	f.Helper()
	path := filepath.Join(f.TempDir(), "file")
	return func(t *testing.T, content []byte) string {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// FuzzSealKey: a file is a key if it has its hexadecimal digits and nothing else. Beside
// a wrapping key such a file is taken only if it is a former one, and any other goes to
// the key store; no error tells of it.
func FuzzSealKey(f *testing.F) {
	digits := strings.Repeat("5e", apig.SealSize)
	for _, text := range []string{digits, digits + "\n", strings.ToUpper(digits), digits[:62], digits + "00", " " + digits + "\r\n", digits[:63] + "g", "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==", "", "\x00"} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	o, written := &opener{}, fuzzFile(f)
	f.Fuzz(func(t *testing.T, text []byte, former bool) {
		path := written(t, text)
		said := strings.TrimSpace(string(text))
		bare := len(said) == hex.EncodedLen(apig.SealSize) && strings.Trim(said, "0123456789abcdefABCDEF") == ""
		// No key store unwraps by this URI: what is sent to one is refused.
		for by, want := range map[configs.WrappingKey]bool{{}: bare, {URI: "file:/wrapping.key"}: bare && former} {
			o.stores = map[string]openedStore{}
			key, err := o.sealKey(t.Context(), by, path, former)
			if (err == nil) != want || want && hex.EncodeToString(key) != strings.ToLower(said) || !want && key != nil {
				t.Errorf("%q, wrapped by %q, former %v: %x, %v", text, by.URI, former, key, err)
			}
			if err != nil && len(said) >= 16 && strings.Contains(err.Error(), said) {
				t.Errorf("the error tells of it: %v", err)
			}
		}
	})
}

// FuzzOCIPublicKey: a file is an RSA public key whose fingerprint the key id ends with,
// or refused.
func FuzzOCIPublicKey(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	fingerprint := func(public *rsa.PublicKey) string {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			f.Fatal(err)
		}
		sum := md5.Sum(der)
		return strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":")
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	good := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	written, id := fuzzFile(f), "ocid1.tenancy.oc1..a/ocid1.user.oc1..b/"
	for _, data := range [][]byte{good, der, private, append(private, good...), append([]byte("text\n"), good...), {}, good[:200]} {
		f.Add(data, id+fingerprint(&key.PublicKey))
		f.Add(data, id+strings.ToUpper(fingerprint(&key.PublicKey)))
		f.Add(data, fingerprint(&key.PublicKey))
		f.Add(data, id)
	}
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		public, err := ociPublicKey(written(t, data), id)
		if err != nil {
			if public != nil || len(data) > 64 && strings.Contains(err.Error(), string(data)) {
				t.Errorf("%q: %v, %v", data, public, err)
			}
			return
		}
		if !strings.HasSuffix(id, "/"+fingerprint(public)) {
			t.Errorf("%q is taken for %q, its fingerprint is %s", data, id, fingerprint(public))
		}
	})
}
