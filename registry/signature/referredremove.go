package signature

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

// looksAfterDelete is how often a registry is asked whether what it deleted is
// gone: some take a moment.
const looksAfterDelete = 4

func (b bundleLayout) remove(ctx context.Context, i *Image, k Key, much cut) (int, error) {
	if err := bundleSupports(i.Subject, k); err != nil {
		return 0, err
	}
	return i.removeCarriers(ctx, bundlesBy(keyHint(k.PublicKey)), much, func(c *carrier) error {
		_, err := countingBundle(c.content, i.Subject, k)
		return err
	})
}

func (n notationLayout) remove(ctx context.Context, i *Image, k Key, much cut) (int, error) {
	if err := notationSupports(k); err != nil {
		return 0, err
	}
	return i.removeCarriers(ctx, n.kind(k), much, func(c *carrier) error {
		_, err := n.counts(ctx, c.content, i, k)
		return err
	})
}

// removeCarriers deletes the manifests of kind k that judge finds to count, but
// for those that a look would find first.
func (i *Image) removeCarriers(ctx context.Context, k kind, much cut, judge func(*carrier) error) (int, error) {
	fresh := i.layouts.Image(i.Subject, i.Witnesses) // what a look has listed may be out of date
	candidates, err := fresh.candidates(ctx, k)
	if err != nil {
		return 0, err
	}
	var ours []v1.Hash
	for _, at := range candidates {
		c, reason, err := fresh.carrier(ctx, at.digest, k)
		if err != nil {
			return 0, err
		}
		if reason == nil && judge(c) == nil {
			ours = append(ours, at.digest)
		}
	}
	ours = ours[min(much.keep, len(ours)):]
	if much.dry {
		return len(ours), nil
	}
	for removed, digest := range ours {
		if err := i.layouts.removeCarrier(ctx, i.Repository, i.Digest, digest); err != nil {
			return removed, err
		}
	}
	return len(ours), nil
}

// removeCarrier deletes a manifest that refers to subject, and returns after
// seeing that it is gone.
func (l *Layouts) removeCarrier(ctx context.Context, repository string, subject, digest v1.Hash) error {
	if err := l.referrers.Remove(ctx, repository, subject, digest); err != nil {
		return err
	}
	return l.awaitGone(ctx, repository, digest.String(), digest)
}

// awaitGone returns nil when ref names something else than digest, or nothing.
func (l *Layouts) awaitGone(ctx context.Context, repository, ref string, digest v1.Hash) error {
	for look := 1; ; look++ {
		d, err := l.store.Resolve(ctx, repository, ref)
		switch {
		case errors.Is(err, registry.ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("looking whether it is gone: %w", err)
		case d.Digest != digest:
			return nil
		case look == looksAfterDelete:
			return fmt.Errorf("the registry was asked to delete %s and still has it under %s: %w", digest, ref, registry.ErrUnsupported)
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
}
