package kms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/budget"
)

// selfSigned returns a certificate and its key, in PEM.
func selfSigned(f *testing.F, name string) (certificate, key []byte) {
	f.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	wanted := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, wanted, wanted, &private.PublicKey, private)
	if err != nil {
		f.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		f.Fatal(err)
	}
	return asPEM("CERTIFICATE", der), asPEM(pemPKCS8, pkcs8)
}

// FuzzCertificates: a file of certificates is read as all that stands in it, in its
// order, or refused; with a private key at either end it is refused.
func FuzzCertificates(f *testing.F) {
	first, key := selfSigned(f, "first")
	second, _ := selfSigned(f, "second")
	for _, data := range [][]byte{first, append(bytes.Clone(first), second...), append([]byte("Certificate:\n    Data:\n"), first...), key, {}, []byte("-----BEGIN CERTIFICATE-----\n"),
		append(bytes.Clone(first), second[:len(second)/2]...), bytes.ReplaceAll(first, []byte("\n"), []byte("\r\n")), append([]byte("---"), first...)} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, with := range [][]byte{append(bytes.Clone(key), data...), append(append(bytes.Clone(data), '\n'), key...)} {
			if chain, err := parseCertificates(with); err == nil {
				t.Errorf("%q: a private key is taken, beside %d certificates", with, len(chain))
			}
		}
		chain, err := parseCertificates(data)
		if err != nil {
			return
		}
		var again []byte
		for _, c := range chain {
			again = append(again, asPEM("CERTIFICATE", c.Raw)...)
		}
		same, err := parseCertificates(again)
		if err != nil || len(same) != len(chain) || bytes.Count(data, []byte("-----BEGIN ")) != len(chain) {
			t.Fatalf("%q: %d certificates, and %d when written again, %v", data, len(chain), len(same), err)
		}
		for i, c := range chain {
			if block, rest := pem.Decode(data); !c.Equal(same[i]) || !bytes.Equal(block.Bytes, c.Raw) {
				t.Fatalf("%q: certificate %d is another", data, i+1)
			} else {
				data = rest
			}
		}
	})
}

// unwrapping answers as Vault and AWS KMS do when they unwrap, with a plaintext that is
// what they were sent.
func unwrapping(sent *[]byte) roundTrip {
	return func(req *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		var asked struct {
			Ciphertext     string `json:"ciphertext"`
			CiphertextBlob []byte
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			return nil, err
		}
		*sent = append([]byte(asked.Ciphertext), asked.CiphertextBlob...)
		answer := map[string]any{"data": map[string]any{"plaintext": *sent}, "Plaintext": *sent, "KeyId": unwrapKey}
		if body, err = json.Marshal(answer); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
	}
}

const unwrapKey = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// FuzzUnwrap: a wrapped key is sent to the key store as it is, if it has the store's
// form, or refused without being sent; no error tells of it.
func FuzzUnwrap(f *testing.F) {
	dir := f.TempDir()
	for _, name := range []string{"token", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	var sent []byte
	store := func(auth Auth) *Store {
		s, err := NewStore(StoreConfig{Endpoint: "http://127.0.0.1:8200", Region: "eu-west-1", Auth: auth, Transport: unwrapping(&sent),
			Limits: budget.Limits{RequestsPerSecond: 1e6, Concurrency: 64}})
		if err != nil {
			f.Fatal(err)
		}
		return s
	}
	vault := store(Auth{TokenFile: filepath.Join(dir, "token")})
	aws := store(Auth{AccessKey: "key", SecretKeyFile: filepath.Join(dir, "secret")})
	for _, wrapped := range []string{"vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==", "vault:", "vault:v1:", "AQICAHhExampleExampleExample", "QUJD\nREVG", "QQ==", "QQ=", "", "\xff", strings.Repeat("5e", 32)} {
		f.Add(wrapped)
	}
	f.Fuzz(func(t *testing.T, wrapped string) {
		blob, err := base64.StdEncoding.DecodeString(wrapped)
		isBlob := err == nil && len(blob) > 0
		for uri, want := range map[string]struct {
			store *Store
			takes bool
			holds string
		}{
			"hashivault://sealing":   {vault, strings.HasPrefix(wrapped, "vault:"), wrapped},
			"awskms:///" + unwrapKey: {aws, isBlob, string(blob)},
		} {
			sent = nil
			key, err := Unwrap(t.Context(), uri, want.store, wrapped)
			switch {
			case (err == nil) != want.takes || (sent != nil) != want.takes || (key != nil) != want.takes:
				t.Errorf("%s: %q is sent as %q, %v", uri, wrapped, sent, err)
			case err != nil && len(wrapped) > 20 && strings.Contains(err.Error(), wrapped):
				t.Errorf("%s: the error tells of it: %v", uri, err)
			case err == nil && utf8.ValidString(wrapped) && string(key) != want.holds: // JSON has no other text
				t.Errorf("%s: %q is unwrapped as %q", uri, wrapped, key)
			}
		}
	})
}
