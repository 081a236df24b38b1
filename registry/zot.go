package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// maxZotRestarts is how often a listing of tags is begun again because the tag at
// the end of a page was deleted before the next page.
const maxZotRestarts = 100

// A zot is a zot registry. Its tags are those of the distribution API, which
// cannot leave one out. What they name is learned from zot's search, a page of
// them at once, as far as that is there and knows it. Untagged artifacts are seen
// in zot's storage directory, which has an OCI layout for each repository.
type zot struct {
	*Client
	search  *zotSearch
	storage *zotStorage // nil: none is configured
}

var (
	_ Registry  = (*zot)(nil)
	_ TagLister = (*zot)(nil)
)

// openZot returns a client's registry of kind zot. It is no manifestLister, as
// neither zot's search nor its storage lists all that there is.
func openZot(client *Client, cfg Config) (Registry, error) {
	z := &zot{Client: client, search: newZotSearch(client)}
	if cfg.Storage == "" {
		return z, nil
	}
	var err error
	if z.storage, err = openZotStorage(cfg); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return z, nil
}

// Repositories implements Inventory with the catalog: the repositories that the
// account may see.
func (z *zot) Repositories(ctx context.Context) iter.Seq2[string, error] { return z.Catalog(ctx) }

// Untagged implements Inventory.
func (z *zot) Untagged() string {
	if z.storage == nil {
		return "neither the distribution API nor zot's search lists untagged artifacts, and no storage directory is configured"
	}
	return ""
}

// Close closes the storage directory and idle connections.
func (z *zot) Close() error {
	var err error
	if z.storage != nil {
		err = z.storage.layouts.Close()
	}
	return errors.Join(err, z.Client.Close())
}

// Artifacts implements Inventory: tagged artifacts first, in the order of their
// tags, then untagged ones in the order of their digests. The cursor of a tagged
// one is the tag. Its size is 0 if the search told what it is.
func (z *zot) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		sees := q.Untagged && z.storage != nil
		if !strings.HasPrefix(q.After, untaggedCursor) {
			hints := z.search.hints(q.Repository)
			for a, err := range z.resolved(ctx, q, z.tags(ctx, q.Repository, q.After), hints.known) {
				if a.Repository == "" && errors.Is(err, ErrNotFound) && sees {
					break // the storage tells whether it is there
				}
				if !yield(a, err) || a.Repository == "" {
					return
				}
			}
		}
		if !sees {
			return
		}
		for a, err := range z.storage.untagged(ctx, q) {
			if !yield(a, err) {
				return
			}
		}
	}
}

// AllTags implements TagLister.
func (z *zot) AllTags(ctx context.Context, repository string) iter.Seq2[string, error] {
	return z.tags(ctx, repository, "")
}

// tags yields the tags behind one of them. zot sorts them, and is not able to
// begin a page behind a tag that was deleted: it says then that there is no such
// repository. The listing is begun again then, and what was yielded left out.
func (z *zot) tags(ctx context.Context, repository, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last := after
		for restarts := 0; ; restarts++ {
			from := ""
			if restarts == 0 {
				from = after
			}
			again, listed := false, false
			for tag, err := range z.Client.tags(ctx, repository, from, z.page) {
				if tag == "" && errors.Is(err, ErrNotFound) && (listed || from != "") && restarts < maxZotRestarts {
					again = true
					break
				}
				listed = true
				if err == nil && tag <= last {
					continue
				}
				if err == nil {
					last = tag
				}
				if !yield(tag, err) || tag == "" {
					return
				}
			}
			if !again {
				return
			}
		}
	}
}
