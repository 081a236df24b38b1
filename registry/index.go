package registry

import (
	"context"
	"fmt"
	"iter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// IndexLimits bound a walk through an index, which anybody may have pushed.
type IndexLimits struct {
	// Depth is how many indexes may be nested, the outermost included.
	// Default 4.
	Depth int
	// Manifests is how many different manifests there may be in all. Default
	// 1,000.
	Manifests int
}

// Children yields what an index names, and what the indexes in it name, each
// digest once. Indexes come before their children. Manifests that carry a
// build's attestation (platform unknown/unknown, annotation
// vnd.docker.reference.type=attestation-manifest) are children like any other.
//
// An error with a descriptor concerns only that nested index, which could not
// be read; an error without one ends the walk: ErrTooLarge beyond the limits,
// ErrCorrupt if an index is none.
func Children(ctx context.Context, store Store, repository string, index Manifest, limits IndexLimits) iter.Seq2[Descriptor, error] {
	if limits.Depth <= 0 {
		limits.Depth = 4
	}
	if limits.Manifests <= 0 {
		limits.Manifests = 1000
	}
	return func(yield func(Descriptor, error) bool) {
		w := walk{
			store: store, repository: repository, limits: limits,
			seen: map[v1.Hash]bool{index.Digest: true}, yield: yield,
		}
		if err := w.index(ctx, index, 1); err != nil {
			yield(Descriptor{}, fmt.Errorf("index %s of %s: %w", index.Digest, repository, err))
		}
	}
}

// A walk is one pass through an index.
type walk struct {
	store      Store
	repository string
	limits     IndexLimits
	seen       map[v1.Hash]bool
	yield      func(Descriptor, error) bool
	stopped    bool // the caller wants no more
}

func (w *walk) index(ctx context.Context, index Manifest, depth int) error {
	s, err := parseShape(index.Raw)
	if err != nil {
		return err
	}
	if !s.isIndex() && !IsIndex(index.MediaType) {
		return fmt.Errorf("%s is no index: %w", index.Digest, ErrCorrupt)
	}
	for _, e := range s.Manifests {
		if err := w.child(ctx, e, depth); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

func (w *walk) child(ctx context.Context, e entry, depth int) error {
	digest, err := v1.NewHash(e.Digest)
	if err != nil {
		return fmt.Errorf("digest %q is not valid: %w", plain(e.Digest), ErrCorrupt)
	}
	if w.seen[digest] {
		return nil
	}
	if len(w.seen) > w.limits.Manifests { // the root is in there too
		return fmt.Errorf("more than %d manifests: %w", w.limits.Manifests, ErrTooLarge)
	}
	w.seen[digest] = true
	d := Descriptor{MediaType: e.MediaType, Digest: digest, Size: e.Size}
	if !IsIndex(d.MediaType) {
		w.stopped = !w.yield(d, nil)
		return nil
	}
	if depth == w.limits.Depth {
		return fmt.Errorf("indexes nested more than %d deep: %w", w.limits.Depth, ErrTooLarge)
	}
	nested, err := w.store.Manifest(ctx, w.repository, digest.String())
	if err == nil && !IsIndex(nested.MediaType) {
		err = fmt.Errorf("%s is no index, as the one that names it says: %w", digest, ErrCorrupt)
	}
	if err != nil {
		w.stopped = !w.yield(d, err)
		return nil
	}
	if w.stopped = !w.yield(d, nil); w.stopped {
		return nil
	}
	return w.index(ctx, nested, depth+1)
}
