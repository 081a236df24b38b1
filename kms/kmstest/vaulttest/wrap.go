package vaulttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Wrap encrypts with the latest version of a key of type aes256-gcm96, as the engine's
// encrypt does.
func (s *Server) Wrap(tb testing.TB, path string, plaintext []byte) (ciphertext string) {
	tb.Helper()
	s.Do(func() {
		k := s.keys[path]
		nonce := make([]byte, 12)
		_, _ = rand.Read(nonce) // it does not fail
		version := len(k.versions)
		ciphertext = fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(k.aead(version).Seal(nonce, nonce, plaintext, nil)))
	})
	return ciphertext
}

// aead is what a version encrypts with.
func (k *key) aead(version int) cipher.AEAD {
	secret := sha256.Sum256(fmt.Appendf(k.data[:], "%d", version))
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block is AES's
	}
	return aead
}

// decrypt answers POST decrypt/NAME. It is called inside Do.
func (s *Server) decrypt(w http.ResponseWriter, body []byte, path string) {
	var in struct {
		Ciphertext string `json:"ciphertext"`
	}
	k := s.keys[path]
	switch err := json.Unmarshal(body, &in); {
	case err != nil:
		Fail(w, http.StatusBadRequest, "failed to parse JSON input: "+err.Error())
	case k == nil:
		Fail(w, http.StatusBadRequest, "encryption key not found")
	case k.versions[0] != nil:
		Fail(w, http.StatusBadRequest, "key type "+k.kind+" does not support decryption")
	default:
		plaintext, err := k.open(in.Ciphertext)
		if err != nil {
			Fail(w, http.StatusBadRequest, err.Error())
			return
		}
		succeed(w, "data", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)})
	}
}

func (k *key) open(ciphertext string) ([]byte, error) {
	version, encoded, _ := strings.Cut(strings.TrimPrefix(ciphertext, "vault:v"), ":")
	n, err := strconv.Atoi(version)
	text, decoding := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil, !strings.HasPrefix(ciphertext, "vault:v"):
		return nil, errors.New("invalid ciphertext: no prefix")
	case decoding != nil, len(text) < 12:
		return nil, errors.New("invalid ciphertext: could not decode base64")
	case n < 1 || n > len(k.versions):
		return nil, errors.New("invalid ciphertext: version is too new")
	case n < k.minVersion:
		return nil, errors.New("ciphertext or signature version is disallowed by policy (too old)")
	}
	return k.aead(n).Open(nil, text[:12], text[12:], nil)
}
