package awstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// symmetric is the spec of keys that encrypt.
const symmetric = "SYMMETRIC_DEFAULT"

// CreateWrappingKey makes an enabled symmetric key and returns its ARN.
func (s *Server) CreateWrappingKey() string {
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", Region, account, loopback.UUID())
	s.Do(func() { s.keys[arn] = &key{spec: symmetric, usage: "ENCRYPT_DECRYPT", state: "Enabled"} })
	return arn
}

// Wrap encrypts with a symmetric key, as Encrypt does, and returns what the AWS CLI
// prints of it.
func (s *Server) Wrap(tb testing.TB, arn string, plaintext []byte) string {
	tb.Helper()
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // it does not fail
	return base64.StdEncoding.EncodeToString(aeadOf(arn).Seal(nonce, nonce, plaintext, nil))
}

// aeadOf is what a key encrypts with: it has no other secret than its name here.
func aeadOf(arn string) cipher.AEAD {
	secret := sha256.Sum256([]byte(arn))
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

// decrypt answers Decrypt. It is called inside Do.
func (s *Server) decrypt(arn string, k *key, in input) (map[string]any, *refusal) {
	switch {
	case k.state == "Disabled":
		return nil, &refusal{"DisabledException", arn + " is disabled."}
	case k.state != "Enabled":
		return nil, &refusal{"KMSInvalidStateException", arn + " is pending deletion."}
	case k.spec != symmetric || in.EncryptionAlgorithm != symmetric:
		return nil, &refusal{"InvalidKeyUsageException", arn + " key usage is " + k.usage + " which is not valid for Decrypt."}
	case len(in.Ciphertext) < 12:
		return nil, &refusal{"InvalidCiphertextException", ""}
	}
	nonce, text := in.Ciphertext[:12], in.Ciphertext[12:]
	plaintext, err := aeadOf(arn).Open(nil, nonce, text, nil)
	if err == nil {
		return map[string]any{"KeyId": arn, "Plaintext": plaintext, "EncryptionAlgorithm": symmetric}, nil
	}
	for other := range s.keys {
		if _, err := aeadOf(other).Open(nil, nonce, text, nil); err == nil {
			return nil, &refusal{"IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation."}
		}
	}
	return nil, &refusal{"InvalidCiphertextException", ""}
}
