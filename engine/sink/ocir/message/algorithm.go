package message

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// algorithms are those of container image signatures, all of them RSA-PSS.
var algorithms = []struct {
	name string
	hash crypto.Hash
	ours policy.Algorithm // empty: no key of ours signs with it
}{
	{"SHA_224_RSA_PKCS_PSS", crypto.SHA224, ""},
	{"SHA_256_RSA_PKCS_PSS", crypto.SHA256, policy.RSAPSSSHA256},
	{"SHA_384_RSA_PKCS_PSS", crypto.SHA384, policy.RSAPSSSHA384},
	{"SHA_512_RSA_PKCS_PSS", crypto.SHA512, policy.RSAPSSSHA512},
}

// Algorithms returns the algorithms of container image signatures.
func Algorithms() []string {
	var names []string
	for _, a := range algorithms {
		names = append(names, a.name)
	}
	return names
}

// Algorithm returns the algorithm of that name, whatever its case.
func Algorithm(name string) (string, bool) {
	for _, a := range algorithms {
		if strings.EqualFold(a.name, name) {
			return a.name, true
		}
	}
	return "", false
}

// AlgorithmOf returns what Oracle calls an algorithm of ours; false if container image
// signatures do not have it.
func AlgorithmOf(ours policy.Algorithm) (string, bool) {
	for _, a := range algorithms {
		if a.ours == ours && ours != "" {
			return a.name, true
		}
	}
	return "", false
}

// Verify returns nil if the signature is the key's over the signed text, with the
// algorithm of that name. As in Oracle's vaults, an RSA key can be used with all of
// them, whichever it signs with here. Other keys have no such signatures.
func Verify(public *kms.PublicKey, algorithm string, signed, signature []byte) error {
	key, err := x509.ParsePKIXPublicKey(public.DER())
	rsaKey, ok := key.(*rsa.PublicKey)
	if err != nil || !ok {
		return errors.New("the key is no RSA key")
	}
	for _, a := range algorithms {
		if a.name != algorithm {
			continue
		}
		h := a.hash.New()
		h.Write(signed)
		// How long the salt is, Oracle does not say, and it does not weaken a signature.
		if rsa.VerifyPSS(rsaKey, a.hash, h.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) != nil {
			return fmt.Errorf("%s signature of %d bytes: %w", algorithm, len(signature), kms.ErrInvalidSignature)
		}
		return nil
	}
	return fmt.Errorf("algorithm %.40q is not one of %s", algorithm, strings.Join(Algorithms(), ", "))
}
