package signature

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

var notationFormats = []policy.Format{policy.FormatNotationJWS, policy.FormatNotationCOSE}

// notationImage is an image with all that Notary Project signatures say of it.
func notationImage(n int) Subject {
	s := image(n)
	s.MediaType, s.Size = ociManifest, 402
	return s
}

// An issuer is a certificate authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newIssuer returns an authority with the name, valid for ten years.
func newIssuer(t testing.TB, name string) issuer {
	t.Helper()
	private := curveKey(t, elliptic.P256())
	template := &x509.Certificate{
		Subject:               pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"Test"}, CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	valid(template, time.Now().Add(-time.Hour), 10*365*24*time.Hour)
	return issuer{certificate(t, template, template, private.Public(), private), private}
}

// chain certifies a key for a day, leaf first. Change may alter the leaf.
func (i issuer) chain(t testing.TB, public crypto.PublicKey, change ...func(*x509.Certificate)) []*x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"Test"}, CommonName: "signer"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	valid(template, time.Now().Add(-time.Minute), 24*time.Hour)
	for _, c := range change {
		c(template)
	}
	return []*x509.Certificate{certificate(t, template, i.cert, public, i.key), i.cert}
}

func valid(c *x509.Certificate, from time.Time, d time.Duration) {
	c.NotBefore, c.NotAfter = from, from.Add(d)
}

func certificate(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, private crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func curveKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// A notary is a key for Notary Project signatures. It counts its uses.
type notary struct {
	Key
	private crypto.Signer
	uses    *int
}

// newNotary returns a key without certificates.
func newNotary(t testing.TB, private crypto.Signer, alg policy.Algorithm) notary {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	uses := new(int)
	sign := func(ctx context.Context, message []byte) ([]byte, error) {
		*uses++
		raw, err := private.Sign(rand.Reader, digestOf(alg, message), options(alg))
		return raw, errors.Join(err, ctx.Err())
	}
	k := Key{Verifier: publicHalf{private.Public(), alg}, Algorithm: alg, PublicKey: der, Sign: sign}
	return notary{k, private, uses}
}

// certified returns a P-256 key with certificates of ca.
func certified(t testing.TB, ca issuer, change ...func(*x509.Certificate)) notary {
	t.Helper()
	k := newNotary(t, curveKey(t, elliptic.P256()), policy.ECDSASHA256)
	k.Certificates = ca.chain(t, k.private.Public(), change...)
	return k
}

func options(alg policy.Algorithm) crypto.SignerOpts {
	if alg.Family() == policy.RSAPSS {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.Hash()}
	}
	return alg.Hash()
}

func digestOf(alg policy.Algorithm, message []byte) []byte {
	h := alg.Hash().New()
	h.Write(message)
	return h.Sum(nil)
}

// publicHalf verifies with nothing but the standard library.
type publicHalf struct {
	key crypto.PublicKey
	alg policy.Algorithm
}

func (p publicHalf) Verify(message, signature []byte) error {
	digest := digestOf(p.alg, message)
	if pub, ok := p.key.(*rsa.PublicKey); ok {
		return rsa.VerifyPSS(pub, p.alg.Hash(), digest, signature, options(p.alg).(*rsa.PSSOptions))
	}
	if !ecdsa.VerifyASN1(p.key.(*ecdsa.PublicKey), digest, signature) {
		return errors.New("no")
	}
	return nil
}

// sealed returns an envelope by k, made without our code but for the encoding of
// the key's signature. Change may alter what is signed.
func (k notary) sealed(t testing.TB, f policy.Format, s Subject, change ...func(*core.SignRequest)) []byte {
	t.Helper()
	spec, err := core.ExtractKeySpec(k.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	req := &core.SignRequest{
		Payload: core.Payload{ContentType: notationPayloadType, Content: notationPayload(s)},
		Signer: &keySigner{spec: spec, chain: k.Certificates, sign: func(message []byte) ([]byte, error) {
			return k.Sign(t.Context(), message)
		}},
		SigningTime:   time.Now(),
		SigningScheme: core.SigningSchemeX509,
	}
	for _, c := range change {
		c(req)
	}
	e := jws.NewEnvelope()
	if f == policy.FormatNotationCOSE {
		e = cose.NewEnvelope()
	}
	raw, err := e.Sign(req)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// referNotation stores an envelope, whatever it is, as a signature of s. The type of the
// layer is that of f.
func referNotation(t testing.TB, st registry.Store, f policy.Format, s Subject, content []byte) {
	t.Helper()
	l := NewLayouts(st)
	i := l.Image(s, Witnesses{})
	c := carrier{configType: notationType, contentType: notationLayout{l, f}.contentType(), content: content}
	raw, err := c.compose(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.uploadCarrier(t.Context(), c, raw); err != nil {
		t.Fatal(err)
	}
}

// lookFor looks anew.
func lookFor(t testing.TB, st registry.Store, f policy.Format, s Subject, k Key, by ...Authority) Look {
	t.Helper()
	look, err := NewLayouts(st).Image(s, Witnesses{Timestamps: by}).Look(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	return look
}

// signNow signs and attaches.
func signNow(t testing.TB, st registry.Store, f policy.Format, s Subject, k Key, by ...Authority) Attached {
	t.Helper()
	i := NewLayouts(st).Image(s, Witnesses{Timestamps: by})
	look, err := i.Look(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := i.Sign(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	done, err := i.Attach(t.Context(), f, look, sig, k)
	if err != nil {
		t.Fatal(err)
	}
	return done
}
