package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// untaggedCursor stands before the digest in the cursor of an untagged
// artifact. No tag contains it.
const untaggedCursor = "@"

// revisions are the manifests of one repository, as its storage lists them.
type revisions struct {
	all    digestSet
	tagged digestSet // those that any tag names, signature tags included
	read   func(ctx context.Context, digest v1.Hash) (Manifest, error)
}

// untagged yields the revisions that no tag names, that no index of the
// repository names, and that are no signatures, in the order of their digests.
//
// It reads every manifest once to learn what indexes name, and the remaining
// candidates once more, so that it need hold nothing but digests: 32 bytes
// for each manifest, tag and child of an index.
func (r *revisions) untagged(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		r.all.sort()
		children, err := r.children(ctx)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		after := ""
		if cursor, found := strings.CutPrefix(q.After, untaggedCursor); found {
			after = cursor
		}
		for _, item := range r.all.items {
			digest := hashOf(item)
			if digest.String() <= after || r.tagged.has(item) || children.has(item) {
				continue
			}
			a := Artifact{
				Repository: q.Repository,
				Descriptor: Descriptor{Digest: digest},
				Cursor:     untaggedCursor + digest.String(),
			}
			m, err := r.read(ctx, digest)
			switch {
			case ctx.Err() != nil:
				yield(Artifact{}, ctx.Err())
				return
			case errors.Is(err, ErrNotFound):
				continue // deleted meanwhile
			case err != nil:
				err = fmt.Errorf("untagged manifest %s: %w", digest, err)
			case IsSignature(m):
				continue
			default:
				a.Descriptor = m.Descriptor
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// children returns what the repository's indexes name. A manifest that cannot
// be read names nothing: it is reported when its turn comes.
func (r *revisions) children(ctx context.Context) (*digestSet, error) {
	children := &digestSet{}
	for _, item := range r.all.items {
		m, err := r.read(ctx, hashOf(item))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || !IsIndex(m.MediaType) {
			continue
		}
		s, err := parseShape(m.Raw)
		if err != nil || s.isFallback() { // referrers stand for themselves
			continue
		}
		for _, e := range s.Manifests {
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
