package alibabatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// A key is one of KMS's with its versions, oldest first.
type key struct {
	id, spec, state, usage, primary string
	versions                        []version
}

type version struct {
	id   string
	made time.Time
	pair crypto.Signer // nil for a symmetric key
}

// newPair makes a key pair of a key spec.
func newPair(spec string) (crypto.Signer, error) {
	switch spec {
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA_3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "EC_P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EC_SM2":
		return sm2.GenerateKey(rand.Reader)
	case "Aliyun_AES_256":
		return nil, nil //nolint:nilnil // there is nothing public about it
	}
	return nil, fmt.Errorf("key spec %q; allowed: RSA_2048, RSA_3072, EC_P256, EC_SM2, Aliyun_AES_256", spec)
}

// publicPEM is a public key as GetPublicKey writes it.
func publicPEM(pair crypto.Signer) (string, error) {
	der, err := smx509.MarshalPKIXPublicKey(pair.Public())
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// errNotOfKey: a key's spec does not have the algorithm.
var errNotOfKey = errors.New("the algorithm is not one of the key's")

// signDigest does what AsymmetricSign does with a digest of 32 bytes.
func signDigest(pair crypto.Signer, algorithm string, digest []byte) ([]byte, error) {
	if len(digest) != 32 {
		return nil, fmt.Errorf("a digest of %d bytes; allowed: 32", len(digest))
	}
	switch pair := pair.(type) {
	case *rsa.PrivateKey:
		switch algorithm {
		case "RSA_PSS_SHA_256":
			return rsa.SignPSS(rand.Reader, pair, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		case "RSA_PKCS1_SHA_256":
			return rsa.SignPKCS1v15(rand.Reader, pair, crypto.SHA256, digest)
		}
	case *ecdsa.PrivateKey:
		if algorithm == "ECDSA_SHA_256" {
			return ecdsa.SignASN1(rand.Reader, pair, digest)
		}
	case *sm2.PrivateKey:
		if algorithm == "SM2DSA" {
			return pair.Sign(rand.Reader, digest, nil) // no options: the digest is signed as it is
		}
	}
	return nil, errNotOfKey
}
