package signature

import (
	"bytes"
	"crypto/elliptic"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sealwright/sealwright/engine/policy"
)

// flip changes one bit.
func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// TestRekorProvesItself is about answers that look like an entry and prove none.
func TestRekorProvesItself(t *testing.T) {
	replace := func(old, now string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, now, 1) }
	}
	for _, test := range []struct {
		name   string
		only   int // generation; 0: both
		tamper func(*protorekor.TransparencyLogEntry)
		says   func(string) string
		reason string
		// careless: without the log's key nobody can tell.
		careless bool
	}{
		{name: "other body", only: 2, tamper: func(e *protorekor.TransparencyLogEntry) {
			e.CanonicalizedBody = append(e.GetCanonicalizedBody(), ' ')
		}, reason: "of something else"},
		{name: "other body", only: 1, tamper: func(e *protorekor.TransparencyLogEntry) {
			e.CanonicalizedBody = append(e.GetCanonicalizedBody(), ' ')
		}, reason: "does not lead"},
		{name: "no body", tamper: func(e *protorekor.TransparencyLogEntry) { e.CanonicalizedBody = nil }, reason: "no body"},
		{name: "other root", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.RootHash = flip(e.GetInclusionProof().GetRootHash())
		}, reason: "another tree"},
		{name: "other size", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.TreeSize++ }, reason: "another tree"},
		{name: "other hash", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Hashes[0] = flip(e.GetInclusionProof().GetHashes()[0])
		}, reason: "does not lead"},
		{name: "short hash", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Hashes[0] = e.GetInclusionProof().GetHashes()[0][:31]
		}, reason: "a hash that is none"},
		{name: "hash too few", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Hashes = e.GetInclusionProof().GetHashes()[1:]
		}, reason: "does not lead"},
		{name: "hash too many", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Hashes = append(e.GetInclusionProof().GetHashes(), make([]byte, 32))
		}, reason: "does not lead"},
		{name: "other place", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.LogIndex, e.LogIndex = 3, 3 }, reason: "does not lead"},
		{name: "place before the start", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.LogIndex, e.LogIndex = -1, -1 }, reason: "does not lead"},
		{name: "place beyond the end", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.LogIndex, e.LogIndex = 6, 6 }, reason: "does not lead"},
		{name: "two places", only: 2, tamper: func(e *protorekor.TransparencyLogEntry) { e.LogIndex++ }, reason: "for another entry"},
		{name: "no proof", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof = nil }, reason: "no inclusion proof"},
		{name: "no checkpoint", tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.Checkpoint = nil }, reason: "its checkpoint: malformed note"},
		{name: "unsigned checkpoint", tamper: func(e *protorekor.TransparencyLogEntry) {
			text, _, _ := strings.Cut(e.GetInclusionProof().GetCheckpoint().GetEnvelope(), "\n\n")
			e.InclusionProof.Checkpoint.Envelope = text + "\n"
		}, reason: "its checkpoint: malformed note"},
		{name: "checkpoint changed", tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = strings.Replace(e.GetInclusionProof().GetCheckpoint().GetEnvelope(), "\n6\n", "\n7\n", 1)
			e.InclusionProof.TreeSize = 7
		}, reason: "invalid signature"},
		{name: "checkpoint of another log", says: replace("rekor.example.com", "other.example.com"), reason: "not signed by that"},
		{name: "checkpoint without end", says: func(string) string { return "rekor.example.com\n1\n" }, reason: "too few lines"},
		{name: "checkpoint without a size", says: replace("\n6\n", "\nsix\n"), reason: `a tree with "six" entries`},
		{name: "checkpoint of less than nothing", says: replace("\n6\n", "\n-6\n"), reason: `a tree with "-6" entries`},
		{name: "checkpoint of a tree without end", says: replace("\n6\n", "\n9223372036854775807\n"),
			tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.TreeSize = 1<<63 - 1 }, reason: "a tree with"},
		{name: "checkpoint without a root", says: func(text string) string { return strings.SplitAfterN(text, "\n", 3)[0] + "6\nroot\n" }, reason: "no root hash"},
		{name: "no kind", tamper: func(e *protorekor.TransparencyLogEntry) { e.KindVersion.Version = "0.0.9" }, only: 2, reason: `of kind "hashedrekord", version "0.0.9"`},
		{name: "other log", tamper: func(e *protorekor.TransparencyLogEntry) { e.LogId.KeyId = flip(e.GetLogId().GetKeyId()) }, reason: "of another log", careless: true},
		{name: "no log", tamper: func(e *protorekor.TransparencyLogEntry) { e.LogId.KeyId = nil }, reason: "no log ID"},
		{name: "other promise", only: 1, tamper: func(e *protorekor.TransparencyLogEntry) {
			e.InclusionPromise.SignedEntryTimestamp = flip(e.GetInclusionPromise().GetSignedEntryTimestamp())
		}, reason: "promise is not signed", careless: true},
		{name: "promised another time", only: 1, tamper: func(e *protorekor.TransparencyLogEntry) { e.IntegratedTime++ }, reason: "promise is not signed", careless: true},
		{name: "no promise", only: 1, tamper: func(e *protorekor.TransparencyLogEntry) { e.InclusionPromise = nil }},
		{name: "all well"},
	} {
		for generation := 1; generation <= 2; generation++ {
			if test.only != 0 && test.only != generation {
				continue
			}
			t.Run(fmt.Sprintf("%s/v%d", test.name, generation), func(t *testing.T) {
				server := newRekorServer(t, generation, edKey(t))
				server.tamper, server.says = test.tamper, test.says
				for _, known := range []bool{true, false} {
					log := server.client()
					if !known {
						log = rekorAt(t, server.url, nil)
					}
					server.mu.Lock()
					server.bodies, server.hashes = server.bodies[:5], server.hashes[:tlog.StoredHashCount(5)]
					server.mu.Unlock()
					envelope, k := enveloped(t, policy.ECDSASHA256)
					_, err := log.Enter(t.Context(), envelope, k.PublicKey)
					reason := test.reason
					switch {
					case !known && test.careless:
						reason = ""
					case !known && reason == "invalid signature":
						reason = "does not lead"
					}
					if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
						t.Errorf("key known: %t: %v", known, err)
					}
				}
			})
		}
	}
}

// TestRekorHoldsWhatWasSigned: an entry proves one signature over one statement
// by one key.
func TestRekorHoldsWhatWasSigned(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		for name, key := range logKeys(t) {
			server := newRekorServer(t, generation, key)
			log := server.client()
			envelope, k := enveloped(t, policy.ECDSASHA256)
			raw, err := log.Enter(t.Context(), envelope, k.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			var entry protorekor.TransparencyLogEntry
			if err := protojson.Unmarshal(raw, &entry); err != nil {
				t.Fatal(err)
			}
			s, err := newSubmission(envelope, k.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			other := bundleKey(t, policy.ECDSASHA256)
			for _, test := range []struct {
				name              string
				log               *Rekor
				payload, sig, key []byte
				reason            string
			}{
				{"it", log, s.payload, s.sig, k.PublicKey, ""},
				{"key unknown", rekorAt(t, server.url, nil), s.payload, s.sig, k.PublicKey, ""},
				{"other statement", log, newStatement(bundleImage(2)), s.sig, k.PublicKey, "it is of "},
				{"other signature", log, s.payload, flip(s.sig), k.PublicKey, "it is of "},
				{"other key", log, s.payload, s.sig, other.PublicKey, "it is of "},
				{"other log", rekorAt(t, server.url, publicPEM(t, edKey(t).Public())), s.payload, s.sig, k.PublicKey, "not signed by the log's key"},
			} {
				err := test.log.Holds(&entry, test.payload, test.sig, test.key)
				if (err == nil) != (test.reason == "") || err != nil && !strings.Contains(err.Error(), test.reason) {
					t.Errorf("v%d, %s, %s: %v", generation, name, test.name, err)
				}
			}
		}
	}
}

// TestRekorBodies is about the bodies of the first generation, which are read.
func TestRekorBodies(t *testing.T) {
	server := newRekorServer(t, 1, edKey(t))
	envelope, k := enveloped(t, policy.ECDSASHA256)
	s, err := newSubmission(envelope, k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.client().Enter(t.Context(), envelope, k.PublicKey); err != nil {
		t.Fatal(err)
	}
	body := server.bodies[5]
	if err := s.isBodyV1([]byte(body)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ old, now, reason string }{
		{`"kind":"dsse"`, `"kind":"intoto"`, "kind is"},
		{`"apiVersion":"0.0.1"`, `"apiVersion":"0.0.2"`, "apiVersion is"},
		{`"apiVersion":"0.0.1"`, `"apiVersion":"0.0.1","ApiVersion":"0.0.1"`, "twice"},
		{`"spec":{`, `"spec":{"proposedContent":{},`, "proposedContent"},
		{`"payloadHash":{`, `"payloadHash":{"more":1,`, "more"},
		{`"algorithm":"sha256","value"`, `"algorithm":"sha256","Value"`, "envelope"},
		{`"signatures":[`, `"signatures":[{},`, "not one signature"},
		{`"signature":"`, `"signature":"A`, "another signature"},
		{`"verifier":"`, `"verifier":"!`, "another key"},
		{`{"signature"`, `{"more":1,"signature"`, "signature"},
	} {
		forged := strings.Replace(body, test.old, test.now, 1)
		if forged == body {
			t.Fatalf("%s is not in %s", test.old, body)
		}
		err := s.isBodyV1([]byte(forged))
		if test.reason == "envelope" { // the first digest is that of the envelope, which is not ours to judge
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v", test.now, err)
		}
	}
}

func TestNewRekorRefuses(t *testing.T) {
	good := publicPEM(t, edKey(t).Public())
	for name, c := range map[string]struct {
		config RekorConfig
		reason string
	}{
		"no URL":      {RekorConfig{Client: http.DefaultClient}, "needs a URL"},
		"no client":   {RekorConfig{URL: "http://x"}, "needs a URL and a client"},
		"no PEM":      {RekorConfig{URL: "http://x", Client: http.DefaultClient, PublicKey: []byte("x")}, "not one PEM block"},
		"two keys":    {RekorConfig{URL: "http://x", Client: http.DefaultClient, PublicKey: append(bytes.Clone(good), good...)}, "not one PEM block"},
		"certificate": {RekorConfig{URL: "http://x", Client: http.DefaultClient, PublicKey: bytes.ReplaceAll(good, []byte("PUBLIC KEY"), []byte("CERTIFICATE"))}, "not one PEM block"},
		"no key": {RekorConfig{URL: "http://x", Client: http.DefaultClient,
			PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})}, "not a public key"},
		"RSA": {RekorConfig{URL: "http://x", Client: http.DefaultClient,
			PublicKey: publicPEM(t, rsaKey(t, 2048).Public())}, "a *rsa.PublicKey; allowed: the PEM public key of the log, ECDSA P-256 or Ed25519"},
		"P-384": {RekorConfig{URL: "http://x", Client: http.DefaultClient,
			PublicKey: publicPEM(t, curveKey(t, elliptic.P384()).Public())}, "a key on P-384"},
	} {
		if _, err := NewRekor(c.config); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzLogEntry reads any bytes as an entry. What proves a signature must have the
// body that the log keeps of it, whatever else it says.
func FuzzLogEntry(f *testing.F) {
	envelope, k := enveloped(f, policy.ECDSASHA256)
	s, err := newSubmission(envelope, k.PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	var logs []*Rekor
	bodies := map[string]bool{}
	for generation := 1; generation <= 2; generation++ {
		server := newRekorServer(f, generation, edKey(f))
		logs = append(logs, server.client())
		raw, err := server.client().Enter(f.Context(), envelope, k.PublicKey)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		entry := server.entry(5)
		bodies[string(entry.GetCanonicalizedBody())] = true
		f.Add(server.answerV1(entry))
	}
	keyless := rekorAt(f, "http://rekor.example.com", nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		entry, err := parseEntryV1(raw)
		if err != nil {
			entry = &protorekor.TransparencyLogEntry{}
			if protojson.Unmarshal(raw, entry) != nil {
				return
			}
		}
		for _, log := range logs {
			if log.holds(entry, s) == nil && !bodies[string(entry.GetCanonicalizedBody())] {
				t.Errorf("%s proves our signature", raw)
			}
		}
		if keyless.holds(entry, s) == nil && keyless.holds(proto.Clone(entry).(*protorekor.TransparencyLogEntry), submission{payload: s.payload, sig: flip(s.sig), publicKey: s.publicKey}) == nil {
			t.Errorf("%s proves everything", raw)
		}
	})
}
