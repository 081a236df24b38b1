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

// tagged yields the wanted tags of the listing, each resolved by one HEAD.
func (c *Client) tagged(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return c.resolved(ctx, q, c.Tags(ctx, q.Repository, q.After), nil)
}

// A knownTag says what a tag names if that is known already. It is called for one
// tag at a time, in the order of the listing.
type knownTag func(ctx context.Context, tag string) (Descriptor, bool)

// resolved resolves several tags at once, those that are not known, and yields
// them in the order of the listing, so that the cursor of what was yielded last
// says that everything before it was. Without known, none is known.
func (c *Client) resolved(ctx context.Context, q Query, tags iter.Seq2[string, error], known knownTag) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		if q.Tags == nil {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		w := tagWindow{client: c, repository: q.Repository, known: known}
		defer w.workers.Wait()
		defer cancel()

		var end error
		cursor := q.After // of the last valid tag
		for tag, err := range tags {
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
			if len(w.pending) == c.limits.Concurrency && !w.oldest(ctx, yield) {
				return
			}
			if err != nil {
				a := Artifact{Repository: q.Repository, Tags: []string{plain(tag)}, Cursor: cursor}
				w.add() <- found{artifact: a, err: err}
				continue
			}
			w.find(ctx, tag)
		}
		for len(w.pending) > 0 {
			if !w.oldest(ctx, yield) {
				return
			}
		}
		if end != nil {
			yield(Artifact{}, end)
		}
	}
}

// A tagWindow is the tags that are being resolved.
type tagWindow struct {
	client     *Client
	repository string
	known      knownTag
	workers    sync.WaitGroup
	pending    []chan found // oldest first
}

// add returns where the next result belongs. It never blocks the sender.
func (w *tagWindow) add() chan<- found {
	result := make(chan found, 1)
	w.pending = append(w.pending, result)
	return result
}

func (w *tagWindow) find(ctx context.Context, tag string) {
	result := w.add()
	if w.known != nil {
		if d, ok := w.known(ctx, tag); ok {
			result <- found{artifact: Artifact{Repository: w.repository, Descriptor: d, Unread: d.MediaType == "", Tags: []string{tag}, Cursor: tag}}
			return
		}
	}
	w.workers.Go(func() { result <- w.client.findTag(ctx, w.repository, tag) })
}

// oldest waits for the oldest result and yields it.
func (w *tagWindow) oldest(ctx context.Context, yield func(Artifact, error) bool) bool {
	f := <-w.pending[0]
	w.pending = w.pending[1:]
	if ctx.Err() != nil { // one error for all that are under way
		yield(Artifact{}, ctx.Err())
		return false
	}
	return yield(f.artifact, f.err)
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
