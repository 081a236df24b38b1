package alibabatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm2"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
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

// errNotOfKey: a key's spec does not have the algorithm.
var errNotOfKey = errors.New("the algorithm is not one of the key's")

// signDigest does what AsymmetricSign does with a digest of 32 bytes.
func signDigest(pair crypto.Signer, algorithm string, digest []byte) ([]byte, error) {
	alg, ok := map[string]loopback.Algorithm{
		"RSA_PSS_SHA_256": {Hash: crypto.SHA256, PSS: true}, "RSA_PKCS1_SHA_256": {Hash: crypto.SHA256},
		"ECDSA_SHA_256": {Hash: crypto.SHA256}, "SM2DSA": {},
	}[algorithm]
	var family string
	switch pair.(type) {
	case *rsa.PrivateKey:
		family = "RSA_"
	case *ecdsa.PrivateKey:
		family = "ECDSA_"
	case *sm2.PrivateKey:
		family = "SM2DSA"
	}
	if !ok || !strings.HasPrefix(algorithm, family) {
		return nil, errNotOfKey
	}
	return alg.Sign(pair, digest)
}
