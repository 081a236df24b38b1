package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	gocose "github.com/veraison/go-cose"

	"github.com/sealwright/sealwright/engine/policy"
)

const (
	// maxChain bounds the certificates of an envelope that is read. Each costs
	// the verification of a signature.
	maxChain = 10
	// reservedPrefix begins the names that the Notary Project gives meaning to.
	reservedPrefix = "io.cncf.notary"
)

// An envelope is a Notary Project signature that verifies with the first of its
// certificates. Whose that is, and whether it is still valid, remains to be
// judged.
type envelope struct {
	claim     notationClaim
	algorithm policy.Algorithm
	// signature is as the key made it: ASN.1 DER for ECDSA, octets for RSA.
	signature []byte
	// sealed is the signature as it stands in the envelope, which timestamps
	// attest.
	sealed []byte
	chain  []*x509.Certificate // leaf first, well-formed up to its own root
	signed time.Time           // as the signer said
	expiry time.Time           // zero: none
	token  []byte              // RFC 3161 timestamp, nil: none
}

// read parses an envelope and verifies it. Nothing of it has been compared to
// what we know.
func (n notationLayout) read(raw []byte) (*envelope, error) {
	content, err := n.verified(raw)
	if err != nil {
		return nil, err
	}
	info := content.SignerInfo
	if err := attributesAreKnown(info.SignedAttributes); err != nil {
		return nil, err
	}
	if content.Payload.ContentType != notationPayloadType {
		return nil, fmt.Errorf("its payload is of type %.80q, not %q", content.Payload.ContentType, notationPayloadType)
	}
	e := &envelope{
		sealed: info.Signature,
		chain:  info.CertificateChain,
		signed: info.SignedAttributes.SigningTime,
		expiry: info.SignedAttributes.Expiry,
		token:  info.UnsignedAttributes.TimestampSignature,
	}
	if e.claim, err = parseNotationPayload(content.Payload.Content); err != nil {
		return nil, err
	}
	if _, e.algorithm, err = notationAlgorithm(e.chain[0]); err != nil {
		return nil, err
	}
	e.signature, err = asMade(e.sealed, e.chain[0])
	return e, err
}

// verified returns what an envelope holds after verifying it with its own
// first certificate, whose use and chain must be as the specification demands.
func (n notationLayout) verified(raw []byte) (*core.EnvelopeContent, error) {
	parse, check := jws.ParseEnvelope, checkJWS
	if n.format == policy.FormatNotationCOSE {
		parse, check = cose.ParseEnvelope, checkCOSE
	}
	if err := check(raw); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	parsed, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	content, err := parsed.Verify()
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return content, nil
}

// checkJWS refuses what JSON readers understand differently, as the library
// takes the last of several members and any case for their names.
func checkJWS(raw []byte) error {
	top, err := exactly(raw, "payload", "protected", "header", "signature")
	if err != nil {
		return err
	}
	header, err := parseObject(top.value("header"))
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	var chain []json.RawMessage
	if err := header.decode("x5c", &chain); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if err := isReadable(len(chain)); err != nil {
		return err
	}
	encoded, err := top.text("protected")
	if err != nil {
		return err
	}
	protected, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return errors.New("protected is not base64")
	}
	if _, err := parseObject(protected); err != nil {
		return fmt.Errorf("protected: %w", err)
	}
	return nil
}

// checkCOSE only counts the certificates: its library refuses repeated names
// itself, and anything but one signature.
func checkCOSE(raw []byte) error {
	var m gocose.Sign1Message
	if err := m.UnmarshalCBOR(raw); err != nil {
		return err
	}
	chain, ok := m.Headers.Unprotected[gocose.HeaderLabelX5Chain].([]any)
	if !ok {
		return errors.New("its certificates are no list")
	}
	return isReadable(len(chain))
}

// isReadable returns nil if an envelope may have so many certificates.
func isReadable(certificates int) error {
	if certificates < 1 || certificates > maxChain {
		return fmt.Errorf("it has %d certificates, not 1 to %d", certificates, maxChain)
	}
	return nil
}

// attributesAreKnown returns nil if we understand all signed attributes that
// must be understood. A name reserved for the specification is one of them,
// critical or not: it may ask for a plugin without which verifiers refuse.
func attributesAreKnown(a core.SignedAttributes) error {
	if a.SigningScheme != core.SigningSchemeX509 {
		return fmt.Errorf("its signing scheme is %.80q, not %q", a.SigningScheme, core.SigningSchemeX509)
	}
	for _, extra := range a.ExtendedAttributes {
		name := fmt.Sprint(extra.Key)
		if extra.Critical || strings.HasPrefix(name, reservedPrefix) {
			return fmt.Errorf("it has the signed attribute %.80q, which we do not know", name)
		}
	}
	return nil
}

// isBy returns nil if the signature is k's: its certificate is for that key,
// and it was made with the algorithm that the key signs with.
func (e *envelope) isBy(k Key) error {
	if !isCertificateOf(e.chain[0], k.PublicKey) {
		return errors.New("its certificate is for another key")
	}
	if e.algorithm != k.Algorithm {
		return fmt.Errorf("it was made with %s, the key signs with %s", e.algorithm, k.Algorithm)
	}
	return nil
}

// sharesRoot returns nil if the chain ends with the same certificate as ours.
// The certificates between may differ: they are renewed while the key stays.
func (e *envelope) sharesRoot(ours []*x509.Certificate) error {
	if len(ours) == 0 {
		return errors.New("the key has no certificates to compare")
	}
	root := e.chain[len(e.chain)-1]
	if !root.Equal(ours[len(ours)-1]) {
		return fmt.Errorf("its certificates lead to %.80q with SHA-256 %s, the key's do not", root.Subject, hash(root.Raw).Hex)
	}
	return nil
}

// isCertificateOf reports whether cert is for the key with this DER
// SubjectPublicKeyInfo. Both are brought to the one form in which we write it.
func isCertificateOf(cert *x509.Certificate, publicKey []byte) bool {
	der, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	return err == nil && bytes.Equal(der, publicKey)
}

// thumbprints returns the lower-case hex SHA-256 of certificates.
func thumbprints(chain []*x509.Certificate) []string {
	out := make([]string, 0, len(chain))
	for _, c := range chain {
		out = append(out, hash(c.Raw).Hex)
	}
	return out
}

// An ecdsaSignature is one as ASN.1 has it.
type ecdsaSignature struct{ R, S *big.Int }

// asMade returns a signature as keys make it: envelopes have the two numbers of
// an ECDSA signature side by side instead of in ASN.1.
func asMade(sealed []byte, leaf *x509.Certificate) ([]byte, error) {
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		return sealed, nil
	}
	half := len(sealed) / 2
	der, err := asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(sealed[:half]), new(big.Int).SetBytes(sealed[half:])})
	if err != nil {
		return nil, fmt.Errorf("encoding its signature: %w", err)
	}
	return der, nil
}

// asSealed is the inverse of asMade.
func asSealed(made []byte, leaf *x509.Certificate) ([]byte, error) {
	pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return made, nil
	}
	var s ecdsaSignature
	if rest, err := asn1.Unmarshal(made, &s); err != nil || len(rest) > 0 {
		return nil, errors.New("the key's signature is not ASN.1 DER")
	}
	bits := pub.Curve.Params().BitSize
	half := (bits + 7) / 8
	if s.R.Sign() <= 0 || s.S.Sign() <= 0 || s.R.BitLen() > bits || s.S.BitLen() > bits {
		return nil, errors.New("the key's signature has numbers that are none of its curve")
	}
	out := make([]byte, 2*half)
	s.R.FillBytes(out[:half])
	s.S.FillBytes(out[half:])
	return out, nil
}
