package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/strictjson"
)

// Fallback indexes and answers as other tools and registries write them.
var recordedIndexes = map[string]string{
	"cosign":   `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":877,"digest":"sha256:919d622140b542ada039f9ce24c0ff67df299da8ea6517340402716481264ec6","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}]}`,
	"notation": `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:bcb698cf058551379c7de10d252da2c3fa4b23e8c7ad84fef677b40a7f28a84b","size":723,"annotations":{"io.cncf.notary.x509chain.thumbprint#S256":"[\"d7b1f64bd2c064f431de6f9f954dd4d28ccdee6c4ae552d281331de52990481a\"]","org.opencontainers.image.created":"2026-11-22T02:13:20Z"},"artifactType":"application/vnd.cncf.notary.signature"}]}`,
	"zot":      `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:7e9827fc7770bc929d873b1e349cc7b497fe15f9c73233e491587b2362e5eb08","size":877,"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"2026-11-22T02:18:25Z"},"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}]}`,
}

func TestRecordedIndexes(t *testing.T) {
	for name, recorded := range recordedIndexes {
		index, err := parseIndex([]byte(recorded))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want(t, string(index.encode(index.entries)), recorded, name+", unchanged")
		s := newSelection(isOneOf([]string{bundleType, notationType}))
		if err := s.add(index.entries); err != nil || len(s.candidates) != 1 || s.candidates[0].unclear {
			t.Errorf("%s: %+v, %v", name, s.candidates, err)
		}
	}
}

func TestParseIndexRefuses(t *testing.T) {
	for _, raw := range []string{
		"", " ", "null", "[]", "3", `{`, `{"manifests":[`, `{"manifests":[]`, `{"manifests":[]}x`, `{"manifests":[]} {}`,
		`{"manifests":{}}`, `{"manifests":"x"}`, `{"manifests":[1 2]}`, `{"a":}`, `{"a":1,"a":1}`, `{"a":1,"A":1}`,
		`{"manifests":[],"manifests":[]}`, `{"Manifests":[]}`, "{\"a\":\"\xff\"}",
	} {
		_, err := parseIndex([]byte(raw))
		wants(t, err, ErrCorrupt, raw)
	}
	var many strings.Builder
	for i := range strictjson.MaxMembers + 1 {
		fmt.Fprintf(&many, `,"%d":1`, i)
	}
	_, err := parseIndex([]byte("{" + many.String()[1:] + "}"))
	wants(t, err, ErrCorrupt, "too many members")
}

func TestFallbackTag(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, test := range []struct {
		digest v1.Hash
		tag    string
	}{
		{v1.Hash{Algorithm: "sha256", Hex: hex}, "sha256-" + hex},
		{v1.Hash{Algorithm: "sha512", Hex: hex + hex}, "sha512-" + hex},
		{v1.Hash{Algorithm: "multihash+base58", Hex: "Qm=x_y"}, "multihash-base58-Qm-x_y"},
		{v1.Hash{Algorithm: strings.Repeat("a", 40), Hex: "b"}, strings.Repeat("a", 32) + "-b"},
	} {
		want(t, FallbackTag(test.digest), test.tag, test.digest.String())
	}
}

// FuzzIndex: any bytes as a list of referrers. What is taken for one survives
// being rewritten, as other readers see it.
func FuzzIndex(f *testing.F) {
	for _, recorded := range recordedIndexes {
		f.Add([]byte(recorded))
	}
	f.Add([]byte(`{"manifests":null}`))
	f.Add([]byte(`{"manifests":[{"digest":1},null,3,"x",[]],"Manifests":[]}`))
	f.Add([]byte(`{"a":{"manifests":[{}]},"manifests" : [ {"mediaType":"` + ociManifest + `","digest":"` + sum(nil).String() + `"} ]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		index, err := parseIndex(raw)
		if err != nil {
			return
		}
		s := newSelection(always)
		if err := s.add(index.entries); err == nil && len(s.candidates) > len(index.entries) {
			t.Errorf("%d of %d entries are wanted", len(s.candidates), len(index.entries))
		}
		again := index.encode(index.entries)
		var before, after map[string]any
		if err := json.Unmarshal(raw, &before); err != nil {
			t.Fatalf("taken for an index: %v", err)
		}
		if err := json.Unmarshal(again, &after); err != nil {
			t.Fatalf("rewritten to %s: %v", again, err)
		}
		if list, _ := before["manifests"].([]any); list == nil {
			before["manifests"] = []any{}
		}
		want(t, after, before, "rewritten")
	})
}

// TestReferrersKeepWhatOthersWrote: fields and entries that we do not know.
func TestReferrersKeepWhatOthersWrote(t *testing.T) {
	s := layoutStore(t)
	subject := pushImage(t, s, "app", "v1", "a")
	const strange = `{"digest":"sha256:x", "size": 1000,"mediaType" :"text/plain","é":"\u00e9"}`
	const before = `{"mediaType":"` + ociIndex + `", "annotations":{ "b":"1",  "a":"2"},"manifests":[` + strange + `],"x":1.50}`
	put(t, s, "app", FallbackTag(subject.Digest), ociIndex, []byte(before))
	r := NewReferrers(s)
	ours := attach(t, s, r, subject, bundleType, "ours")
	after := func() string {
		t.Helper()
		m, err := s.Manifest(t.Context(), "app", FallbackTag(subject.Digest))
		if err != nil {
			t.Fatal(err)
		}
		return string(m.Raw)
	}
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"seed":"ours"},"artifactType":%q}`,
		ociManifest, ours.Digest, ours.Size, bundleType)
	want(t, after(), `{"mediaType":"`+ociIndex+`","annotations":{ "b":"1",  "a":"2"},"manifests":[`+strange+`,`+entry+`],"x":1.50}`, "index")
	if err := r.Remove(t.Context(), "app", subject.Digest, ours.Digest); err != nil {
		t.Fatal(err)
	}
	want(t, after(), `{"mediaType":"`+ociIndex+`","annotations":{ "b":"1",  "a":"2"},"manifests":[`+strange+`],"x":1.50}`, "index without ours")
}
