package engine

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// targets yields what the policy wants signed of an artifact: itself, or of an
// index also or only the manifests below it, each of which is there. An error
// comes with what it concerns: one manifest, or the whole artifact.
func targets(ctx context.Context, b bound, a registry.Artifact) func(func(registry.Descriptor, error) bool) {
	mode := b.IndexMode()
	return func(yield func(registry.Descriptor, error) bool) {
		if a.Unread && mode != policy.IndexOnly {
			d, err := b.place.registry.Resolve(ctx, a.Repository, a.Digest.String())
			if errors.Is(err, registry.ErrNotFound) {
				err = fmt.Errorf("%w: %w", errGone, err)
			}
			if err != nil {
				yield(a.Descriptor, fmt.Errorf("resolving: %w", err))
				return
			}
			a.Descriptor = d
		}
		if mode == policy.IndexOnly || !registry.IsIndex(a.MediaType) {
			yield(a.Descriptor, nil)
			return
		}
		if mode == policy.IndexBoth && !yield(a.Descriptor, nil) {
			return
		}
		m, err := b.place.registry.Manifest(ctx, a.Repository, a.Digest.String())
		if err != nil {
			yield(a.Descriptor, fmt.Errorf("reading the index: %w", err))
			return
		}
		for d, err := range registry.Children(ctx, b.place.registry, a.Repository, m, registry.IndexLimits{}) {
			if err == nil {
				// An index may name what was never pushed, or is gone.
				_, err = b.place.registry.Resolve(ctx, a.Repository, d.Digest.String())
			}
			if err != nil {
				err = fmt.Errorf("walking the index: %w", err)
			}
			if d.Digest == (v1.Hash{}) {
				d = a.Descriptor // the index itself cannot be walked
			}
			if !yield(d, err) {
				return
			}
		}
	}
}
