package signature

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	nx509 "github.com/notaryproject/notation-core-go/x509"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// signingAgent is what an envelope says made it.
const signingAgent = "sealwright"

// An unsuitableError says why a key cannot sign in a format. It is
// registry.ErrUnsupported, without its words, as no registry is to blame.
type unsuitableError string

func (e unsuitableError) Error() string { return string(e) }

func (e unsuitableError) Unwrap() error { return registry.ErrUnsupported }

func unsuitable(format string, args ...any) error {
	return unsuitableError(fmt.Sprintf(format, args...))
}

// sign makes an envelope. Everything that can be wrong with the certificates is
// found before the key is used; what it returned is verified.
func (n notationLayout) sign(ctx context.Context, i *Image, k Key) (Signature, error) {
	sig, err := n.seal(ctx, i, k)
	if err != nil {
		return Signature{}, fmt.Errorf("signing %s@%s: %w", i.Repository, i.Digest, err)
	}
	return sig, nil
}

func (n notationLayout) seal(ctx context.Context, i *Image, k Key) (Signature, error) {
	now := time.Now().Truncate(time.Second) // envelopes have whole seconds
	spec, err := suits(k, now)
	if err != nil {
		return Signature{}, err
	}
	if i.MediaType == "" || i.Size <= 0 || i.Identity == "" {
		return Signature{}, errors.New("the manifest's media type, size and identity are needed to sign it")
	}
	s := &keySigner{spec: spec, chain: k.Certificates, sign: func(message []byte) ([]byte, error) { return k.Sign(ctx, message) }}
	content, err := n.compose(ctx, i, s, now)
	if err != nil {
		return Signature{}, err
	}
	if _, err := n.witnessed(ctx, content, i, k); err != nil {
		return Signature{}, fmt.Errorf("the envelope that was made does not count: %w", err)
	}
	return Signature{Raw: s.made, Content: content, Timestamped: len(i.Timestamps) > 0}, nil
}

// compose returns the envelope, with a timestamp if there are authorities.
func (n notationLayout) compose(ctx context.Context, i *Image, s *keySigner, now time.Time) ([]byte, error) {
	stamper, roots := i.timestamper()
	req := &core.SignRequest{
		Payload:       core.Payload{ContentType: notationPayloadType, Content: notationPayload(i.Subject)},
		Signer:        s,
		SigningTime:   now,
		SigningAgent:  signingAgent,
		SigningScheme: core.SigningSchemeX509,
		Timestamper:   stamper,
		TSARootCAs:    roots,
	}
	e := jws.NewEnvelope()
	if n.format == policy.FormatNotationCOSE {
		e = cose.NewEnvelope()
	}
	content, err := e.Sign(req.WithContext(ctx))
	var stamp *core.TimestampError
	switch {
	case err == nil:
		return content, nil
	case s.err != nil: // the library keeps no more of it than its text
		return nil, s.err
	case ctx.Err() != nil:
		return nil, fmt.Errorf("composing the envelope: %w", ctx.Err())
	case errors.As(err, &stamp) && !errors.Is(err, ErrTimestamp):
		return nil, fmt.Errorf("%w: %w", ErrTimestamp, err)
	}
	return nil, fmt.Errorf("composing the envelope: %w", err)
}

// notationSupports returns nil if there are Notary Project signatures by keys
// with k's algorithm.
func notationSupports(k Key) error {
	if f := k.Algorithm.Family(); f != policy.ECDSA && f != policy.RSAPSS {
		return unsuitable("Notary Project signatures are not made with %s; allowed: %s, %s, %s, %s, %s", k.Algorithm,
			policy.ECDSASHA256, policy.ECDSASHA384, policy.RSAPSSSHA256, policy.RSAPSSSHA384, policy.RSAPSSSHA512)
	}
	return nil
}

// suits returns nil if k can sign now, with its certificates.
func suits(k Key, now time.Time) (core.KeySpec, error) {
	if err := notationSupports(k); err != nil {
		return core.KeySpec{}, err
	}
	if k.Sign == nil {
		return core.KeySpec{}, errors.New("the key cannot sign, it only verifies")
	}
	if len(k.Certificates) == 0 {
		return core.KeySpec{}, fmt.Errorf("%w: there are none, and Notary Project signatures need a chain, leaf first", ErrCertificate)
	}
	leaf := k.Certificates[0]
	if !isCertificateOf(leaf, k.PublicKey) {
		return core.KeySpec{}, fmt.Errorf("%w: the first, %.80q, is for the key %s, the key is %s", ErrCertificate,
			leaf.Subject, hash(leaf.RawSubjectPublicKeyInfo), hash(k.PublicKey))
	}
	spec, needed, err := notationAlgorithm(leaf)
	if err != nil {
		return core.KeySpec{}, err
	}
	if k.Algorithm != needed {
		return core.KeySpec{}, unsuitable("Notary Project signatures with this key need the algorithm %s, not %s", needed, k.Algorithm)
	}
	if err := nx509.ValidateCodeSigningCertChain(k.Certificates, &now); err != nil {
		return core.KeySpec{}, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return spec, nil
}

// notationAlgorithm returns the one algorithm that the specification allows for
// a certificate's key. It goes by the key's size alone.
func notationAlgorithm(leaf *x509.Certificate) (core.KeySpec, policy.Algorithm, error) {
	spec, err := core.ExtractKeySpec(leaf)
	if err != nil {
		return core.KeySpec{}, "", unsuitable("%v; allowed: P-256, P-384, RSA with 2048, 3072 or 4096 bits", err)
	}
	switch spec.SignatureAlgorithm() {
	case core.AlgorithmES256:
		return spec, policy.ECDSASHA256, nil
	case core.AlgorithmES384:
		return spec, policy.ECDSASHA384, nil
	case core.AlgorithmPS256:
		return spec, policy.RSAPSSSHA256, nil
	case core.AlgorithmPS384:
		return spec, policy.RSAPSSSHA384, nil
	case core.AlgorithmPS512:
		return spec, policy.RSAPSSSHA512, nil
	}
	return core.KeySpec{}, "", unsuitable("P-521 is not supported; allowed: P-256, P-384, RSA with 2048, 3072 or 4096 bits")
}

// A keySigner is a key as notation-core-go uses one, for one envelope.
type keySigner struct {
	spec  core.KeySpec
	chain []*x509.Certificate
	sign  func(message []byte) ([]byte, error)

	made []byte // the signature as the key made it
	err  error  // why there is none
}

func (s *keySigner) KeySpec() (core.KeySpec, error) { return s.spec, nil }

func (s *keySigner) Sign(message []byte) ([]byte, []*x509.Certificate, error) {
	var sealed []byte
	if s.made, s.err = s.sign(message); s.err == nil {
		s.err = s.hasFixedSalt(message)
	}
	if s.err == nil {
		sealed, s.err = asSealed(s.made, s.chain[0])
	}
	return sealed, s.chain, s.err
}

// hasFixedSalt returns nil unless the signature is an RSA-PSS one whose salt is
// not as long as the digest. Some key stores choose another length and some
// verifiers find it out, but the specification fixes it.
func (s *keySigner) hasFixedSalt(message []byte) error {
	pub, ok := s.chain[0].PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil
	}
	h := s.spec.SignatureAlgorithm().Hash()
	digest := h.New()
	digest.Write(message)
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	if err := rsa.VerifyPSS(pub, h, digest.Sum(nil), s.made, opts); err != nil {
		return fmt.Errorf("the key's signature is not RSA-PSS with a salt of %d bytes: %w", h.Size(), err)
	}
	return nil
}
