package signature

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

// sign looks, signs and attaches.
func sign(t testing.TB, c *Cosign, s Subject, k key) (Attached, error) {
	t.Helper()
	look, err := c.Look(t.Context(), s, k)
	if err != nil {
		return Attached{}, err
	}
	return c.Attach(t.Context(), s, look, k.sign(t, Payload(s)), k)
}

func mustBeSigned(t testing.TB, st registry.Store, s Subject, keys ...key) {
	t.Helper()
	for i, k := range keys {
		look, err := (&Cosign{Store: st}).Look(t.Context(), s, k)
		if err != nil || !look.Signed {
			t.Errorf("key %d: signed %t, %v, reasons %q", i, look.Signed, err, look.Reasons)
		}
	}
}

func TestAttachCosts(t *testing.T) {
	st, k := newMemory(), newKey(t)
	c := &Cosign{Store: st}
	steps := []struct {
		name string
		want map[string]int
	}{
		{"first image of the repository", map[string]int{"GET manifest": 2, "POST blob": 2, "PUT blob": 2, "PUT manifest": 1}},
		{"second image of the repository", map[string]int{"GET manifest": 2, "POST blob": 1, "PUT blob": 1, "PUT manifest": 1}},
	}
	for i, step := range steps {
		done, err := sign(t, c, image(i), k)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, st.cost()); diff != "" {
			t.Errorf("%s: requests, with the look (-want +got):\n%s", step.name, diff)
		}
		d, err := st.Resolve(t.Context(), image(i).Repository, CosignTag(image(i).Digest))
		if err != nil || done.Manifest != d.Digest || done.Rounds != 1 {
			t.Errorf("%s: %+v, the tag is at %s, %v", step.name, done, d.Digest, err)
		}
		st.cost()
		look, err := c.Look(t.Context(), image(i), k)
		if err != nil || !look.Signed || look.Ours != 1 || look.Others != 0 || k.Verify(Payload(image(i)), look.Signature) != nil {
			t.Errorf("%s: look after attach = %+v, %v", step.name, look, err)
		}
		if diff := cmp.Diff(map[string]int{"GET manifest": 1}, st.cost()); diff != "" {
			t.Errorf("%s: requests of a look at a signed image (-want +got):\n%s", step.name, diff)
		}
	}
	// A second key, as after a rotation: HEAD, one new config, which is then
	// known too.
	second := newKey(t)
	want := map[string]int{"GET manifest": 2, "HEAD manifest": 1, "POST blob": 1, "PUT blob": 1, "PUT manifest": 1}
	for i := range 2 {
		if _, err := sign(t, c, image(i), second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, st.cost()); diff != "" {
			t.Errorf("second key, image %d: requests, with the look (-want +got):\n%s", i, diff)
		}
		delete(want, "POST blob")
		delete(want, "PUT blob")
		mustBeSigned(t, st, image(i), k, second)
		st.cost()
	}
}

func TestAttachRefusesWhatIsNotTheKeys(t *testing.T) {
	st, s := newMemory(), image(1)
	c := &Cosign{Store: st}
	_, err := c.Attach(t.Context(), s, Look{}, newKey(t).sign(t, Payload(s)), newKey(t))
	if err == nil || len(st.cost()) > 0 {
		t.Errorf("a signature by another key: %v, %d tags", err, len(st.tags))
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	theirs := layerOf(Payload(s), newKey(t).sign(t, Payload(s)))
	theirs.annotations["dev.sigstore.cosign/certificate"] = "-----BEGIN CERTIFICATE-----\n<&>"
	theirs.annotations["dev.sigstore.cosign/chain"] = "chain"
	theirs.annotations["dev.sigstore.cosign/bundle"] = `{"SignedEntryTimestamp":"MEUC"}`
	theirs.annotations["dev.sigstore.cosign/rfc3161timestamp"] = "null"
	raw := string(encode(theirs.descriptor()))
	raw = `{"x-vendor": {"b":1, "a":[1.0,2e3]},` + raw[1:]
	config := []byte(`{"config":{"Labels":{"a":"b"}},"x":1.50,"rootfs":{"type":"layers","diff_ids":["` + theirs.digest.String() + `"]}}`)
	st.foreignBlob(s.Repository, config)
	st.foreignBlob(s.Repository, Payload(s))
	base := `{"zzz":[ {"k":1.0} ],"annotations":{"a":"<b>"},"layers":[` + raw + `],"schemaVersion":2,"config":` +
		`{"digest":"` + hash(config).String() + `","data":"e30=","mediaType":"application/vnd.docker.container.image.v1+json","size":3},` +
		`"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`
	st.tag(s.Repository, CosignTag(s.Digest), "application/vnd.docker.distribution.manifest.v2+json", []byte(base))

	sig := k.sign(t, Payload(s))
	look, err := (&Cosign{Store: st}).Look(t.Context(), s, k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Cosign{Store: st}).Attach(t.Context(), s, look, sig, k); err != nil {
		t.Fatal(err)
	}
	got, err := st.find(s.Repository, CosignTag(s.Digest))
	if err != nil {
		t.Fatal(err)
	}
	ours := layerOf(Payload(s), sig)
	wantConfig := strings.Replace(string(config), `"]}`, `","`+ours.digest.String()+`"]}`, 1)
	want := strings.NewReplacer(
		raw, raw+","+string(ours.raw),
		hash(config).String(), hash([]byte(wantConfig)).String(),
		`"size":3`, fmt.Sprintf(`"size":%d`, len(wantConfig)),
		`"data":"e30=",`, "",
	).Replace(base)
	if diff := cmp.Diff(want, string(got.Raw)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if got.MediaType != look.Manifest.MediaType {
		t.Errorf("media type %q, was %q", got.MediaType, look.Manifest.MediaType)
	}
	if got := string(st.blobs[s.Repository+"@"+hash([]byte(wantConfig)).String()]); got != wantConfig {
		t.Errorf("config %q, want %q", got, wantConfig)
	}
}

func TestConfigsThatAreLeftAlone(t *testing.T) {
	s := image(1)
	theirs := layerOf(Payload(s), newKey(t).sign(t, Payload(s)))
	tests := []struct{ name, mediaType, content string }{
		{"empty", "application/vnd.oci.image.config.v1+json", "{}"},
		{"fewer diff_ids than layers", "application/vnd.oci.image.config.v1+json", `{"rootfs":{"diff_ids":[]}}`},
		{"no JSON", "application/vnd.oci.image.config.v1+json", "hello"},
		{"too large", "application/vnd.oci.image.config.v1+json", strings.Repeat(" ", maxConfig+1)},
		{"no image config", "application/vnd.example+json", `{"rootfs":{"diff_ids":["` + theirs.digest.String() + `"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, k := newMemory(), newKey(t)
			desc := newConfig([]byte(tt.content)).with("mediaType", encode(tt.mediaType))
			raw, _ := compose(nil, desc, plan(nil, nil, []layer{theirs}))
			st.foreignBlob(s.Repository, []byte(tt.content))
			st.tag(s.Repository, CosignTag(s.Digest), ociManifest, raw)
			if _, err := sign(t, &Cosign{Store: st}, s, k); err != nil {
				t.Fatal(err)
			}
			got, _ := st.find(s.Repository, CosignTag(s.Digest))
			var m v1.Manifest
			if err := json.Unmarshal(got.Raw, &m); err != nil {
				t.Fatal(err)
			}
			if m.Config.Digest != hash([]byte(tt.content)) || string(m.Config.MediaType) != tt.mediaType || len(m.Layers) != 2 {
				t.Errorf("manifest %s", got.Raw)
			}
		})
	}
	t.Run("unreadable now", func(t *testing.T) {
		st, k := newMemory(), newKey(t)
		if err := signLikeCosign(st, s, Payload(s), newKey(t).sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
		st.failBlob = registry.ErrUnavailable
		if _, err := sign(t, &Cosign{Store: st}, s, k); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Attach = %v, want %v", err, registry.ErrUnavailable)
		}
	})
}

func TestLyingLayerIsReplaced(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	payload := Payload(s)
	other := newKey(t)
	liar := newLayer(hash(payload), 7, k.sign(t, payload))
	honest := layerOf(payload, other.sign(t, payload))
	config := constantConfig(2)
	st.foreignBlob(s.Repository, config)
	st.foreignBlob(s.Repository, payload)
	raw, _ := compose(nil, newConfig(config), plan(nil, nil, []layer{liar, honest}))
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, raw)

	if look, err := (&Cosign{Store: st}).Look(t.Context(), s, other); err != nil || look.Signed {
		t.Errorf("verifiers use the first size, so the honest layer cannot count yet: %+v, %v", look, err)
	}
	if _, err := sign(t, &Cosign{Store: st}, s, k); err != nil {
		t.Fatal(err)
	}
	mustBeSigned(t, st, s, k, other)
	if err := signLikeCosign(st, s, payload, newKey(t).sign(t, payload)); err != nil {
		t.Errorf("cosign's append fails: %v", err)
	}
}

func TestAttachedTwiceIsOnce(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	c := &Cosign{Store: st}
	sig := k.sign(t, Payload(s))
	for want := range 2 { // the second time with the look of before the first
		done, err := c.Attach(t.Context(), s, Look{}, sig, k)
		if err != nil || done.Rounds != 1-want {
			t.Errorf("Attach %d = %+v, %v", want, done, err)
		}
	}
	if look, err := c.Look(t.Context(), s, k); err != nil || look.Ours != 1 || look.Duplicates != 0 {
		t.Errorf("Look = %+v, %v", look, err)
	}
}

func TestForeignTagIsNotOverwritten(t *testing.T) {
	index := []byte(`{"schemaVersion":2,"manifests":[]}`)
	place := func(st *memory, s Subject) {
		st.tag(s.Repository, CosignTag(s.Digest), "application/vnd.oci.image.index.v1+json", index)
	}
	s, k := image(1), newKey(t)
	t.Run("since the look", func(t *testing.T) {
		st := newMemory()
		if err := signLikeCosign(st, s, Payload(s), newKey(t).sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
		c := &Cosign{Store: st}
		look, err := c.Look(t.Context(), s, k)
		if err != nil {
			t.Fatal(err)
		}
		place(st, s)
		if _, err := c.Attach(t.Context(), s, look, k.sign(t, Payload(s)), k); !errors.Is(err, ErrForeign) {
			t.Errorf("Attach = %v, want %v", err, ErrForeign)
		}
		if got, _ := st.find(s.Repository, CosignTag(s.Digest)); string(got.Raw) != string(index) {
			t.Error("it was overwritten")
		}
	})
	t.Run("after our write", func(t *testing.T) {
		st := newMemory()
		st.afterPut = func() { place(st, s) }
		if _, err := sign(t, &Cosign{Store: st}, s, k); !errors.Is(err, ErrForeign) {
			t.Errorf("Attach = %v, want %v", err, ErrForeign)
		}
	})
}

func TestCollectedBlobsAreSentAgain(t *testing.T) {
	for _, missing := range []error{registry.ErrRejected, registry.ErrNotFound} {
		st, k := newMemory(), newKey(t)
		st.missing = missing
		c := &Cosign{Store: st}
		if _, err := sign(t, c, image(1), k); err != nil {
			t.Fatal(err)
		}
		clear(st.blobs) // and the client does not know
		if _, err := sign(t, c, image(2), k); err != nil {
			t.Fatal(err)
		}
		mustBeSigned(t, st, image(2), k)
	}
}

func TestRefusedForGood(t *testing.T) {
	st, k := newMemory(), newKey(t)
	c := &Cosign{Store: st}
	st.failPut = registry.ErrRejected
	if _, err := sign(t, c, image(3), k); !errors.Is(err, registry.ErrRejected) {
		t.Errorf("Attach = %v, want %v", err, registry.ErrRejected)
	}
	if got := st.cost()["PUT manifest"]; got != 2 {
		t.Errorf("a manifest that is refused for good was sent %d times, want 2", got)
	}
}

func TestAttachTooMany(t *testing.T) {
	for have, want := range map[int]error{MaxLayers - 1: nil, MaxLayers: ErrTooMany} {
		st, s, k := newMemory(), image(1), newKey(t)
		layers := make([]layer, have)
		for i := range layers {
			layers[i] = put(st, Payload(s), fmt.Appendf(nil, "%d", i))
		}
		st.foreignBlob(s.Repository, []byte("{}"))
		st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(layers...))
		if _, err := sign(t, &Cosign{Store: st}, s, k); !errors.Is(err, want) {
			t.Errorf("appending to %d layers = %v, want %v", have, err, want)
		}
		if got := st.cost()["PUT manifest"]; got > 0 == (want != nil) {
			t.Errorf("appending to %d layers: %d manifests were written", have, got)
		}
	}
	st, s, k := newMemory(), image(1), newKey(t)
	raw, _ := compose(nil, newConfig([]byte("{}")), plan(nil, nil, []layer{put(st, Payload(s), []byte("theirs"))}))
	full, err := parseObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	room := registry.MaxManifest - len(raw) - len(`,"x":""`)
	st.foreignBlob(s.Repository, []byte("{}"))
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, full.with("x", encode(strings.Repeat("x", room))).encode())
	if _, err := sign(t, &Cosign{Store: st}, s, k); !errors.Is(err, ErrTooMany) {
		t.Errorf("appending to a full manifest = %v, want %v", err, ErrTooMany)
	}
	if got := st.cost()["PUT manifest"]; got > 0 {
		t.Error("a manifest that nobody can read was written")
	}
}

func TestEmptyManifestIsABase(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	st.foreignBlob(s.Repository, constantConfig(0))
	raw, _ := compose(nil, newConfig(constantConfig(0)), nil)
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, raw)
	if _, err := sign(t, &Cosign{Store: st}, s, k); err != nil {
		t.Fatal(err)
	}
	mustBeSigned(t, st, s, k)
}

// TestAttachTellsWhatIsStored: when the same key's signature by somebody else
// is what ends up there, Attach returns that one.
func TestAttachTellsWhatIsStored(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	c := &Cosign{Store: st}
	mine, theirs := k.sign(t, Payload(s)), k.sign(t, Payload(s))
	first, err := c.Attach(t.Context(), s, Look{}, mine, k)
	if err != nil || string(first.Signature) != string(mine) {
		t.Fatalf("stored %x, %v, want what was attached", first.Signature, err)
	}
	second, err := c.Attach(t.Context(), s, Look{}, theirs, k)
	if err != nil || string(second.Signature) != string(mine) || second.Rounds != 0 {
		t.Errorf("stored %x in %d rounds, %v, want the one that was there", second.Signature, second.Rounds, err)
	}
}
