package kms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sealwright/sealwright/engine/policy"
)

func azurePublicKey(key *azkeys.JSONWebKey, alg policy.Algorithm) (*PublicKey, error) {
	var kty azkeys.KeyType
	if key.Kty != nil {
		kty = *key.Kty
	}
	switch kty {
	case azkeys.KeyTypeRSA, azkeys.KeyTypeRSAHSM:
		e := new(big.Int).SetBytes(key.E)
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, fmt.Errorf("RSA exponent of %d bits: %w", e.BitLen(), ErrKeyMismatch)
		}
		return NewPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(key.N), E: int(e.Int64())}, alg)
	case azkeys.KeyTypeEC, azkeys.KeyTypeECHSM:
		return azureECKey(key, alg)
	}
	return nil, fmt.Errorf("key of type %s: %w; allowed: %s", shorten(string(kty)), ErrKeyMismatch, allowedKeys)
}

func azureECKey(key *azkeys.JSONWebKey, alg policy.Algorithm) (*PublicKey, error) {
	var name azkeys.CurveName
	if key.Crv != nil {
		name = *key.Crv
	}
	var curve elliptic.Curve
	switch name {
	case azkeys.CurveNameP256:
		curve = elliptic.P256()
	case azkeys.CurveNameP384:
		curve = elliptic.P384()
	default:
		return nil, fmt.Errorf("key on curve %s: %w; allowed: %s", shorten(string(name)), ErrKeyMismatch, allowedKeys)
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(key.X) > size || len(key.Y) > size {
		return nil, fmt.Errorf("coordinates of %d and %d bytes; allowed: at most %d: %w", len(key.X), len(key.Y), size, ErrKeyMismatch)
	}
	// RFC 7518 wants them in full length; not all who write JSON keep the zeros.
	point := make([]byte, 1+2*size)
	point[0] = 4
	copy(point[1+size-len(key.X):], key.X)
	copy(point[1+2*size-len(key.Y):], key.Y)
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key: %w", err)
	}
	return NewPublicKey(public, alg)
}

// derOfPair turns r‖s into ASN.1 DER.
func derOfPair(pair []byte) ([]byte, error) {
	if len(pair) == 0 || len(pair)%2 != 0 {
		return nil, fmt.Errorf("signature of %d bytes is no pair: %w", len(pair), ErrInvalidSignature)
	}
	half := len(pair) / 2
	r, s := new(big.Int).SetBytes(pair[:half]), new(big.Int).SetBytes(pair[half:])
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}
