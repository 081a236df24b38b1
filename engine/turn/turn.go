// Package turn lets one caller at a time do what a name names. It imports
// nothing of ours.
package turn

import (
	"context"
	"sync"
)

// An Order gives turns by name, to whoever waits in the order in which they
// came. It remembers only the names in use. The zero value is ready; it is safe
// for concurrent use and must not be copied.
type Order struct {
	mu    sync.Mutex
	turns map[string]*turn
}

type turn struct {
	free  chan struct{} // holds one value while nobody has the turn
	users int           // who has it or waits for it
}

// Take waits for the turn, unless ctx ends first. The caller calls done once.
// Whoever had to wait looks whether the work is still to do.
func (o *Order) Take(ctx context.Context, name string) (done func(), err error) {
	mine := o.enter(name)
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			o.leave(name, mine)
		}, nil
	case <-ctx.Done():
		o.leave(name, mine)
		return nil, ctx.Err()
	}
}

// Len returns how many names somebody has, or waits for.
func (o *Order) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.turns)
}

func (o *Order) enter(name string) *turn {
	o.mu.Lock()
	defer o.mu.Unlock()
	mine := o.turns[name]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		if o.turns == nil {
			o.turns = map[string]*turn{}
		}
		o.turns[name] = mine
	}
	mine.users++
	return mine
}

func (o *Order) leave(name string, mine *turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(o.turns, name)
	}
}
