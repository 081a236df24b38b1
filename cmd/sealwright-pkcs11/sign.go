//go:build cgo

package main

import (
	"context"
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// sign signs a digest. A key that was deleted since it was found is looked for
// once more: it may have been put back, or moved.
func (t *token) sign(ctx context.Context, req pkcs11api.SignRequest) (pkcs11api.Signature, error) {
	hash := req.Algorithm.Hash()
	switch {
	case hash == 0:
		return pkcs11api.Signature{}, &fault{http.StatusUnprocessableEntity, pkcs11api.CodeAlgorithm,
			"no PKCS#11 mechanism for this algorithm; allowed: ECDSA, RSA-PSS, RSA PKCS#1 with SHA-2"}
	case len(req.Digest) != hash.Size():
		return pkcs11api.Signature{}, badRequest(fmt.Errorf("digest of %d bytes; allowed for %s: %d", len(req.Digest), req.Algorithm, hash.Size()))
	}
	var out pkcs11api.Signature
	err := t.use(ctx, func(conn *connection, s pkcs11.SessionHandle) error {
		var err error
		out, err = t.signWith(conn, s, req)
		if isStale(err) {
			conn.forget(req.Key)
			out, err = t.signWith(conn, s, req)
		}
		return err
	})
	return out, err
}

func (t *token) signWith(conn *connection, s pkcs11.SessionHandle, req pkcs11api.SignRequest) (pkcs11api.Signature, error) {
	k, err := t.key(conn, s, req.Key)
	if err != nil {
		return pkcs11api.Signature{}, err
	}
	if !slices.Contains(k.algorithms, req.Algorithm) {
		return pkcs11api.Signature{}, &fault{http.StatusUnprocessableEntity, pkcs11api.CodeAlgorithm,
			fmt.Sprintf("%s with this %s key on this token; allowed: %v", req.Algorithm, kindOf(k.public), k.algorithms)}
	}
	if err := t.module.SignInit(s, []*pkcs11.Mechanism{mechanismOf(req.Algorithm)}, k.handle); err != nil {
		return pkcs11api.Signature{}, fmt.Errorf("starting to sign with %s: %w", req.Algorithm, err)
	}
	if k.always {
		if err := t.present(s, pkcs11.CKU_CONTEXT_SPECIFIC); err != nil {
			return pkcs11api.Signature{}, err
		}
	}
	raw, err := t.module.Sign(s, inputOf(req.Algorithm, req.Digest))
	if err != nil {
		return pkcs11api.Signature{}, fmt.Errorf("signing with %s: %w", req.Algorithm, err)
	}
	signature, err := outputOf(req.Algorithm, raw)
	if err != nil {
		return pkcs11api.Signature{}, err
	}
	return pkcs11api.Signature{Signature: signature, Algorithm: req.Algorithm, PublicKeySHA256: k.fingerprint}, nil
}

// mechanismOf returns the mechanism that signs a digest.
func mechanismOf(alg policy.Algorithm) *pkcs11.Mechanism {
	switch alg.Family() {
	case policy.RSAPSS:
		return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, pssParameters(alg.Hash()))
	case policy.RSAPKCS1:
		return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil)
	}
	return pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)
}

// pssParameters ask for a salt as long as the digest, and the digest's hash in
// the mask.
func pssParameters(hash crypto.Hash) []byte {
	size := uint(hash.Size())
	switch hash {
	case crypto.SHA384:
		return pkcs11.NewPSSParams(pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, size)
	case crypto.SHA512:
		return pkcs11.NewPSSParams(pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, size)
	}
	return pkcs11.NewPSSParams(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, size)
}

// inputOf returns what the mechanism is given: for PKCS#1 the DigestInfo of RFC
// 8017, which CKM_RSA_PKCS leaves to its caller, else the digest.
func inputOf(alg policy.Algorithm, digest []byte) []byte {
	if alg.Family() != policy.RSAPKCS1 {
		return digest
	}
	// SEQUENCE { SEQUENCE { 2.16.840.1.101.3.4.2.x, NULL }, OCTET STRING }
	prefix := map[crypto.Hash]string{
		crypto.SHA256: "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
		crypto.SHA384: "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
		crypto.SHA512: "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
	}[alg.Hash()]
	return append([]byte(prefix), digest...)
}

// outputOf turns the token's signature into the form that others verify: DER
// for ECDSA instead of r and s side by side.
func outputOf(alg policy.Algorithm, raw []byte) ([]byte, error) {
	if alg.Family() != policy.ECDSA {
		return raw, nil
	}
	half := len(raw) / 2
	if half == 0 || len(raw)%2 != 0 {
		return nil, errors.New("the token returned a signature that is no pair of integers")
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}
