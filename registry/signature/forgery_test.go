package signature

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// forgery is a way to look signed. Each is stored under the signature tag of
// image(1), whose payload is given.
type forgery struct {
	name   string
	layers func(t *testing.T, st *memory, k key) []layer
	reason string // what Look must say
	cost   int    // blobs read
}

// put stores a payload and returns the layer for it.
func put(st *memory, payload, sig []byte) layer {
	st.foreignBlob(image(1).Repository, payload)
	return layerOf(payload, sig)
}

func forgeries() []forgery {
	own := Payload(image(1))
	otherIdentity := image(1)
	otherIdentity.Identity = "registry.example.com/library/evil"
	with := func(old, now string) []byte { return []byte(strings.Replace(string(own), old, now, 1)) }
	signs := func(payload []byte) func(*testing.T, *memory, key) []layer {
		return func(t *testing.T, st *memory, k key) []layer {
			return []layer{put(st, payload, k.sign(t, payload))}
		}
	}
	return []forgery{
		{"random signature over the right payload", func(_ *testing.T, st *memory, _ key) []layer {
			return []layer{put(st, own, []byte("0123456789"))}
		}, "not by the key", 0},
		{"other key", func(t *testing.T, st *memory, _ key) []layer {
			return []layer{put(st, own, newKey(t).sign(t, own))}
		}, "not by the key", 0},
		{"our signature of another image", signs(Payload(image(2))), "it speaks of sha256:", 1},
		{"our signature of another image on the right payload", func(t *testing.T, st *memory, k key) []layer {
			return []layer{put(st, own, k.sign(t, Payload(image(2))))}
		}, "not by the key", 0},
		{"our signature under another identity", signs(Payload(otherIdentity)), "library/evil", 1},
		{"our signature of another type", signs(with("cosign container", "atomic container")), "type is", 1},
		{"our signature of something with more fields", signs(with(`{"critical":`, `{"note":1,"critical":`)), `unknown member "note"`, 1},
		{"our signature of something with more critical fields", signs(with(`"identity":{`, `"identity":{"note":1,`)), `unknown member "note"`, 1},
		{"our signature of something without a type", signs(with(`,"type":"cosign container image signature"`, "")), `"type" is missing`, 1},
		{"our signature of optional text", signs(with(`"optional":null`, `"optional":"x"`)), "optional is neither", 1},
		{"our signature of two documents", signs(append(slices.Clone(own), "{}"...)), "something follows", 1},
		{"our signature of a payload that is read in two ways", signs(with(`"optional":null`, `"Critical":{}`)), `member "Critical" twice`, 1},
		{"a payload that is no JSON", signs([]byte("hello")), "not a JSON object", 1},
		{"a huge payload", signs([]byte(strings.Repeat(" ", maxPayload) + string(own))), "too large", 1},
		{"a payload that is nowhere", func(t *testing.T, _ *memory, k key) []layer {
			other := with("null", `{"a":"b"}`)
			return []layer{layerOf(other, k.sign(t, other))}
		}, "not found", 1},
		{"a wrong size", func(t *testing.T, st *memory, k key) []layer {
			l := put(st, own, k.sign(t, own))
			return []layer{newLayer(l.digest, l.size+1, k.sign(t, own))}
		}, "has 249 bytes, it has 248", 0},
		{"a wrong size of another payload", func(t *testing.T, st *memory, k key) []layer {
			other := with("null", `{"a":"b"}`)
			l := put(st, other, k.sign(t, other))
			return []layer{newLayer(l.digest, 1, k.sign(t, other))}
		}, "says that its payload has 1 bytes", 1},
		{"no annotation", func(_ *testing.T, st *memory, _ key) []layer {
			l := put(st, own, nil)
			return []layer{rewritten(l, `"annotations":{"dev.cosignproject.cosign/signature":""}`, `"annotations":{}`)}
		}, "no signature annotation", 0},
		{"an empty signature", func(_ *testing.T, st *memory, _ key) []layer {
			return []layer{put(st, own, nil)}
		}, "not base64", 0},
		{"a signature that is too long", func(_ *testing.T, st *memory, _ key) []layer {
			return []layer{put(st, own, make([]byte, maxSignature))}
		}, "more than 16384 bytes", 0},
		{"two digests in one layer", func(t *testing.T, st *memory, k key) []layer {
			l := put(st, own, k.sign(t, own))
			return []layer{put(st, own, []byte("x")), rewritten(l, `"digest"`, fmt.Sprintf(`"Digest":%q,"digest"`, hash(nil)))}
		}, `"digest" twice`, 0},
		{"layers that are no descriptors", func(_ *testing.T, st *memory, _ key) []layer {
			return []layer{put(st, own, []byte("x")), parseLayer(json.RawMessage(`7`)), parseLayer(json.RawMessage(`{"mediaType":1}`))}
		}, "not a JSON object", 0},
		{"another media type", func(t *testing.T, st *memory, k key) []layer {
			l := put(st, own, k.sign(t, own))
			return []layer{put(st, own, []byte("x")), rewritten(l, "simplesigning.v1", "simplesigning.v9")}
		}, "simplesigning.v9", 0},
		{"500 forged layers with payloads of their own", func(t *testing.T, st *memory, k key) []layer {
			var layers []layer
			for i := range 500 {
				p := Payload(image(i + 2))
				layers = append(layers, put(st, p, k.sign(t, p)))
			}
			return layers
		}, "it speaks of", 16},
	}
}

// rewritten returns l with a change in its bytes.
func rewritten(l layer, old, now string) layer {
	return parseLayer(json.RawMessage(strings.Replace(string(l.raw), old, now, 1)))
}

func TestForgeries(t *testing.T) {
	for _, f := range forgeries() {
		t.Run(f.name, func(t *testing.T) {
			st, k, s := newMemory(), newKey(t), image(1)
			layers := f.layers(t, st, k)
			st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(layers...))
			st.foreignBlob(s.Repository, []byte("{}"))
			st.foreignBlob(s.Repository, Payload(s))
			c := &Cosign{Store: st}

			look, err := c.Look(t.Context(), s, k)
			if err != nil {
				t.Fatal(err)
			}
			if look.Signed || look.Signature != nil || look.Ours != 0 || !look.Present || look.Others != len(layers) {
				t.Errorf("Look = signed %t, ours %d, others %d of %d", look.Signed, look.Ours, look.Others, len(layers))
			}
			if !strings.Contains(strings.Join(look.Reasons, "\n"), f.reason) || len(look.Reasons) > maxReasons {
				t.Errorf("reasons %q, want one with %q", look.Reasons, f.reason)
			}
			want := map[string]int{"GET manifest": 1}
			if f.cost > 0 {
				want["GET blob"] = f.cost
			}
			if diff := cmp.Diff(want, st.cost()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			mayBeAnotherIdentity := f.reason == "library/evil"
			if found, err := c.Check(t.Context(), s.Repository, s.Digest, []Verifier{k}); err != nil || len(found) > 0 != mayBeAnotherIdentity {
				t.Errorf("Check = %+v, %v", found, err)
			}
		})
	}
}

func TestForgeriesDoNotStopUs(t *testing.T) {
	for _, f := range forgeries() {
		t.Run(f.name, func(t *testing.T) {
			st, k, s := newMemory(), newKey(t), image(1)
			forged := f.layers(t, st, k)
			st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(forged...))
			c := &Cosign{Store: lenient{st}}
			look, err := c.Look(t.Context(), s, k)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Attach(t.Context(), s, look, k.sign(t, Payload(s)), k); err != nil {
				t.Fatal(err)
			}
			again, err := c.Look(t.Context(), s, k)
			if err != nil || !again.Signed || again.Ours != 1 {
				t.Errorf("after Attach: signed %t, ours %d, %v", again.Signed, again.Ours, err)
			}
		})
	}
}

// lenient is a registry that accepts any manifest, as some do.
type lenient struct{ *memory }

func (l lenient) PutManifest(_ context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	l.tag(repository, ref, mediaType, raw)
	return hash(raw), nil
}
