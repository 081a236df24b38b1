package rights

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
)

// JournalTurns is how many requests have to do with the journal at once: fewer than it
// has connections for readers, so that signing finds one that is free.
const JournalTurns = 3

// turnPatience is how long a request waits for a turn, and for as long again if it joined
// another one that gave up; turnTime is how long a read may take when it has come. A
// change goes on: its end is written down.
const (
	turnPatience = 20 * time.Second
	turnTime     = 20 * time.Second
)

// Turns are what requests take so that few are worked on at once; all others sleep.
//
// Go has no priorities: each step of the engine's waits behind the requests that are ready
// to go on, and each of theirs behind the engine's. So they are few, and what the engine
// has not begun gives way to them.
type Turns struct {
	slots, journal chan struct{}
	giveWay        func() (done func())
	looks          looks
}

// NewTurns returns turns: so many requests are worked on at once, of which so many have to
// do with the journal. 0 slots are two for each processor: with fewer, one does nothing
// for requests whenever the one that has its slot is not on it, and then readers wait in
// line although there is time for them. giveWay is called when a request asks for a slot or a
// turn, and what it returns when it has had it or has given up; nil: nothing gives way.
func NewTurns(slots, journal int, giveWay func() (done func())) *Turns {
	if giveWay == nil {
		giveWay = func() func() { return func() {} }
	}
	return &Turns{slots: make(chan struct{}, cmp.Or(slots, 2*runtime.GOMAXPROCS(0))), journal: make(chan struct{}, journal), giveWay: giveWay,
		looks: looks{ahead: map[string]*look{}}}
}

// Slot waits until one more request may be worked on. It returns ErrBusy if that takes too
// long; then the caller may send its request again. Who has a slot reads from no caller
// and writes to none: they may be slow.
func (t *Turns) Slot(ctx context.Context, c door.Caller) (leave func(), err error) {
	return t.take(ctx, c, t.slots)
}

func (t *Turns) take(ctx context.Context, c door.Caller, places chan struct{}) (leave func(), err error) {
	done := t.giveWay()
	leave = func() { <-places; done() }
	select {
	case places <- struct{}{}:
		return leave, nil
	default:
	}
	patience, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	select {
	case places <- struct{}{}:
		return leave, nil
	case <-patience.Done():
		done()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.Forget()
		return nil, ErrBusy
	}
}

// InTurn calls do, which has to do with the journal and asks nobody else, when it is the
// request's turn. Errors are those of do; ErrBusy if the turn does not come, as of Slot;
// and ErrSlow if it only reads, and that takes too long.
func InTurn[T any](ctx context.Context, t *Turns, c door.Caller, changes bool, do func(context.Context) (T, error)) (T, error) {
	var none T
	leave, err := t.take(ctx, c, t.journal)
	if err != nil {
		return none, err
	}
	defer leave()
	if changes {
		return do(ctx)
	}
	turn, cancel := context.WithTimeoutCause(ctx, turnTime, ErrSlow)
	defer cancel()
	out, err := do(turn)
	if err != nil && errors.Is(context.Cause(turn), ErrSlow) {
		return none, ErrSlow
	}
	return out, err
}
