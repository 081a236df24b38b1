package kmstest

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/sealwright/sealwright/kms"
)

// saltLength returns the length in bytes of the salt of an RSA-PSS signature:
// the only one with which it verifies.
func saltLength(public *kms.PublicKey, message, signature []byte) (int, error) {
	key, err := x509.ParsePKIXPublicKey(public.DER())
	if err != nil {
		return 0, fmt.Errorf("decoding the public key: %w", err)
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	if !ok {
		return 0, fmt.Errorf("a %T is no RSA key", key)
	}
	hash := public.Algorithm().Hash()
	h := hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	for salt := 1; salt <= rsaKey.Size()-hash.Size()-2; salt++ {
		opts := &rsa.PSSOptions{SaltLength: salt}
		if rsa.VerifyPSS(rsaKey, hash, digest, signature, opts) == nil {
			return salt, nil
		}
	}
	return 0, errors.New("the signature verifies with no salt length")
}
