package huaweitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// A key is a key of the store, with a real private half.
type key struct {
	id, spec, usage, state string
	private                crypto.Signer
}

// generate makes a private key of a key_spec of the API.
func generate(spec string) (crypto.Signer, error) {
	switch spec {
	case "EC_P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EC_P384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "SM2":
		return sm2.GenerateKey(rand.Reader)
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA_3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("key_spec %q; allowed: EC_P256, EC_P384, SM2, RSA_2048, RSA_3072", spec)
}

// publicPEM writes the public half as the real store does: with CRLF, and of an
// RSA key the bare PKCS#1 form under the header of the other.
func (k *key) publicPEM() (string, error) {
	var der []byte
	var err error
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		der = x509.MarshalPKCS1PublicKey(public)
	default:
		der, err = smx509.MarshalPKIXPublicKey(public)
	}
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return strings.ReplaceAll(string(text), "\n", "\r\n"), nil
}

// An algorithm is a signing_algorithm of the API.
type algorithm struct {
	spec string // prefix of the key specs it fits
	hash crypto.Hash
	size int // of the digest
	pss  bool
}

func algorithmOf(name string) (algorithm, bool) {
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	if name == "SM2DSA_SM3" {
		return algorithm{spec: "SM2", size: 32}, true
	}
	family, bits, _ := cutLast(name, "_SHA_")
	hash, ok := hashes[bits]
	if !ok {
		return algorithm{}, false
	}
	switch family {
	case "RSASSA_PSS":
		return algorithm{"RSA_", hash, hash.Size(), true}, true
	case "RSASSA_PKCS1_V1_5":
		return algorithm{"RSA_", hash, hash.Size(), false}, true
	case "ECDSA":
		spec := map[string]string{"256": "EC_P256", "384": "EC_P384"}[bits]
		return algorithm{spec, hash, hash.Size(), false}, spec != ""
	}
	return algorithm{}, false
}

func cutLast(text, sep string) (before, after string, found bool) {
	at := strings.LastIndex(text, sep)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(sep):], true
}

// sign signs a digest, or a message if it is raw.
func (k *key) sign(alg algorithm, content []byte, raw bool) ([]byte, error) {
	if raw {
		h := alg.hash.New()
		h.Write(content)
		content = h.Sum(nil)
	}
	var opts crypto.SignerOpts = alg.hash
	switch {
	case alg.pss:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.hash}
	case alg.spec == "SM2":
		opts = nil // the digest is signed as it is
	}
	return k.private.Sign(rand.Reader, content, opts)
}
