package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// vendorPage is the page size that clouds' own listings have at most.
const vendorPage = 1000

// A tokenPage is one page of a listing whose pages are named by tokens.
type tokenPage[T any] struct {
	token string // that names this page; "": the first
	items []T
	next  string // "": this was the last
}

// A fetchTokenPage gets the page that a token names.
type fetchTokenPage[T any] func(ctx context.Context, token string) (items []T, next string, err error)

// tokenPages yields pages from the one that token names on. Each has been read
// before it is yielded. After an error it ends.
func tokenPages[T any](ctx context.Context, token string, fetch fetchTokenPage[T]) iter.Seq2[tokenPage[T], error] {
	return func(yield func(tokenPage[T], error) bool) {
		var loop loopDetector
		for empty := 0; ; {
			items, next, err := fetch(ctx, token)
			if err != nil {
				yield(tokenPage[T]{token: token}, err)
				return
			}
			if empty++; len(items) > 0 {
				empty = 0
			}
			if next == token && next != "" || loop.again(token) || empty > maxEmptyPages {
				yield(tokenPage[T]{token: token}, fmt.Errorf("pages go round in a circle: %w", ErrCorrupt))
				return
			}
			if !yield(tokenPage[T]{token: token, items: items, next: next}, nil) || next == "" {
				return
			}
			token = next
		}
	}
}

// A listedEntry is what a listing says of one manifest, or why that is of no use.
type listedEntry struct {
	listedManifest
	fault error
}

// tokenManifests yields the manifests of pages that are named by tokens.
//
// The cursor is a manifest's digest and its page's token. A listing that goes
// on reads that page again and yields what is behind the manifest; all of the
// page if the manifest has gone, as its place cannot be told any more: what was
// not yielded is never skipped, what was may come twice. If the token has
// expired, it starts again.
func tokenManifests(ctx context.Context, after string, fetch fetchTokenPage[listedEntry]) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		digest, token, _ := strings.Cut(after, " ")
		started := false
		pass := func(token string) error {
			for page, err := range tokenPages(ctx, token, fetch) {
				if err != nil {
					return err
				}
				items := page.items
				if !started {
					items = behind(items, digest)
				}
				started = true
				for _, m := range items {
					if m.fault == nil {
						m.Cursor = m.Digest.String() + " " + page.token
					}
					if !yield(m.listedManifest, m.fault) {
						return errStopped
					}
				}
			}
			return nil
		}
		err := pass(token)
		if token != "" && !started && errors.Is(err, ErrRejected) {
			digest = ""
			err = pass("")
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(listedManifest{}, err)
		}
	}
}

// isTokenCursor reports whether a cursor is one of tokenManifests.
func isTokenCursor(cursor string) bool { return strings.Contains(cursor, " ") }

// behind returns the manifests behind the one with the digest; all if it is
// not there.
func behind(list []listedEntry, digest string) []listedEntry {
	if digest == "" {
		return list
	}
	for i, m := range list {
		if m.Digest.String() == digest {
			return list[i+1:]
		}
	}
	return list
}

// newListedEntry checks what a listing says of one manifest. A digest that is
// not valid is an error of this manifest alone.
func newListedEntry(digest, mediaType, artifactType string, tags []string) listedEntry {
	hash, err := listedDigest(digest)
	return listedEntry{fault: err, listedManifest: listedManifest{
		Descriptor:   Descriptor{Digest: hash, MediaType: listedType(mediaType)},
		ArtifactType: listedArtifactType(artifactType),
		Tags:         tags,
	}}
}
