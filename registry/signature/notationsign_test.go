package signature

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	tspclient "github.com/notaryproject/tspclient-go"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// refusedKey is a key that cannot sign, and how that is said.
type refusedKey struct {
	name string
	key  Key
	is   error
	says []string
}

func refusedKeys(t *testing.T) []refusedKey {
	t.Helper()
	ca := newIssuer(t, "root")
	good := certified(t, ca)
	with := func(change func(*Key)) Key {
		k := good.Key
		change(&k)
		return k
	}
	leaf := func(change func(*x509.Certificate)) Key {
		return with(func(k *Key) { k.Certificates = ca.chain(t, good.private.Public(), change) })
	}
	rsa2048, rsa2056 := rsaKey(t, 2048), rsaKey(t, 2056)
	of := func(private *rsa.PrivateKey, alg policy.Algorithm) Key {
		k := newNotary(t, private, alg)
		k.Certificates = ca.chain(t, private.Public())
		return k.Key
	}
	p521 := newNotary(t, curveKey(t, elliptic.P521()), policy.ECDSASHA384)
	p521.Certificates = ca.chain(t, p521.private.Public())
	other := certified(t, ca)
	return []refusedKey{
		{"SM2", with(func(k *Key) { k.Algorithm = policy.SM2SM3 }), registry.ErrUnsupported, []string{"SM2DSA_SM3", "allowed: ECDSA_SHA_256"}},
		{"PKCS1", of(rsa2048, policy.RSAPKCS1SHA256), registry.ErrUnsupported, []string{"RSA_PKCS1_SHA_256", "RSA_PSS_SHA_256"}},
		{"no algorithm", with(func(k *Key) { k.Algorithm = "" }), registry.ErrUnsupported, []string{"allowed:"}},
		{"PSS with another hash", of(rsa2048, policy.RSAPSSSHA512), registry.ErrUnsupported, []string{"need the algorithm RSA_PSS_SHA_256, not RSA_PSS_SHA_512"}},
		{"ECDSA with another hash", with(func(k *Key) { k.Algorithm = policy.ECDSASHA384 }), registry.ErrUnsupported, []string{"need the algorithm ECDSA_SHA_256"}},
		{"RSA of an odd size", of(rsa2056, policy.RSAPSSSHA256), registry.ErrUnsupported, []string{"2056 bits", "2048, 3072 or 4096"}},
		{"P-521", p521.Key, registry.ErrUnsupported, []string{"P-521", "P-256, P-384"}},
		{"only verifies", with(func(k *Key) { k.Sign = nil }), nil, []string{"only verifies"}},
		{"no certificates", with(func(k *Key) { k.Certificates = nil }), ErrCertificate, []string{"chain, leaf first"}},
		{"certificates of another key", with(func(k *Key) { k.Certificates = other.Certificates }), ErrCertificate, []string{"is for the key sha256:", "the key is sha256:"}},
		{"root first", with(func(k *Key) { k.Certificates = []*x509.Certificate{ca.cert, good.Certificates[0]} }), ErrCertificate, []string{"is for the key"}},
		{"no root", with(func(k *Key) { k.Certificates = k.Certificates[:1] }), ErrCertificate, nil},
		{"another root", with(func(k *Key) { k.Certificates = []*x509.Certificate{k.Certificates[0], newIssuer(t, "root").cert} }), ErrCertificate, nil},
		{"expired", leaf(func(c *x509.Certificate) { valid(c, time.Now().Add(-2*time.Hour), time.Hour) }), ErrCertificate, []string{"valid from"}},
		{"not yet valid", leaf(func(c *x509.Certificate) { valid(c, time.Now().Add(time.Hour), time.Hour) }), ErrCertificate, []string{"valid from"}},
		{"for servers", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), ErrCertificate, []string{"ServerAuth"}},
		{"for no signatures", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), ErrCertificate, []string{"Digital Signature"}},
		{"an authority's", leaf(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }), ErrCertificate, []string{"ca field"}},
	}
}

// TestNotationRefusesKeys: what is wrong with a key or its certificates is found
// before the key is used.
func TestNotationRefusesKeys(t *testing.T) {
	for _, c := range refusedKeys(t) {
		t.Run(c.name, func(t *testing.T) {
			if c.key.Sign != nil {
				c.key.Sign = func(context.Context, []byte) ([]byte, error) {
					t.Error("the key was used")
					return nil, errors.New("no")
				}
			}
			for _, f := range notationFormats {
				_, err := NewLayouts(newMemory()).Image(notationImage(1), Witnesses{}).Sign(t.Context(), f, c.key)
				if err == nil || c.is != nil && !errors.Is(err, c.is) {
					t.Fatalf("%s: %v, want one that is %v", f, err, c.is)
				}
				for _, words := range c.says {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("%s: %q does not say %q", f, err, words)
					}
				}
				if errors.Is(err, registry.ErrUnsupported) && strings.Contains(err.Error(), "by the registry") {
					t.Errorf("%s: %q blames the registry", f, err)
				}
			}
		})
	}
}

// TestNotationLookNeedsAnAlgorithm: where no signature can be made, none is
// looked for.
func TestNotationLookNeedsAnAlgorithm(t *testing.T) {
	st := newMemory()
	_, err := NewLayouts(st).Image(notationImage(1), Witnesses{}).Look(t.Context(), policy.FormatNotationJWS, Key{Algorithm: policy.SM2SM3})
	if cost := st.cost(); !errors.Is(err, registry.ErrUnsupported) || len(cost) > 0 {
		t.Errorf("%v after %v", err, cost)
	}
}

// TestNotationSelfSigned: a certificate without an issuer is a chain.
func TestNotationSelfSigned(t *testing.T) {
	k := newNotary(t, curveKey(t, elliptic.P256()), policy.ECDSASHA256)
	template := *newIssuer(t, "root").chain(t, k.private.Public())[0]
	k.Certificates = []*x509.Certificate{certificate(t, &template, &template, k.private.Public(), k.private)}
	for _, f := range notationFormats {
		st := lenient{newMemory()}
		signNow(t, st, f, notationImage(1), k.Key)
		if look := lookFor(t, st, f, notationImage(1), k.Key); !look.Signed {
			t.Errorf("%s: %q", f, look.Reasons)
		}
	}
}

// TestNotationNeedsTheWholeSubject: a signature over less would verify nowhere.
func TestNotationNeedsTheWholeSubject(t *testing.T) {
	k := certified(t, newIssuer(t, "root"))
	for name, change := range map[string]func(*Subject){
		"media type": func(s *Subject) { s.MediaType = "" },
		"size":       func(s *Subject) { s.Size = 0 },
		"identity":   func(s *Subject) { s.Identity = "" },
	} {
		s := notationImage(1)
		change(&s)
		_, err := NewLayouts(newMemory()).Image(s, Witnesses{}).Sign(t.Context(), policy.FormatNotationJWS, k.Key)
		if err == nil || !strings.Contains(err.Error(), name) || *k.uses > 0 {
			t.Errorf("without %s: %v after %d uses of the key", name, err, *k.uses)
		}
	}
}

// TestNotationRefusesSignatures: what a key returns is not believed.
func TestNotationRefusesSignatures(t *testing.T) {
	ca := newIssuer(t, "root")
	curve, other := certified(t, ca), certified(t, ca)
	private := rsaKey(t, 2048)
	plain := newNotary(t, private, policy.RSAPSSSHA256)
	plain.Certificates = ca.chain(t, private.Public())
	errKey := errors.New("the key store is down")
	returning := func(raw []byte, err error) func(context.Context, []byte) ([]byte, error) {
		return func(context.Context, []byte) ([]byte, error) { return raw, err }
	}
	salted := func(_ context.Context, message []byte) ([]byte, error) {
		digest := digestOf(policy.RSAPSSSHA256, message)
		return rsa.SignPSS(rand.Reader, private, policy.RSAPSSSHA256.Hash(), digest, &rsa.PSSOptions{SaltLength: 20})
	}
	for name, c := range map[string]struct {
		k    notary
		sign func(context.Context, []byte) ([]byte, error)
		is   error
		says string
	}{
		"error":           {curve, returning(nil, errKey), errKey, "down"},
		"nothing":         {curve, returning(nil, nil), nil, "not ASN.1"},
		"more behind it":  {curve, returning([]byte("\x30\x06\x02\x01\x01\x02\x01\x01\x00"), nil), nil, "not ASN.1"},
		"negative":        {curve, returning([]byte("\x30\x06\x02\x01\xff\x02\x01\x01"), nil), nil, "none of its curve"},
		"another key's":   {curve, other.Sign, nil, "does not count"},
		"RSA nothing":     {plain, returning(nil, nil), nil, "salt of 32 bytes"},
		"RSA other salt":  {plain, salted, nil, "salt of 32 bytes"},
		"ECDSA for RSA":   {plain, curve.Sign, nil, "salt of 32 bytes"},
		"RSA as for JOSE": {curve, plain.Sign, nil, "not ASN.1"},
	} {
		for _, f := range notationFormats {
			k := c.k.Key
			k.Sign = c.sign
			sig, err := NewLayouts(newMemory()).Image(notationImage(1), Witnesses{}).Sign(t.Context(), f, k)
			if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || sig.Content != nil {
				t.Errorf("%s, %s: %v", name, f, err)
			}
		}
	}
}

// TestNotationPayload compares what is signed with what the specification shows.
func TestNotationPayload(t *testing.T) {
	s := Subject{
		Repository: "net-monitor", Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("9", 64)},
		MediaType: ociManifest, Size: 16724, Identity: "registry.example.com/net-monitor",
	}
	want := `{"targetArtifact":{"mediaType":"` + ociManifest + `","digest":"sha256:` + s.Digest.Hex +
		`","size":16724,"annotations":{"io.github.sealwright.identity":"registry.example.com/net-monitor"}}}`
	raw := notationPayload(s)
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	c, err := parseNotationPayload(raw)
	if err != nil || c != (notationClaim{s.Digest, s.MediaType, s.Size, s.Identity}) {
		t.Errorf("read as %+v, %v", c, err)
	}
}

// FuzzNotation reads any bytes as an envelope of either format. What is read and
// is the key's speaks of what the key signed. The key is always the same, as
// the corpus is read by processes that did not make it.
func FuzzNotation(f *testing.F) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	k, s := newNotary(f, private, policy.ECDSASHA256), notationImage(1)
	k.Certificates = newIssuer(f, "root").chain(f, private.Public())
	tower := newClockTower(f)
	for n, format := range notationFormats {
		f.Add(n == 1, k.sealed(f, format, s))
		i := NewLayouts(newMemory()).Image(s, Witnesses{Timestamps: []Authority{tower.authority("tower")}})
		sig, err := i.Sign(f.Context(), format, k.Key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(n == 1, sig.Content)
		f.Add(n == 1, readRecordedEnvelope(f, recordedNotation[n].file, format))
	}
	f.Add(false, []byte(`{"payload":"e30","protected":"e30","header":{"x5c":["AA=="]},"signature":"AA"}`))
	f.Add(true, []byte("\xd2\x84\x40\xa0\x40\x40"))
	f.Fuzz(func(t *testing.T, isCOSE bool, raw []byte) {
		l := notationLayout{format: policy.FormatNotationJWS}
		if isCOSE {
			l.format = policy.FormatNotationCOSE
		}
		e, err := l.read(raw)
		if err != nil {
			return
		}
		if len(e.chain) == 0 || len(e.chain) > maxChain || len(e.signature) == 0 || !e.algorithm.Valid() {
			t.Errorf("%q was read as %+v", raw, e)
		}
		if e.isBy(k.Key) == nil && e.claim.speaksOf(s) != nil {
			t.Errorf("%q is by the key, but it never signed %+v", raw, e.claim)
		}
		for _, by := range [][]Authority{nil, {tower.authority("tower")}} {
			if err := e.validAt(t.Context(), e.signed, by); err == nil && chainAt(e.chain, tspclient.Timestamp{Value: e.signed}) != nil && len(e.token) == 0 {
				t.Errorf("%q is taken for valid at %s", raw, e.signed)
			}
		}
	})
}

// FuzzNotationPayload reads any bytes as a payload. What is read is what other
// JSON readers find.
func FuzzNotationPayload(f *testing.F) {
	f.Add(notationPayload(notationImage(1)))
	f.Add([]byte(`{"targetArtifact":{"mediaType":"a","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1e0,"annotations":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseNotationPayload(raw)
		if err != nil {
			return
		}
		var other struct {
			Target target `json:"targetArtifact"`
		}
		if err := json.Unmarshal(raw, &other); err != nil {
			t.Fatalf("%q was read, but not by others: %v", raw, err)
		}
		got := target{c.mediaType, c.digest.String(), c.size, nil}
		want := other.Target
		if identity := want.Annotations[annotationIdentity]; identity != c.identity {
			t.Errorf("%q: identity %q, others read %q", raw, c.identity, identity)
		}
		want.Annotations = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-others +ours):\n%s", raw, diff)
		}
	})
}
