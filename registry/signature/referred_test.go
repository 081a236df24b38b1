package signature

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// crowd lists n bundles of other keys, which claim to be k's if claim is set.
func crowd(f *forger, n int, claim bool) {
	f.t.Helper()
	for range n {
		other := *f
		other.k = bundleKey(f.t, policy.ECDSASHA256)
		c := newBundleCarrier([]byte(other.ours(f.s)), keyHint(other.k.PublicKey), time.Unix(1e9, 0))
		if claim {
			c.annotations[annotationKey] = keyHint(f.k.PublicKey)
		}
		raw, err := c.compose(f.s)
		if err != nil {
			f.t.Fatal(err)
		}
		f.st.foreignBlob(f.s.Repository, c.content)
		refer(f.t, f.st, f.s, raw)
	}
}

func newForger(t testing.TB) *forger {
	t.Helper()
	return &forger{t, lenient{newMemory()}, bundleImage(1), bundleKey(t, policy.ECDSASHA256)}
}

// TestOursIsReadFirst however many others there are.
func TestOursIsReadFirst(t *testing.T) {
	f := newForger(t)
	crowd(f, 100, false)
	refer(t, f.st, f.s, []byte(f.manifest(f.ours(f.s))))
	f.st.cost()
	look := mustLook(t, NewLayouts(f.st), f.s, f.k)
	if !look.Signed || look.Ours != 1 || look.Others != 100 {
		t.Errorf("signed %t, ours %d, others %d", look.Signed, look.Ours, look.Others)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": 2, "GET blob": 1}, f.st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestUnlabelledIsReadToo: some listings show no annotations.
func TestUnlabelledIsReadToo(t *testing.T) {
	f := newForger(t)
	raw := []byte(f.manifest(f.ours(f.s)))
	f.st.tag(f.s.Repository, hash(raw).String(), ociManifest, raw)
	list(t, f.st, f.s, map[string]any{"mediaType": ociManifest, "digest": hash(raw).String(), "size": len(raw), "artifactType": bundleType})
	if look := mustLook(t, NewLayouts(f.st), f.s, f.k); !look.Signed {
		t.Errorf("Look = %+v", look)
	}
}

// TestCrowdDoesNotStopUs: what does not claim to be ours is left unread.
func TestCrowdDoesNotStopUs(t *testing.T) {
	f := newForger(t)
	crowd(f, maxCarriers+4, false)
	f.st.cost()
	l := NewLayouts(f.st)
	look := mustLook(t, l, f.s, f.k)
	if look.Signed || look.Others != maxCarriers+4 || len(look.Reasons) != maxReasons {
		t.Errorf("Look = %+v", look)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": maxCarriers + 1, "GET blob": maxCarriers}, f.st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	mustSign(t, l.Image(f.s, Witnesses{}), policy.FormatBundle, f.k)
	if look := mustLook(t, l, f.s, f.k); !look.Signed {
		t.Errorf("after Attach: %+v", look)
	}
}

// TestCrowdThatClaimsToBeOurs: signing once more would be lost in it.
func TestCrowdThatClaimsToBeOurs(t *testing.T) {
	f := newForger(t)
	crowd(f, maxCarriers, true)
	if look := mustLook(t, NewLayouts(f.st), f.s, f.k); look.Signed || look.Others != maxCarriers {
		t.Errorf("Look = %+v", look)
	}
	crowd(f, 1, true)
	i := NewLayouts(f.st).Image(f.s, Witnesses{})
	if look, err := i.Look(t.Context(), policy.FormatBundle, f.k); !errors.Is(err, ErrTooMany) || look.Signed {
		t.Errorf("Look = %+v, %v", look, err)
	}
}

// TestAttestationsAreNotRead: they are bundles too, but of something else.
func TestAttestationsAreNotRead(t *testing.T) {
	f := newForger(t)
	for n := range 20 {
		c := newBundleCarrier([]byte(f.ours(f.s)), keyHint(f.k.PublicKey), time.Unix(int64(n), 0))
		c.annotations[annotationPredicate] = "https://slsa.dev/provenance/v1"
		raw, err := c.compose(f.s)
		if err != nil {
			t.Fatal(err)
		}
		refer(t, f.st, f.s, raw)
	}
	f.st.cost()
	l := NewLayouts(f.st)
	if look := mustLook(t, l, f.s, f.k); look.Signed || look.Others != 0 {
		t.Errorf("Look = %+v", look)
	}
	b := bundleLayout{l}
	if found, err := b.check(t.Context(), b.Image(f.s, Witnesses{}), []Key{f.k}); err != nil || len(found) > 0 {
		t.Errorf("check = %+v, %v", found, err)
	}
	if diff := cmp.Diff(map[string]int{"GET manifest": 2}, f.st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestListedTwiceIsReadOnce.
func TestListedTwiceIsReadOnce(t *testing.T) {
	f := newForger(t)
	raw := []byte(f.manifest(f.ours(f.s)))
	refer(t, f.st, f.s, raw)
	refer(t, f.st, f.s, raw)
	b := bundleLayout{NewLayouts(f.st)}
	if found, err := b.check(t.Context(), b.Image(f.s, Witnesses{}), []Key{f.k}); err != nil || len(found) != 1 {
		t.Errorf("check = %+v, %v", found, err)
	}
}

// faulty is a registry that can be told to fail.
type faulty struct {
	lenient
	put  func(ref string) error      // what writing a manifest fails with
	blob func(content []byte) []byte // what reading a blob returns instead
	sent []string                    // digests of the blobs that were written
}

func (f *faulty) PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error) {
	d, err := f.lenient.PutBlob(ctx, repository, content)
	f.sent = append(f.sent, d.String())
	return d, err
}

func (f *faulty) PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	if err := f.put(ref); err != nil {
		return v1.Hash{}, err
	}
	return f.lenient.PutManifest(ctx, repository, ref, mediaType, raw)
}

func (f *faulty) Blob(ctx context.Context, repository string, d v1.Hash, limit int64) ([]byte, error) {
	content, err := f.lenient.Blob(ctx, repository, d, limit)
	if err == nil && f.blob != nil {
		content = f.blob(content)
	}
	return content, err
}

// TestCollectedCarrierBlobsAreSentAgain, once.
func TestCollectedCarrierBlobsAreSentAgain(t *testing.T) {
	for _, refusal := range []error{registry.ErrRejected, registry.ErrNotFound, registry.ErrUnavailable} {
		for fails := range 3 {
			t.Run(fmt.Sprintf("%v %d times", refusal, fails), func(t *testing.T) {
				f := newForger(t)
				left := fails
				st := &faulty{lenient: f.st, put: func(ref string) error {
					if strings.Contains(ref, ":") && left > 0 {
						left--
						return refusal
					}
					return nil
				}}
				i := NewLayouts(st).Image(f.s, Witnesses{})
				sig, err := i.Sign(t.Context(), policy.FormatBundle, f.k)
				if err != nil {
					t.Fatal(err)
				}
				_, err = i.Attach(t.Context(), policy.FormatBundle, Look{}, sig, f.k)
				works := fails == 0 || fails == 1 && !errors.Is(refusal, registry.ErrUnavailable)
				if works != (err == nil) || err != nil && !errors.Is(err, refusal) {
					t.Errorf("Attach: %v", err)
				}
				if fails == 1 && works && len(st.sent) != 4 {
					t.Errorf("blobs sent: %v", st.sent)
				}
			})
		}
	}
}

// TestAttachReadsBack: a registry that took everything may still have lost it.
func TestAttachReadsBack(t *testing.T) {
	f := newForger(t)
	own := f.ours(f.s)
	for name, test := range map[string]struct {
		blob   func([]byte) []byte
		reason string
	}{
		"shortened":    {func(c []byte) []byte { return c[:10] }, "it has 10"},
		"other sealed": {func(c []byte) []byte { return []byte(strings.Replace(own, `"sig":"ME`, `"sig":"MF`, 1))[:len(c)] }, "reading back"},
	} {
		t.Run(name, func(t *testing.T) {
			st := &faulty{lenient: lenient{newMemory()}, put: func(string) error { return nil }, blob: test.blob}
			i := NewLayouts(st).Image(f.s, Witnesses{})
			sig := Signature{Content: []byte(own)}
			if done, err := i.Attach(t.Context(), policy.FormatBundle, Look{}, sig, f.k); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("Attach = %+v, %v", done, err)
			}
		})
	}
}

// TestListingFails: that nothing could be listed is an error in all formats.
func TestListingFails(t *testing.T) {
	f := newForger(t)
	f.st.failRead = registry.ErrForbidden
	i := NewLayouts(f.st).Image(f.s, Witnesses{})
	for range 2 {
		if _, err := i.Look(t.Context(), policy.FormatBundle, f.k); !errors.Is(err, registry.ErrForbidden) {
			t.Errorf("Look: %v", err)
		}
	}
}

// FuzzCarrier reads any bytes as a manifest. Whatever is taken for one must say
// the same to a lenient reader.
func FuzzCarrier(f *testing.F) {
	s := bundleImage(1)
	k := kind{artifactType: bundleType, contentType: bundleType}
	raw, err := newBundleCarrier([]byte("x"), "h", time.Unix(0, 0)).compose(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(raw))
	f.Add([]byte(strings.Replace(string(raw), `"artifactType"`, `"x"`, 1)))
	for _, r := range recordedBundles {
		f.Add([]byte(strings.Replace(string(readRecordedBundle(f, r.file+".manifest.json")), r.digest, s.Digest.Hex, 1)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := registry.Manifest{Descriptor: registry.Descriptor{MediaType: ociManifest}, Raw: raw}
		_, l, err := parseCarrier(m, s.Digest, k)
		if err != nil {
			return
		}
		got, err := v1.ParseManifest(strings.NewReader(string(raw)))
		if err != nil {
			return // for the sake of the config, which is not looked at
		}
		if got.Subject == nil || got.Subject.Digest != s.Digest || len(got.Layers) != 1 || got.Layers[0].Digest != l.digest ||
			string(got.Layers[0].MediaType) != bundleType || got.Layers[0].Size != l.size {
			t.Errorf("%s is %+v", raw, got)
		}
	})
}
