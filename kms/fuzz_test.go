package kms

import (
	"bytes"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
)

func seed(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// derOf returns what is inside a PEM file, which a fuzzer can change with more
// effect than its base64.
func derOf(f *testing.F, name string) []byte {
	f.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		f.Fatalf("%s is no PEM", name)
	}
	return block.Bytes
}

// asPEM wraps what is not PEM.
func asPEM(kind string, data []byte) []byte {
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return data
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

// What is read as a public key can be written and read again, and verifies
// nothing it should not, whatever the file held.
func FuzzParsePublicKey(f *testing.F) {
	seed(f, "*.pub")
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw==\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PUBLIC KEY-----\nMAYCAQMCAQM=\n-----END RSA PUBLIC KEY-----\n"))
	f.Add(derOf(f, "openssl.pub"))
	f.Fuzz(func(t *testing.T, data []byte) {
		candidates, err := Candidates(asPEM(pemPublic, data))
		if err != nil {
			return
		}
		for _, p := range candidates {
			again, err := ParsePublicKey(p.PEM(), p.Algorithm())
			if err != nil {
				t.Fatalf("reading again: %v", err)
			}
			if again.Fingerprint() != p.Fingerprint() || again.Bits() != p.Bits() {
				t.Fatal("the key changed")
			}
			if err := p.Verify([]byte("message"), make([]byte, (p.Bits()+7)/8)); !errors.Is(err, ErrInvalidSignature) {
				t.Fatalf("zeros verify: %v", err)
			}
		}
	})
}

// A private key file may hold anything: it is opened or refused, and what was
// opened signs what its public half verifies.
func FuzzParsePrivateKey(f *testing.F) {
	for _, alg := range []policy.Algorithm{policy.ECDSASHA256, policy.ECDSASHA384, policy.SM2SM3} {
		key, _, err := Generate(alg, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, byte(0))
		block, _ := pem.Decode(key)
		f.Add(block.Bytes, byte(0)) // as every type that can be read without a password
		f.Add(block.Bytes, byte(1))
		f.Add(block.Bytes, byte(2))
		f.Add(block.Bytes, byte(3))
	}
	for _, name := range []string{"cosign2.key", "cosign3.key", "openssl.key"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, byte(0))
	}
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqgRzPVQGCLQ==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"), byte(0))
	secret := []byte("correct horse")
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		data = asPEM(privateTypes[int(kind)%len(privateTypes)], data)
		if block, _ := pem.Decode(data); block != nil && strings.Contains(block.Type, "ENCRYPTED") && len(block.Bytes) > 4096 {
			return // nothing new, only slow
		}
		key, err := parsePrivateKey(data, func() ([]byte, error) { return secret, nil })
		if err != nil {
			if strings.Contains(err.Error(), string(secret)) {
				t.Fatalf("the error quotes the password: %v", err)
			}
			return
		}
		var alg policy.Algorithm
		if _, ok := key.Public().(*rsa.PublicKey); ok {
			alg = policy.RSAPSSSHA256
		}
		public, err := NewPublicKey(key.Public(), alg)
		if err != nil {
			return
		}
		s := verifying(&fileKey{key: key, public: public})
		signature, err := s.Sign(t.Context(), []byte("message"))
		if errors.Is(err, ErrInvalidSignature) {
			return // a damaged RSA key signs wrongly, and the check found it
		}
		if err == nil && public.Verify([]byte("message"), signature) != nil {
			t.Fatal("a bad signature got out")
		}
	})
}

// FuzzDecryptPKCS8 needs no valid PEM around its input.
func FuzzDecryptPKCS8(f *testing.F) {
	der := derOf(f, "openssl.key")
	f.Add(der, []byte("correct horse"))
	f.Add(der, []byte("wrong"))
	f.Fuzz(func(t *testing.T, der, secret []byte) {
		plain, err := decryptPKCS8(der, secret)
		if err != nil && plain != nil {
			t.Fatal("an error came with a key")
		}
	})
}

// No signature verifies but those that the key made over their messages.
func FuzzVerify(f *testing.F) {
	message := []byte("message")
	var publics []*PublicKey
	rsaKey, err := generate(policy.RSAPSSSHA256, 2048)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		key := rsaKey
		if alg.Family() == policy.ECDSA || alg.Family() == policy.SM2 {
			if key, err = generate(alg, 0); err != nil {
				f.Fatal(err)
			}
		}
		p, err := NewPublicKey(key.Public(), alg)
		if err != nil {
			f.Fatal(err)
		}
		signature, err := (&fileKey{key: key, public: p}).Sign(f.Context(), message)
		if err != nil {
			f.Fatal(err)
		}
		publics = append(publics, p)
		f.Add([]byte("other"), signature)
		f.Add(message, signature[:len(signature)-1])
		f.Add(message, append(signature, 0))
	}
	f.Add([]byte{}, []byte{})
	f.Add(message, []byte{0x30, 6, 2, 1, 0, 2, 1, 0})
	f.Fuzz(func(t *testing.T, m, signature []byte) {
		for _, p := range publics {
			err := p.Verify(m, signature)
			if err == nil && !bytes.Equal(m, message) {
				t.Fatalf("%s: a forged signature of %q verifies: %x", p.Algorithm(), m, signature)
			}
			if err != nil && !errors.Is(err, ErrInvalidSignature) {
				t.Fatalf("%s: got %v, want ErrInvalidSignature", p.Algorithm(), err)
			}
		}
	})
}
