package apig

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
)

// SealSize is how many bytes the key of a Seal has.
const SealSize = 32

// sealContext is what is encrypted, and how, so that it is nothing else.
const sealContext = "sealwright signature key, version 1"

// A Seal encrypts the secrets of signature keys with AES-256-GCM. What it encrypted
// can be decrypted for the same id, type and registry only. It does not print its
// keys, and its methods may be called by many goroutines.
type Seal struct {
	current string
	ciphers map[string]cipher.AEAD // by id
}

// NewSeal returns a seal that encrypts with the current key, and decrypts with the
// older ones too. Keys are SealSize bytes that cannot be guessed.
func NewSeal(current []byte, older ...[]byte) (*Seal, error) {
	s := &Seal{current: sealID(current), ciphers: map[string]cipher.AEAD{}}
	for _, key := range append([][]byte{current}, older...) {
		if len(key) != SealSize {
			return nil, fmt.Errorf("a sealing key has %d bytes; allowed: %d", len(key), SealSize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if s.ciphers[sealID(key)], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// sealID names a key without telling it.
func sealID(key []byte) string {
	sum := sha256.Sum256(append([]byte("sealwright sealing key id\x00"), key...))
	return hex.EncodeToString(sum[:8])
}

// String returns the id of the key that encrypts.
func (s *Seal) String() string { return "seal " + s.current }

// Format writes String for every verb, so that no verb shows a key.
func (s *Seal) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// secrets are what is encrypted of a signature key. Key is empty unless the type has
// it secret.
type secrets struct {
	Key    string `json:"key,omitempty"`
	Secret string `json:"secret"`
}

// close encrypts into a signature key that is otherwise complete.
func (s *Seal) close(k *journal.SignatureKey, secret secrets) error {
	plain, err := json.Marshal(secret) //nolint:gosec // it is encrypted next
	if err != nil {
		return errors.New("encrypting a signature key: it cannot be written as JSON") // the error might quote it
	}
	aead := s.ciphers[s.current]
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	k.Sealed = base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, bound(k)))
	k.SealedBy = s.current
	return nil
}

// open decrypts what close encrypted.
func (s *Seal) open(k *journal.SignatureKey) (secrets, error) {
	aead := s.ciphers[k.SealedBy]
	if aead == nil {
		return secrets{}, fmt.Errorf("signature key %s is encrypted with the sealing key %s, which is not configured", k.ID, k.SealedBy)
	}
	raw, err := base64.StdEncoding.DecodeString(k.Sealed)
	if err != nil || len(raw) < aead.NonceSize() {
		return secrets{}, fmt.Errorf("signature key %s: what is encrypted is cut off", k.ID)
	}
	plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], bound(k))
	if err != nil {
		return secrets{}, fmt.Errorf("signature key %s: what is encrypted was changed, or is that of another key", k.ID)
	}
	var secret secrets
	if err := json.Unmarshal(plain, &secret); err != nil {
		return secrets{}, fmt.Errorf("signature key %s: what was encrypted is not JSON", k.ID)
	}
	return secret, nil
}

// reseal encrypts again what an older key encrypted.
func (s *Seal) reseal(k *journal.SignatureKey) (bool, error) {
	if k.SealedBy == s.current {
		return false, nil
	}
	secret, err := s.open(k)
	if err != nil {
		return false, err
	}
	return true, s.close(k, secret)
}

// bound is what a ciphertext belongs to.
func bound(k *journal.SignatureKey) []byte {
	return []byte(strings.Join([]string{sealContext, k.ID, k.Type, k.Registry}, "\x00"))
}
