package ocitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
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
	length           int // in bytes
	pair             func() (crypto.Signer, error)
}

func shapeOf(name string) (shape, error) {
	ec := func(curve elliptic.Curve) func() (crypto.Signer, error) {
		return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
	}
	switch name {
	case "RSA_2048":
		return shape{"RSA", "", 256, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }}, nil
	case "NIST_P256":
		return shape{"ECDSA", name, 32, ec(elliptic.P256())}, nil
	case "NIST_P384":
		return shape{"ECDSA", name, 48, ec(elliptic.P384())}, nil
	case "NIST_P521":
		return shape{"ECDSA", name, 66, ec(elliptic.P521())}, nil
	case "AES_256":
		return shape{"AES", "", 32, func() (crypto.Signer, error) { return nil, nil }}, nil //nolint:nilnil // there is nothing public about it
	}
	return shape{}, fmt.Errorf("key shape %q; allowed: RSA_2048, NIST_P256, NIST_P384, NIST_P521, AES_256", name)
}

func publicPEM(pair crypto.Signer) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pair.Public())
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// hashes are what the names of algorithms say of the hash.
var hashes = []struct {
	part string
	hash crypto.Hash
}{{"SHA_256", crypto.SHA256}, {"SHA_384", crypto.SHA384}, {"SHA_512", crypto.SHA512}}

// maxMessage is the length of the longest raw message, in bytes.
const maxMessage = 4096

// sign does what Sign does with a message or, if raw is false, with its digest.
func sign(pair crypto.Signer, algorithm string, message []byte, raw bool) ([]byte, error) {
	var hash crypto.Hash
	for _, h := range hashes {
		if strings.Contains(algorithm, h.part) {
			hash = h.hash
		}
	}
	digest := message
	switch {
	case hash == 0:
		return nil, fmt.Errorf("algorithm %q", algorithm)
	case raw && len(message) > maxMessage:
		return nil, fmt.Errorf("message of %d bytes; allowed: at most %d", len(message), maxMessage)
	case raw:
		h := hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	case len(digest) != hash.Size():
		return nil, fmt.Errorf("digest of %d bytes; allowed: %d", len(digest), hash.Size())
	}
	_, isRSA := pair.(*rsa.PrivateKey)
	switch {
	case isRSA && strings.HasSuffix(algorithm, "_RSA_PKCS_PSS"):
		return pair.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	case isRSA && strings.HasSuffix(algorithm, "_RSA_PKCS1_V1_5"), !isRSA && strings.HasPrefix(algorithm, "ECDSA_"):
		return pair.Sign(rand.Reader, digest, hash)
	}
	return nil, errors.New("the algorithm is not one of the key's")
}
