package policy

import (
	"crypto"
	_ "crypto/sha256" // the hashes that Algorithm.Hash names
	_ "crypto/sha512"
)

// Algorithm is how a key signs, in the words of the SWR and OCI APIs. It fixes
// the hash and, for RSA, the padding; it does not fix the RSA key's size.
type Algorithm string

// The signature algorithms. ECDSA and SM2 signatures are ASN.1 DER; the salt of
// an RSA-PSS signature is as long as its digest.
const (
	ECDSASHA256    Algorithm = "ECDSA_SHA_256"     // P-256
	ECDSASHA384    Algorithm = "ECDSA_SHA_384"     // P-384
	RSAPSSSHA256   Algorithm = "RSA_PSS_SHA_256"   //
	RSAPSSSHA384   Algorithm = "RSA_PSS_SHA_384"   //
	RSAPSSSHA512   Algorithm = "RSA_PSS_SHA_512"   //
	RSAPKCS1SHA256 Algorithm = "RSA_PKCS1_SHA_256" // what stock cosign verifies of RSA
	RSAPKCS1SHA384 Algorithm = "RSA_PKCS1_SHA_384" //
	RSAPKCS1SHA512 Algorithm = "RSA_PKCS1_SHA_512" //
	SM2SM3         Algorithm = "SM2DSA_SM3"        // SM2 with SM3, user id 1234567812345678
)

// Algorithms lists every algorithm, in the order people should consider them.
var Algorithms = []string{
	string(ECDSASHA256), string(ECDSASHA384),
	string(RSAPSSSHA256), string(RSAPSSSHA384), string(RSAPSSSHA512),
	string(RSAPKCS1SHA256), string(RSAPKCS1SHA384), string(RSAPKCS1SHA512),
	string(SM2SM3),
}

// Hash returns the digest the algorithm signs, or 0 for SM2DSA_SM3, whose
// digest SM3(Z_A‖M) depends on the public key and is no crypto.Hash.
func (a Algorithm) Hash() crypto.Hash {
	switch a {
	case ECDSASHA256, RSAPSSSHA256, RSAPKCS1SHA256:
		return crypto.SHA256
	case ECDSASHA384, RSAPSSSHA384, RSAPKCS1SHA384:
		return crypto.SHA384
	case RSAPSSSHA512, RSAPKCS1SHA512:
		return crypto.SHA512
	}
	return 0
}

// Family is the kind of key an algorithm needs.
type Family string

// The key families.
const (
	ECDSA    Family = "ECDSA"
	RSAPSS   Family = "RSA-PSS"
	RSAPKCS1 Family = "RSA-PKCS1"
	SM2      Family = "SM2"
)

// Family returns the kind of key the algorithm needs, "" if it is unknown.
func (a Algorithm) Family() Family {
	switch a {
	case ECDSASHA256, ECDSASHA384:
		return ECDSA
	case RSAPSSSHA256, RSAPSSSHA384, RSAPSSSHA512:
		return RSAPSS
	case RSAPKCS1SHA256, RSAPKCS1SHA384, RSAPKCS1SHA512:
		return RSAPKCS1
	case SM2SM3:
		return SM2
	}
	return ""
}

// Valid reports whether a is one of Algorithms.
func (a Algorithm) Valid() bool { return a.Family() != "" }
