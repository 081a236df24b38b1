package signature

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"
	nx509 "github.com/notaryproject/notation-core-go/x509"
	tspclient "github.com/notaryproject/tspclient-go"
	"github.com/notaryproject/tspclient-go/pki"

	"github.com/sealwright/sealwright/engine/policy"
)

// referBundle stores a bundle, whatever it is, as one of s.
func referBundle(t testing.TB, st lenient, s Subject, k Key, content []byte) {
	t.Helper()
	raw, err := newBundleCarrier(content, keyHint(k.PublicKey), time.Now()).compose(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLayouts(st).Image(s, Witnesses{}).uploadCarrier(t.Context(), newBundleCarrier(content, keyHint(k.PublicKey), time.Now()), raw); err != nil {
		t.Fatal(err)
	}
}

// signedBy stores a signature of each format by k, witnessed by w.
func signedBy(t testing.TB, st lenient, f policy.Format, s Subject, k Key, w Witnesses) Signature {
	t.Helper()
	sig, _ := mustSign(t, NewLayouts(st).Image(s, w), f, k)
	return sig
}

// lookWith looks anew, for signatures witnessed by w.
func lookWith(t testing.TB, st lenient, f policy.Format, s Subject, k Key, w Witnesses) Look {
	t.Helper()
	look, err := NewLayouts(st).Image(s, w).Look(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	return look
}

var witnessedFormats = append([]policy.Format{policy.FormatBundle}, notationFormats...)

// TestTimestampIsWanted: what was signed before a policy named an authority does
// not count for it, and what is signed then does.
func TestTimestampIsWanted(t *testing.T) {
	for _, f := range witnessedFormats {
		t.Run(string(f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { wantsTimestamp(t, f) })
		})
	}
}

func wantsTimestamp(t *testing.T, f policy.Format) {
	k, s, st := certified(t, newIssuer(t, "root")).Key, notationImage(1), lenient{newMemory()}
	tower, other := newClockTower(t), newClockTower(t)
	by := func(list ...Authority) Witnesses { return Witnesses{Timestamps: list} }
	signedBy(t, st, f, s, k, by())
	looks := func(when string, w Witnesses, signed bool, reason string) {
		t.Helper()
		look := lookWith(t, st, f, s, k, w)
		if look.Signed != signed || !strings.Contains(strings.Join(look.Reasons, "; "), reason) {
			t.Errorf("%s: %+v", when, look)
		}
	}
	looks("nobody is to witness it", by(), true, "")
	looks("it has no timestamp", by(tower.authority("tower")), false, "it has no timestamp, and is to have one")

	signedBy(t, st, f, s, k, by(tower.authority("tower")))
	looks("it has one", by(tower.authority("tower")), true, "")
	looks("one of several vouches", by(other.authority("other"), tower.authority("tower")), true, "")
	looks("by another authority", by(other.authority("other")), false, "its timestamp: other: ")
	looks("by one without roots", by(Authority{Timestamper: tower, Name: "rootless"}), false, "its timestamp: rootless: ")

	found, err := NewLayouts(st).Image(s, by(other.authority("other"))).Check(t.Context(), []Key{k})
	if err != nil || len(found) != 2 {
		t.Errorf("Check = %+v, %v, want both", found, err)
	}

	time.Sleep(6 * 365 * day) // the authority's certificate has expired, and was valid then
	looks("years later", by(tower.authority("tower")), true, "")
	if f == policy.FormatBundle {
		i := NewLayouts(st).Image(s, by(tower.authority("tower")))
		if _, err := i.Sign(t.Context(), f, k); !errors.Is(err, ErrTimestamp) {
			t.Errorf("by an authority whose certificate has expired: %v", err)
		}
	}
}

// TestBundleWithBadTimestamps: a timestamp counts if it is over the signature and
// its authority's certificate was valid then.
func TestBundleWithBadTimestamps(t *testing.T) {
	tower := newClockTower(t)
	k, s := bundleKey(t, policy.ECDSASHA256), bundleImage(1)
	w := Witnesses{Timestamps: []Authority{tower.authority("tower")}}
	raw, err := k.Sign(t.Context(), submission{payload: newStatement(s)}.message())
	if err != nil {
		t.Fatal(err)
	}
	stamp := func(message []byte, late time.Duration) []byte {
		tower.late = late
		out, err := tower.responseOver(message)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	good := stamp(raw, 0)
	refused, err := (&tspclient.Response{}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		stamps [][]byte
		reason string
	}{
		{"good", [][]byte{good}, ""},
		{"good among bad ones", [][]byte{[]byte("x"), stamp([]byte("else"), 0), good}, ""},
		{"none", nil, "it has no timestamp, and is to have one"},
		{"over something else", [][]byte{stamp([]byte("else"), 0)}, "mismatched message"},
		{"from before the authority's certificate", [][]byte{stamp(raw, -48*time.Hour)}, "tower: "},
		{"from after the authority's certificate", [][]byte{stamp(raw, 6*365*day)}, "tower: "},
		{"garbage", [][]byte{[]byte("x")}, "parsing it"},
		{"no token", [][]byte{refused}, "parsing it"},
		{"refused, with a token", [][]byte{answered(t, good, pki.StatusRejection)}, "its timestamp: "},
		{"changed", [][]byte{flip(good)}, "its timestamp: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			content, err := newBundle(keyHint(k.PublicKey), newEnvelope(newStatement(s), raw), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			var f bundleFile
			if err := json.Unmarshal(content, &f); err != nil {
				t.Fatal(err)
			}
			for _, stamp := range test.stamps {
				if f.VerificationMaterial.TimestampVerificationData == nil {
					f.VerificationMaterial.TimestampVerificationData = &timestampVerificationData{}
				}
				d := f.VerificationMaterial.TimestampVerificationData
				d.RFC3161Timestamps = append(d.RFC3161Timestamps, signedTimestamp{stamp})
			}
			st := lenient{newMemory()}
			referBundle(t, st, s, k, encode(f))
			look := lookWith(t, st, policy.FormatBundle, s, k, w)
			if look.Signed != (test.reason == "") || !strings.Contains(strings.Join(look.Reasons, "; "), test.reason) {
				t.Errorf("%+v", look)
			}
			if _, err := NewLayouts(st).Image(s, w).Attach(t.Context(), policy.FormatBundle, Look{}, Signature{Content: encode(f)}, k); (err == nil) != (test.reason == "") {
				t.Errorf("Attach: %v", err)
			}
			if look := lookWith(t, st, policy.FormatBundle, s, k, Witnesses{}); !look.Signed {
				t.Errorf("nobody is to witness it: %+v", look)
			}
		})
	}
}

// answered returns a response with another status.
func answered(t *testing.T, raw []byte, status pki.Status) []byte {
	t.Helper()
	var response tspclient.Response
	if err := response.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	response.Status.Status = status
	out, err := response.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// responseOver returns a DER response over message.
func (c *clockTower) responseOver(message []byte) ([]byte, error) {
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: message, HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, err
	}
	response, err := c.Timestamp(c.t.Context(), request)
	if err != nil {
		return nil, err
	}
	return response.MarshalBinary()
}

// TestNotationWithBadTimestamps: the same for envelopes whose certificate is
// valid, for which no timestamp would be needed otherwise.
func TestNotationWithBadTimestamps(t *testing.T) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	for _, f := range notationFormats {
		tower := newClockTower(t)
		w := Witnesses{Timestamps: []Authority{tower.authority("tower")}}
		early := newClockTower(t)
		early.late = -48 * time.Hour
		for name, test := range map[string]struct {
			by     tspclient.Timestamper
			roots  *x509.CertPool
			judge  []Authority
			reason string
		}{
			"good":                {tower, tower.authority("").Roots, w.Timestamps, ""},
			"over something else": {misdirected{tower}, tower.authority("").Roots, w.Timestamps, "mismatched message"},
			"by somebody else":    {early, early.authority("").Roots, w.Timestamps, "its timestamp: tower: "},
			"before its time":     {early, early.authority("").Roots, []Authority{early.authority("early")}, "its timestamp: early: "},
		} {
			st := lenient{newMemory()}
			content := k.sealed(t, f, s, func(r *core.SignRequest) { r.Timestamper, r.TSARootCAs = test.by, test.roots })
			referNotation(t, st, f, s, content)
			look := lookWith(t, st, f, s, k.Key, Witnesses{Timestamps: test.judge})
			if look.Signed != (test.reason == "") || !strings.Contains(strings.Join(look.Reasons, "; "), test.reason) {
				t.Errorf("%s, %s: %+v", f, name, look)
			}
			i := NewLayouts(st).Image(s, Witnesses{Timestamps: test.judge})
			if _, err := i.Attach(t.Context(), f, Look{}, Signature{Content: content}, k.Key); (err == nil) != (test.reason == "") {
				t.Errorf("%s, %s: Attach: %v", f, name, err)
			}
		}
	}
}

// TestTimestampSuits: the Notary Project wants more of an authority's
// certificates than others do, so what counts in a bundle may not in an envelope.
func TestTimestampSuits(t *testing.T) {
	tower := newClockTower(t)
	token, err := tower.responseOver([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	var response tspclient.Response
	if err := response.UnmarshalBinary(token); err != nil {
		t.Fatal(err)
	}
	signed, seen, err := parseTimestamp(response.TimestampToken.FullBytes, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	by, no := []Authority{tower.authority("tower")}, errors.New("no")
	if err := trustTimestamp(t.Context(), signed, seen.Value, by, nx509.ValidateTimestampingCertChain); err != nil {
		t.Error(err)
	}
	if err := trustTimestamp(t.Context(), signed, seen.Value, by, func([]*x509.Certificate) error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
}

// TestLogIsWanted: what was signed before a policy named a log does not count for
// it, and what is signed then does.
func TestLogIsWanted(t *testing.T) {
	server, other := newRekorServer(t, 2, edKey(t)), newRekorServer(t, 1, edKey(t))
	s, k, st := bundleImage(1), bundleKey(t, policy.ECDSASHA256), lenient{newMemory()}
	w := Witnesses{Log: server.client()}
	looks := func(when string, w Witnesses, signed bool, reason string) {
		t.Helper()
		look := lookWith(t, st, policy.FormatBundle, s, k, w)
		if look.Signed != signed || !strings.Contains(strings.Join(look.Reasons, "; "), reason) {
			t.Errorf("%s: %+v", when, look)
		}
	}
	signedBy(t, st, policy.FormatBundle, s, k, Witnesses{})
	looks("no entry", w, false, "it has no entry of the transparency log")
	elsewhere := signedBy(t, st, policy.FormatBundle, s, k, Witnesses{Log: other.client()})
	looks("entry of another log", w, false, "its log entry: its checkpoint is not signed by the log's key")

	// The entry is real, and of another signature by the same key.
	mixed := signedBy(t, lenient{newMemory()}, policy.FormatBundle, s, k, w)
	var to, from bundleFile
	if err := errors.Join(json.Unmarshal(elsewhere.Content, &to), json.Unmarshal(mixed.Content, &from)); err != nil {
		t.Fatal(err)
	}
	to.VerificationMaterial.TlogEntries = from.VerificationMaterial.TlogEntries
	referBundle(t, st, s, k, encode(to))
	looks("entry of another signature", w, false, "its log entry: it is of something else")
	i := NewLayouts(st).Image(s, w)
	if _, err := i.Attach(t.Context(), policy.FormatBundle, Look{}, Signature{Content: encode(to)}, k); err == nil {
		t.Error("attached with the entry of another signature")
	}

	signedBy(t, st, policy.FormatBundle, s, k, w)
	looks("entry", w, true, "")
	looks("nobody is to witness it", Witnesses{}, true, "")
	found, err := NewLayouts(st).Image(s, w).Check(t.Context(), []Key{k})
	if err != nil || len(found) != 4 {
		t.Errorf("Check = %d, %v, want all 4", len(found), err)
	}
}

// TestLogFails: without an entry nothing is stored, and the error says why.
func TestLogFails(t *testing.T) {
	server := newRekorServer(t, 2, edKey(t))
	i := NewLayouts(lenient{newMemory()}).Image(bundleImage(1), Witnesses{Log: rekorAt(t, server.url, publicPEM(t, edKey(t).Public()))})
	sig, err := i.Sign(t.Context(), policy.FormatBundle, bundleKey(t, policy.ECDSASHA256))
	if !errors.Is(err, ErrLog) || sig.Content != nil || !strings.Contains(err.Error(), "not signed by the log's key") {
		t.Errorf("Sign = %+v, %v", sig, err)
	}
}
