package signature

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// fallbackTag is where referrers are listed without an API.
func fallbackTag(s Subject) string { return s.Digest.Algorithm + "-" + s.Digest.Hex }

// refer stores a manifest and lists it among the referrers of s, whatever it
// says itself.
func refer(t testing.TB, st lenient, s Subject, raw []byte) {
	t.Helper()
	d := hash(raw)
	st.tag(s.Repository, d.String(), ociManifest, raw)
	entry := map[string]any{"mediaType": ociManifest, "digest": d.String(), "size": len(raw), "artifactType": bundleType}
	var m struct{ Annotations map[string]string }
	if json.Unmarshal(raw, &m) == nil && m.Annotations != nil {
		entry["annotations"] = m.Annotations
	}
	list(t, st, s, entry)
}

// list appends to the fallback index of s.
func list(t testing.TB, st lenient, s Subject, entry map[string]any) {
	t.Helper()
	index := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{2, "application/vnd.oci.image.index.v1+json", nil}
	if m, err := st.find(s.Repository, fallbackTag(s)); err == nil {
		if err := json.Unmarshal(m.Raw, &index); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	index.Manifests = append(index.Manifests, raw)
	if raw, err = json.Marshal(index); err != nil {
		t.Fatal(err)
	}
	st.tag(s.Repository, fallbackTag(s), index.MediaType, raw)
}

// A forger puts things among the referrers of s that look like bundles of k.
type forger struct {
	t  testing.TB
	st lenient
	s  Subject
	k  Key
}

// sealed returns a bundle of k over any bytes.
func (f *forger) sealed(payload []byte) string {
	f.t.Helper()
	sig, err := f.k.Sign(f.t.Context(), dsse.PAE(payloadInToto, payload))
	if err != nil {
		f.t.Fatal(err)
	}
	raw, err := newBundle(keyHint(f.k.PublicKey), newEnvelope(payload, sig), nil, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(raw)
}

// ours returns our bundle of a subject.
func (f *forger) ours(s Subject) string {
	f.t.Helper()
	return f.sealed(newStatement(s))
}

// said returns a bundle of our statement with a change in its bytes, which k
// signed.
func (f *forger) said(old, now string) string {
	f.t.Helper()
	own := string(newStatement(f.s))
	if !strings.Contains(own, old) {
		f.t.Fatalf("%q is not in %s", old, own)
	}
	return f.sealed([]byte(strings.Replace(own, old, now, 1)))
}

// edited returns our bundle with a change in its bytes.
func (f *forger) edited(old, now string) string {
	f.t.Helper()
	own := f.ours(f.s)
	if !strings.Contains(own, old) {
		f.t.Fatalf("%q is not in %s", old, own)
	}
	return strings.Replace(own, old, now, 1)
}

// manifest returns the manifest of a bundle, which it stores.
func (f *forger) manifest(content string) string {
	f.t.Helper()
	f.st.foreignBlob(f.s.Repository, []byte(content))
	c := newBundleCarrier([]byte(content), keyHint(f.k.PublicKey), time.Unix(1e9, 0))
	raw, err := c.compose(f.s)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(raw)
}

// A bundleForgery is a way to look signed. One of bundle and manifest is set.
type bundleForgery struct {
	name     string
	bundle   func(f *forger) string
	manifest func(f *forger) string
	reason   string // what Look must say
	verifies bool   // Check returns it: it is k's over the digest
}

// with is one that changes the manifest of our bundle.
func with(old, now string) func(*forger) string {
	return func(f *forger) string {
		m := f.manifest(f.ours(f.s))
		if !strings.Contains(m, old) {
			f.t.Fatalf("%q is not in %s", old, m)
		}
		return strings.Replace(m, old, now, 1)
	}
}

func bundleForgeries() []bundleForgery {
	return slices.Concat(forgedSignatures(), forgedBundles(), forgedStatements(), forgedManifests())
}

func forgedSignatures() []bundleForgery {
	return []bundleForgery{
		{name: "by another key", bundle: func(f *forger) string {
			other := *f
			other.k = bundleKey(f.t, policy.ECDSASHA256)
			return other.ours(f.s)
		}, reason: "not by the key"},
		{name: "by another key that says it is ours", bundle: func(f *forger) string {
			other := *f
			other.k.Sign = bundleKey(f.t, policy.ECDSASHA256).Sign
			return other.ours(f.s)
		}, reason: "not by the key"},
		{name: "of another image", bundle: func(f *forger) string { return f.ours(bundleImage(2)) }, reason: "it speaks of sha256:"},
		{name: "of another repository", bundle: func(f *forger) string {
			s := f.s
			s.Identity = "registry.example.com/library/evil"
			return f.ours(s)
		}, reason: "library/evil", verifies: true},
		{name: "of no repository", bundle: func(f *forger) string {
			return f.said(fmt.Sprintf(`"name":%q,`, f.s.Identity), "")
		}, reason: "does not say which repository", verifies: true},
		{name: "of something else with the right payload", bundle: func(f *forger) string {
			theirs, err := parseBundle([]byte(f.ours(bundleImage(2))))
			if err != nil {
				f.t.Fatal(err)
			}
			raw, _ := newBundle(keyHint(f.k.PublicKey), newEnvelope(newStatement(f.s), theirs.sig), nil, nil)
			return string(raw)
		}, reason: "not by the key"},
		{name: "over the payload without its type", bundle: func(f *forger) string {
			payload := newStatement(f.s)
			sig, err := f.k.Sign(f.t.Context(), payload)
			if err != nil {
				f.t.Fatal(err)
			}
			raw, _ := newBundle(keyHint(f.k.PublicKey), newEnvelope(payload, sig), nil, nil)
			return string(raw)
		}, reason: "not by the key"},
	}
}

func forgedBundles() []bundleForgery {
	const notJSON = "not the JSON of a bundle"
	edit := func(old, now string) func(*forger) string {
		return func(f *forger) string { return f.edited(old, now) }
	}
	material := func(more string) func(*forger) string { return edit(`"}},"dsse`, `"},`+more+`},"dsse`) }
	return []bundleForgery{
		{name: "nothing", bundle: func(*forger) string { return "" }, reason: notJSON},
		{name: "null", bundle: func(*forger) string { return "null" }, reason: notJSON},
		{name: "no object", bundle: func(*forger) string { return `["hello"]` }, reason: notJSON},
		{name: "something after it", bundle: func(f *forger) string { return f.ours(f.s) + "{}" }, reason: notJSON},
		{name: "an unknown member", bundle: edit(`{"mediaType"`, `{"note":1,"mediaType"`), reason: notJSON},
		{name: "a name twice", bundle: edit(`{"mediaType"`, `{"mediaType":"x","mediaType"`), reason: notJSON},
		{name: "a name in both spellings", bundle: edit(`{"mediaType"`, `{"media_type":"x","mediaType"`), reason: notJSON},
		{name: "a name in another case", bundle: edit(`{"mediaType"`, `{"MediaType":"x","mediaType"`), reason: notJSON},
		{name: "two payloads", bundle: edit(`"payload":`, `"payload":"eA==","payload":`), reason: notJSON},
		{name: "two contents", bundle: edit(`"dsseEnvelope"`, `"messageSignature":{"signature":"eA=="},"dsseEnvelope"`), reason: notJSON},
		{name: "another version", bundle: edit(`v0.3+json`, `v0.2+json`), reason: "media type"},
		{name: "a message signature", bundle: func(*forger) string {
			return `{"mediaType":"` + bundleType + `","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"signature":"eA=="}}`
		}, reason: "no DSSE envelope"},
		{name: "no material", bundle: func(f *forger) string {
			return f.edited(fmt.Sprintf(`"verificationMaterial":{"publicKey":{"hint":%q}},`, keyHint(f.k.PublicKey)), "")
		}, reason: "names no public key"},
		{name: "a certificate", bundle: func(f *forger) string {
			return f.edited(fmt.Sprintf(`"publicKey":{"hint":%q}`, keyHint(f.k.PublicKey)), `"certificate":{"rawBytes":"eA=="}`)
		}, reason: "names no public key"},
		{name: "another payload type", bundle: edit(payloadInToto, "text/plain"), reason: "payload is of type"},
		{name: "an empty list of signatures", bundle: func(f *forger) string {
			head, _, _ := strings.Cut(f.ours(f.s), `"signatures":`)
			return head + `"signatures":[]}}`
		}, reason: "0 signatures"},
		{name: "two signatures", bundle: edit(`"signatures":[`, `"signatures":[{"sig":"eA=="},`), reason: "2 signatures"},
		{name: "ours twice", bundle: func(f *forger) string {
			own := f.ours(f.s)
			_, sig, _ := strings.Cut(own, `"signatures":[`)
			return strings.Replace(own, `"signatures":[`, `"signatures":[`+strings.TrimSuffix(sig, "]}}")+",", 1)
		}, reason: "2 signatures"},
		{name: "an empty signature", bundle: func(f *forger) string {
			head, _, _ := strings.Cut(f.ours(f.s), `"signatures":`)
			return head + `"signatures":[{"sig":""}]}}`
		}, reason: "0 bytes"},
		{name: "a huge signature", bundle: func(f *forger) string {
			head, _, _ := strings.Cut(f.ours(f.s), `"signatures":`)
			return head + `"signatures":[{"sig":"` + base64.StdEncoding.EncodeToString(make([]byte, maxSignature+1)) + `"}]}}`
		}, reason: "16385 bytes"},
		{name: "a signature that is not base64", bundle: edit(`"sig":"`, `"sig":"?`), reason: notJSON},
		{name: "a huge bundle", bundle: func(f *forger) string { return f.ours(f.s) + strings.Repeat(" ", maxBundle) }, reason: "at most 131072 are read"},
		{name: "a log entry that is none", bundle: material(`"tlogEntries":[{}]`), reason: "log entry 0: no inclusion proof"},
		{name: "a log entry of nothing", bundle: material(`"tlogEntries":[{"inclusionProof":{}}]`), reason: "log entry 0: no body"},
		{name: "an entry of no log", bundle: material(`"tlogEntries":[{"inclusionProof":{},"canonicalizedBody":"eA=="}]`), reason: "log entry 0: no log ID"},
		{name: "a log entry of no kind", bundle: material(`"tlogEntries":[{"inclusionProof":{},"canonicalizedBody":"eA==","logId":{"keyId":"eA=="}}]`), reason: "log entry 0: no kind"},
		{name: "too many log entries", bundle: material(`"tlogEntries":[{}` + strings.Repeat(",{}", maxWitnesses) + `]`), reason: "33 log entries"},
		{name: "an empty timestamp", bundle: material(`"timestampVerificationData":{"rfc3161Timestamps":[{}]}`), reason: "timestamp 0 is empty"},
		{name: "too many timestamps", bundle: material(`"timestampVerificationData":{"rfc3161Timestamps":[{}` + strings.Repeat(",{}", maxWitnesses) + `]}`), reason: "33 timestamps"},
	}
}

func forgedStatements() []bundleForgery {
	say := func(old, now string) func(*forger) string {
		return func(f *forger) string { return f.said(old, now) }
	}
	subject := func(f *forger) string {
		return fmt.Sprintf(`{"name":%q,"digest":{"sha256":%q}}`, f.s.Identity, f.s.Digest.Hex)
	}
	return []bundleForgery{
		{name: "no statement", bundle: func(f *forger) string { return f.sealed([]byte("hello")) }, reason: "not a JSON object"},
		{name: "a cosign payload", bundle: func(f *forger) string { return f.sealed(Payload(f.s)) }, reason: `unknown member "critical"`},
		{name: "two statements", bundle: func(f *forger) string { return f.sealed(append(newStatement(f.s), newStatement(f.s)...)) }, reason: "something follows"},
		{name: "a huge statement", bundle: func(f *forger) string {
			return f.sealed(append(newStatement(f.s), make([]byte, maxPayload)...))
		}, reason: "payload has"},
		{name: "another predicate", bundle: say(predicateSign, "https://slsa.dev/provenance/v1"), reason: "predicateType is"},
		{name: "no predicate type", bundle: say(`,"predicateType":"`+predicateSign+`"`, ""), reason: "predicateType is"},
		{name: "another version of statements", bundle: say("Statement/v1", "Statement/v0.1"), reason: "_type is"},
		{name: "a predicate that is a list", bundle: say(`"predicate":{}`, `"predicate":[]`), reason: "predicate: not a JSON object"},
		{name: "an unknown member in it", bundle: say(`{"_type"`, `{"note":1,"_type"`), reason: `unknown member "note"`},
		{name: "a member twice in it", bundle: say(`{"_type"`, `{"subject":[],"_type"`), reason: `"subject" twice`},
		{name: "a member twice in it but for case", bundle: say(`{"_type"`, `{"Subject":[],"_type"`), reason: `"subject" twice`},
		{name: "no subject", bundle: func(f *forger) string { return f.said(subject(f), "") }, reason: "0 subjects"},
		{name: "subjects that are no list", bundle: func(f *forger) string { return f.said("["+subject(f)+"]", subject(f)) }, reason: `"subject" is not`},
		{name: "too many subjects", bundle: func(f *forger) string {
			return f.said(subject(f), subject(f)+strings.Repeat(","+subject(f), maxSubjects))
		}, reason: "17 subjects"},
		{name: "the image twice", bundle: func(f *forger) string {
			return f.said(subject(f), subject(f)+`,{"name":"evil","digest":{"sha256":"`+f.s.Digest.Hex+`"}}`)
		}, reason: "image twice"},
		{name: "a subject with an unknown member", bundle: say(`{"name"`, `{"uri":"x","name"`), reason: `unknown member "uri"`},
		{name: "a subject with a member twice", bundle: say(`{"name"`, `{"name":"x","name"`), reason: `"name" twice`},
		{name: "a name that is no text", bundle: func(f *forger) string {
			return f.said(fmt.Sprintf(`"name":%q`, f.s.Identity), `"name":1`)
		}, reason: `"name" is no string`},
		{name: "two digests", bundle: say(`"digest":{`, `"digest":{"sha512":"00",`), reason: `unknown member "sha512"`},
		{name: "a digest twice", bundle: say(`"digest":{`, `"digest":{"sha256":"00",`), reason: `"sha256" twice`},
		{name: "no digest", bundle: func(f *forger) string {
			return f.said(fmt.Sprintf(`"sha256":%q`, f.s.Digest.Hex), "")
		}, reason: `"sha256" is missing`},
		{name: "a digest in capitals", bundle: func(f *forger) string {
			return f.said(f.s.Digest.Hex, strings.ToUpper(f.s.Digest.Hex))
		}, reason: "no SHA-256 digest"},
		{name: "annotations that are no object", bundle: say(`{"name"`, `{"annotations":1,"name"`), reason: "annotations: not a JSON object"},
	}
}

func forgedManifests() []bundleForgery {
	return []bundleForgery{
		{name: "copied from another image", manifest: func(f *forger) string {
			other := *f
			other.s = bundleImage(2)
			return other.manifest(f.ours(f.s))
		}, reason: "it refers to"},
		{name: "copied with its content from another image", manifest: func(f *forger) string {
			other := *f
			other.s = bundleImage(2)
			return other.manifest(other.ours(other.s))
		}, reason: "it refers to"},
		{name: "no subject", manifest: with(`"subject":{`, `"was":{`), reason: "its subject: not a JSON object"},
		{name: "two subjects", manifest: with(`"subject":{`, `"Subject":{},"subject":{`), reason: `"subject" twice`},
		{name: "two digests of the subject", manifest: func(f *forger) string {
			return with(fmt.Sprintf(`"digest":"%s"}`, f.s.Digest), fmt.Sprintf(`"digest":"%s","digest":"x"}`, f.s.Digest))(f)
		}, reason: `"digest" twice`},
		{name: "another type of artifact", manifest: func(f *forger) string {
			m := f.manifest(f.ours(f.s))
			at := strings.LastIndex(m, bundleType)
			return m[:at] + "x/y" + m[at+len(bundleType):]
		}, reason: `it is of type "x/y"`},
		{name: "a type that is no text", manifest: func(f *forger) string {
			m := f.manifest(f.ours(f.s))
			at := strings.LastIndex(m, `"`+bundleType)
			return m[:at] + "1}"
		}, reason: `"artifactType" is no string`},
		{name: "another media type", manifest: with(ociManifest, "application/vnd.docker.distribution.manifest.v2+json"), reason: "it says its media type is"},
		{name: "another schema version", manifest: with(`"schemaVersion":2`, `"schemaVersion":1`), reason: "schemaVersion"},
		{name: "no config", manifest: with(`"config":{`, `"conf":{`), reason: "its config"},
		{name: "annotations that are none", manifest: with(`"annotations":{`, `"annotations":1,"x":{`), reason: `"annotations" is not`},
		{name: "no layers", manifest: with(`"layers":[{`, `"layers":[],"x":[{`), reason: "0 layers"},
		{name: "two layers", manifest: with(`"layers":[`, `"layers":[{},`), reason: "2 layers"},
		{name: "a layer that is none", manifest: with(`"layers":[{`, `"layers":["x"],"y":[{`), reason: "its layer: not a JSON object"},
		{name: "a layer of another type", manifest: with(`"layers":[{"mediaType":"`+bundleType, `"layers":[{"mediaType":"x/y`), reason: "its layer is of type"},
		{name: "a size that is not so", manifest: func(f *forger) string {
			content := f.ours(f.s)
			return strings.Replace(f.manifest(content), fmt.Sprintf(`"size":%d`, len(content)), `"size":1`, 1)
		}, reason: "says that its content has 1 bytes"},
		{name: "a size that is too large", manifest: func(f *forger) string {
			content := f.ours(f.s)
			return strings.Replace(f.manifest(content), fmt.Sprintf(`"size":%d`, len(content)), `"size":262145`, 1)
		}, reason: "at most 262144 are read"},
		{name: "content that is too large", manifest: func(f *forger) string {
			content := f.ours(f.s) + strings.Repeat(" ", maxContent)
			return strings.Replace(f.manifest(content), fmt.Sprintf(`"size":%d`, len(content)), `"size":10`, 1)
		}, reason: "too large"},
		{name: "content that is nowhere", manifest: func(f *forger) string {
			content := f.ours(f.s)
			m := f.manifest(content)
			delete(f.st.blobs, f.s.Repository+"@"+hash([]byte(content)).String())
			return m
		}, reason: "not found"},
		{name: "no manifest", manifest: func(*forger) string { return "hello" }, reason: "not a JSON object"},
	}
}

func TestForgedBundles(t *testing.T) {
	for _, test := range bundleForgeries() {
		t.Run(test.name, func(t *testing.T) {
			f := &forger{t, lenient{newMemory()}, bundleImage(1), bundleKey(t, policy.ECDSASHA256)}
			var raw string
			if test.bundle != nil {
				raw = f.manifest(test.bundle(f))
			} else {
				raw = test.manifest(f)
			}
			refer(t, f.st, f.s, []byte(raw))
			l := NewLayouts(f.st)

			look := mustLook(t, l, f.s, f.k)
			if look.Signed || look.Signature != nil || look.Ours != 0 || look.Others != 1 || look.Present {
				t.Errorf("Look = %+v", look)
			}
			if len(look.Reasons) != 1 || !strings.Contains(look.Reasons[0], test.reason) {
				t.Errorf("reasons %q, want %q", look.Reasons, test.reason)
			}
			found, err := l.Image(f.s, Witnesses{}).Check(t.Context(), []Key{f.k})
			if err != nil || len(found) > 0 != test.verifies {
				t.Errorf("Check = %+v, %v", found, err)
			}

			mustSign(t, l.Image(f.s, Witnesses{}), policy.FormatBundle, f.k)
			if look := mustLook(t, l, f.s, f.k); !look.Signed || look.Ours != 1 {
				t.Errorf("after Attach: %+v", look)
			}
		})
	}
}

// TestForgedListings: what is listed need not be there or be a manifest.
func TestForgedListings(t *testing.T) {
	f := &forger{t, lenient{newMemory()}, bundleImage(1), bundleKey(t, policy.ECDSASHA256)}
	list(t, f.st, f.s, map[string]any{"mediaType": ociManifest, "digest": hash(nil).String(), "size": 1, "artifactType": bundleType})
	raw := f.manifest(f.ours(f.s))
	f.st.tag(f.s.Repository, hash([]byte(raw)).String(), "application/vnd.docker.distribution.manifest.v2+json", []byte(raw))
	list(t, f.st, f.s, map[string]any{"mediaType": ociManifest, "digest": hash([]byte(raw)).String(), "size": 1, "artifactType": bundleType})
	look := mustLook(t, NewLayouts(f.st), f.s, f.k)
	reasons := strings.Join(look.Reasons, "\n")
	if look.Signed || look.Others != 2 || !strings.Contains(reasons, "reading its manifest") || !strings.Contains(reasons, "its media type is") {
		t.Errorf("Look = %+v", look)
	}
}

// TestUndecidedBundles: what cannot be read now is an error, not a verdict.
func TestUndecidedBundles(t *testing.T) {
	for name, fail := range map[string]func(*memory){
		"manifest": func(m *memory) { m.failRead = registry.ErrUnavailable },
		"blob":     func(m *memory) { m.failBlob = registry.ErrUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			f := &forger{t, lenient{newMemory()}, bundleImage(1), bundleKey(t, policy.ECDSASHA256)}
			refer(t, f.st, f.s, []byte(f.manifest(f.ours(f.s))))
			fail(f.st.memory)
			i := NewLayouts(f.st).Image(f.s, Witnesses{})
			if look, err := i.Look(t.Context(), policy.FormatBundle, f.k); !errors.Is(err, registry.ErrUnavailable) || look.Signed {
				t.Errorf("Look = %+v, %v", look, err)
			}
			b := bundleLayout{NewLayouts(f.st)}
			if found, err := b.check(t.Context(), b.Image(f.s, Witnesses{}), []Key{f.k}); !errors.Is(err, registry.ErrUnavailable) {
				t.Errorf("check = %+v, %v", found, err)
			}
		})
	}
}
