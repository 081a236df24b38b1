package signature

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// A cut says how much is removed.
type cut struct {
	keep int  // how many signatures stay
	dry  bool // only count
}

// Remove removes the signatures by k over the image under its identity in format
// f, but for keep of them, and returns how many it removed. It keeps those that
// a look would count before those that it would not, because their certificate
// has expired or a witness is missing, and of each the first that verifiers
// find. Exact repetitions of a signature are always among those that go. Those
// of other keys, and all else, stay: what cannot be proved to be by k over this
// digest under this identity is none of ours. It returns after seeing that they
// are gone. None is no error.
//
// A cosign manifest in which nothing would be left is deleted, and so are the
// manifests of the other formats: registries that delete nothing are
// [registry.ErrUnsupported], those that do not let the tag change ErrImmutable.
// What is known to be gone when there is an error is counted.
//
// It looks at what the registry has now, not at what an earlier Look of the
// Image has read, and reads the content of every signature in the format that
// may be k's, at most registry.MaxReferrers or MaxLayers of them.
func (i *Image) Remove(ctx context.Context, f policy.Format, k Key, keep int) (int, error) {
	n, err := i.remove(ctx, f, k, cut{keep: keep})
	if err != nil {
		return n, fmt.Errorf("removing signatures of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return n, nil
}

// Removable returns how many signatures Remove would remove, and writes nothing.
// As a look does, it asks for the referrers once.
func (i *Image) Removable(ctx context.Context, f policy.Format, k Key, keep int) (int, error) {
	n, err := i.remove(ctx, f, k, cut{keep: keep, dry: true})
	if err != nil {
		return 0, fmt.Errorf("counting signatures of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return n, nil
}

func (i *Image) remove(ctx context.Context, f policy.Format, k Key, c cut) (int, error) {
	l, err := i.layouts.layout(f)
	if err != nil {
		return 0, err
	}
	n, err := l.remove(ctx, i, k, c)
	if registry.IsImmutable(err) {
		err = fmt.Errorf("%w: %w", ErrImmutable, err)
	}
	return n, err
}

// deleteManifest deletes what digest names in a repository, as it was read.
// Whatever a tag names by now stays.
func deleteManifest(ctx context.Context, store registry.Store, repository string, d registry.Descriptor) error {
	deleter, can := store.(registry.Deleter)
	if !can {
		return fmt.Errorf("deleting signature manifest %s: %w", d.Digest, registry.ErrUnsupported)
	}
	err := deleter.Delete(ctx, repository, d.Digest)
	if errors.Is(err, registry.ErrUnsupported) {
		return fmt.Errorf("the signature manifest stays, as the registry deletes nothing: %w", err)
	}
	return err
}
