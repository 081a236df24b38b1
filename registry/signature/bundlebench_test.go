package signature

import (
	"fmt"
	"testing"
)

// BenchmarkBundleLook measures what a look costs us, without the registry: as a
// rule one bundle, at worst sixteen of which ours is the last.
func BenchmarkBundleLook(b *testing.B) {
	for _, n := range []int{1, maxCarriers} {
		b.Run(fmt.Sprintf("referrers=%d", n), func(b *testing.B) {
			f := newForger(b)
			crowd(f, n-1, true)
			refer(b, f.st, f.s, []byte(f.manifest(f.ours(f.s))))
			l := NewLayouts(f.st)
			b.ReportAllocs()
			for b.Loop() {
				if look := mustLook(b, l, f.s, f.k); !look.Signed {
					b.Fatal(look)
				}
			}
		})
	}
}
