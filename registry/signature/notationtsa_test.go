package signature

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	tspclient "github.com/notaryproject/tspclient-go"
	"github.com/notaryproject/tspclient-go/pki"
)

var (
	oidTimestamping  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	oidExtKeyUsage   = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSASHA256   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidPolicy        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
)

// A clockTower is a timestamp authority without a network.
type clockTower struct {
	t    testing.TB
	root *x509.Certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	fail error         // what it answers with, if not nil
	late time.Duration // how far its clock is ahead
	asks int
}

func newClockTower(t testing.TB) *clockTower {
	t.Helper()
	ca := newIssuer(t, "tsa root")
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimestamping})
	if err != nil {
		t.Fatal(err)
	}
	key := curveKey(t, elliptic.P256())
	chain := ca.chain(t, key.Public(), func(c *x509.Certificate) {
		c.ExtKeyUsage = nil
		c.ExtraExtensions = []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}}
		valid(c, c.NotBefore, 5*365*24*time.Hour)
	})
	return &clockTower{t: t, root: ca.cert, cert: chain[0], key: key}
}

// authority is how signers and verifiers know it.
func (c *clockTower) authority(name string) Authority {
	roots := x509.NewCertPool()
	roots.AddCert(c.root)
	return Authority{Timestamper: c, Roots: roots, Name: name}
}

// Timestamp implements tspclient.Timestamper.
func (c *clockTower) Timestamp(_ context.Context, req *tspclient.Request) (*tspclient.Response, error) {
	c.asks++
	if c.fail != nil {
		return nil, c.fail
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		return nil, err
	}
	info := c.der(tspclient.TSTInfo{
		Version:        1,
		Policy:         oidPolicy,
		MessageImprint: req.MessageImprint,
		SerialNumber:   serial,
		GenTime:        time.Now().Add(c.late).UTC().Truncate(time.Second),
		Accuracy:       tspclient.Accuracy{Seconds: 1},
		Nonce:          req.Nonce,
	})
	token := c.der(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{oidSignedData, wrapped(0, c.signedData(info))})
	return &tspclient.Response{Status: pki.StatusInfo{Status: pki.StatusGranted}, TimestampToken: asn1.RawValue{FullBytes: token}}, nil
}

// signedData is the CMS structure that holds info, signed.
func (c *clockTower) signedData(info []byte) []byte {
	attributes := c.signedAttributes(info)
	digest := sha256.Sum256(attributes)
	sig, err := c.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		c.t.Fatal(err)
	}
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(attributes, &set); err != nil {
		c.t.Fatal(err)
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	signer := c.der(struct {
		Version int
		ID      struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
	}{
		Version: 1,
		ID: struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}{asn1.RawValue{FullBytes: c.cert.RawIssuer}, c.cert.SerialNumber},
		Digest:     sha,
		Attributes: wrapped(0, set.Bytes),
		Algorithm:  pkix.AlgorithmIdentifier{Algorithm: oidECDSASHA256},
		Signature:  sig,
	})
	return c.der(struct {
		Version int
		Digests []pkix.AlgorithmIdentifier `asn1:"set"`
		Content struct {
			Type asn1.ObjectIdentifier
			Info asn1.RawValue
		}
		Certificates asn1.RawValue
		Signers      []asn1.RawValue `asn1:"set"`
	}{
		Version: 3,
		Digests: []pkix.AlgorithmIdentifier{sha},
		Content: struct {
			Type asn1.ObjectIdentifier
			Info asn1.RawValue
		}{oidTSTInfo, wrapped(0, c.der(info))},
		Certificates: wrapped(0, c.cert.Raw),
		Signers:      []asn1.RawValue{{FullBytes: signer}},
	})
}

// signedAttributes are what the signature of a token is over, as a SET.
func (c *clockTower) signedAttributes(info []byte) []byte {
	infoSum, certSum := sha256.Sum256(info), sha256.Sum256(c.cert.Raw)
	type attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
	one := func(id asn1.ObjectIdentifier, value any) attribute {
		return attribute{id, []asn1.RawValue{{FullBytes: c.der(value)}}}
	}
	type certID struct{ Hash []byte }
	raw, err := asn1.MarshalWithParams([]attribute{
		one(oidContentType, oidTSTInfo),
		one(oidMessageDigest, infoSum[:]),
		one(oidSigningCertV2, struct{ Certs []certID }{[]certID{{certSum[:]}}}),
	}, "set")
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

func (c *clockTower) der(v any) []byte {
	raw, err := asn1.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

// wrapped puts content into a constructed, context specific element.
func wrapped(tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content}
}

var errDown = errors.New("the authority is down")

// misdirected stamps something else than it was asked for.
type misdirected struct{ *clockTower }

func (m misdirected) Timestamp(ctx context.Context, req *tspclient.Request) (*tspclient.Response, error) {
	other := *req
	other.MessageImprint.HashedMessage = make([]byte, len(req.MessageImprint.HashedMessage))
	return m.clockTower.Timestamp(ctx, &other)
}
