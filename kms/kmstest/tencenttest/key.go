package tencenttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// A key is a key of the store, with a real private half.
type key struct {
	id, usage, state string
	private          crypto.Signer
}

// Uses of a key, as KeyUsage says them.
const (
	SM2     = "ASYMMETRIC_SIGN_VERIFY_SM2"
	ECC     = "ASYMMETRIC_SIGN_VERIFY_ECC"
	ECDSA   = "ASYMMETRIC_SIGN_VERIFY_ECDSA384"
	RSA     = "ASYMMETRIC_SIGN_VERIFY_RSA_2048"
	Encrypt = "ENCRYPT_DECRYPT"
)

// generate makes a private key for a KeyUsage, nil for Encrypt.
func generate(usage string) (crypto.Signer, error) {
	switch usage {
	case SM2:
		return sm2.GenerateKey(rand.Reader)
	case ECC:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSA:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Encrypt:
		return nil, nil //nolint:nilnil // there is no private half
	}
	return nil, fmt.Errorf("KeyUsage %q is unknown", usage)
}

// publicText writes the public half as the real store does: the DER in base64,
// and in the PEM form encoded once more than it should be.
func (k *key) publicText() (text, pemText string, err error) {
	der, err := smx509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return "", "", fmt.Errorf("encoding the public key: %w", err)
	}
	text = base64.StdEncoding.EncodeToString(der)
	return text, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte(text)})), nil
}

// An algorithm is an Algorithm of the API.
type algorithm struct {
	usage string // of the keys it fits
	hash  crypto.Hash
	pss   bool
}

func algorithmOf(name string) (algorithm, bool) {
	alg, known := map[string]algorithm{
		"SM2DSA":            {usage: SM2},
		"ECC_P256_R1":       {usage: ECC, hash: crypto.SHA256},
		"ECDSA384_SHA384":   {usage: ECDSA, hash: crypto.SHA384},
		"RSA_PSS_SHA_256":   {usage: RSA, hash: crypto.SHA256, pss: true},
		"RSA_PKCS1_SHA_256": {usage: RSA, hash: crypto.SHA256},
	}[name]
	return alg, known
}

// sign signs a digest, or a message if it is raw.
func (k *key) sign(alg algorithm, content []byte, raw bool) ([]byte, error) {
	switch {
	case alg.usage == SM2:
		return k.private.Sign(rand.Reader, content, sm2.NewSM2SignerOption(raw, nil))
	case raw:
		h := alg.hash.New()
		h.Write(content)
		content = h.Sum(nil)
	}
	if alg.pss {
		return k.private.Sign(rand.Reader, content, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.hash})
	}
	return k.private.Sign(rand.Reader, content, alg.hash)
}
