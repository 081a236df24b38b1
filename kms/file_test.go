package kms_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

const testPassword = "correct horse"

func password() ([]byte, error) { return []byte(testPassword), nil }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestPrivateKeyForms(t *testing.T) {
	bytesOf := must[[]byte](t)
	p256 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sm := must[*sm2.PrivateKey](t)(sm2.GenerateKey(rand.Reader))
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))

	p256DER := bytesOf(x509.MarshalPKCS8PrivateKey(p256))
	smDER := bytesOf(smx509.MarshalPKCS8PrivateKey(sm))
	sec1 := block("EC PRIVATE KEY", bytesOf(x509.MarshalECPrivateKey(p256)))
	smSEC1 := bytesOf(smx509.MarshalSM2PrivateKey(sm))
	tests := []struct {
		name string
		pem  []byte
		alg  policy.Algorithm
		want any // the public key
	}{
		{"PKCS#8 P-256", block("PRIVATE KEY", p256DER), "", &p256.PublicKey},
		{"SEC 1 P-256", sec1, "", &p256.PublicKey},
		{"SEC 1 after its parameters", append(block("EC PARAMETERS", []byte{6, 0}), sec1...), "", &p256.PublicKey},
		{"key before a certificate", append(bytes.Clone(sec1), block("CERTIFICATE", []byte{1})...), "", &p256.PublicKey},
		{"CRLF", bytes.ReplaceAll(sec1, []byte("\n"), []byte("\r\n")), "", &p256.PublicKey},
		{"PKCS#8 SM2", block("PRIVATE KEY", smDER), "", sm.Public()},
		{"SEC 1 SM2", block("EC PRIVATE KEY", smSEC1), "", sm.Public()},
		{"SEC 1 SM2 as OpenSSL names it", block("SM2 PRIVATE KEY", smSEC1), "", sm.Public()},
		{"PKCS#8 RSA", block("PRIVATE KEY", bytesOf(x509.MarshalPKCS8PrivateKey(rsaKey))), policy.RSAPSSSHA256, &rsaKey.PublicKey},
		{"PKCS#1 RSA", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), policy.RSAPKCS1SHA512, &rsaKey.PublicKey},
		{
			"first cosign", block("ENCRYPTED COSIGN PRIVATE KEY", bytesOf(encrypted.EncryptWithCustomKDFParameters(p256DER, []byte(testPassword), encrypted.Legacy))),
			"", &p256.PublicKey,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openConfig(t, kms.Config{URI: "file:" + writeFile(t, tt.pem), Algorithm: tt.alg, Password: password})
			want := must[*kms.PublicKey](t)(kms.NewPublicKey(tt.want, tt.alg))
			if diff := cmp.Diff(want.Fingerprint(), s.Public().Fingerprint()); diff != "" {
				t.Error(diff)
			}
			sign(t, s, []byte("message"))
		})
	}
}

// Encrypted keys that cosign and OpenSSL made, with the public halves that they
// wrote beside them.
func TestKeysOfOtherTools(t *testing.T) {
	for _, name := range []string{"cosign2", "cosign3", "openssl"} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, readTestdata(t, name+".key"))
			s := openConfig(t, kms.Config{URI: "file:" + path, Password: password})
			public := must[*kms.PublicKey](t)(kms.ParsePublicKey(readTestdata(t, name+".pub"), ""))
			message := []byte("message")
			if err := public.Verify(message, sign(t, s, message)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	encryptedKey := writeFile(t, readTestdata(t, "openssl.key"))
	t.Setenv("SEALWRIGHT_TEST_RIGHT", testPassword)
	t.Setenv("SEALWRIGHT_TEST_WRONG", "wrong horse")
	dir := t.TempDir()
	file := func(name, content string, perm os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name     string
		password func() ([]byte, error)
		want     string // "" if the password is right
	}{
		{"environment", kms.PasswordEnv("SEALWRIGHT_TEST_RIGHT"), ""},
		{"file", kms.PasswordFile(file("plain", testPassword, 0o600)), ""},
		{"file with line end", kms.PasswordFile(file("lf", testPassword+"\n", 0o400)), ""},
		{"file with CRLF", kms.PasswordFile(file("crlf", testPassword+"\r\n", 0o600)), ""},
		{"none", nil, "no password is configured"},
		{"wrong", kms.PasswordEnv("SEALWRIGHT_TEST_WRONG"), "wrong password or damaged key"},
		{"empty", func() ([]byte, error) { return nil, nil }, "wrong password or damaged key"},
		{"two line ends", kms.PasswordFile(file("two", testPassword+"\n\n", 0o600)), "wrong password"},
		{"variable not set", kms.PasswordEnv("SEALWRIGHT_TEST_UNSET"), "SEALWRIGHT_TEST_UNSET is empty"},
		{"no file", kms.PasswordFile(filepath.Join(dir, "none")), "no such file"},
		{"readable for others", kms.PasswordFile(file("wide", testPassword, 0o604)), "permissions 0604; allowed: at most 0600"},
		{"too large", kms.PasswordFile(file("large", strings.Repeat("x", 64<<10+1), 0o600)), "more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + encryptedKey, Password: tt.password})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				sign(t, s, []byte("message"))
				return
			}
			if !errors.Is(err, kms.ErrPassword) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrPassword with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "horse") {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
}

func TestWrongPasswordOfACosignKey(t *testing.T) {
	path := writeFile(t, readTestdata(t, "cosign3.key"))
	wrong := func() ([]byte, error) { return []byte("wrong horse"), nil }
	_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path, Password: wrong})
	if !errors.Is(err, kms.ErrPassword) || !strings.Contains(err.Error(), "wrong password or damaged key") {
		t.Errorf("got %v, want ErrPassword", err)
	}
	if _, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path}); !errors.Is(err, kms.ErrPassword) {
		t.Errorf("without a password: got %v, want ErrPassword", err)
	}
}

func TestPrivateKeyFilesThatAreRefused(t *testing.T) {
	key := newKey(t, algKey{alg: policy.ECDSASHA256})
	for _, perm := range []os.FileMode{0o640, 0o604, 0o610, 0o601, 0o660, 0o644, 0o777} {
		path := writeFile(t, key)
		if err := os.Chmod(path, perm); err != nil {
			t.Fatal(err)
		}
		_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path})
		if err == nil || !strings.Contains(err.Error(), "allowed: at most 0600") {
			t.Errorf("permissions %#o: got %v, want them refused", perm, err)
		}
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "not a regular file",
		pipe:                          "not a regular file", // and does not wait for a writer
		filepath.Join(dir, "nothing"): "no such file",
		writeFile(t, bytes.Repeat([]byte("x"), 1<<20+1)): "more than 1048576 bytes",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

// A secret of root's that a group may read is how service managers hand one
// out; the same file of anybody else's is refused.
func TestGroupMayReadRootsSecretsOnly(t *testing.T) {
	openAs := func(perm os.FileMode, uid int) error {
		t.Helper()
		path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
		if err := errors.Join(os.Chown(path, uid, -1), os.Chmod(path, perm)); err != nil {
			t.Fatal(err)
		}
		s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + path})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	self := os.Getuid()
	for _, perm := range []os.FileMode{0o440, 0o040} {
		if err := openAs(perm, self); self == 0 && err != nil {
			t.Errorf("root's with %#o: %v", perm, err)
		} else if self != 0 && err == nil {
			t.Errorf("accepted a user's with %#o", perm)
		}
		if self == 0 && openAs(perm, 65534) == nil { // only root can give files away
			t.Errorf("accepted nobody's with %#o", perm)
		}
	}
	for _, perm := range []os.FileMode{0o640, 0o444, 0o460, 0o441, 0o450} {
		if openAs(perm, self) == nil {
			t.Errorf("accepted %#o", perm)
		}
	}
}

func TestNarrowPermissionsAndLinksAreAccepted(t *testing.T) {
	path := writeFile(t, newKey(t, algKey{alg: policy.ECDSASHA256}))
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	openConfig(t, kms.Config{URI: "file:" + link})
}

// damaged cuts the last third of a PEM block's content, so that it is still PEM.
func damaged(t *testing.T, data []byte) []byte {
	t.Helper()
	b, _ := pem.Decode(data)
	if b == nil {
		t.Fatal("no PEM")
	}
	b.Bytes = b.Bytes[:len(b.Bytes)*2/3]
	return pem.EncodeToMemory(b)
}

func TestPrivateKeysThatAreRefused(t *testing.T) {
	p256 := newKey(t, algKey{alg: policy.ECDSASHA256})
	cosign := readTestdata(t, "cosign3.key")
	bytesOf := must[[]byte](t)
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	legacy := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}}
	zero := block("EC PRIVATE KEY", append([]byte{0x30, 0x31, 2, 1, 1, 4, 0x20}, append(make([]byte, 32), 0xa0, 0x0a, 6, 8, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 1, 0x82, 0x2d)...))
	tests := []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "no private key in PEM form", nil},
		{"DER", "no private key in PEM form", []byte{0x30, 0x81}},
		{"a public key", "no private key in PEM form", readTestdata(t, "cosign3.pub")},
		{"two keys", "more than one private key", append(bytes.Clone(p256), p256...)},
		{"an SSH key", `"OPENSSH PRIVATE KEY"`, block("OPENSSH PRIVATE KEY", []byte{1})},
		{"old PEM encryption", "openssl pkcs8 -topk8", pem.EncodeToMemory(legacy)},
		{"damaged PKCS#8", "decoding the private key", damaged(t, p256)},
		{"damaged cosign key", "it is not JSON", damaged(t, cosign)},
		{"damaged SEC 1", "decoding the private key", block("EC PRIVATE KEY", []byte{1, 2, 3})},
		{"damaged PKCS#1", "decoding the private key", block("RSA PRIVATE KEY", []byte{1, 2, 3})},
		{"weak RSA", "1024 bits", block("PRIVATE KEY", bytesOf(x509.MarshalPKCS8PrivateKey(weak)))},
		{"P-521", "P-521", block("PRIVATE KEY", bytesOf(x509.MarshalPKCS8PrivateKey(p521)))},
		{"SM2 key of zero", "an SM2 key", zero},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + writeFile(t, tt.data), Password: password})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			noSecret(t, err, tt.data)
		})
	}
}

// noSecret fails if an error quotes eight characters in a row of a key's text.
func noSecret(t *testing.T, err error, key []byte) {
	t.Helper()
	for line := range strings.Lines(string(key)) {
		if strings.ContainsAny(line, "-:") { // no base64
			continue
		}
		for i := 0; i+8 <= len(line); i++ {
			if strings.Contains(err.Error(), line[i:i+8]) {
				t.Fatalf("the error quotes the key: %v", err)
			}
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, tt := range []struct {
		alg  policy.Algorithm
		bits int
		want string
	}{
		{"", 0, "allowed: ECDSA_SHA_256"},
		{"RSA", 0, "allowed: ECDSA_SHA_256"},
		{policy.RSAPSSSHA256, 1024, "allowed: 2048, 3072, 4096"},
		{policy.RSAPSSSHA256, 8192, "allowed: 2048, 3072, 4096"},
		{policy.RSAPKCS1SHA256, -1, "allowed: 2048, 3072, 4096"},
		{policy.ECDSASHA256, 256, "for RSA only"},
		{policy.SM2SM3, 256, "for RSA only"},
	} {
		key, public, err := kms.Generate(tt.alg, tt.bits)
		if err == nil || key != nil || public != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %d: got error %v, want %q", tt.alg, tt.bits, err, tt.want)
		}
	}
}

func TestGenerateDefaultsTo3072Bits(t *testing.T) {
	key, public, err := kms.Generate(policy.RSAPKCS1SHA256, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, key, policy.RSAPKCS1SHA256)
	if bits := s.Public().Bits(); bits != 3072 {
		t.Errorf("%d bits, want 3072", bits)
	}
	if diff := cmp.Diff(string(s.Public().PEM()), string(public)); diff != "" {
		t.Error(diff)
	}
}

// Sigstore's own library is the other side of the encrypted format.
func TestEncryptKey(t *testing.T) {
	// Sigstore reads one of these; the format itself does not know algorithms.
	for _, k := range []algKey{{policy.ECDSASHA256, 0}, {policy.SM2SM3, 0}} {
		t.Run(k.String(), func(t *testing.T) {
			plain := newKey(t, k)
			sealed := must[[]byte](t)(kms.EncryptKey(plain, []byte(testPassword)))
			if bytes.Contains(sealed, plain[40:80]) {
				t.Fatal("the key is in the clear")
			}
			if k.alg != policy.SM2SM3 { // which sigstore does not know
				if _, err := cryptoutils.UnmarshalPEMToPrivateKey(sealed, cryptoutils.StaticPasswordFunc([]byte(testPassword))); err != nil {
					t.Errorf("sigstore cannot open it: %v", err)
				}
			}
			s := openConfig(t, kms.Config{URI: "file:" + writeFile(t, sealed), Algorithm: k.alg, Password: password})
			if diff := cmp.Diff(open(t, plain, k.alg).Public().Fingerprint(), s.Public().Fingerprint()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEncryptKeyRefuses(t *testing.T) {
	plain := newKey(t, algKey{alg: policy.ECDSASHA256})
	if _, err := kms.EncryptKey(plain, nil); !errors.Is(err, kms.ErrPassword) {
		t.Errorf("empty password: got %v, want ErrPassword", err)
	}
	if _, err := kms.EncryptKey(readTestdata(t, "cosign3.key"), []byte("x")); !errors.Is(err, kms.ErrPassword) {
		t.Errorf("a key that is encrypted: got %v, want ErrPassword", err)
	}
	if _, err := kms.EncryptKey([]byte("no key"), []byte("x")); err == nil {
		t.Error("what is no key was encrypted")
	}
}
