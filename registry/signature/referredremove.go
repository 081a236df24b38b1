package signature

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	return i.removeCarriers(ctx, bundlesBy(keyHint(k.PublicKey)), much, func(c *carrier) (ours, counts bool) {
		parsed, err := parseBundle(c.content)
		if err != nil || parsed.counts(i.Subject, k) != nil {
			return false, false
		}
		_, err = i.witnessedBundle(ctx, c.content, k)
		return true, err == nil
	})
}

// Whose an envelope is stays proved when its certificates have expired, or lead
// to another root than the key's do by now.
func (n notationLayout) remove(ctx context.Context, i *Image, k Key, much cut) (int, error) {
	if err := notationSupports(k); err != nil {
		return 0, err
	}
	return i.removeCarriers(ctx, n.kind(k), much, func(c *carrier) (ours, counts bool) {
		e, err := n.read(c.content)
		if err != nil || e.isBy(k) != nil || e.claim.speaksOf(i.Subject) != nil || e.claim.calls(i.Identity) != nil {
			return false, false
		}
		_, err = n.witnessed(ctx, c.content, i, k)
		return true, err == nil
	})
}

// removeCarriers deletes the manifests of kind k that judge finds to be ours. Of
// those that stay, the ones that count come first, in a look's order.
func (i *Image) removeCarriers(ctx context.Context, k kind, much cut, judge func(*carrier) (ours, counts bool)) (int, error) {
	from := i
	if !much.dry {
		from = i.layouts.Image(i.Subject, i.Witnesses) // what a look has listed may be out of date
	}
	candidates, err := from.candidates(ctx, k)
	if err != nil {
		return 0, err
	}
	var counting, spent []v1.Hash
	for _, at := range candidates {
		c, reason, err := from.carrier(ctx, at.digest, k)
		if err != nil {
			return 0, err
		}
		if reason != nil {
			continue
		}
		switch ours, counts := judge(c); {
		case counts:
			counting = append(counting, at.digest)
		case ours:
			spent = append(spent, at.digest)
		}
	}
	ours := slices.Concat(counting, spent)
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
