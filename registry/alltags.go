package registry

import (
	"context"
	"fmt"
	"iter"
)

// A TagLister is a Registry that lists every tag of a repository, also those of
// signatures, which an Inventory never yields.
type TagLister interface {
	// AllTags yields every tag, some perhaps twice. An error with a tag concerns
	// only that one, which is not valid and must not be used; an error without
	// one ends the stream. It holds no listing in memory.
	AllTags(ctx context.Context, repository string) iter.Seq2[string, error]
}

var (
	_ TagLister = (*Client)(nil)
	_ TagLister = (*layouts)(nil)
)

// AllTags implements TagLister.
func (c *Client) AllTags(ctx context.Context, repository string) iter.Seq2[string, error] {
	return c.Tags(ctx, repository, "")
}

// AllTags implements TagLister with the entries of the layout's index as they
// are when it begins.
func (l *layouts) AllTags(ctx context.Context, repository string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		dir, err := l.dir(repository)
		if err != nil {
			yield("", err)
			return
		}
		stopped := false
		err = l.descriptors(ctx, dir, func(d layoutDescriptor) error {
			tag, tagged := d.tag()
			if tagged && !yield(plain(tag), checkTag(tag)) {
				stopped = true
				return errStopped
			}
			return nil
		})
		if err != nil && !stopped {
			yield("", fmt.Errorf("reading the index of %s: %w", repository, err))
		}
	}
}
