package engine

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/sealwright/sealwright/registry"
)

const (
	// catalogAge is how long a listing of a registry's repositories is used again: one
	// costs a request for each hundred or thousand of them.
	catalogAge = 10 * time.Second
	// catalogTime bounds one listing, whoever still waits for it.
	catalogTime = 2 * time.Minute
	// maxCatalog is how many repositories a listing may have, as it is kept in memory.
	maxCatalog = 200_000
)

// A catalog is what repositories a registry has, for those who ask at once or soon
// after one another: one of them has the registry listed for all.
type catalog struct {
	mu    sync.Mutex
	calls int64    // so far
	last  *listing // under way, or not too old; nil: none
}

// A listing is one of the repositories of a registry.
type listing struct {
	call int64         // the number of the one that began it
	done chan struct{} // closed when what follows is set for good
	// names are sorted. They belong to all: nobody gets them to change.
	names []string
	err   error
	ended time.Time
}

// Repositories returns those of a registry that are wanted, sorted. Callers share
// listings: one that is under way, or was made not longer ago than
// [Options.CatalogAge]. If nothing is wanted of such a one, the registry is asked
// again, so that somebody who looks for what was just pushed finds it. Whether the
// caller may see a repository is for wanted to say, which is not shared. It must not
// block, and be the same function all the time.
//
// A caller who leaves does not end the listing for the others. An unknown registry is
// registry.ErrNotFound; more repositories than are kept are registry.ErrTooLarge.
func (e *Engine) Repositories(ctx context.Context, name string, wanted func(repository string) bool) (iter.Seq[string], error) {
	place, ok := e.setup.Load().places[name]
	if !ok {
		return nil, fmt.Errorf("registry %q: %w", name, registry.ErrNotFound)
	}
	c := &place.catalog
	call := c.number()
	l, err := c.list(ctx, e, place.registry, 0)
	if err == nil && l.call < call && !slices.ContainsFunc(l.names, wanted) {
		l, err = c.list(ctx, e, place.registry, call)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the repositories of %s: %w", name, err)
	}
	return func(yield func(string) bool) {
		for _, repository := range l.names {
			if wanted(repository) && !yield(repository) {
				return
			}
		}
	}, nil
}

// number gives a call its number.
func (c *catalog) number() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return c.calls
}

// list waits for a listing that a call began which is not before since.
func (c *catalog) list(ctx context.Context, e *Engine, r registry.Registry, since int64) (*listing, error) {
	for {
		l := c.join(e, r, since)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.done:
		}
		if l.call >= since {
			return l, l.err
		}
	}
}

// join returns the listing that is under way, whoever it is good for: there is never
// more than one. Else it returns the last one if that will do, or begins another.
func (c *catalog) join(e *Engine, r registry.Registry, since int64) *listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.last; l != nil {
		select {
		case <-l.done:
			if l.err == nil && l.call >= since && e.opts.Now().Sub(l.ended) < e.opts.CatalogAge {
				return l
			}
		default:
			return l
		}
	}
	l := &listing{call: c.calls, done: make(chan struct{})}
	c.last = l
	e.listings.Go(func() {
		l.names, l.err = e.allRepositories(r)
		l.ended = e.opts.Now()
		close(l.done)
		time.AfterFunc(e.opts.CatalogAge, func() { c.forget(l) })
	})
	return l
}

// forget frees the memory of a listing that is too old.
func (c *catalog) forget(l *listing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == l {
		c.last = nil
	}
}

// allRepositories lists a registry, behind what is signed.
func (e *Engine) allRepositories(r registry.Registry) (names []string, err error) {
	defer func() {
		if p := recover(); p != nil { // nobody else would, in a goroutine of its own
			names, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(e.cut, catalogTime)
	defer cancel()
	for name, err := range r.Repositories(ctx) {
		switch {
		case err != nil && name == "":
			return nil, err
		case err != nil:
			continue // its name is not one
		case len(names) == maxCatalog:
			return nil, fmt.Errorf("more than %d: %w", maxCatalog, registry.ErrTooLarge)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), ctx.Err()
}
