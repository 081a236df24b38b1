package huaweitest

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// A key is a key of the store, with a real private half.
type key struct {
	id, spec, usage, state string
	private                crypto.Signer
}

// kindOf is the kind of key of a key_spec of the API.
func kindOf(spec string) string {
	return map[string]string{"EC_P256": "P-256", "EC_P384": "P-384", "SM2": "SM2", "RSA_2048": "RSA-2048", "RSA_3072": "RSA-3072"}[spec]
}

// publicPEM writes the public half as the real store does: with CRLF, and of an
// RSA key the bare PKCS#1 form under the header of the other.
func (k *key) publicPEM() (string, error) {
	text, err := loopback.PublicPEM(k.private)
	if public, ok := k.private.Public().(*rsa.PublicKey); ok {
		text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)})
	}
	return strings.ReplaceAll(string(text), "\n", "\r\n"), err
}

// An algorithm is a signing_algorithm of the API.
type algorithm struct {
	spec string // prefix of the key specs it fits
	how  loopback.Algorithm
}

func algorithmOf(name string) (algorithm, bool) {
	hash := loopback.HashOf(name)
	switch {
	case name == "SM2DSA_SM3":
		return algorithm{spec: "SM2"}, true
	case hash == 0:
		return algorithm{}, false
	case name == "ECDSA_SHA_256", name == "ECDSA_SHA_384":
		return algorithm{"EC_P" + name[len(name)-3:], loopback.Algorithm{Hash: hash}}, true
	case strings.HasPrefix(name, "RSASSA_PSS_SHA_"):
		return algorithm{"RSA_", loopback.Algorithm{Hash: hash, PSS: true}}, true
	case strings.HasPrefix(name, "RSASSA_PKCS1_V1_5_SHA_"):
		return algorithm{"RSA_", loopback.Algorithm{Hash: hash}}, true
	}
	return algorithm{}, false
}

// sign signs a digest, or a message if it is raw.
func (k *key) sign(alg algorithm, content []byte, raw bool) ([]byte, error) {
	if raw {
		content = alg.how.Digest(content)
	}
	return alg.how.Sign(k.private, content)
}
