package signature

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/sealwright/sealwright/registry"
)

// FuzzLook gives any bytes as signature manifest. They must not be taken for a
// signature of an image that was never signed, whatever else they hold, and a
// signature that is found must verify.
func FuzzLook(f *testing.F) {
	k, s, never := newKey(f), image(1), image(2)
	own := Payload(s)
	annotated := []byte(strings.Replace(string(own), "null", `{"a":"b"}`, 1))
	st := newMemory()
	st.foreignBlob(s.Repository, own)
	st.foreignBlob(s.Repository, annotated)
	good := layerOf(own, k.sign(f, own))
	f.Add(manifestOf(good))
	f.Add(manifestOf(layerOf(annotated, k.sign(f, annotated)), good, layerOf([]byte("x"), []byte("x"))))
	f.Add(manifestTwice(good, rewritten(good, `"size"`, `"Size":1,"size"`)))
	for _, r := range recorded {
		f.Add(readRecorded(f, r.file+".manifest.json"))
	}
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":null}`))
	c := &Cosign{Store: st}
	f.Fuzz(func(t *testing.T, raw []byte) {
		clear(st.manifests)
		for _, s := range []Subject{s, never} {
			st.tag(s.Repository, CosignTag(s.Digest), ociManifest, raw)
		}
		if look, err := c.Look(t.Context(), never, k); look.Signed || look.Ours > 0 {
			t.Errorf("%s was never signed: %+v, %v", never.Digest, look, err)
		}
		look, err := c.Look(t.Context(), s, k)
		if !look.Signed {
			return
		}
		if err != nil || k.Verify(own, look.Signature) != nil && k.Verify(annotated, look.Signature) != nil {
			t.Errorf("signed, but %q verifies over nothing; %v", look.Signature, err)
		}
	})
}

// FuzzAppend appends to any manifest that is taken for one. All that was there
// must still be there.
func FuzzAppend(f *testing.F) {
	ours := layerOf(Payload(image(1)), []byte("ours"))
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[],"x":1.0}`))
	f.Add(manifestOf(layerOf([]byte("a"), []byte("b")), layerOf([]byte("a"), []byte("c"))))
	for _, r := range recorded {
		f.Add(readRecorded(f, r.file+".manifest.json"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := registry.Manifest{Descriptor: registry.Descriptor{MediaType: ociManifest}, Raw: raw}
		base, err := parseManifest(m)
		if err != nil {
			return
		}
		m.Raw, _ = compose(base, base.config, plan(base, func(layer) bool { return false }, []layer{ours}))
		if !json.Valid(m.Raw) {
			t.Fatalf("%q became %q", raw, m.Raw)
		}
		got, err := parseManifest(m)
		if err != nil {
			if len(base.layers) == MaxLayers {
				return
			}
			t.Fatalf("%q became %q: %v", raw, m.Raw, err)
		}
		for i, l := range base.layers {
			if string(got.layers[i].raw) != string(l.raw) {
				t.Errorf("layer %d was %s and is %s", i, l.raw, got.layers[i].raw)
			}
		}
		if diff := cmp.Diff(texts(base.fields.without("layers")), texts(got.fields.without("layers"))); diff != "" {
			t.Errorf("fields changed (-was +is):\n%s", diff)
		}
		if got.layers[len(got.layers)-1].key() != ours.key() && len(got.layers) != len(base.layers) {
			t.Errorf("ours is not the last layer: %s", m.Raw)
		}
	})
}

// texts lists the members of an object in their order.
func texts(o object) []string {
	var out []string
	for _, m := range o {
		out = append(out, m.Name+"="+string(m.Value))
	}
	return out
}

// FuzzPayload reads any bytes as payload. Whatever is taken for a claim must be
// the same claim for sigstore's own, lenient reader.
func FuzzPayload(f *testing.F) {
	f.Add(Payload(image(1)))
	for _, r := range recorded {
		f.Add(readRecorded(f, r.file+".payload.json"))
	}
	f.Add([]byte(strings.Replace(string(Payload(image(1))), `"optional":null`, `"optional":{"creator":"a"}`, 1)))
	f.Add([]byte(`{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":1},"type":""}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parsePayload(raw)
		if err != nil {
			return
		}
		var want payload.SimpleContainerImage
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("%q: taken, but sigstore says %v", raw, err)
		}
		c := want.Critical
		if c.Type != payload.CosignSignatureType || c.Image.DockerManifestDigest != got.digest.String() || c.Identity.DockerReference != got.identity {
			t.Errorf("%q: read as %+v, sigstore reads %+v", raw, got, want)
		}
	})
}
