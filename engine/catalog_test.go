package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/registry"
)

// A bookshelf is a registry that can be listed, and nothing else.
type bookshelf struct {
	registry.Registry
	list  func(context.Context, func(string, error) bool)
	walks atomic.Int64
}

func (b *bookshelf) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		b.walks.Add(1)
		b.list(ctx, yield)
	}
}

// librarian returns an engine with a registry named "test" that is listed by list.
func librarian(list func(context.Context, func(string, error) bool)) (*Engine, *bookshelf) {
	b := &bookshelf{list: list}
	return New(Options{Setup: &Setup{places: map[string]*Place{"test": NewPlace(b, 1)}}}), b
}

func yieldAll(yield func(string, error) bool, names ...string) {
	for _, name := range names {
		if !yield(name, nil) {
			return
		}
	}
}

func all(string) bool { return true }

func prefixed(prefix string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, prefix) }
}

func ask(ctx context.Context, t *testing.T, e *Engine, wanted func(string) bool) string {
	t.Helper()
	names, err := e.Repositories(ctx, "test", wanted)
	if err != nil {
		t.Error(err)
		return ""
	}
	return strings.Join(slices.Collect(names), " ")
}

func (b *bookshelf) wantWalks(t *testing.T, want int64) {
	t.Helper()
	if n := b.walks.Load(); n != want {
		t.Errorf("the registry was listed %d times, want %d", n, want)
	}
}

// TestCatalogShared: many who ask at once cost one listing, and each gets what it may
// have of it; so do those who ask within ten seconds, and not later ones.
func TestCatalogShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		e, b := librarian(func(_ context.Context, yield func(string, error) bool) {
			<-gate
			yieldAll(yield, "b/2", "a/1", "b/1", "a/1")
		})
		var callers sync.WaitGroup
		for i := range 50 {
			callers.Go(func() {
				prefix, want := "a/", "a/1"
				if i%2 == 0 {
					prefix, want = "b/", "b/1 b/2"
				}
				if got := ask(t.Context(), t, e, prefixed(prefix)); got != want {
					t.Errorf("%s: %s", prefix, got)
				}
			})
		}
		synctest.Wait()
		b.wantWalks(t, 1)
		close(gate)
		callers.Wait()
		time.Sleep(catalogAge - time.Millisecond)
		if got := ask(t.Context(), t, e, all); got != "a/1 b/1 b/2" {
			t.Error(got)
		}
		b.wantWalks(t, 1)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if c := &e.setup.Load().places["test"].catalog; c.last != nil {
			t.Error("a listing that is not used again is kept")
		}
		ask(t.Context(), t, e, all)
		b.wantWalks(t, 2)
	})
}

// TestCatalogLeft: a caller who leaves gets no answer, and those who stay do.
func TestCatalogLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		e, b := librarian(func(ctx context.Context, yield func(string, error) bool) {
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
			case <-gate:
				yieldAll(yield, "a/1")
			}
		})
		leaving, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := e.Repositories(leaving, "test", all); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: %v", err)
			}
		})
		synctest.Wait() // it has begun the listing
		callers.Go(func() {
			if got := ask(t.Context(), t, e, all); got != "a/1" {
				t.Errorf("who stayed: %q", got)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(gate)
		callers.Wait()
		b.wantWalks(t, 1)
	})
}

// TestCatalogMiss: what was pushed since the last listing is found by who looks for
// it, and many who look for it at once cost two listings at most.
func TestCatalogMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, gate := []string{"a/1"}, make(chan struct{}, 9)
		e, b := librarian(func(_ context.Context, yield func(string, error) bool) {
			<-gate
			yieldAll(yield, names...)
		})
		gate <- struct{}{}
		ask(t.Context(), t, e, all)
		names = append(names, "new/1")
		if got := ask(t.Context(), t, e, prefixed("a/")); got != "a/1" {
			t.Error(got)
		}
		b.wantWalks(t, 1)
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if got := ask(t.Context(), t, e, prefixed("new/")); got != "new/1" {
					t.Error(got)
				}
			})
		}
		synctest.Wait()
		b.wantWalks(t, 2) // never two at a time
		gate <- struct{}{}
		gate <- struct{}{}
		callers.Wait()
		if n := b.walks.Load(); n > 3 {
			t.Errorf("%d listings", n)
		}
	})
}

// TestCatalogFaults: a listing that failed is not used again, and one that is too long
// is none.
func TestCatalogFaults(t *testing.T) {
	for what, c := range map[string]struct {
		list func(context.Context, func(string, error) bool)
		want error
	}{
		"failed": {func(_ context.Context, yield func(string, error) bool) {
			if yield("a/1", nil) {
				yield("", registry.ErrUnavailable)
			}
		}, registry.ErrUnavailable},
		"too long": {func(_ context.Context, yield func(string, error) bool) {
			for i := 0; i <= maxCatalog && yield(fmt.Sprint(i), nil); i++ {
			}
		}, registry.ErrTooLarge},
		"too slow": {func(ctx context.Context, _ func(string, error) bool) { <-ctx.Done() }, context.DeadlineExceeded},
		"panicked": {func(context.Context, func(string, error) bool) { panic("oops") }, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, b := librarian(c.list)
			for range 2 {
				if _, err := e.Repositories(t.Context(), "test", all); err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%s: %v", what, err)
				}
			}
			b.wantWalks(t, 2)
		})
	}
	e, _ := librarian(func(_ context.Context, yield func(string, error) bool) {
		if yield("Not A Name", registry.ErrCorrupt) {
			yieldAll(yield, "a/1")
		}
	})
	if got := ask(t.Context(), t, e, all); got != "a/1" {
		t.Errorf("beside what is no name: %s", got)
	}
	if _, err := e.Repositories(t.Context(), "none", all); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("an unknown registry: %v", err)
	}
}
