package registry

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

// A generic registry is seen through the distribution API alone: tags only.
type generic struct {
	*Client
}

var _ Registry = (*generic)(nil)

// Repositories implements Inventory with the catalog.
func (g *generic) Repositories(ctx context.Context) iter.Seq2[string, error] { return g.Catalog(ctx) }

// Untagged implements Inventory.
func (g *generic) Untagged() string {
	return "the distribution API does not list untagged artifacts"
}

// Artifacts implements Inventory: the wanted tags, each resolved by one HEAD.
// The cursor is the tag, that of a tag which is not valid the one before it.
func (g *generic) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return g.tagged(ctx, q)
}

// A found is an artifact or why there is none.
type found struct {
	artifact Artifact
	err      error
}

// tagged resolves several tags at once and yields them in the order of the
// listing, so that the cursor of what was yielded last says that everything
// before it was.
func (c *Client) tagged(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		if q.Tags == nil {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()

		var window []chan found // under way, oldest first
		oldest := func() bool {
			f := <-window[0]
			window = window[1:]
			if ctx.Err() != nil { // one error for all that are under way
				yield(Artifact{}, ctx.Err())
				return false
			}
			return yield(f.artifact, f.err)
		}
		var end error
		cursor := q.After // of the last valid tag
		for tag, err := range c.Tags(ctx, q.Repository, q.After) {
			if err != nil && tag == "" {
				end = err
				break
			}
			if err == nil {
				cursor = tag
			}
			if IsSignatureTag(tag) || err == nil && !q.Tags(tag) {
				continue
			}
			if len(window) == c.limits.Concurrency && !oldest() {
				return
			}
			result := make(chan found, 1)
			window = append(window, result)
			if err != nil {
				a := Artifact{Repository: q.Repository, Tags: []string{plain(tag)}, Cursor: cursor}
				result <- found{artifact: a, err: err}
				continue
			}
			workers.Go(func() { result <- c.findTag(ctx, q.Repository, tag) })
		}
		for len(window) > 0 {
			if !oldest() {
				return
			}
		}
		if end != nil {
			yield(Artifact{}, end)
		}
	}
}

func (c *Client) findTag(ctx context.Context, repository, tag string) found {
	a := Artifact{Repository: repository, Tags: []string{tag}, Cursor: tag}
	d, err := c.Resolve(ctx, repository, tag)
	if err != nil {
		return found{artifact: a, err: fmt.Errorf("tag %s: %w", tag, err)}
	}
	a.Descriptor = d
	return found{artifact: a}
}
