//go:build cgo

package main

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"

	"github.com/miekg/pkcs11"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// publicHalf returns the public key that belongs to a private one. PKCS#11 does
// not tie the two: an RSA private key has its modulus, all else goes by the
// common id, or label if there is no id: a public key object, else a
// certificate, which is what smart cards keep.
func (o objects) publicHalf(private pkcs11.ObjectHandle, id []byte, label string) (crypto.PublicKey, []byte, error) {
	if key, err := o.rsaPublic(private); err == nil {
		der, err := x509.MarshalPKIXPublicKey(key)
		return key, der, err
	}
	if len(id) > 0 {
		label = "" // a pair may have two labels
	}
	for _, class := range []struct {
		number uint
		read   func(pkcs11.ObjectHandle) ([]byte, error)
	}{{pkcs11.CKO_PUBLIC_KEY, o.publicDER}, {pkcs11.CKO_CERTIFICATE, o.certificateDER}} {
		handles, err := o.find(class.number, id, label)
		if err != nil {
			return nil, nil, err
		}
		key, der, err := one(handles, class.read)
		if err != nil || key != nil {
			return key, der, err
		}
	}
	return nil, nil, &fault{http.StatusNotFound, pkcs11api.CodeNoPublic,
		fmt.Sprintf("the token has neither a public key nor a certificate with the private key's id %x", id)}
}

// one reads the objects and returns the public key that they agree on; nil if
// none of them can be read.
func one(handles []pkcs11.ObjectHandle, read func(pkcs11.ObjectHandle) ([]byte, error)) (crypto.PublicKey, []byte, error) {
	var key crypto.PublicKey
	var der []byte
	for _, handle := range handles {
		found, err := read(handle)
		if isLoss(err) {
			return nil, nil, err
		}
		if err != nil {
			continue
		}
		parsed, err := x509.ParsePKIXPublicKey(found)
		switch {
		case err != nil:
			return nil, nil, &fault{http.StatusUnprocessableEntity, pkcs11api.CodeAlgorithm, "the public key is of a kind that is not known: " + err.Error()}
		case key != nil && !bytes.Equal(der, found):
			return nil, nil, &fault{http.StatusPreconditionFailed, pkcs11api.CodeAmbiguous, "the token has several public keys with the private key's id"}
		}
		key, der = parsed, found
	}
	return key, der, nil
}

// publicDER reads a public key object.
func (o objects) publicDER(handle pkcs11.ObjectHandle) ([]byte, error) {
	if key, err := o.rsaPublic(handle); err == nil {
		return x509.MarshalPKIXPublicKey(key)
	}
	params, err := o.attribute(handle, pkcs11.CKA_EC_PARAMS)
	if err != nil {
		return nil, err
	}
	point, err := o.attribute(handle, pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	return ecSPKI(params, point)
}

func (o objects) certificateDER(handle pkcs11.ObjectHandle) ([]byte, error) {
	der, err := o.attribute(handle, pkcs11.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return cert.RawSubjectPublicKeyInfo, nil
}

func (o objects) rsaPublic(handle pkcs11.ObjectHandle) (*rsa.PublicKey, error) {
	modulus, err := o.attribute(handle, pkcs11.CKA_MODULUS)
	if err != nil {
		return nil, err
	}
	exponent, err := o.attribute(handle, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return nil, err
	}
	e := new(big.Int).SetBytes(exponent)
	if len(modulus) == 0 || e.BitLen() < 2 || e.BitLen() > 31 {
		return nil, errors.New("no RSA key, or one with an exponent that nobody verifies")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())}, nil
}

// ecSPKI builds the SubjectPublicKeyInfo of an elliptic curve key. The standard
// has the point in an OCTET STRING; some modules leave that out.
func ecSPKI(params, point []byte) ([]byte, error) {
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		// A bare point can look like an OCTET STRING, but not like one that
		// holds a point.
		if der, err := spki(params, inner); err == nil {
			return der, nil
		}
	}
	return spki(params, point)
}

func spki(params, point []byte) ([]byte, error) {
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, Parameters: asn1.RawValue{FullBytes: params}},
		asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
	if err != nil {
		return nil, err
	}
	if _, err := x509.ParsePKIXPublicKey(der); err != nil {
		return nil, err
	}
	return der, nil
}
