package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestReferrersManyWriters: everybody adds to one image at once.
func TestReferrersManyWriters(t *testing.T) {
	for name, s := range referrerStores(t) {
		t.Run(name, func(t *testing.T) {
			subject := pushImage(t, s, "app", "v1", "a")
			r := NewReferrers(s)
			const writers = 16
			all := make([][]byte, writers)
			for i := range all {
				all[i] = referring(t, s, subject, bundleType, fmt.Sprint(i))
			}
			var wait sync.WaitGroup
			for _, raw := range all {
				for range 2 { // each twice
					wait.Go(func() {
						if _, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, raw); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wait.Wait()
			want(t, len(referrersOf(t, r, subject, bundleType)), writers, "listed")
			if n := r.turns.Len(); n != 0 {
				t.Errorf("%d turns are still held", n)
			}
			for _, raw := range all {
				wait.Go(func() {
					if err := r.Remove(t.Context(), "app", subject.Digest, sum(raw)); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			want(t, len(referrersOf(t, r, subject, bundleType)), 0, "left")
		})
	}
}

// TestReferrersOthersOverwrite: others, who had read the index before us, write
// theirs after us, and lose ours and what was there.
func TestReferrersOthersOverwrite(t *testing.T) {
	inner := registrytest.Distribution(t)
	other := client(t, config(inner.Host))
	subject := pushImage(t, other, "app", "v1", "a")
	tag := FallbackTag(subject.Digest)
	var theirs []Manifest
	for i := range 3 {
		theirs = append(theirs, put(t, other, "app", "", ociManifest, referring(t, other, subject, bundleType, fmt.Sprintf("theirs %d", i))))
	}
	pushIndex(t, other, "app", tag, theirs[0])
	left := theirs[1:]
	proxy := handler(inner)
	writes := 0
	c := client(t, config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, tag) {
			if writes++; len(left) > 0 {
				pushIndex(t, other, "app", tag, left[0])
				left = left[1:]
			}
		}
	}))))
	r := NewReferrers(c)
	ours := attach(t, c, r, subject, bundleType, "ours")
	want(t, writes, 3, "writes of ours")
	var found []v1.Hash
	for _, listed := range referrersOf(t, r, subject, bundleType) {
		found = append(found, listed.Digest)
	}
	want(t, found, []v1.Hash{theirs[2].Digest, theirs[0].Digest, theirs[1].Digest, ours.Digest}, "listed")
}

// undoing undoes every write to a tag.
type undoing struct {
	Store
	writes int
	undo   func()
}

func (u *undoing) PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	digest, err := u.Store.PutManifest(ctx, repository, ref, mediaType, raw)
	if !strings.Contains(ref, ":") {
		u.writes++
		u.undo()
	}
	return digest, err
}

// TestReferrersOthersLoseOthers: ours is there, but what we had seen is not.
func TestReferrersOthersLoseOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := layoutStore(t)
		subject := pushImage(t, s, "app", "v1", "a")
		tag := FallbackTag(subject.Digest)
		theirs := put(t, s, "app", "", ociManifest, referring(t, s, subject, bundleType, "theirs"))
		pushIndex(t, s, "app", tag, theirs)
		raw := referring(t, s, subject, bundleType, "ours")
		u := &undoing{Store: s}
		u.undo = func() {
			u.undo = func() {}
			pushIndex(t, s, "app", tag, Manifest{Descriptor: Descriptor{MediaType: ociManifest, Digest: sum(raw), Size: int64(len(raw))}})
		}
		r := NewReferrers(u)
		if _, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, raw); err != nil {
			t.Fatal(err)
		}
		want(t, u.writes, 2, "writes")
		want(t, len(referrersOf(t, r, subject, bundleType)), 2, "listed")
	})
}

func TestReferrersConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := layoutStore(t)
		subject := pushImage(t, s, "app", "v1", "a")
		theirs := put(t, s, "app", "", ociManifest, referring(t, s, subject, bundleType, "theirs"))
		u := &undoing{Store: s}
		u.undo = func() { pushIndex(t, s, "app", FallbackTag(subject.Digest), theirs) }
		u.undo()
		r := NewReferrers(u)
		_, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, referring(t, s, subject, bundleType, "ours"))
		wants(t, err, ErrConflict, "Put")
		wants(t, r.Remove(t.Context(), "app", subject.Digest, theirs.Digest), ErrConflict, "Remove")
		want(t, u.writes, 2*maxRounds, "writes")

		u.undo = func() {}
		wants(t, r.Remove(t.Context(), "app", subject.Digest, theirs.Digest), ErrUnsupported, "Remove without a Deleter")
		want(t, referrersOf(t, r, subject, bundleType), nil, "listed")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = r.Put(ctx, "app", subject.Digest, ociManifest, referring(t, s, subject, bundleType, "ours"))
		wants(t, err, context.Canceled, "Put, cancelled")
	})
}

func TestForeignFallbackTag(t *testing.T) {
	for name, s := range referrerStores(t) {
		if strings.HasPrefix(name, "with API") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			subject := pushImage(t, s, "app", "v1", "a")
			tag := FallbackTag(subject.Digest)
			foreign := pushImage(t, s, "app", tag, "foreign")
			r := NewReferrers(s)
			_, err := r.List(t.Context(), "app", subject.Digest, always)
			wants(t, err, ErrCorrupt, "List")
			if err != nil && !strings.Contains(err.Error(), tag) {
				t.Errorf("%v does not name %s", err, tag)
			}
			raw := referring(t, s, subject, bundleType, "x")
			_, err = r.Put(t.Context(), "app", subject.Digest, ociManifest, raw)
			wants(t, err, ErrCorrupt, "Put")
			wants(t, r.Remove(t.Context(), "app", subject.Digest, sum(raw)), ErrCorrupt, "Remove")
			d, err := s.Resolve(t.Context(), "app", tag)
			if err != nil || d.Digest != foreign.Digest {
				t.Errorf("the tag names %v, %v", d, err)
			}
		})
	}
}
