package kms

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxVaultBatch is how many digests one request holds at most. The answer is
// then far below maxAnswer, and the wait of the last behind the first is short
// even with the largest keys.
const maxVaultBatch = 100

// vaultBatches has at most one request of a key under way. Who comes meanwhile
// waits, and all who waited share the next one; who comes alone never waits.
// The first of those who share a request starts it; nothing runs while there is
// nothing to sign.
type vaultBatches struct {
	send    func(ctx context.Context, digests [][]byte) ([]vaultResult, error)
	mu      sync.Mutex
	waiting []*vaultItem
	busy    bool        // a request is under way, or somebody was told to start one
	current *vaultBatch // the request under way
	closed  bool
	running sync.WaitGroup
}

// A vaultItem is one digest to be signed.
type vaultItem struct {
	digest   []byte
	deadline time.Time        // its caller's, zero if there is none
	start    chan struct{}    // gets an element if its caller is to start the next request
	result   chan vaultResult // gets the one result
}

type vaultResult struct {
	signature []byte
	err       error
}

// A vaultBatch is a request and those who share it.
type vaultBatch struct {
	items   []*vaultItem
	present int // callers that still wait for it
	cancel  context.CancelFunc
}

func newVaultBatches(send func(context.Context, [][]byte) ([]vaultResult, error)) *vaultBatches {
	return &vaultBatches{send: send}
}

// sign returns the signature over digest. When ctx ends, the caller leaves
// alone; a request ends early only when everybody has left it.
func (b *vaultBatches) sign(ctx context.Context, digest []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	item := &vaultItem{digest: digest, start: make(chan struct{}, 1), result: make(chan vaultResult, 1)}
	item.deadline, _ = ctx.Deadline()
	if err := b.join(item); err != nil {
		return nil, err
	}
	for {
		select {
		case <-item.start:
			b.run(ctx)
		case r := <-item.result:
			return r.signature, r.err
		case <-ctx.Done():
			b.leave(item)
			return nil, fmt.Errorf("waiting for the key store: %w", ctx.Err())
		}
	}
}

func (b *vaultBatches) join(item *vaultItem) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	b.waiting = append(b.waiting, item)
	if !b.busy {
		b.next()
	}
	return nil
}

// next has the first of those who wait start a request. The caller holds mu.
func (b *vaultBatches) next() {
	b.busy = len(b.waiting) > 0
	if b.busy {
		b.waiting[0].start <- struct{}{}
	}
}

// leave is for a caller who does not wait for its item any longer.
func (b *vaultBatches) leave(item *vaultItem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, item); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
		select {
		case <-item.start: // somebody else must start the request
			b.next()
		default:
		}
		return
	}
	if b.current != nil && slices.Contains(b.current.items, item) {
		b.current.present--
		if b.current.present == 0 {
			b.current.cancel()
		}
	}
}

// run starts the request of those who wait now. It outlives ctx, which is its
// starter's, but keeps its values.
func (b *vaultBatches) run(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), maxVaultBatch)
	if n == 0 { // closed meanwhile
		b.busy = false
		return
	}
	items := slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	ctx, cancel := withLatest(context.WithoutCancel(ctx), items)
	b.current = &vaultBatch{items: items, present: n, cancel: cancel}
	b.running.Go(func() {
		defer cancel()
		b.deliver(ctx, items)
	})
}

// withLatest bounds ctx by the latest deadline of the items' callers, so that
// nothing is tried again for nobody.
func withLatest(ctx context.Context, items []*vaultItem) (context.Context, context.CancelFunc) {
	var latest time.Time
	for _, item := range items {
		if item.deadline.IsZero() {
			return context.WithCancel(ctx)
		}
		if item.deadline.After(latest) {
			latest = item.deadline
		}
	}
	return context.WithDeadline(ctx, latest)
}

// deliver sends the request, hands out its results and has the next one
// started.
func (b *vaultBatches) deliver(ctx context.Context, items []*vaultItem) {
	digests := make([][]byte, len(items))
	for i, item := range items {
		digests[i] = item.digest
	}
	results, err := b.send(ctx, digests)
	for i, item := range items {
		if err != nil {
			item.result <- vaultResult{err: err}
			continue
		}
		item.result <- results[i]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = nil
	b.next()
}

// close turns away who waits, ends the request under way and waits for its
// end.
func (b *vaultBatches) close() {
	b.mu.Lock()
	b.closed = true
	for _, item := range b.waiting {
		item.result <- vaultResult{err: ErrClosed}
	}
	b.waiting = nil
	if b.current != nil {
		b.current.cancel()
	}
	b.mu.Unlock()
	b.running.Wait()
}
