package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// FuzzExport: whatever an export says, only what the key signed is verified, and an entry
// that is returned has the hash of what it says. Payloads are also signed by the key, so
// that what is behind the signature is reached.
func FuzzExport(f *testing.F) {
	dir := f.TempDir()
	if _, err := generate(policy.ECDSASHA256, 0, dir+"/key", nil); err != nil {
		f.Fatal(err)
	}
	signer, err := kms.Open(f.Context(), kms.Config{URI: "file:" + dir + "/key.key"})
	if err != nil {
		f.Fatal(err)
	}
	keys := []*kms.PublicKey{signer.Public()}
	e := journal.Entry{Seq: 1, PreviousHash: journal.Genesis, Body: []byte(`{"state":"signed"}`)}
	e.Hash = e.Sum()
	predicate, err := e.JSON()
	if err != nil {
		f.Fatal(err)
	}
	good := `{"_type":"` + statementType + `","predicateType":"` + recordPredicate + `","predicate":` + string(predicate) + `}`
	for _, text := range []string{good, `{}`, `[]`, `null`, ``, `{"payloadType":"` + statementPayload + `","payload":"e30=","signatures":[{"sig":"AAAA"}]}`,
		`{"signatures":[null]}`, good[:len(good)-1], `{"_type":"` + statementType + `","predicateType":"` + recordPredicate + `","predicate":{"seq":-1}}`, good + "\n" + good} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		report, err := checkExport(bytes.NewReader(text), keys, nil)
		if err == nil && report.Entries > 0 {
			t.Errorf("%q: verified, though the key signed nothing of it", text)
		}
		sig, err := signer.Sign(t.Context(), dsse.PAE(statementPayload, text))
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(dsse.Envelope{PayloadType: statementPayload, Payload: base64.StdEncoding.EncodeToString(text),
			Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}}})
		if err != nil {
			t.Fatal(err)
		}
		if report, err = checkExport(bytes.NewReader(line), keys, nil); err != nil {
			t.Fatal(err)
		}
		got, err := entryOf(line, keys)
		if report.Verified != (err == nil && got.Seq > 0 && got.Hash == got.Sum() && (got.Seq > 1 || got.PreviousHash == journal.Genesis)) {
			t.Errorf("%q: %+v of %+v, %v", text, report, got, err)
		}
		if bytes.Equal(text, []byte(good)) && !report.Verified {
			t.Errorf("a good one: %+v, %v", report, err)
		}
	})
}
