package rights

import (
	"cmp"
	"context"
	"time"
)

// maxTurns is how many requests have to do with the journal at once: fewer than it
// has connections for readers, so that signing finds one that is free.
const maxTurns = 3

// turnPatience is how long a request waits for its turn, and TurnTime how long a read may
// take when it has come. A change goes on: its end is written down.
const (
	turnPatience = 20 * time.Second
	TurnTime     = 20 * time.Second
)

// Slot waits until one more request may be worked on; all others sleep. It returns ErrBusy
// if that takes too long. Who has a slot reads from no caller and writes to none: they may
// be slow.
//
// Go has no priorities: each step of the engine's waits behind the requests that are ready
// to go on, and each of theirs behind the engine's. So they are few, and the engine gives
// way to those who wait. With fewer than two for each processor, one does nothing for
// requests whenever the one that has its slot is not on it, and then readers wait in line
// although there is time for them.
func (r *Rights) Slot(ctx context.Context) (leave func(), err error) { return r.take(ctx, r.slots) }

// Turn is Slot for what a request has to do with the journal. Who only reads has TurnTime
// for that; then the context ends that it returns.
func (r *Rights) Turn(ctx context.Context, changes bool) (turn context.Context, leave func(), err error) {
	leave, err = r.take(ctx, r.turns)
	if err != nil || changes {
		return ctx, leave, err
	}
	turn, cancel := context.WithTimeout(ctx, TurnTime)
	end := leave
	return turn, func() { cancel(); end() }, nil
}

func (r *Rights) take(ctx context.Context, places chan struct{}) (leave func(), err error) {
	leave = func() { <-places }
	select {
	case places <- struct{}{}:
		return leave, nil
	default:
	}
	if r.options.GiveWay != nil {
		defer r.options.GiveWay()()
	}
	patience, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	select {
	case places <- struct{}{}:
		return leave, nil
	case <-patience.Done():
		return nil, cmp.Or(ctx.Err(), ErrBusy)
	}
}
