package ocitest

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// A key is one of the vault's with its versions, oldest first.
type key struct {
	id, shape, state string
	versions         []*version
}

type version struct {
	id, state string
	pair      crypto.Signer // nil for AES
}

// A shape is what a key is made of.
type shape struct {
	algorithm, curve string
	length           int    // in bytes
	kind             string // empty: there is nothing public about it
}

func shapeOf(name string) (shape, error) {
	of, ok := map[string]shape{
		"RSA_2048":  {"RSA", "", 256, "RSA-2048"},
		"NIST_P256": {"ECDSA", "NIST_P256", 32, "P-256"},
		"NIST_P384": {"ECDSA", "NIST_P384", 48, "P-384"},
		"NIST_P521": {"ECDSA", "NIST_P521", 66, "P-521"},
		"AES_256":   {"AES", "", 32, ""},
	}[name]
	if !ok {
		return of, fmt.Errorf("key shape %q; allowed: RSA_2048, NIST_P256, NIST_P384, NIST_P521, AES_256", name)
	}
	return of, nil
}

// maxMessage is the length of the longest raw message, in bytes.
const maxMessage = 4096

// sign does what Sign does with a message or, if raw is false, with its digest.
func sign(pair crypto.Signer, algorithm string, message []byte, raw bool) ([]byte, error) {
	name := strings.TrimSuffix(strings.TrimSuffix(algorithm, "_RSA_PKCS_PSS"), "_RSA_PKCS1_V1_5")
	alg := loopback.Algorithm{Hash: loopback.HashOf(name), PSS: strings.HasSuffix(algorithm, "_RSA_PKCS_PSS")}
	_, isRSA := pair.(*rsa.PrivateKey)
	switch {
	case alg.Hash == 0:
		return nil, fmt.Errorf("algorithm %q", algorithm)
	case isRSA != (name != algorithm):
		return nil, errors.New("the algorithm is not one of the key's")
	case raw && len(message) > maxMessage:
		return nil, fmt.Errorf("message of %d bytes; allowed: at most %d", len(message), maxMessage)
	case raw:
		message = alg.Digest(message)
	}
	return alg.Sign(pair, message)
}
