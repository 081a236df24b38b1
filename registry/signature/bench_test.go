package signature

import (
	"fmt"
	"testing"
)

// BenchmarkLook measures what a look costs us, without the registry: as a rule
// one layer, at worst a hundred by other keys before ours.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("layers=%d", n), func(b *testing.B) {
			st, k, s := newMemory(), newKey(b), image(1)
			payload := Payload(s)
			other := newKey(b)
			layers := make([]layer, n)
			for i := range layers {
				layers[i] = layerOf(payload, other.sign(b, payload))
			}
			layers[n-1] = layerOf(payload, k.sign(b, payload))
			st.tag(s.Repository, CosignTag(s.Digest), ociManifest, manifestOf(layers...))
			c := &Cosign{Store: st}
			b.ReportAllocs()
			for b.Loop() {
				look, err := c.Look(b.Context(), s, k)
				if err != nil || !look.Signed {
					b.Fatal(look, err)
				}
			}
		})
	}
}
