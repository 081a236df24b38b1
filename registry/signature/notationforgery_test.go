package signature

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"
	gocose "github.com/veraison/go-cose"

	"github.com/sealwright/sealwright/engine/policy"
)

// A notationForgery is an envelope that does not count, and words of why.
type notationForgery struct {
	name    string
	content []byte
	reason  string
}

// claiming changes what is signed.
func claiming(change func(*Subject)) func(*core.SignRequest) {
	s := notationImage(1)
	change(&s)
	return func(r *core.SignRequest) { r.Payload.Content = notationPayload(s) }
}

func stating(p string) func(*core.SignRequest) {
	return func(r *core.SignRequest) { r.Payload.Content = []byte(p) }
}

func attribute(key any, critical bool) func(*core.SignRequest) {
	return func(r *core.SignRequest) {
		r.ExtendedSignedAttributes = []core.Attribute{{Key: key, Critical: critical, Value: "x"}}
	}
}

// notationForgeries are envelopes over notationImage(1), of either format, that
// ours must not take for k's. ca is the issuer of k's certificates.
func notationForgeries(t *testing.T, f policy.Format, ca issuer, k notary) []notationForgery {
	t.Helper()
	s := notationImage(1)
	own := k.sealed(t, f, s)
	by := func(change ...func(*core.SignRequest)) []byte { return k.sealed(t, f, s, change...) }
	described := `"mediaType":"` + s.MediaType + `","digest":"` + s.Digest.String() + `","size":402`
	named := `,"annotations":{"` + annotationIdentity + `":"` + s.Identity + `"}`
	other := certified(t, ca) // the same issuer and subject, another key
	impostor := k             // the same key and names, another issuer
	impostor.Certificates = newIssuer(t, "root").chain(t, k.private.Public())
	alone := k // the same key and name, no issuer at all
	template := *k.Certificates[0]
	alone.Certificates = []*x509.Certificate{certificate(t, &template, &template, k.private.Public(), k.private)}
	return []notationForgery{
		{"empty", nil, ""},
		{"truncated", own[:len(own)-1], "envelope"},
		{"with more behind it", append(bytes.Clone(own), own...), "envelope"},
		{"too large", append(bytes.Clone(own), bytes.Repeat([]byte(" "), maxContent)...), "bytes"},
		{"other signature", spoilt(t, f, own), "signature is invalid"},
		{"other digest", by(claiming(func(s *Subject) { s.Digest = image(2).Digest })), "it speaks of sha256:"},
		{"other media type", by(claiming(func(s *Subject) { s.MediaType = ociManifest + "x" })), "is of type"},
		{"other size", by(claiming(func(s *Subject) { s.Size++ })), "has 403 bytes, not 402"},
		{"other identity", by(claiming(func(s *Subject) { s.Identity = "evil.example.com/library/app" })), `"evil.example.com/library/app", not`},
		{"no identity", by(stating(`{"targetArtifact":{` + described + `}}`)), "no annotation io.github.sealwright.identity"},
		{"identity that is no text", by(stating(`{"targetArtifact":{` + described + `,"annotations":{"` + annotationIdentity + `":null}}}`)), "is no string"},
		{"size that is no number", by(stating(`{"targetArtifact":{` + strings.Replace(described, "402", `"402"`, 1) + named + `}}`)), `"size"`},
		{"digest that is none", by(stating(`{"targetArtifact":{` + strings.Replace(described, "sha256:", "sha256:x", 1) + named + `}}`)), "digest"},
		{"more in the target", by(stating(`{"targetArtifact":{"data":"e30=",` + described + named + `}}`)), `unknown member "data"`},
		{"more in the payload", by(stating(`{"also":1,"targetArtifact":{` + described + named + `}}`)), `unknown member "also"`},
		{"payload of another type", by(func(r *core.SignRequest) { r.Payload.ContentType = "application/json" }), "its payload is of type"},
		{"signing authority", by(func(r *core.SignRequest) { r.SigningScheme = core.SigningSchemeX509SigningAuthority }), "signing scheme"},
		{"unknown critical attribute", by(attribute("com.example.must", true)), "com.example.must"},
		{"plugin", by(attribute("io.cncf.notary.verificationPlugin", false)), "verificationPlugin"},
		{"best before", by(func(r *core.SignRequest) {
			r.SigningTime, r.Expiry = r.SigningTime.Add(-time.Minute+time.Second), r.SigningTime.Add(-time.Second)
		}), "it was to be used until"},
		{"other key", other.sealed(t, f, s), "for another key"},
		{"other certificate for the key", impostor.sealed(t, f, s), "its certificates lead to"},
		{"own certificate for the key", alone.sealed(t, f, s), "its certificates lead to"},
	}
}

// spoilt changes one byte of the signature in an envelope.
func spoilt(t *testing.T, f policy.Format, raw []byte) []byte {
	t.Helper()
	if f == policy.FormatNotationCOSE {
		var m gocose.Sign1Message
		if err := m.UnmarshalCBOR(raw); err != nil {
			t.Fatal(err)
		}
		m.Signature[10] ^= 1
		out, err := m.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return edited(t, raw, func(e map[string]any) {
		sig, err := base64.RawURLEncoding.DecodeString(e["signature"].(string))
		if err != nil {
			t.Fatal(err)
		}
		sig[10] ^= 1
		e["signature"] = base64.RawURLEncoding.EncodeToString(sig)
	})
}

// edited changes the members of a JWS envelope.
func edited(t *testing.T, raw []byte, change func(map[string]any)) []byte {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	change(e)
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// signedJWS returns an envelope by k with any protected header.
func signedJWS(t *testing.T, k notary, protected string) []byte {
	t.Helper()
	body := base64.RawURLEncoding.EncodeToString(notationPayload(notationImage(1)))
	head := base64.RawURLEncoding.EncodeToString([]byte(protected))
	made, err := k.Sign(t.Context(), []byte(head+"."+body))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := asSealed(made, k.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	return encode(map[string]any{
		"payload": body, "protected": head, "signature": base64.RawURLEncoding.EncodeToString(sig),
		"header": map[string]any{"x5c": [][]byte{k.Certificates[0].Raw, k.Certificates[1].Raw}},
	})
}

// jwsForgeries are those that only JWS knows.
func jwsForgeries(t *testing.T, ca issuer, k notary) []notationForgery {
	t.Helper()
	own := k.sealed(t, policy.FormatNotationJWS, notationImage(1))
	const rest = `"cty":"application/vnd.cncf.notary.payload.v1+json","io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2026-11-22T02:13:19Z"`
	const crit = `"crit":["io.cncf.notary.signingScheme"],`
	header := func(name string, v any) func(map[string]any) {
		return func(e map[string]any) {
			h := maps.Clone(e["header"].(map[string]any))
			if h[name] = v; v == nil {
				delete(h, name)
			}
			e["header"] = h
		}
	}
	long := []any{k.Certificates[0].Raw}
	for range maxChain {
		long = append(long, ca.cert.Raw)
	}
	return []notationForgery{
		{"alg none", signedJWS(t, k, `{"alg":"none",`+crit+rest+`}`), "signing method none is invalid"},
		{"alg of another key", signedJWS(t, k, `{"alg":"PS256",`+crit+rest+`}`), "signature is invalid"},
		{"no alg", signedJWS(t, k, `{`+crit+rest+`}`), "alg"},
		{"HMAC with the public key", signedJWS(t, k, `{"alg":"HS256",`+crit+rest+`}`), "HS256"},
		{"no crit", signedJWS(t, k, `{"alg":"ES256",`+rest+`}`), "crit"},
		{"unknown crit", signedJWS(t, k, `{"alg":"ES256","crit":["io.cncf.notary.signingScheme","b64"],"b64":false,`+rest+`}`), "b64"},
		{"two algs", signedJWS(t, k, `{"alg":"none","alg":"ES256",`+crit+rest+`}`), `member "alg" twice`},
		{"two schemes", signedJWS(t, k, `{"alg":"ES256",`+crit+rest+`,"IO.cncf.notary.signingScheme":"x"}`), "twice"},
		{"two payloads", append([]byte(`{"payload":"e30",`), own[1:]...), `member "payload" twice`},
		{"many signatures", edited(t, own, func(e map[string]any) { e["signatures"] = []any{} }), `unknown member "signatures"`},
		{"no chain", edited(t, own, header("x5c", nil)), "0 certificates"},
		{"empty chain", edited(t, own, header("x5c", []any{})), "0 certificates"},
		{"chain under another name", edited(t, edited(t, own, header("X5C", []any{k.Certificates[0].Raw, ca.cert.Raw})), header("x5c", nil)), "0 certificates"},
		{"long chain", edited(t, own, header("x5c", long)), "11 certificates"},
		{"chain without its root", edited(t, own, header("x5c", []any{k.Certificates[0].Raw})), "certificate"},
		{"no signature", edited(t, own, func(e map[string]any) { delete(e, "signature") }), `"signature" is missing`},
		{"timestamp that is none", edited(t, own, header("io.cncf.notary.timestampSignature", []byte("x"))), "its timestamp"},
	}
}

// coseForgeries are those that only COSE knows.
func coseForgeries(t *testing.T, k notary) []notationForgery {
	t.Helper()
	own := k.sealed(t, policy.FormatNotationCOSE, notationImage(1))
	var one gocose.Sign1Message
	if err := one.UnmarshalCBOR(own); err != nil {
		t.Fatal(err)
	}
	signer, err := gocose.NewSigner(gocose.AlgorithmES256, k.private)
	if err != nil {
		t.Fatal(err)
	}
	two := gocose.SignMessage{
		Headers: one.Headers, Payload: one.Payload,
		Signatures: []*gocose.Signature{gocose.NewSignature(), gocose.NewSignature()},
	}
	for _, s := range two.Signatures {
		s.Headers.Protected.SetAlgorithm(gocose.AlgorithmES256)
	}
	if err := two.Sign(rand.Reader, nil, signer, signer); err != nil {
		t.Fatal(err)
	}
	several, err := two.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	chained := func(chain any) []byte {
		one.Headers.RawUnprotected = nil // it would be written instead
		one.Headers.Unprotected[gocose.HeaderLabelX5Chain] = chain
		raw, err := one.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	one.Headers.Unprotected["io.cncf.notary.timestampSignature"] = []byte("x")
	stamped := chained([]any{k.Certificates[0].Raw, k.Certificates[1].Raw})
	delete(one.Headers.Unprotected, "io.cncf.notary.timestampSignature")
	return []notationForgery{
		{"two signatures", several, "COSE_Sign1"},
		{"no chain", chained(nil), "no list"},
		{"empty chain", chained([]any{}), "0 certificates"},
		{"long chain", chained(make([]any, maxChain+1)), "11 certificates"},
		{"chain that is none", chained([]any{"x"}), "malformed"},
		{"timestamp that is none", stamped, "its timestamp"},
		{"untagged", own[1:], "COSE_Sign1"},
		{"numbered critical attribute", k.sealed(t, policy.FormatNotationCOSE, notationImage(1), attribute(int64(99), true)), `"99"`},
	}
}

// TestNotationForgeries looks at each alone. None counts, each has its reason,
// check accepts only those that k made over the image, and signing goes on.
func TestNotationForgeries(t *testing.T) {
	ca := newIssuer(t, "root")
	k, s := certified(t, ca), notationImage(1)
	for _, f := range notationFormats {
		all := notationForgeries(t, f, ca, k)
		if f == policy.FormatNotationJWS {
			all = append(all, jwsForgeries(t, ca, k)...)
		} else {
			all = append(all, coseForgeries(t, k)...)
		}
		for _, c := range all {
			t.Run(string(f)+"/"+c.name, func(t *testing.T) {
				st := lenient{newMemory()}
				referNotation(t, st, f, s, c.content)
				look := lookFor(t, st, f, s, k.Key)
				if look.Signed || look.Others != 1 || len(look.Reasons) != 1 || !strings.Contains(look.Reasons[0], c.reason) {
					t.Errorf("signed %t, %d others: %q\nwant a reason with %q", look.Signed, look.Others, look.Reasons, c.reason)
				}
				signNow(t, st, f, s, k.Key)
				if look := lookFor(t, st, f, s, k.Key); !look.Signed {
					t.Errorf("after signing: %+v", look)
				}
			})
		}
	}
}

// TestNotationCheckIsOfTheKey: check needs no identity and no certificate of
// ours, but the key and the image.
func TestNotationCheckIsOfTheKey(t *testing.T) {
	ca := newIssuer(t, "root")
	k, s := certified(t, ca), notationImage(1)
	accepted := map[string]string{ // :: name → identity
		"other identity": "evil.example.com/library/app", "no identity": "",
		"other certificate for the key": s.Identity, "own certificate for the key": s.Identity,
	}
	bare := k.Key
	bare.Certificates = nil
	for _, c := range notationForgeries(t, policy.FormatNotationJWS, ca, k) {
		st := lenient{newMemory()}
		referNotation(t, st, policy.FormatNotationJWS, s, c.content)
		found, err := NewLayouts(st).Image(s, Witnesses{}).Check(t.Context(), []Key{bare})
		if err != nil {
			t.Fatal(err)
		}
		identity, want := accepted[c.name]
		if want != (len(found) == 1) || want && found[0].Identity != identity {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

// TestNotationCheckKnowsAlgorithms: an RSA key given with each of its
// algorithms signed once, not six times.
func TestNotationCheckKnowsAlgorithms(t *testing.T) {
	k, s, st := newNotary(t, rsaKey(t, 2048), policy.RSAPSSSHA256), notationImage(1), lenient{newMemory()}
	k.Certificates = newIssuer(t, "root").chain(t, k.private.Public())
	signNow(t, st, policy.FormatNotationCOSE, s, k.Key)
	var keys []Key
	for _, alg := range []policy.Algorithm{policy.RSAPSSSHA256, policy.RSAPSSSHA384, policy.RSAPSSSHA512, policy.RSAPKCS1SHA256} {
		keys = append(keys, Key{Algorithm: alg, PublicKey: k.PublicKey})
	}
	found, err := NewLayouts(st).Image(s, Witnesses{}).Check(t.Context(), keys)
	if err != nil || len(found) != 1 || found[0].Verifier != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestNotationOneFormatOnly: what was signed in one format is not signed in the
// other, whatever the manifest says.
func TestNotationOneFormatOnly(t *testing.T) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	for n, f := range notationFormats {
		other := notationFormats[1-n]
		st := lenient{newMemory()}
		signNow(t, st, f, s, k.Key)
		referNotation(t, st, other, s, k.sealed(t, f, s))
		if look := lookFor(t, st, other, s, k.Key); look.Signed || look.Others != 2 {
			t.Errorf("signed as %s, seen as %s: %+v", f, other, look)
		}
	}
}

// TestNotationClockIsBehind looks before the certificate's time has come.
func TestNotationClockIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newIssuer(t, "root")
		k := newNotary(t, curveKey(t, elliptic.P256()), policy.ECDSASHA256)
		k.Certificates = ca.chain(t, k.private.Public(), func(c *x509.Certificate) { valid(c, time.Now().Add(time.Hour), day) })
		s, st := notationImage(1), lenient{newMemory()}
		referNotation(t, st, policy.FormatNotationJWS, s, k.sealed(t, policy.FormatNotationJWS, s, func(r *core.SignRequest) {
			r.SigningTime = time.Now().Add(2 * time.Hour)
		}))
		if look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key); look.Signed || !strings.Contains(look.Reasons[0], "is not valid before") {
			t.Errorf("too early: %+v", look)
		}
		time.Sleep(time.Hour)
		if look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key); !look.Signed {
			t.Errorf("in time: %+v", look)
		}
	})
}
