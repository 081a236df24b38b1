package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Artifacts implements Inventory: tagged artifacts in the order of the index,
// then untagged ones in the order of their digests. The cursor of a tagged one
// is TAG@DIGEST: a tag that moves changes its place, too, and what was between
// its old and its new one would be passed over.
func (l *layouts) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		dir, err := l.dir(q.Repository)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		var found *revisions
		if !strings.HasPrefix(q.After, untaggedCursor) {
			if found, err = l.tagged(ctx, dir, q, yield); err != nil {
				if !errors.Is(err, errStopped) {
					yield(Artifact{}, err)
				}
				return
			}
		}
		if !q.Untagged {
			return
		}
		from := source{
			list: func(ctx context.Context) (*revisions, error) {
				if found != nil {
					return found, nil
				}
				s := layoutScan{q: q, skip: true}
				return l.scan(ctx, dir, &s)
			},
			read: func(_ context.Context, digest v1.Hash) (Manifest, error) { return l.manifest(dir, digest, "") },
		}
		for a, err := range l.scans.untagged(ctx, q, from) {
			if !yield(a, err) {
				return
			}
		}
	}
}

// tagged yields the tagged artifacts after the cursor, or all if the index has
// it no more.
func (l *layouts) tagged(ctx context.Context, dir string, q Query, yield func(Artifact, error) bool) (*revisions, error) {
	s := layoutScan{q: q, yield: yield, skip: q.After != ""}
	found, err := l.scan(ctx, dir, &s)
	if err != nil || !s.skip {
		return found, err
	}
	s = layoutScan{q: q, yield: yield}
	return l.scan(ctx, dir, &s)
}

func (l *layouts) scan(ctx context.Context, dir string, s *layoutScan) (*revisions, error) {
	if err := l.descriptors(ctx, dir, s.visit); err != nil {
		return nil, fmt.Errorf("reading the index of %s: %w", s.q.Repository, err)
	}
	return &s.found, nil
}

// A layoutScan is one pass through an index.
type layoutScan struct {
	q      Query
	yield  func(Artifact, error) bool
	skip   bool      // nothing is yielded before the cursor has been met
	cursor string    // of the last entry with a valid tag
	found  revisions // if untagged artifacts are wanted
}

// visit yields an entry that has a wanted tag, and remembers it for the search
// for untagged ones.
func (s *layoutScan) visit(d layoutDescriptor) error {
	a := Artifact{Repository: s.q.Repository, Cursor: s.cursor}
	tag, tagged := d.tag()
	digest, err := v1.NewHash(d.Digest)
	if err != nil {
		if tagged {
			a.Tags = []string{plain(tag)}
		}
		return s.give(a, fmt.Errorf("digest %q in the index is not valid: %w", plain(d.Digest), ErrCorrupt))
	}
	if s.q.Untagged {
		if err := s.found.note(digest, tagged); err != nil {
			a.Digest = digest
			return s.give(a, err)
		}
	}
	if !tagged || s.q.Tags == nil || IsSignatureTag(tag) {
		return nil
	}
	a.Descriptor = Descriptor{MediaType: d.MediaType, Digest: digest, Size: d.Size}
	a.Tags = []string{plain(tag)}
	if err := checkTag(tag); err != nil {
		return s.give(a, err)
	}
	s.cursor = tag + untaggedCursor + digest.String()
	a.Cursor = s.cursor
	if s.skip {
		s.skip = s.cursor != s.q.After
		return nil
	}
	if !s.q.Tags(tag) {
		return nil
	}
	return s.give(a, nil)
}

func (s *layoutScan) give(a Artifact, err error) error {
	if !s.skip && !s.yield(a, err) {
		return errStopped
	}
	return nil
}

// note adds a descriptor of an index. Only untagged ones must fit the set of
// digests: tagged ones of other algorithms are never looked for in it.
func (r *revisions) note(digest v1.Hash, tagged bool) error {
	if tagged && digest.Algorithm != "sha256" {
		return nil
	}
	if tagged {
		if err := r.tagged.add(digest); err != nil {
			return err
		}
	}
	return r.all.add(digest)
}
