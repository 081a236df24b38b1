package signature

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

var allFormats = []policy.Format{policy.FormatCosign, policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE}

// removalRegistries delete manifests, each in its way.
var removalRegistries = map[string]func(testing.TB) *registrytest.Server{
	"distribution":       registrytest.Distribution,
	"with referrers API": func(t testing.TB) *registrytest.Server { return registrytest.Referrers(t, registrytest.ReferrersAPI{}) },
}

// bench is an image in a real registry, with keys.
type bench struct {
	t      testing.TB
	server *registrytest.Server
	store  registry.Registry
	s      Subject
	a, b   notary
}

func newBench(t testing.TB, start func(testing.TB) *registrytest.Server) *bench {
	t.Helper()
	server := start(t)
	st := openRegistry(t, server)
	ca := newIssuer(t, "ca")
	return &bench{t, server, st, pushedImage(t, server, st, "library/app"), certified(t, ca), certified(t, ca)}
}

// image returns the image as a new process sees it.
func (b *bench) image() *Image { return NewLayouts(b.store).Image(b.s, Witnesses{}) }

// sign signs whatever is there already.
func (b *bench) sign(f policy.Format, k notary) {
	b.t.Helper()
	mustSign(b.t, b.image(), f, k.Key)
}

// again adds another signature by a key that has signed.
func (b *bench) again(f policy.Format, k notary) {
	b.t.Helper()
	i := b.image()
	sig, err := i.Sign(b.t.Context(), f, k.Key)
	if err != nil {
		b.t.Fatal(err)
	}
	if f != policy.FormatCosign {
		if _, err := i.Attach(b.t.Context(), f, Look{}, sig, k.Key); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	_, m, err := i.layouts.cosign.read(b.t.Context(), b.s.Repository, b.s.Digest)
	if err != nil {
		b.t.Fatal(err)
	}
	payload := Payload(b.s)
	layers := plan(m, func(layer) bool { return false }, []layer{newLayer(hash(payload), int64(len(payload)), sig.Raw)})
	config, desc, err := i.layouts.cosign.configFor(b.t.Context(), b.s.Repository, m, layers)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, mediaType := compose(m, desc, layers)
	if _, err := b.store.PutBlob(b.t.Context(), b.s.Repository, config); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.store.PutManifest(b.t.Context(), b.s.Repository, CosignTag(b.s.Digest), mediaType, raw); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(f policy.Format, k notary, keep, want int) {
	b.t.Helper()
	if n, err := b.image().Removable(b.t.Context(), f, k.Key, keep); n != want || err != nil {
		b.t.Errorf("%s: %d could be removed, %v; want %d", f, n, err, want)
	}
	if n, err := b.image().Remove(b.t.Context(), f, k.Key, keep); n != want || err != nil {
		b.t.Errorf("%s: removed %d, %v; want %d", f, n, err, want)
	}
}

// count returns how many valid signatures k has in a format.
func (b *bench) count(f policy.Format, k notary) int {
	b.t.Helper()
	all, err := b.image().Check(b.t.Context(), []Key{k.Key})
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for _, v := range all {
		if v.Format == f && v.Identity == b.s.Identity {
			n++
		}
	}
	return n
}

// TestRemoveOneOfTwoKeys: the other key's signature is found before and after,
// the first one's no more.
func TestRemoveOneOfTwoKeys(t *testing.T) {
	for name, start := range removalRegistries {
		for _, f := range allFormats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, start)
				b.remove(f, b.a, 0, 0)
				b.sign(f, b.a)
				b.sign(f, b.b)
				if b.count(f, b.a) != 1 || b.count(f, b.b) != 1 {
					t.Fatal("not signed by both")
				}
				b.remove(f, b.a, 1, 0)
				b.remove(f, b.a, 0, 1)
				if b.count(f, b.a) != 0 || b.count(f, b.b) != 1 {
					t.Errorf("%d by the removed key, %d by the other", b.count(f, b.a), b.count(f, b.b))
				}
				b.remove(f, b.a, 0, 0)
				b.sign(f, b.a) // as if nothing had been
				if b.count(f, b.a) != 1 || b.count(f, b.b) != 1 {
					t.Error("not signed by both again")
				}
			})
		}
	}
}

// TestRemoveDuplicates: the signature that a look finds stays, by itself.
func TestRemoveDuplicates(t *testing.T) {
	for name, start := range removalRegistries {
		for _, f := range allFormats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, start)
				b.sign(f, b.a)
				first, err := b.image().Look(t.Context(), f, b.a.Key)
				if err != nil {
					t.Fatal(err)
				}
				b.again(f, b.a)
				b.sign(f, b.b)
				b.again(f, b.a)
				if n := b.count(f, b.a); n != 3 {
					t.Fatalf("%d signatures, want 3", n)
				}
				b.remove(f, b.a, 3, 0)
				b.remove(f, b.a, 1, 2)
				left, err := b.image().Look(t.Context(), f, b.a.Key)
				if err != nil || !left.Signed || string(left.Signature) != string(first.Signature) {
					t.Errorf("after that: signed %t, the first one: %t, %v", left.Signed, string(left.Signature) == string(first.Signature), err)
				}
				if b.count(f, b.a) != 1 || b.count(f, b.b) != 1 {
					t.Errorf("%d by the key, %d by the other; want 1 and 1", b.count(f, b.a), b.count(f, b.b))
				}
			})
		}
	}
}

// TestRemoveTheLast leaves nothing behind: no empty manifest, no empty index.
func TestRemoveTheLast(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, f := range allFormats {
		b.sign(f, b.a)
	}
	for _, f := range allFormats {
		b.remove(f, b.a, 0, 1)
	}
	for _, tag := range []string{CosignTag(b.s.Digest), registry.FallbackTag(b.s.Digest)} {
		if _, err := b.store.Resolve(t.Context(), b.s.Repository, tag); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s: %v, want that it is gone", tag, err)
		}
	}
	if _, err := b.store.Resolve(t.Context(), b.s.Repository, b.s.Digest.String()); err != nil {
		t.Errorf("the image: %v", err)
	}
}

// refusing answers requests of one verb for manifests with a refusal.
func refusing(s *registrytest.Server, verb string, status int, body string) {
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != verb {
				inner.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	})
}

// TestRemoveWhereNothingIsDeleted: the signature manifest stays as it was, and
// is never left empty.
func TestRemoveWhereNothingIsDeleted(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, f := range allFormats {
		b.sign(f, b.a)
	}
	before := tagged(t, b.store, b.s)
	refusing(b.server, http.MethodDelete, http.StatusMethodNotAllowed, `{"errors":[{"code":"UNSUPPORTED"}]}`)
	for _, f := range allFormats {
		if n, err := b.image().Remove(t.Context(), f, b.a.Key, 0); n != 0 || !errors.Is(err, registry.ErrUnsupported) {
			t.Errorf("%s: removed %d, %v", f, n, err)
		}
	}
	if after := tagged(t, b.store, b.s); after != before {
		t.Errorf("the manifest was changed: %s", after)
	}
	// With others beside it, nothing needs to be deleted.
	b.sign(policy.FormatCosign, b.b)
	b.remove(policy.FormatCosign, b.a, 0, 1)
}

func tagged(t testing.TB, st registry.Store, s Subject) string {
	t.Helper()
	m, err := st.Manifest(t.Context(), s.Repository, CosignTag(s.Digest))
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Raw)
}

// TestRemoveFromRegistryThatKeepsTheTag: what go-containerregistry's registry
// does when a manifest is deleted by digest.
func TestRemoveFromRegistryThatKeepsTheTag(t *testing.T) {
	b := newBench(t, registrytest.Memory)
	b.sign(policy.FormatCosign, b.a)
	n, err := b.image().Remove(t.Context(), policy.FormatCosign, b.a.Key, 0)
	if n != 0 || !errors.Is(err, registry.ErrUnsupported) {
		t.Errorf("removed %d, %v", n, err)
	}
	if n := b.count(policy.FormatCosign, b.a); n != 1 {
		t.Errorf("%d signatures, want that it says the truth: 1", n)
	}
}

// TestRemoveUnderImmutableTags says what is the matter, in every format.
func TestRemoveUnderImmutableTags(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	for _, f := range allFormats {
		b.sign(f, b.a)
		b.sign(f, b.b)
	}
	for _, verb := range []string{http.MethodPut, http.MethodDelete} {
		refusing(b.server, verb, http.StatusPreconditionFailed, `{"errors":[{"code":"PRECONDITION","message":"configured as immutable"}]}`)
		for _, f := range allFormats {
			if verb == http.MethodDelete && f == policy.FormatCosign {
				continue // which is rewritten, not deleted
			}
			if n, err := b.image().Remove(t.Context(), f, b.a.Key, 0); n != 0 || !errors.Is(err, ErrImmutable) {
				t.Errorf("%s of %s: removed %d, %v", verb, f, n, err)
			}
		}
	}
}

// TestRemoveElsewhere: from both repositories, and what is kept is kept once.
func TestRemoveElsewhere(t *testing.T) {
	b := newBench(t, registrytest.Distribution)
	b.sign(policy.FormatCosign, b.a)
	b.again(policy.FormatCosign, b.a)
	own := b.s
	b.s.Repository = "signatures"
	b.sign(policy.FormatCosign, b.a)
	b.sign(policy.FormatCosign, b.b)
	b.s = own
	b.s.Elsewhere = "signatures"
	b.remove(policy.FormatCosign, b.a, 1, 2)
	if n := b.count(policy.FormatCosign, b.a); n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}
	b.s.Elsewhere = b.s.Repository // which is not another one
	b.remove(policy.FormatCosign, b.a, 1, 0)
	b.s.Elsewhere = "signatures"
	b.remove(policy.FormatCosign, b.a, 0, 1)
	if n := b.count(policy.FormatCosign, b.b); n != 1 {
		t.Errorf("%d signatures by the other key, want 1", n)
	}
}

// TestRemoveRefuses what the formats cannot hold, and unknown formats.
func TestRemoveRefuses(t *testing.T) {
	b := newBench(t, registrytest.Memory)
	sm2 := b.a.Key
	sm2.Algorithm = policy.SM2SM3
	for _, f := range []policy.Format{policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE, "x"} {
		if n, err := b.image().Remove(t.Context(), f, sm2, 0); n != 0 || err == nil {
			t.Errorf("%s: removed %d, %v", f, n, err)
		}
	}
}

// TestRemoveLeavesOtherReferrers: other formats, other names, other content.
func TestRemoveLeavesOtherReferrers(t *testing.T) {
	for name, start := range removalRegistries {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, start)
			for _, f := range allFormats {
				b.sign(f, b.a)
			}
			own := b.s
			b.s.Identity = "registry.example.com/library/other"
			for _, f := range allFormats {
				b.sign(f, b.a)
			}
			other := b.image()
			b.s = own
			referNotation(t, b.store, policy.FormatNotationJWS, b.s, []byte("{}"))
			before := referring(t, b)
			b.remove(policy.FormatNotationJWS, b.a, 0, 1)
			if diff := cmp.Diff(len(before)-1, len(referring(t, b))); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
			for _, f := range []policy.Format{policy.FormatBundle, policy.FormatNotationCOSE, policy.FormatCosign} {
				b.remove(f, b.a, 0, 1)
			}
			for _, f := range allFormats {
				if look, err := NewLayouts(b.store).Image(other.Subject, Witnesses{}).Look(t.Context(), f, b.a.Key); err != nil || !look.Signed {
					t.Errorf("%s: the signature under the other name: %t, %v", f, look.Signed, err)
				}
			}
		})
	}
}

func referring(t testing.TB, b *bench) []v1.Hash {
	t.Helper()
	list, err := registry.NewReferrers(b.store).List(t.Context(), b.s.Repository, b.s.Digest, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var out []v1.Hash
	for _, r := range list {
		out = append(out, r.Digest)
	}
	return out
}
