package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// A distribution registry is docker distribution: tagged artifacts are seen
// through its API, untagged ones in its storage directory.
type distribution struct {
	generic
	storage *storage // nil: none is configured
	scans   *scans   // of the storage that are under way
}

var _ Registry = (*distribution)(nil)

func openDistribution(client *Client, cfg Config) (Registry, error) {
	d := &distribution{generic: generic{Client: client}, scans: newScans()}
	if cfg.Storage == "" {
		return d, nil
	}
	var err error
	if d.storage, err = openStorage(cfg.Storage); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return d, nil
}

// Untagged implements Inventory.
func (d *distribution) Untagged() string {
	if d.storage == nil {
		return "the distribution API does not list untagged artifacts, and no storage directory is configured"
	}
	return ""
}

// Close closes the storage directory and idle connections.
func (d *distribution) Close() error {
	var err error
	if d.storage != nil {
		err = d.storage.root.Close()
	}
	return errors.Join(err, d.Client.Close())
}

// Artifacts implements Inventory: tagged artifacts first, in the order of the
// listing, then untagged ones in the order of their digests.
func (d *distribution) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		if !strings.HasPrefix(q.After, untaggedCursor) {
			for a, err := range d.tagged(ctx, q) {
				if a.Repository == "" && errors.Is(err, ErrNotFound) && q.Untagged && d.storage != nil {
					break // to the API, a repository without tags is not there
				}
				if !yield(a, err) || a.Repository == "" {
					return
				}
			}
		}
		if !q.Untagged || d.storage == nil {
			return
		}
		for a, err := range d.scans.untagged(ctx, q, d.storage.source(q.Repository)) {
			if !yield(a, err) {
				return
			}
		}
	}
}
