package kms

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// encryptedBlock returns a key that OpenSSL encrypted.
func encryptedBlock(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "openssl.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	return block.Bytes
}

// TestDamagedPKCS8: a file that is damaged in any byte, or cut anywhere, is an
// error; the library panics on some of these.
func TestDamagedPKCS8(t *testing.T) {
	der := encryptedBlock(t)
	for i := range der {
		damaged := bytes.Clone(der)
		damaged[i] ^= 0xff
		if _, err := decryptPKCS8(damaged, []byte("wrong")); err == nil {
			t.Errorf("byte %d changed: no error", i)
		}
		if _, err := decryptPKCS8(der[:i], []byte("wrong")); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
}

// About one wrong password in 256 finds padding that fits; it is refused even
// so.
func TestEveryWrongPasswordIsToldAsOne(t *testing.T) {
	der := encryptedBlock(t)
	for i := range 300 {
		if _, err := decryptPKCS8(der, bytes.Repeat([]byte{'a'}, i)); !errors.Is(err, ErrPassword) {
			t.Fatalf("password of %d bytes: got %v, want ErrPassword", i, err)
		}
	}
}
