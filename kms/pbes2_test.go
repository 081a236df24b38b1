package kms

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pbes2 is the file that decryptPKCS8 takes apart.
type pbes2 struct {
	oid        asn1.ObjectIdentifier
	kdf        asn1.ObjectIdentifier
	salt       []byte
	iterations int
	keyLength  int
	prf        asn1.ObjectIdentifier
	cipher     asn1.ObjectIdentifier
	iv, data   []byte
}

func (p pbes2) marshal(t *testing.T) []byte {
	t.Helper()
	der := func(v any) asn1.RawValue {
		t.Helper()
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: b}
	}
	kdf := der(struct {
		Salt       []byte
		Iterations int
		KeyLength  int `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier
	}{p.salt, p.iterations, p.keyLength, pkix.AlgorithmIdentifier{Algorithm: p.prf, Parameters: asn1.NullRawValue}})
	scheme := der(struct{ KDF, Cipher pkix.AlgorithmIdentifier }{
		pkix.AlgorithmIdentifier{Algorithm: p.kdf, Parameters: kdf},
		pkix.AlgorithmIdentifier{Algorithm: p.cipher, Parameters: der(p.iv)},
	})
	return der(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: p.oid, Parameters: scheme}, p.data}).FullBytes
}

// An encrypted key file may be damaged in any part; the libraries at hand panic
// on some of these.
func TestDamagedPBES2(t *testing.T) {
	file := pbes2{
		oid:        asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13},
		kdf:        asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12},
		salt:       []byte("saltsalt"),
		iterations: 1,
		prf:        asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9},
		cipher:     asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42},
		iv:         make([]byte, 16),
		data:       make([]byte, 32),
	}
	other := asn1.ObjectIdentifier{1, 2, 3}
	tests := []struct {
		name   string
		damage func(*pbes2)
		want   string
	}{
		{"nothing but its content", func(*pbes2) {}, "wrong password or damaged key"},
		{"encryption", func(p *pbes2) { p.oid = other }, "key encryption 1.2.3 is not supported"},
		{"derivation", func(p *pbes2) { p.kdf = other }, "key derivation 1.2.3 is not supported"},
		{"hash", func(p *pbes2) { p.prf = other }, "hash 1.2.3 is not supported"},
		{"cipher", func(p *pbes2) { p.cipher = other }, "key cipher 1.2.3 is not supported"},
		{"no iterations", func(p *pbes2) { p.iterations = 0 }, "0 iterations"},
		{"negative iterations", func(p *pbes2) { p.iterations = -1 }, "-1 iterations"},
		{"too many iterations", func(p *pbes2) { p.iterations = maxIterations + 1 }, "allowed: 1 to 5000000"},
		{"another key length", func(p *pbes2) { p.keyLength = 16 }, "damaged"},
		{"short IV", func(p *pbes2) { p.iv = p.iv[:15] }, "the encrypted key is damaged"},
		{"long IV", func(p *pbes2) { p.iv = make([]byte, 17) }, "the encrypted key is damaged"},
		{"broken block", func(p *pbes2) { p.data = p.data[:31] }, "the encrypted key is damaged"},
		{"no data", func(p *pbes2) { p.data = nil }, "the encrypted key is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := file
			tt.damage(&p)
			plain, err := decryptPKCS8(p.marshal(t), []byte("password"))
			if plain != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %d bytes and %v, want %q", len(plain), err, tt.want)
			}
		})
	}
	t.Run("bytes after it", func(t *testing.T) {
		if _, err := decryptPKCS8(append(file.marshal(t), 0), []byte("password")); !errors.Is(err, errDamagedPKCS8) {
			t.Errorf("got %v, want it damaged", err)
		}
	})
}

// About one wrong password in 256 finds padding that fits; it must be told
// apart from a damaged key even so.
func TestEveryWrongPasswordIsToldAsOne(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "openssl.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	for i := range 1000 {
		wrong := bytes.Repeat([]byte{'a'}, i)
		if _, err := decryptPKCS8(block.Bytes, wrong); !errors.Is(err, ErrPassword) {
			t.Fatalf("password of %d bytes: got %v, want ErrPassword", i, err)
		}
	}
}
