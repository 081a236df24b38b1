package signature

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

// deleting is a memory that deletes manifests and the tags that name them.
type deleting struct{ *memory }

func (d deleting) Delete(ctx context.Context, repository string, digest v1.Hash) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests["DELETE manifest"]++
	delete(d.manifests, repository+"@"+digest.String())
	maps.DeleteFunc(d.tags, func(tag, named string) bool {
		return strings.HasPrefix(tag, repository+":") && named == digest.String()
	})
	return ctx.Err()
}

func mustRemove(t testing.TB, st registry.Store, s Subject, k key, keep, want int) {
	t.Helper()
	n, _, err := (&Cosign{Store: st}).remove(t.Context(), s, k, cut{keep: keep})
	if n != want || err != nil {
		t.Errorf("removed %d, %v; want %d", n, err, want)
	}
}

// rawLayers are the layers of the manifest, byte for byte.
func rawLayers(t testing.TB, st *memory, s Subject) []string {
	t.Helper()
	m, err := st.find(s.Repository, CosignTag(s.Digest))
	if err != nil {
		return nil
	}
	var raw struct{ Layers []json.RawMessage }
	if err := json.Unmarshal(m.Raw, &raw); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range raw.Layers {
		out = append(out, string(l))
	}
	return out
}

func TestCosignRemoveCosts(t *testing.T) {
	st, s := newMemory(), image(1)
	old, next := newKey(t), newKey(t)
	c := &Cosign{Store: deleting{st}}
	for _, k := range []key{old, next} {
		if _, err := sign(t, c, s, k); err != nil {
			t.Fatal(err)
		}
	}
	st.cost()
	mustRemove(t, deleting{st}, s, old, 0, 1)
	// The config with one layer is known to be there.
	if diff := cmp.Diff(map[string]int{"GET manifest": 2, "PUT manifest": 1}, st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	mustRemove(t, deleting{st}, s, old, 0, 0)
	if diff := cmp.Diff(map[string]int{"GET manifest": 1}, st.cost()); diff != "" {
		t.Errorf("requests when there is nothing to do (-want +got):\n%s", diff)
	}
	mustRemove(t, deleting{st}, s, next, 0, 1)
	if diff := cmp.Diff(map[string]int{"GET manifest": 2, "DELETE manifest": 1}, st.cost()); diff != "" {
		t.Errorf("requests of the last one (-want +got):\n%s", diff)
	}
	if _, err := st.find(s.Repository, CosignTag(s.Digest)); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the tag: %v", err)
	}
}

// TestCosignRemoveKeepsTheRest: fields nobody knows, layers of others and layers
// that are none stay byte for byte; cosign can go on appending.
func TestCosignRemoveKeepsTheRest(t *testing.T) {
	st, s := newMemory(), image(1)
	ours, theirs := newKey(t), newKey(t)
	for i := range 3 {
		payload := Payload(s)
		if i == 1 { // not as we would write it
			payload = []byte(strings.Replace(string(payload), "null", `{"n":"1"}`, 1))
		}
		for _, k := range []key{ours, theirs} {
			if err := signLikeCosign(st, s, payload, k.sign(t, payload)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := st.find(s.Repository, CosignTag(s.Digest))
	if err != nil {
		t.Fatal(err)
	}
	st.tag(s.Repository, CosignTag(s.Digest), m.MediaType, []byte(strings.Replace(string(m.Raw), "{", `{"x-vendor": {"b": 1.50},`, 1)))
	before := rawLayers(t, st, s)
	mustRemove(t, st, s, ours, 1, 2)
	mustRemove(t, st, s, ours, 0, 1)
	if diff := cmp.Diff([]string{before[1], before[3], before[5]}, rawLayers(t, st, s)); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if m, err = st.find(s.Repository, CosignTag(s.Digest)); err != nil || !strings.HasPrefix(string(m.Raw), `{"x-vendor":{"b": 1.50},`) {
		t.Errorf("manifest %s, %v", m.Raw, err)
	}
	config, _, err := configOf(st, s)
	if err != nil || len(config.RootFS.DiffIDs) != 3 {
		t.Errorf("config %+v, %v: want a diff ID for each layer", config, err)
	}
	if err := signLikeCosign(st, s, Payload(s), ours.sign(t, Payload(s))); err != nil {
		t.Errorf("cosign cannot append: %v", err)
	}
	mustBeSigned(t, st, s, ours, theirs)
}

func configOf(st *memory, s Subject) (config configFile, digest string, err error) {
	m, err := st.find(s.Repository, CosignTag(s.Digest))
	if err != nil {
		return config, "", err
	}
	var parsed v1.Manifest
	if err := json.Unmarshal(m.Raw, &parsed); err != nil {
		return config, "", err
	}
	raw := st.blobs[s.Repository+"@"+parsed.Config.Digest.String()]
	return config, parsed.Config.Digest.String(), json.Unmarshal(raw, &config)
}

// TestCosignRemoveRepetitions: what is there twice is there once too often.
func TestCosignRemoveRepetitions(t *testing.T) {
	s, k, other := image(1), newKey(t), newKey(t)
	payload := Payload(s)
	a, b := layerOf(payload, k.sign(t, payload)), layerOf(payload, k.sign(t, payload))
	x := layerOf(payload, other.sign(t, payload))
	for name, test := range map[string]struct {
		layers []layer
		keep   int
		want   []layer
	}{
		"all":                  {[]layer{a, a, b, x, a}, 0, []layer{x}},
		"but one":              {[]layer{a, a, b, x, a}, 1, []layer{a, x}},
		"but two":              {[]layer{a, a, b, x, a}, 2, []layer{a, b, x}},
		"more than there are":  {[]layer{a, b}, 3, []layer{a, b}},
		"repeated, keeping it": {[]layer{a, a}, 1, []layer{a}},
		"others repeated":      {[]layer{x, a, x}, 0, []layer{x, x}},
		"the last":             {[]layer{a, a}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			st := newMemory()
			st.foreignBlob(s.Repository, payload)
			raw, mediaType := compose(nil, newConfig(constantConfig(len(test.layers))), unplanned(test.layers))
			st.tag(s.Repository, CosignTag(s.Digest), mediaType, raw)
			mustRemove(t, deleting{st}, s, k, test.keep, len(test.layers)-len(test.want))
			var want []string
			for _, l := range test.want {
				want = append(want, string(l.raw))
			}
			if diff := cmp.Diff(want, rawLayers(t, st, s)); diff != "" {
				t.Errorf("layers (-want +got):\n%s", diff)
			}
			if _, digest, err := configOf(st, s); len(want) > 0 && len(want) != len(test.layers) && digest != hash(constantConfig(len(want))).String() {
				t.Errorf("config %s, %v", digest, err)
			}
		})
	}
}

func unplanned(layers []layer) []planned {
	var out []planned
	for _, l := range layers {
		out = append(out, planned{l, -1})
	}
	return out
}

// TestCosignRemoveOnlyWhatCounts: what cannot be proved to be the key's over this
// digest under this name stays.
func TestCosignRemoveOnlyWhatCounts(t *testing.T) {
	s, k := image(1), newKey(t)
	own := Payload(s)
	sig := k.sign(t, own)
	otherDigest, otherName := s, s
	otherDigest.Digest, otherName.Identity = image(2).Digest, "registry.example.com/library/other"
	unread := []byte(strings.Replace(string(own), "null", `{"lost":"1"}`, 1))
	edited := func(change func(*layer)) layer {
		l := layerOf(own, sig)
		l.annotations = maps.Clone(l.annotations)
		change(&l)
		l.raw = encode(l.descriptor())
		return l
	}
	for name, l := range map[string]layer{
		"other digest":    layerOf(Payload(otherDigest), k.sign(t, Payload(otherDigest))),
		"other name":      layerOf(Payload(otherName), k.sign(t, Payload(otherName))),
		"payload is gone": layerOf(unread, k.sign(t, unread)),
		"other key":       layerOf(own, newKey(t).sign(t, own)),
		"no signature":    edited(func(l *layer) { l.annotations = nil }),
		"no base64":       edited(func(l *layer) { l.annotations[annotationSignature] = "%" }),
		"other type":      edited(func(l *layer) { l.mediaType = "application/octet-stream" }),
		"wrong size":      edited(func(l *layer) { l.size++ }),
		"no descriptor":   {raw: json.RawMessage(`7`)},
		"signature of more": edited(func(l *layer) {
			l.annotations[annotationSignature] = layerOf(own, append(sig, 0)).annotations[annotationSignature]
		}),
	} {
		t.Run(name, func(t *testing.T) {
			st := newMemory()
			for _, p := range [][]byte{own, Payload(otherDigest), Payload(otherName)} {
				st.foreignBlob(s.Repository, p)
			}
			guard := layerOf(own, newKey(t).sign(t, own)) // so that it is a signature manifest
			raw, mediaType := compose(nil, newConfig(constantConfig(2)), unplanned([]layer{l, guard}))
			st.tag(s.Repository, CosignTag(s.Digest), mediaType, raw)
			mustRemove(t, deleting{st}, s, k, 0, 0)
			if got := st.cost(); got["PUT manifest"]+got["DELETE manifest"] > 0 {
				t.Errorf("written: %v", got)
			}
		})
	}
}

// TestCosignRemoveUndecided: what cannot be read now is no reason to go on.
func TestCosignRemoveUndecided(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	payload := []byte(strings.Replace(string(Payload(s)), "null", `{}`, 1))
	if err := signLikeCosign(st, s, payload, k.sign(t, payload)); err != nil {
		t.Fatal(err)
	}
	st.failBlob = registry.ErrUnavailable
	if n, _, err := (&Cosign{Store: st}).remove(t.Context(), s, k, cut{}); n != 0 || !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("removed %d, %v", n, err)
	}
	st.failBlob = nil
	if n, _, err := (&Cosign{Store: st}).remove(t.Context(), s, k, cut{}); n != 0 && err == nil || !errors.Is(err, registry.ErrUnsupported) {
		t.Errorf("a store that cannot delete: removed %d, %v", n, err)
	}
	mustBeSigned(t, st, s, k)
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, []byte(`{"schemaVersion":2,"config":{},"layers":[{}]}`))
	if _, _, err := (&Cosign{Store: st}).remove(t.Context(), s, k, cut{}); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign manifest: %v", err)
	}
}

// TestCosignRemoveAmongWriters: others replace the manifest while we do.
func TestCosignRemoveAmongWriters(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, st *memory, s Subject, before registry.Manifest, theirs key){
		"they had read what was there before us": func(t *testing.T, st *memory, s Subject, before registry.Manifest, theirs key) {
			st.tag(s.Repository, CosignTag(s.Digest), before.MediaType, before.Raw)
			if err := signLikeCosign(st, s, Payload(s), theirs.sign(t, Payload(s))); err != nil {
				t.Error(err)
			}
		},
		"they had read nothing": func(t *testing.T, st *memory, s Subject, _ registry.Manifest, theirs key) {
			l := layerOf(Payload(s), theirs.sign(t, Payload(s)))
			raw, mediaType := compose(nil, newConfig(constantConfig(1)), unplanned([]layer{l}))
			st.tag(s.Repository, CosignTag(s.Digest), mediaType, raw)
		},
	} {
		for keep := range 2 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st, s := newMemory(), image(1)
					ours, first, second := newKey(t), newKey(t), newKey(t)
					for range 2 {
						if err := signLikeCosign(st, s, Payload(s), ours.sign(t, Payload(s))); err != nil {
							t.Fatal(err)
						}
					}
					if err := signLikeCosign(st, s, Payload(s), first.sign(t, Payload(s))); err != nil {
						t.Fatal(err)
					}
					before, err := st.find(s.Repository, CosignTag(s.Digest))
					if err != nil {
						t.Fatal(err)
					}
					st.foreignBlob(s.Repository, constantConfig(1))
					st.afterPut = func() {
						st.afterPut = nil
						meanwhile(t, st, s, before, second)
					}
					mustRemove(t, deleting{st}, s, ours, keep, 2-keep)
					mustBeSigned(t, st, s, first, second)
					if n := len(rawLayers(t, st, s)); n != 2+keep {
						t.Errorf("%d layers, want %d", n, 2+keep)
					}
				})
			})
		}
	}
}

// TestCosignRemoveNeverEnds: with a writer who does not stop, we do.
func TestCosignRemoveNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := newMemory(), image(1)
		ours, theirs := newKey(t), newKey(t)
		for _, k := range []key{ours, theirs} {
			if err := signLikeCosign(st, s, Payload(s), k.sign(t, Payload(s))); err != nil {
				t.Fatal(err)
			}
		}
		before, err := st.find(s.Repository, CosignTag(s.Digest))
		if err != nil {
			t.Fatal(err)
		}
		st.afterPut = func() { st.tag(s.Repository, CosignTag(s.Digest), before.MediaType, before.Raw) }
		if n, _, err := (&Cosign{Store: st}).remove(t.Context(), s, ours, cut{}); n != 0 || !errors.Is(err, ErrConflict) {
			t.Errorf("removed %d, %v", n, err)
		}
		if st.cost()["PUT manifest"] != maxRounds+2 { // two of them to sign
			t.Error("not as many rounds as allowed")
		}
	})
}

// TestCosignRemoveFromDeleted: who deleted the tag meanwhile meant to.
func TestCosignRemoveFromDeleted(t *testing.T) {
	st, s := newMemory(), image(1)
	ours, theirs := newKey(t), newKey(t)
	for _, k := range []key{ours, theirs} {
		if err := signLikeCosign(st, s, Payload(s), k.sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
	}
	st.afterPut = func() { delete(st.tags, s.Repository+":"+CosignTag(s.Digest)) }
	mustRemove(t, st, s, ours, 0, 1)
	if _, err := st.find(s.Repository, CosignTag(s.Digest)); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the tag: %v", err)
	}
}
