package signature

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// leftover reads what a tag keeps, as a new process does.
func (b *bench) leftover(tag string, keys ...notary) (Leftover, error) {
	o := Owners{Identities: []string{"elsewhere.example.com/library/app", b.s.Identity}}
	for _, k := range keys {
		o.Keys = append(o.Keys, k.Key)
	}
	return NewLayouts(b.store).Leftover(b.t.Context(), b.s.Repository, b.s.Digest, tag, o)
}

// orphan deletes the image, but not its signatures.
func (b *bench) orphan() {
	b.t.Helper()
	if err := b.store.(registry.Deleter).Delete(b.t.Context(), b.s.Repository, b.s.Digest); err != nil {
		b.t.Fatal(err)
	}
}

var referredFormats = []policy.Format{policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE}

func TestLeftovers(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, k := range []notary{b.a, b.b} {
		for _, f := range allFormats {
			b.sign(f, k)
		}
	}
	b.orphan()
	for tag, want := range map[string]int{CosignTag(b.s.Digest): 2, registry.FallbackTag(b.s.Digest): 6} {
		for name, keys := range map[string][]notary{"none": nil, "one": {b.a}, "the other": {b.b}} {
			if o, err := b.leftover(tag, keys...); !errors.Is(err, ErrNotOurs) {
				t.Errorf("%s, with %s of the keys: %+v, %v", tag, name, o, err)
			}
		}
		b.server.Reset()
		o, err := b.leftover(tag, b.a, b.b)
		if err != nil || o.Signatures != want {
			t.Fatalf("%s: %d signatures, %v; want %d", tag, o.Signatures, err, want)
		}
		if r := b.server.Requests(); r["PUT"]+r["POST"]+r["DELETE"] > 0 {
			t.Errorf("reading wrote: %v", r)
		}
		l := NewLayouts(b.store)
		for range 2 { // the second time it is gone
			if err := l.RemoveLeftover(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if _, err := b.store.Resolve(t.Context(), b.s.Repository, tag); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("%s: %v", tag, err)
			}
		}
		if _, err := b.leftover(tag, b.a, b.b); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s, read again: %v", tag, err)
		}
		for _, digest := range o.carriers {
			if _, err := b.store.Resolve(t.Context(), b.s.Repository, digest.String()); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("%s: %v", digest, err)
			}
		}
	}
}

// TestLeftoverWithAPI: a fallback index that nobody reads any more goes too.
func TestLeftoverWithAPI(t *testing.T) {
	b := newBench(t, registrytest.Distribution) // before it was upgraded
	b.sign(policy.FormatBundle, b.a)
	b.orphan()
	tag := registry.FallbackTag(b.s.Digest)
	o, err := b.leftover(tag, b.a)
	if err != nil {
		t.Fatal(err)
	}
	b.server.Intercept(withAPI)
	l := NewLayouts(b.store)
	if c, err := l.referrers.Capability(t.Context(), b.s.Repository); err != nil || !c.API {
		t.Fatalf("capability %+v, %v", c, err)
	}
	if err := l.RemoveLeftover(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Resolve(t.Context(), b.s.Repository, tag); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the index: %v", err)
	}
}

// TestLeftoverNotOurs: one thing that is not ours, and all of it stays.
func TestLeftoverNotOurs(t *testing.T) {
	named := func(identity string) func(*bench) {
		return func(b *bench) {
			own := b.s
			b.s.Identity = identity
			for _, f := range allFormats {
				b.sign(f, b.a)
			}
			b.s = own
		}
	}
	for name, spoil := range map[string]func(*bench){
		"other name": named("registry.example.com/library/other"),
		"other key": func(b *bench) {
			for _, f := range allFormats {
				b.sign(f, b.b)
			}
		},
		"something else": func(b *bench) {
			_, m, err := b.image().layouts.cosign.read(b.t.Context(), b.s.Repository, b.s.Digest)
			if err != nil {
				b.t.Fatal(err)
			}
			unsigned := layerOf(Payload(b.s), nil)
			unsigned.annotations = nil
			unsigned.raw = encode(unsigned.descriptor())
			raw, mediaType := compose(m, m.config, plan(m, func(layer) bool { return false }, []layer{unsigned}))
			if _, err := b.store.PutManifest(b.t.Context(), b.s.Repository, CosignTag(b.s.Digest), mediaType, raw); err != nil {
				b.t.Fatal(err)
			}
			c := carrier{artifactType: "application/spdx+json", configType: "application/vnd.oci.empty.v1+json", contentType: "text/plain", content: []byte("sbom")}
			if raw, err = c.compose(b.s); err != nil {
				b.t.Fatal(err)
			}
			if _, err := b.image().uploadCarrier(b.t.Context(), c, raw); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, registrytest.Distribution)
			for _, f := range allFormats {
				b.sign(f, b.a)
			}
			spoil(b)
			b.orphan()
			for _, tag := range []string{CosignTag(b.s.Digest), registry.FallbackTag(b.s.Digest)} {
				if o, err := b.leftover(tag, b.a); !errors.Is(err, ErrNotOurs) {
					t.Errorf("%s: %+v, %v", tag, o, err)
				}
			}
		})
	}
}

// TestLeftoverIsSomethingElse: a tag of that form may hold anything.
func TestLeftoverIsSomethingElse(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	cosign, fallback := CosignTag(b.s.Digest), registry.FallbackTag(b.s.Digest)
	image, index := registrytest.Image(t), registrytest.Index(t, registrytest.Image(t))
	for _, tag := range []string{cosign, fallback} {
		b.server.Push(t, "library/app:"+tag, image)
		if o, err := b.leftover(tag, b.a); !errors.Is(err, ErrNotOurs) && !errors.Is(err, ErrForeign) {
			t.Errorf("an image under %s: %+v, %v", tag, o, err)
		}
		b.server.Push(t, "library/app:"+tag, index)
		if o, err := b.leftover(tag, b.a); !errors.Is(err, ErrNotOurs) && !errors.Is(err, ErrForeign) {
			t.Errorf("an index under %s: %+v, %v", tag, o, err)
		}
	}
	if o, err := b.leftover("latest", b.a); !errors.Is(err, ErrNotOurs) {
		t.Errorf("any tag: %+v, %v", o, err)
	}
	for tag, raw := range map[string]string{
		cosign:   string(manifestOf()),
		fallback: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
	} {
		st := newMemory()
		mediaType := ociManifest
		if strings.Contains(raw, "manifests") {
			mediaType = "application/vnd.oci.image.index.v1+json"
		}
		st.tag(b.s.Repository, tag, mediaType, []byte(raw))
		if o, err := NewLayouts(st).Leftover(t.Context(), b.s.Repository, b.s.Digest, tag, Owners{Keys: []Key{b.a.Key}}); !errors.Is(err, ErrNotOurs) {
			t.Errorf("empty, under %s: %+v, %v", tag, o, err)
		}
	}
}

// TestLeftoverChangedSince: what was added after the look stays.
func TestLeftoverChangedSince(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, f := range allFormats {
		b.sign(f, b.a)
	}
	left := map[string]Leftover{}
	for _, tag := range []string{CosignTag(b.s.Digest), registry.FallbackTag(b.s.Digest)} {
		o, err := b.leftover(tag, b.a)
		if err != nil {
			t.Fatal(err)
		}
		left[tag] = o
	}
	for _, f := range allFormats {
		b.sign(f, b.b)
	}
	for _, o := range left {
		if err := NewLayouts(b.store).RemoveLeftover(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range allFormats {
		if n := b.count(f, b.b); n != 1 {
			t.Errorf("%s: %d signatures by the other key, want 1", f, n)
		}
	}
	for _, f := range referredFormats {
		if n := b.count(f, b.a); n != 0 {
			t.Errorf("%s: %d signatures by the key, want none", f, n)
		}
	}
}

func TestLeftoverWhereNothingIsDeleted(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, f := range allFormats {
		b.sign(f, b.a)
	}
	b.orphan()
	refusing(b.server, http.MethodDelete, http.StatusMethodNotAllowed, "")
	for _, tag := range []string{CosignTag(b.s.Digest), registry.FallbackTag(b.s.Digest)} {
		o, err := b.leftover(tag, b.a)
		if err != nil {
			t.Fatal(err)
		}
		if err := NewLayouts(b.store).RemoveLeftover(t.Context(), o); !errors.Is(err, registry.ErrUnsupported) {
			t.Errorf("%s: %v", tag, err)
		}
	}
}
