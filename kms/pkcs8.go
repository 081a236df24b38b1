package kms

import (
	"errors"
	"fmt"

	"github.com/emmansun/gmsm/pkcs8"
	"github.com/emmansun/gmsm/smx509"
)

// decryptPKCS8 opens an ENCRYPTED PRIVATE KEY (RFC 8018), which is what OpenSSL
// writes, and returns the PKCS#8 in it. The library panics on some damaged
// files; they, and a wrong password, which nothing tells apart, are ErrPassword.
func decryptPKCS8(der, password []byte) (plain []byte, err error) {
	defer func() {
		if recover() != nil {
			plain, err = nil, errWrongPassword
		}
	}()
	key, _, err := pkcs8.ParsePrivateKey(der, password)
	if err != nil {
		return nil, errWrongPassword
	}
	if plain, err = smx509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, fmt.Errorf("decoding the private key: %w", errors.Join(ErrKeyMismatch, err))
	}
	return plain, nil
}
