package kms

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
)

// A batchServer answers requests when it is told to, each digest with itself.
type batchServer struct {
	mu    sync.Mutex
	sizes []int
	left  []time.Duration // until each request's deadline, 0: none
	goOn  chan struct{}   // closed: at once
}

func newBatchServer() *batchServer { return &batchServer{goOn: make(chan struct{})} }

func (s *batchServer) send(ctx context.Context, digests [][]byte) ([]vaultResult, error) {
	var left time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	s.mu.Lock()
	s.sizes = append(s.sizes, len(digests))
	s.left = append(s.left, left)
	s.mu.Unlock()
	select {
	case <-s.goOn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	results := make([]vaultResult, len(digests))
	for i, digest := range digests {
		results[i].signature = digest
	}
	return results, nil
}

// manySign starts n callers and returns their errors when they come.
func manySign(t *testing.T, b *vaultBatches, ctx context.Context, n int) <-chan error { //nolint:revive // t comes first in tests
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		digest := []byte{byte(i), byte(i >> 8)}
		go func() {
			got, err := b.sign(ctx, digest)
			if err == nil && !slices.Equal(got, digest) {
				err = errors.New("got another caller's result")
			}
			errs <- err
		}()
		synctest.Wait() // the order is known
	}
	return errs
}

func wantErrors(t *testing.T, errs <-chan error, want error) {
	t.Helper()
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestBatchesHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBatchServer()
		b := newVaultBatches(s.send)
		errs := manySign(t, b, t.Context(), 1+2*maxVaultBatch+1)
		close(s.goOn)
		wantErrors(t, errs, nil)
		if want := []int{1, maxVaultBatch, maxVaultBatch, 1}; !slices.Equal(s.sizes, want) {
			t.Errorf("requests held %v digests, want %v", s.sizes, want)
		}
		b.close()
	})
}

// An error of the request is everybody's.
func TestBatchErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newVaultBatches(func(context.Context, [][]byte) ([]vaultResult, error) {
			time.Sleep(time.Second)
			return nil, ErrDenied
		})
		wantErrors(t, manySign(t, b, t.Context(), 5), ErrDenied)
		b.close()
	})
}

// When everybody has left a request, it ends, and the next one begins.
func TestBatchEndsWhenAllHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBatchServer()
		b := newVaultBatches(s.send)
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		under := manySign(t, b, first, 1)
		leaving := manySign(t, b, second, 3)
		staying := manySign(t, b, t.Context(), 2)
		cancelSecond() // among them the one who was to start the next request
		wantErrors(t, leaving, context.Canceled)
		cancelFirst()
		wantErrors(t, under, context.Canceled)
		synctest.Wait()
		close(s.goOn)
		wantErrors(t, staying, nil)
		if want := []int{1, 2}; !slices.Equal(s.sizes, want) {
			t.Errorf("requests held %v digests, want %v", s.sizes, want)
		}
		b.close()
	})
}

// Who is told to start the next request may leave in that very moment; the
// others must not wait for ever.
func TestBatchStarterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBatchServer()
		b := newVaultBatches(s.send)
		starter := &vaultItem{start: make(chan struct{}, 1), result: make(chan vaultResult, 1)}
		if err := b.join(starter); err != nil || len(starter.start) != 1 {
			t.Fatalf("joining: %v, and %d words to start", err, len(starter.start))
		}
		errs := manySign(t, b, t.Context(), 3) // they wait for the starter
		b.leave(starter)
		close(s.goOn)
		wantErrors(t, errs, nil)
		again := &vaultItem{start: make(chan struct{}, 1), result: make(chan vaultResult, 1)}
		if err := b.join(again); err != nil {
			t.Fatal(err)
		}
		b.leave(again) // nobody else is there
		wantErrors(t, manySign(t, b, t.Context(), 1), nil)
		b.close()
	})
}

func TestBatchDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBatchServer()
		b := newVaultBatches(s.send)
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		minute := manySign(t, b, within(time.Minute), 1)
		hour, second := manySign(t, b, within(time.Hour), 1), manySign(t, b, within(time.Second), 1)
		wantErrors(t, second, context.DeadlineExceeded)
		wantErrors(t, minute, context.DeadlineExceeded)
		synctest.Wait()
		forever, brief := manySign(t, b, t.Context(), 1), manySign(t, b, within(time.Second), 1)
		wantErrors(t, brief, context.DeadlineExceeded)
		close(s.goOn)
		wantErrors(t, hour, nil)
		wantErrors(t, forever, nil)
		if want := []time.Duration{time.Minute, 59 * time.Minute, 0}; !slices.Equal(s.left, want) {
			t.Errorf("the requests had %v left, want %v", s.left, want)
		}
		b.close()
	})
}

func TestBatchesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBatchServer()
		b := newVaultBatches(s.send)
		under, waiting := manySign(t, b, t.Context(), 1), manySign(t, b, t.Context(), 3)
		b.close()
		wantErrors(t, waiting, ErrClosed)
		wantErrors(t, under, context.Canceled)
		wantErrors(t, manySign(t, b, t.Context(), 1), ErrClosed)
		b.close()
	})
}

// The lane of whoever starts a request is the request's.
func TestBatchKeepsValues(t *testing.T) {
	type key struct{}
	var got any
	b := newVaultBatches(func(ctx context.Context, digests [][]byte) ([]vaultResult, error) {
		got = ctx.Value(key{})
		return make([]vaultResult, len(digests)), nil
	})
	ctx := budget.WithLane(context.WithValue(t.Context(), key{}, "value"), budget.Live)
	if _, err := b.sign(ctx, nil); err != nil || got != "value" {
		t.Errorf("got %v and the value %v", err, got)
	}
	b.close()
}

// Whatever callers do, everybody gets an answer of their own.
func TestBatchesUnderStress(t *testing.T) {
	s := newBatchServer()
	close(s.goOn)
	b := newVaultBatches(s.send)
	var wg sync.WaitGroup
	for i := range 2000 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				go cancel()
			}
			digest := []byte{byte(i), byte(i >> 8)}
			got, err := b.sign(ctx, digest)
			if err == nil && !slices.Equal(got, digest) || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %x and %v", got, err)
			}
		})
	}
	wg.Wait()
	b.close()
	if b.busy || len(b.waiting) > 0 || b.current != nil {
		t.Errorf("left behind: busy %t, %d waiting", b.busy, len(b.waiting))
	}
}
