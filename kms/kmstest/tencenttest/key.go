package tencenttest

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
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

// kindOf is the kind of key for a KeyUsage.
func kindOf(usage string) string {
	return map[string]string{SM2: "SM2", ECC: "P-256", ECDSA: "P-384", RSA: "RSA-2048"}[usage]
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
	how   loopback.Algorithm
}

func algorithmOf(name string) (algorithm, bool) {
	alg, known := map[string]algorithm{
		"SM2DSA":            {usage: SM2},
		"ECC_P256_R1":       {ECC, loopback.Algorithm{Hash: crypto.SHA256}},
		"ECDSA384_SHA384":   {ECDSA, loopback.Algorithm{Hash: crypto.SHA384}},
		"RSA_PSS_SHA_256":   {RSA, loopback.Algorithm{Hash: crypto.SHA256, PSS: true}},
		"RSA_PKCS1_SHA_256": {RSA, loopback.Algorithm{Hash: crypto.SHA256}},
	}[name]
	return alg, known
}

// sign signs a digest, or a message if it is raw.
func (k *key) sign(alg algorithm, content []byte, raw bool) ([]byte, error) {
	switch {
	case raw && alg.usage == SM2:
		return k.private.Sign(rand.Reader, content, sm2.NewSM2SignerOption(true, nil))
	case raw:
		content = alg.how.Digest(content)
	}
	return alg.how.Sign(k.private, content)
}
