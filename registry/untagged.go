package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// untaggedCursor stands before the digest in the cursor of an untagged
// artifact. No tag contains it.
const untaggedCursor = "@"

// A source is where the manifests of one repository are.
type source struct {
	// list lists all of them and the tagged ones.
	list func(ctx context.Context) (*revisions, error)
	// read returns ErrNotFound for those that are no more.
	read func(ctx context.Context, digest v1.Hash) (Manifest, error)
}

// revisions are the manifests of one repository, as its storage lists them.
type revisions struct {
	all    digestSet
	tagged digestSet // those that any tag names, signature tags included
}

// unnamed returns the revisions that no tag names, and no index of the
// repository, in the order of their digests. It reads every manifest to learn
// what indexes name, so that it need hold nothing but digests: 32 bytes for
// each manifest, tag and child of an index, and for each of the result.
func (s source) unnamed(ctx context.Context) ([][32]byte, error) {
	r, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	r.all.sort()
	children, err := s.children(ctx, r)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(r.all.items, func(item [32]byte) bool {
		return r.tagged.has(item) || children.has(item)
	})
	return slices.Clone(list), nil // it may be kept for long, and be much shorter
}

// children returns what the repository's indexes name. A manifest that cannot
// be read names nothing: it is reported when its turn comes.
func (s source) children(ctx context.Context, r *revisions) (*digestSet, error) {
	children := &digestSet{}
	for _, item := range r.all.items {
		m, err := s.read(ctx, hashOf(item))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || !IsIndex(m.MediaType) {
			continue
		}
		shape, err := parseShape(m.Raw)
		if err != nil || shape.isFallback() { // referrers stand for themselves
			continue
		}
		for _, e := range shape.Manifests {
			digest, err := v1.NewHash(e.Digest)
			if err != nil || digest.Algorithm != "sha256" {
				continue // not in the set of revisions either
			}
			if err := children.add(digest); err != nil {
				return nil, err
			}
		}
	}
	children.sort()
	return children, nil
}

// untaggedArtifact reads one of the unnamed. ok is whether there is something
// to yield: not if it was deleted meanwhile, or is a signature.
func (s source) untaggedArtifact(ctx context.Context, repository string, digest v1.Hash) (a Artifact, ok bool, err error) {
	a = Artifact{
		Repository: repository,
		Descriptor: Descriptor{Digest: digest},
		Cursor:     untaggedCursor + digest.String(),
	}
	m, err := s.read(ctx, digest)
	switch {
	case ctx.Err() != nil:
		return Artifact{}, true, ctx.Err()
	case errors.Is(err, ErrNotFound):
		return a, false, nil
	case err != nil:
		return a, true, fmt.Errorf("untagged manifest %s: %w", digest, err)
	case IsSignature(m):
		return a, false, nil
	}
	a.Descriptor = m.Descriptor
	return a, true, nil
}
