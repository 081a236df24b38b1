package signature

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sealwright/sealwright/engine/policy"
)

// FuzzBundle reads any bytes as a bundle. They must not count for an image that
// was never signed, and what is read must be what a lenient reader reads.
func FuzzBundle(f *testing.F) {
	forger := &forger{f, lenient{newMemory()}, bundleImage(1), bundleKey(f, policy.ECDSASHA256)}
	own, err := parseBundle([]byte(forger.ours(forger.s)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(forger.ours(forger.s)))
	for _, r := range recordedBundles {
		f.Add(readRecordedBundle(f, r.file+".bundle.json"))
	}
	for _, test := range bundleForgeries() {
		if test.bundle != nil {
			if raw := test.bundle(forger); len(raw) < 8<<10 {
				f.Add([]byte(raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBundle(raw)
		if err != nil {
			return
		}
		if b.counts(bundleImage(3), forger.k) == nil {
			t.Errorf("%q counts for an image that was never signed", raw)
		}
		if b.counts(forger.s, forger.k) == nil && string(b.message) != string(own.message) {
			t.Errorf("%q counts, but signs %q", raw, b.message)
		}
		var e dsse.Envelope
		if err := json.Unmarshal(raw, &struct {
			Envelope *dsse.Envelope `json:"dsseEnvelope"`
		}{&e}); err != nil || len(e.Signatures) != 1 {
			return // spelled dsse_envelope, as is allowed
		}
		if payload, err := e.DecodeB64Payload(); err == nil && string(dsse.PAE(e.PayloadType, payload)) != string(b.message) {
			t.Errorf("%q signs %q for some, %q for us", raw, payload, b.message)
		}
	})
}

// FuzzStatement reads any bytes as a statement. What is taken for one must say
// the same to a lenient reader.
func FuzzStatement(f *testing.F) {
	own := string(newStatement(bundleImage(1)))
	f.Add([]byte(own))
	f.Add([]byte(strings.Replace(own, `"name":`, `"annotations":{"a":"b"},"name":`, 1)))
	f.Add([]byte(strings.Replace(own, `,"predicate":{}`, "", 1)))
	for _, r := range recordedBundles {
		f.Add(payloadOf(f, readRecordedBundle(f, r.file+".bundle.json")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		claims, err := parseStatement(raw)
		if err != nil {
			return
		}
		var s statement
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if s.Type != statementType || s.PredicateType != predicateSign || len(s.Subject) != len(claims) {
			t.Fatalf("%q is %+v", raw, s)
		}
		for n, c := range claims {
			if s.Subject[n].Name != c.identity || s.Subject[n].Digest.SHA256 != c.digest.Hex {
				t.Errorf("%q: subject %d is %+v, not %+v", raw, n, s.Subject[n], c)
			}
		}
	})
}
