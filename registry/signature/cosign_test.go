package signature

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/strictjson"
	"github.com/sealwright/sealwright/registry"
)

func TestCosignTag(t *testing.T) {
	d, err := v1.NewHash("sha256:97fc222cee7991b5b061d4d4afdb5f3428fcb0c9054e1690313786befa1e4e36")
	if err != nil {
		t.Fatal(err)
	}
	want := "sha256-97fc222cee7991b5b061d4d4afdb5f3428fcb0c9054e1690313786befa1e4e36.sig"
	if got := CosignTag(d); got != want {
		t.Errorf("CosignTag(%s) = %s, want %s", d, got, want)
	}
}

// recorded is what cosign v2.6.5 wrote into real registries.
var recorded = []struct {
	file, manifest string
	subject        Subject
}{
	{
		"distribution-prod-svc0000", "sha256:c7fe02761a617aba8926d823e37b0d754bf15b5a590ffb25266ca316463c8f0d",
		Subject{
			Repository: "prod/svc0000",
			Digest:     v1.Hash{Algorithm: "sha256", Hex: "b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502"},
			Identity:   "127.0.0.1:5100/prod/svc0000",
		},
	},
	{
		"distribution-staging-svc0001", "sha256:6c37c7de2a99a81cbca6e5e51038c002101b8d24444ed39c690b8a85382f80e6",
		Subject{
			Repository: "staging/svc0001",
			Digest:     v1.Hash{Algorithm: "sha256", Hex: "6cbe7a9abe28ad7cd595b05de4135a9b7b8bec1558d384e89094061eba992e11"},
			Identity:   "127.0.0.1:5100/staging/svc0001",
		},
	},
	{
		"zot-library-svc0003", "sha256:230ba6919ecd5c598a81101ba24e0357fcdfd749df066c6cec2bd0c9b141094a",
		Subject{
			Repository: "library/svc0003",
			Digest:     v1.Hash{Algorithm: "sha256", Hex: "9c75da5131cb3dedab089c47cdf02c4abe345a8958d7e64bbc5dedb23ea82fe2"},
			Identity:   "127.0.0.1:5110/library/svc0003",
		},
	},
}

func readRecorded(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := fs.ReadFile(os.DirFS("testdata/cosign"), name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// recordedVerifier stands for the key that made a recorded signature, whose
// public half was not recorded: it accepts that signature over that payload.
type recordedVerifier struct{ payload, sig []byte }

func (r recordedVerifier) Verify(message, sig []byte) error {
	if string(message) != string(r.payload) || string(sig) != string(r.sig) {
		return errors.New("no")
	}
	return nil
}

func TestPayloadIsCosigns(t *testing.T) {
	for _, r := range recorded {
		t.Run(r.file, func(t *testing.T) {
			want := readRecorded(t, r.file+".payload.json")
			if diff := cmp.Diff(string(want), string(Payload(r.subject))); diff != "" {
				t.Errorf("payload differs from cosign's (-want +got):\n%s", diff)
			}
			got, err := parsePayload(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != (claim{r.subject.Digest, r.subject.Identity}) {
				t.Errorf("cosign's payload was read as %+v", got)
			}
		})
	}
	want := "sha256:6582d311f5cdd8e4d6e12488e1339062b04217c7d2de3deeb4adb8454e3498cd"
	if got := hash(Payload(recorded[0].subject)).String(); got != want {
		t.Errorf("payload's digest is %s, cosign's layer has %s", got, want)
	}
}

func TestManifestIsCosigns(t *testing.T) {
	for _, r := range recorded {
		t.Run(r.file, func(t *testing.T) {
			want := readRecorded(t, r.file+".manifest.json")
			m, err := parseManifest(registry.Manifest{Descriptor: registry.Descriptor{MediaType: ociManifest}, Raw: want})
			if err != nil {
				t.Fatal(err)
			}
			sig, err := m.layers[0].signature()
			if err != nil {
				t.Fatal(err)
			}
			config := newConfig(readRecorded(t, r.file+".config.json"))
			got, _ := compose(nil, config, plan(nil, nil, []layer{layerOf(Payload(r.subject), sig)}))
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("manifest differs from cosign's (-want +got):\n%s", diff)
			}
			if got := hash(got).String(); got != r.manifest {
				t.Errorf("digest %s, cosign's is %s", got, r.manifest)
			}
		})
	}
}

func TestLookAtRecorded(t *testing.T) {
	for _, r := range recorded {
		t.Run(r.file, func(t *testing.T) {
			st := newMemory()
			raw := readRecorded(t, r.file+".manifest.json")
			st.tag(r.subject.Repository, CosignTag(r.subject.Digest), ociManifest, raw)
			m, _ := parseManifest(registry.Manifest{Descriptor: registry.Descriptor{MediaType: ociManifest}, Raw: raw})
			sig, err := m.layers[0].signature()
			if err != nil {
				t.Fatal(err)
			}
			c := &Cosign{Store: st}

			look, err := c.Look(t.Context(), r.subject, newKey(t))
			if err != nil || look.Signed || look.Others != 1 {
				t.Errorf("with another key: %+v, %v", look, err)
			}
			st.cost()
			look, err = c.Look(t.Context(), r.subject, recordedVerifier{Payload(r.subject), sig})
			if err != nil || !look.Signed || look.Ours != 1 || string(look.Signature) != string(sig) {
				t.Errorf("with the key: %+v, %v", look, err)
			}
			if diff := cmp.Diff(map[string]int{"GET manifest": 1}, st.cost()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookAtNothing(t *testing.T) {
	st := newMemory()
	look, err := (&Cosign{Store: st}).Look(t.Context(), image(1), newKey(t))
	if err != nil || look.Signed || look.Present {
		t.Errorf("Look = %+v, %v", look, err)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": 1}, st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestLookCountsOtherPayloads(t *testing.T) {
	st, k, s := newMemory(), newKey(t), image(1)
	// As cosign writes it with -a build=7.
	annotated := []byte(strings.Replace(string(Payload(s)), "null", `{"build":"7"}`, 1))
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(
		put(st, Payload(s), newKey(t).sign(t, Payload(s))),
		put(st, Payload(image(2)), []byte("x")),
		put(st, annotated, k.sign(t, annotated)),
		put(st, Payload(image(3)), []byte("x")),
	))
	look, err := (&Cosign{Store: st}).Look(t.Context(), s, k)
	if err != nil || !look.Signed || look.Ours != 1 || look.Others != 3 {
		t.Errorf("Look = %+v, %v", look, err)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": 1, "GET blob": 2}, st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestLookCountsDuplicates(t *testing.T) {
	st, k, s := newMemory(), newKey(t), image(1)
	one, two := k.sign(t, Payload(s)), k.sign(t, Payload(s))
	l := layerOf(Payload(s), one)
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestTwice(l, layerOf(Payload(s), two)))
	look, err := (&Cosign{Store: st}).Look(t.Context(), s, k)
	if err != nil || !look.Signed || look.Ours != 2 || look.Duplicates != 1 || string(look.Signature) != string(one) {
		t.Errorf("Look = %+v, %v", look, err)
	}
}

// manifestTwice returns a manifest with first twice and then second.
func manifestTwice(first, second layer) []byte {
	raw, _ := compose(nil, newConfig([]byte("{}")), []planned{{first, -1}, {first, -1}, {second, -1}})
	return raw
}

func TestLookFailsWhenItCannotKnow(t *testing.T) {
	s, k := image(1), newKey(t)
	for _, want := range []error{registry.ErrUnavailable, registry.ErrRateLimited, registry.ErrForbidden, context.Canceled} {
		st := newMemory()
		st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(put(st, Payload(image(2)), []byte("x"))))
		c := &Cosign{Store: st}
		st.failBlob = want
		if _, err := c.Look(t.Context(), s, k); !errors.Is(err, want) {
			t.Errorf("Look with an unreadable payload = %v, want %v", err, want)
		}
		if _, err := c.Check(t.Context(), s.Repository, s.Digest, []Verifier{k}); !errors.Is(err, want) {
			t.Errorf("Check with an unreadable payload = %v, want %v", err, want)
		}
		st.failRead = want
		if _, err := c.Look(t.Context(), s, k); !errors.Is(err, want) || errors.Is(err, ErrForeign) {
			t.Errorf("Look with an unreadable manifest = %v, want %v", err, want)
		}
	}
}

func TestForeignTag(t *testing.T) {
	s, k := image(1), newKey(t)
	good := string(manifestOf(layerOf(Payload(s), k.sign(t, Payload(s)))))
	with := func(old, now string) string { return strings.Replace(good, old, now, 1) }
	many := make([]layer, MaxLayers+1)
	for i := range many {
		many[i] = layerOf(Payload(s), fmt.Appendf(nil, "%d", i))
	}
	tests := []struct {
		name, mediaType, raw string
		want                 error
	}{
		{"index", "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"manifests":[]}`, ErrForeign},
		{"index said to be a manifest", ociManifest, with(`"config"`, `"manifests":[],"config"`), ErrForeign},
		{"another media type", "application/vnd.example+json", with(`"mediaType":"`+ociManifest+`",`, ""), ErrForeign},
		{"two media types", "application/vnd.docker.distribution.manifest.v2+json", good, ErrForeign},
		{"no JSON", ociManifest, "hello", ErrForeign},
		{"cut off", ociManifest, good[:len(good)-1], ErrForeign},
		{"more than one document", ociManifest, good + "{}", ErrForeign},
		{"not UTF-8", ociManifest, with(`"config"`, "\"\xff\":1,\"config\""), ErrForeign},
		{"two lists of layers", ociManifest, with(`"layers"`, `"Layers":[],"layers"`), ErrForeign},
		{"more members than any has", ociManifest, with(`"config"`, members(strictjson.MaxMembers)+`"config"`), ErrForeign},
		{"schema 1", ociManifest, with(`"schemaVersion":2`, `"schemaVersion":1`), ErrForeign},
		{"no layers", ociManifest, `{"schemaVersion":2,"config":{}}`, ErrForeign},
		{"layers are no list", ociManifest, `{"schemaVersion":2,"config":{},"layers":{}}`, ErrForeign},
		{"no config", ociManifest, `{"schemaVersion":2,"layers":[]}`, ErrForeign},
		{"an image", ociManifest, with("application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"), ErrForeign},
		{"an empty artifact", ociManifest, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.example"},"layers":[]}`, ErrForeign},
		{"too many layers", ociManifest, string(manifestOf(many...)), ErrTooMany},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newMemory()
			st.tag(s.Repository, CosignTag(s.Digest), tt.mediaType, []byte(tt.raw))
			c := &Cosign{Store: st}
			look, err := c.Look(t.Context(), s, k)
			if !errors.Is(err, tt.want) || look.Signed {
				t.Errorf("Look = %+v, %v, want %v", look, err, tt.want)
			}
			if _, err := c.Check(t.Context(), s.Repository, s.Digest, []Verifier{k}); !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("larger than is read", func(t *testing.T) {
		st := newMemory()
		st.failRead = registry.ErrTooLarge
		if _, err := (&Cosign{Store: st}).Look(t.Context(), s, k); !errors.Is(err, ErrForeign) || !errors.Is(err, registry.ErrTooLarge) {
			t.Errorf("Look = %v, want %v", err, ErrForeign)
		}
	})
	t.Run("sha512", func(t *testing.T) {
		s := s
		s.Digest.Algorithm = "sha512"
		if _, err := (&Cosign{Store: newMemory()}).Look(t.Context(), s, k); !errors.Is(err, registry.ErrUnsupported) {
			t.Errorf("Look = %v, want %v", err, registry.ErrUnsupported)
		}
	})
}

// members returns n members of an object, each followed by a comma.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"x%d":1,`, i)
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	st, s := newMemory(), image(1)
	one, two, stranger := newKey(t), newKey(t), newKey(t)
	other := s
	other.Identity = "mirror.example.org/app"
	annotated := []byte(strings.Replace(string(Payload(s)), "null", `{"build":"7"}`, 1))
	st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(
		put(st, Payload(s), stranger.sign(t, Payload(s))),
		put(st, Payload(s), two.sign(t, Payload(s))),
		put(st, Payload(other), one.sign(t, Payload(other))),
		put(st, Payload(image(2)), one.sign(t, Payload(image(2)))),
		put(st, annotated, two.sign(t, annotated)),
	))
	found, err := (&Cosign{Store: st}).Check(t.Context(), s.Repository, s.Digest, []Verifier{one, two})
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i].Signature = nil
	}
	want := []Verified{{Identity: s.Identity, Verifier: 1}, {Identity: other.Identity, Verifier: 0}, {Identity: s.Identity, Verifier: 1}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": 1, "GET blob": 4}, st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if found, err := (&Cosign{Store: st}).Check(t.Context(), s.Repository, image(9).Digest, []Verifier{one}); err != nil || len(found) > 0 {
		t.Errorf("Check of an unsigned image = %+v, %v", found, err)
	}
}
