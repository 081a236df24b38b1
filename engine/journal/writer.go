package journal

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"
)

const (
	// batchSize bounds how many callers share one transaction.
	batchSize = 128
	// batchTimeout bounds how long callers wait for a database that hangs.
	batchTimeout = 30 * time.Second
)

// A writer makes many small writes durable together. Every caller waits until
// its own part is on the disk, but one flush serves all who waited for the
// previous one: group commit.
type writer struct {
	store store
	parts chan *part // unbuffered: who was taken will be answered
	quit  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// A part is what one caller writes.
//
// run may run again in another transaction, and it may return an answer (see
// isAnswer) only before it wrote anything but a lock, since the transaction
// goes on. From then on its errors are wrapped in undo.
type part struct {
	key  string // parts that touch the same rows have the same key
	run  func(context.Context, querier) error
	err  error
	done chan struct{}
}

// undo is an error that must not leave behind what its part wrote, even if to
// the caller it is an answer.
type undo struct{ error }

func (u undo) Unwrap() error { return u.error }

// isAnswer reports errors that tell the caller something about the journal's
// contents, not about a write that went wrong.
func isAnswer(err error) bool {
	if errors.As(err, new(undo)) {
		return false
	}
	return errors.Is(err, ErrClaimed) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrEnded)
}

// startWriter starts n goroutines that stop waits for.
func startWriter(s store, n int) *writer {
	w := &writer{store: s, parts: make(chan *part), quit: make(chan struct{})}
	for range n {
		w.wg.Go(w.loop)
	}
	return w
}

// stop answers the parts that were taken and refuses new ones.
func (w *writer) stop() {
	w.once.Do(func() { close(w.quit) })
	w.wg.Wait()
}

// write hands a part to the writer and waits until it is durable. If ctx ends
// before the part was taken nothing was written; afterwards write waits for
// the truth.
func (j *Journal) write(ctx context.Context, key string, run func(context.Context, querier) error) error {
	if j.writer == nil {
		return ErrReadOnly
	}
	p := &part{key: key, run: run, done: make(chan struct{})}
	select {
	case j.writer.parts <- p:
	case <-j.writer.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	<-p.done
	return p.err
}

func (w *writer) loop() {
	for {
		select {
		case p := <-w.parts:
			w.commit(w.fill(p))
		case <-w.quit:
			return
		}
	}
}

// fill adds to the first part whoever waits right now.
func (w *writer) fill(first *part) []*part {
	batch := []*part{first}
	for len(batch) < batchSize {
		select {
		case p := <-w.parts:
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch in one transaction. If anything goes wrong, each part
// is written alone, so that a faulty one fails alone.
func (w *writer) commit(batch []*part) {
	// Everybody takes row locks in the same order, so that writers, also those
	// of other replicas, do not deadlock.
	sort.SliceStable(batch, func(a, b int) bool { return batch[a].key < batch[b].key })
	err := w.transact(batch)
	for _, p := range batch {
		switch {
		case err != nil && len(batch) > 1:
			if err := w.transact([]*part{p}); err != nil {
				p.err = err
			}
		case err != nil:
			p.err = err
		}
		close(p.done)
	}
}

// transact runs the parts in one transaction. It leaves answers in the parts
// and returns what kept the transaction from being committed.
func (w *writer) transact(batch []*part) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	return w.store.update(ctx, func(q querier) error {
		for _, p := range batch {
			p.err = nil
			if err := p.run(ctx, q); isAnswer(err) {
				p.err = err
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}
