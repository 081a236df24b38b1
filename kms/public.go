package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/sealwright/sealwright/engine/policy"
)

// RSA key sizes in bits. Smaller moduli are no longer safe; larger ones make
// every verification slow enough to be an attack by itself.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// sm2UserID is the distinguishing identifier that enters every SM2 digest: the
// default of GM/T 0009. OpenSSL does not assume it; verify there with
// "-pkeyopt distid:1234567812345678".
const sm2UserID = "1234567812345678"

// A PublicKey is the public half of a key together with the one algorithm it
// signs with. It is immutable and safe for concurrent use; make one with
// [NewPublicKey] or [ParsePublicKey].
type PublicKey struct {
	key         crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey, also for SM2
	algorithm   policy.Algorithm
	der         []byte
	fingerprint string
}

// NewPublicKey binds pub to alg, empty meaning the key's usual algorithm. pub
// is an *rsa.PublicKey of 2048 to 8192 bits or an *ecdsa.PublicKey on P-256,
// P-384 or gmsm's SM2 curve. A key that alg cannot use, and an RSA key without
// an algorithm, is [ErrKeyMismatch]. The key is copied.
func NewPublicKey(pub crypto.PublicKey, alg policy.Algorithm) (*PublicKey, error) {
	kind, err := kindOf(pub)
	if err != nil {
		return nil, err
	}
	if alg == "" {
		if alg = kind.usual; alg == "" {
			return nil, fmt.Errorf("%s needs an algorithm: %w; allowed: %s", kind.name, ErrKeyMismatch, oneOf(kind.algorithms()))
		}
	}
	if !alg.Valid() {
		return nil, fmt.Errorf("algorithm %q is not allowed; allowed: %s", alg, oneOf(policy.Algorithms))
	}
	if !kind.fits(alg) {
		return nil, fmt.Errorf("%s needs %s, this is %s: %w", alg, wanted(alg), kind.name, ErrKeyMismatch)
	}
	der, err := marshalSPKI(pub) // fails if a point is not on its curve
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w: %w", kind.name, ErrKeyMismatch, err)
	}
	// What verifies is read back from what is fingerprinted, so that the two
	// cannot differ, not even when the caller changes pub later.
	key, err := parseSPKI(der)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return &PublicKey{key: key, algorithm: alg, der: der, fingerprint: hex.EncodeToString(sum[:])}, nil
}

// Verify returns nil if signature is the key's over message, and otherwise an
// error that wraps [ErrInvalidSignature]. ECDSA and SM2 signatures must be
// strict DER. An RSA-PSS signature may have a salt of any length: what we sign
// has one as long as the digest, but some key stores leave theirs unsaid, and
// the length does not weaken a signature.
func (p *PublicKey) Verify(message, signature []byte) error {
	digest, err := p.digest(message)
	if err != nil {
		return fmt.Errorf("digesting the message: %w", err)
	}
	var ok bool
	switch p.algorithm.Family() {
	case policy.ECDSA:
		ok = ecdsa.VerifyASN1(p.key.(*ecdsa.PublicKey), digest, signature)
	case policy.SM2:
		ok = sm2.VerifyASN1(p.key.(*ecdsa.PublicKey), digest, signature)
	case policy.RSAPSS:
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}
		ok = rsa.VerifyPSS(p.key.(*rsa.PublicKey), p.algorithm.Hash(), digest, signature, opts) == nil
	case policy.RSAPKCS1:
		ok = rsa.VerifyPKCS1v15(p.key.(*rsa.PublicKey), p.algorithm.Hash(), digest, signature) == nil
	}
	if !ok {
		return fmt.Errorf("%s signature of %d bytes: %w", p.algorithm, len(signature), ErrInvalidSignature)
	}
	return nil
}

// digest is what of message is signed. For SM2 it depends on the key: it is
// SM3(Z_A‖M), where Z_A is a digest of the user id, the curve and the key.
func (p *PublicKey) digest(message []byte) ([]byte, error) {
	if p.algorithm.Family() == policy.SM2 {
		return sm2.CalculateSM2Hash(p.key.(*ecdsa.PublicKey), message, []byte(sm2UserID))
	}
	h := p.algorithm.Hash().New()
	h.Write(message)
	return h.Sum(nil), nil
}

// Algorithm is how the key signs. It is never empty.
func (p *PublicKey) Algorithm() policy.Algorithm { return p.algorithm }

// Fingerprint is the lower-case hex SHA-256 of [PublicKey.DER]. It names the
// key, not the algorithm: one RSA key has the same fingerprint with all six.
func (p *PublicKey) Fingerprint() string { return p.fingerprint }

// DER returns a copy of the key's SubjectPublicKeyInfo.
func (p *PublicKey) DER() []byte { return append([]byte(nil), p.der...) }

// PEM returns the key as a PUBLIC KEY block, as OpenSSL and cosign read it.
func (p *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: p.der})
}

// Bits is the length of the RSA modulus or the order of the curve, in bits.
func (p *PublicKey) Bits() int {
	if key, ok := p.key.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return p.key.(*ecdsa.PublicKey).Curve.Params().BitSize
}

// ParsePublicKey reads one PEM public key: PUBLIC KEY holding an SPKI or, as
// some key stores write it, a bare PKCS#1 RSAPublicKey; or RSA PUBLIC KEY. An
// empty alg means the key's usual algorithm; see [NewPublicKey].
func ParsePublicKey(pem []byte, alg policy.Algorithm) (*PublicKey, error) {
	key, err := parsePublicPEM(pem)
	if err != nil {
		return nil, err
	}
	return NewPublicKey(key, alg)
}

// Candidates reads a public key as [ParsePublicKey] does and returns it once
// for each algorithm it can be used with, in the order of [policy.Algorithms]:
// six for RSA, one for every other kind. It serves a verifier whose user names
// a key but no algorithm.
func Candidates(pem []byte) ([]*PublicKey, error) {
	key, err := parsePublicPEM(pem)
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(key)
	if err != nil {
		return nil, err
	}
	var all []*PublicKey
	for _, alg := range kind.algorithms() {
		p, err := NewPublicKey(key, policy.Algorithm(alg))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

const (
	pemPublic    = "PUBLIC KEY"
	pemPublicRSA = "RSA PUBLIC KEY"
)

func parsePublicPEM(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("public key has %d bytes; allowed: at most %d", len(data), maxKeyFile)
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("no PEM block found; allowed: one %s or %s block", pemPublic, pemPublicRSA)
	case block.Type != pemPublic && block.Type != pemPublicRSA:
		return nil, fmt.Errorf("PEM block is %s; allowed: %s, %s", shorten(block.Type), pemPublic, pemPublicRSA)
	}
	if second, _ := pem.Decode(rest); second != nil {
		return nil, fmt.Errorf("more than one PEM block; allowed: one %s block", pemPublic)
	}
	key, err := parseSPKI(block.Bytes)
	if err == nil {
		return key, nil
	}
	if rsaKey, pkcs1Err := x509.ParsePKCS1PublicKey(block.Bytes); pkcs1Err == nil {
		return rsaKey, nil
	}
	return nil, fmt.Errorf("decoding the public key: %w", err)
}

// parseSPKI reads a SubjectPublicKeyInfo. The standard library refuses SM2, so
// gmsm is asked next, for SM2 alone.
func parseSPKI(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err == nil {
		return key, nil
	}
	if key, smErr := smx509.ParsePKIXPublicKey(der); smErr == nil && sm2.IsSM2PublicKey(key) {
		return key, nil
	}
	return nil, err
}

func marshalSPKI(pub crypto.PublicKey) ([]byte, error) {
	if sm2.IsSM2PublicKey(pub) {
		return smx509.MarshalPKIXPublicKey(pub)
	}
	return x509.MarshalPKIXPublicKey(pub)
}

// A kind is what of a public key decides which algorithms it fits.
type kind struct {
	name  string // for messages: "a P-256 key"
	usual policy.Algorithm
	fits  func(policy.Algorithm) bool
}

func (k kind) algorithms() []string {
	var fit []string
	for _, alg := range policy.Algorithms {
		if k.fits(policy.Algorithm(alg)) {
			fit = append(fit, alg)
		}
	}
	return fit
}

// kindOf classifies a public key and refuses one that no algorithm can use.
// An SM2 key is an *ecdsa.PublicKey too: its curve tells it apart.
func kindOf(pub crypto.PublicKey) (kind, error) {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return kindOfEC(key)
	case *rsa.PublicKey:
		return kindOfRSA(key)
	}
	return kind{}, fmt.Errorf("key of type %T: %w; allowed: %s", pub, ErrKeyMismatch, allowedKeys)
}

const allowedKeys = "P-256, P-384, SM2, RSA of 2048 to 8192 bits"

func kindOfEC(key *ecdsa.PublicKey) (kind, error) {
	if key == nil || key.Curve == nil || *key == (ecdsa.PublicKey{Curve: key.Curve}) {
		return kind{}, errors.New("public key is empty")
	}
	switch key.Curve {
	case sm2.P256():
		return only("an SM2 key", policy.SM2SM3), nil
	case elliptic.P256():
		return only("a P-256 key", policy.ECDSASHA256), nil
	case elliptic.P384():
		return only("a P-384 key", policy.ECDSASHA384), nil
	}
	return kind{}, fmt.Errorf("key on curve %s: %w; allowed: %s", key.Curve.Params().Name, ErrKeyMismatch, allowedKeys)
}

func only(name string, usual policy.Algorithm) kind {
	return kind{name: name, usual: usual, fits: func(alg policy.Algorithm) bool { return alg == usual }}
}

func kindOfRSA(key *rsa.PublicKey) (kind, error) {
	if key == nil || key.N == nil {
		return kind{}, errors.New("public key is empty")
	}
	name := fmt.Sprintf("an RSA key of %d bits", key.N.BitLen())
	if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return kind{}, fmt.Errorf("%s: %w; allowed: %d to %d bits", name, ErrKeyMismatch, minRSABits, maxRSABits)
	}
	if key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 {
		return kind{}, fmt.Errorf("%s with an exponent or modulus that cannot sign: %w", name, ErrKeyMismatch)
	}
	fits := func(alg policy.Algorithm) bool {
		return alg.Family() == policy.RSAPSS || alg.Family() == policy.RSAPKCS1
	}
	return kind{name: name, fits: fits}, nil
}

// wanted names the kind of key an algorithm needs, for messages.
func wanted(alg policy.Algorithm) string {
	switch alg {
	case policy.ECDSASHA256:
		return "a P-256 key"
	case policy.ECDSASHA384:
		return "a P-384 key"
	case policy.SM2SM3:
		return "an SM2 key"
	}
	return "an RSA key"
}
