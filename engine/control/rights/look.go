package rights

import (
	"context"
	"errors"
	"sync"
	"time"
)

// looks are reads that have not begun, by what is looked at. Who asks for the same joins.
type looks struct {
	mu    sync.Mutex
	ahead map[string]*look
}

// A look is a read, and who waits for it.
type look struct {
	what    string
	waiting int // callers
	leave   context.CancelFunc
	done    chan struct{}
	out     any // once done
	err     error
}

// join returns the look at what, if there is one that has not begun, or a new one, which is
// the caller's to carry out with the context that is returned.
func (l *looks) join(ctx context.Context, what string) (_ *look, _ context.Context, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := l.ahead[what]; found != nil {
		found.waiting++
		return found, nil, false
	}
	ctx, leave := context.WithCancel(context.WithoutCancel(ctx)) // others may wait when the first has left
	found := &look{what: what, waiting: 1, leave: leave, done: make(chan struct{}), err: ErrPanic}
	l.ahead[what] = found
	return found, ctx, true
}

// begin sees to it that nobody else joins.
func (l *looks) begin(begun *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(begun)
}

func (l *looks) remove(gone *look) {
	if l.ahead[gone.what] == gone {
		delete(l.ahead, gone.what)
	}
}

// left is for a caller who does not wait any more. If nobody does, the look ends.
func (l *looks) left(from *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from.waiting--; from.waiting == 0 {
		l.remove(from)
		from.leave()
	}
}

// Look has all callers who ask for the same be answered by one read: a thousand who look on
// at something cost little more than one. what is all that the answer depends on. The read
// is the first caller's do, which calls begin when its turn has come and before it reads:
// from then on nobody joins, so that each sees what was there when it asked, its own changes
// too. first reports whether it was the caller's own. What is returned is everybody's and
// must not be changed.
func Look[T any](ctx context.Context, t *Turns, what string, do func(ctx context.Context, begin func()) (T, error)) (out T, first bool, err error) {
	for asked := time.Now(); ; {
		l, own, first := t.looks.join(ctx, what)
		if first {
			out, err = carryOut(ctx, own, t, l, do)
			return out, true, err
		}
		select {
		case <-l.done:
			if errors.Is(l.err, ErrBusy) && time.Since(asked) < turnPatience { // the first caller's patience, not this one's
				continue
			}
			out, _ = l.out.(T)
			return out, false, l.err
		case <-ctx.Done():
			t.looks.left(l)
			return out, false, ctx.Err()
		}
	}
}

// carryOut has a look carried out in its own context, for the caller with ctx and for
// whoever joins.
func carryOut[T any](ctx, own context.Context, t *Turns, l *look, do func(ctx context.Context, begin func()) (T, error)) (T, error) {
	stop := context.AfterFunc(ctx, func() { t.looks.left(l) })
	begin := func() { t.looks.begin(l) }
	defer func() { begin(); stop(); l.leave(); close(l.done) }() // also if do panics
	out, err := do(own, begin)
	l.out, l.err = out, err
	return out, err
}
