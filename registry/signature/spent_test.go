package signature

import (
	"crypto/x509"
	"testing"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// stampedFormats are those that may have timestamps.
var stampedFormats = []policy.Format{policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE}

// TestRemoveKeepsTheOneThatCounts: a signature by the key without the timestamp
// that is wanted does not make the one that has it superfluous, whichever the
// registry lists first.
func TestRemoveKeepsTheOneThatCounts(t *testing.T) {
	for _, f := range stampedFormats {
		for _, stampedFirst := range []bool{true, false} {
			b := newBench(t, registrytest.Distribution)
			witnessed := Witnesses{Timestamps: []Authority{newClockTower(t).authority("tower")}}
			image := func() *Image { return NewLayouts(b.store).Image(b.s, witnessed) }
			if stampedFirst {
				mustSign(t, image(), f, b.a.Key)
				b.again(f, b.a)
			} else {
				b.sign(f, b.a)
				mustSign(t, image(), f, b.a.Key)
			}
			if n, err := image().Removable(t.Context(), f, b.a.Key, 1); n != 1 || err != nil {
				t.Errorf("%s: %d could be removed, %v; want 1", f, n, err)
			}
			if n, err := image().Remove(t.Context(), f, b.a.Key, 1); n != 1 || err != nil {
				t.Errorf("%s: removed %d, %v; want 1", f, n, err)
			}
			if look, err := image().Look(t.Context(), f, b.a.Key); err != nil || !look.Signed {
				t.Errorf("%s, stamped first %t: afterwards signed %t, %v", f, stampedFirst, look.Signed, err)
			}
		}
	}
}

// TestRemoveSpentSignatures: a signature by the key is the key's, also when its
// certificate has expired or leads to another root by now.
func TestRemoveSpentSignatures(t *testing.T) {
	for _, f := range notationFormats {
		b := newBench(t, registrytest.Distribution)
		renewed := b.a
		renewed.Certificates = newIssuer(t, "new root").chain(t, b.a.private.Public())
		b.sign(f, b.a)
		b.again(f, renewed)
		spent, then := b.a, time.Now().Add(-50*time.Minute)
		spent.Certificates = newIssuer(t, "old root").chain(t, b.a.private.Public(), func(c *x509.Certificate) { valid(c, then, 20*time.Minute) })
		referNotation(t, b.store, f, b.s, spent.sealed(t, f, b.s, func(r *core.SignRequest) { r.SigningTime = then.Add(time.Minute) }))

		b.remove(f, renewed, 1, 2)
		if look, err := b.image().Look(t.Context(), f, renewed.Key); err != nil || !look.Signed {
			t.Errorf("%s: the renewed one: %t, %v", f, look.Signed, err)
		}
		b.remove(f, renewed, 0, 1)
	}
}
