package control

import (
	"context"
	"sync"
)

// How many deliveries are read and journaled at once: with event.MaxBody, what
// they may take of memory. No registry takes all turns, and those whose senders
// are known only by their bodies, which anybody may send and be slow with, leave
// half of them to those that showed their secret before.
const (
	maxDeliveries         = 16
	maxOfRegistry         = 8
	maxUnproven           = 8
	maxUnprovenOfRegistry = 4
)

// turns are what deliveries wait for before they are read.
type turns struct {
	all, unproven chan struct{}

	mu sync.Mutex
	of map[queue]chan struct{}
}

// A queue is what the deliveries of one registry wait in.
type queue struct {
	registry string
	proven   bool
}

func newTurns() *turns {
	return &turns{all: make(chan struct{}, maxDeliveries), unproven: make(chan struct{}, maxUnproven), of: map[queue]chan struct{}{}}
}

// take waits until a delivery to a registry that is configured may be read, at
// most for deliveryPatience. proven is whether its sender is known.
func (t *turns) take(ctx context.Context, registry string, proven bool) (done func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, deliveryPatience)
	defer cancel()
	// From the narrow to the wide, so that who waits among many holds nothing that
	// others wait for.
	wanted := []chan struct{}{t.places(queue{registry, proven})}
	if !proven {
		wanted = append(wanted, t.unproven)
	}
	wanted = append(wanted, t.all)
	done = func() {}
	for _, places := range wanted {
		select {
		case places <- struct{}{}:
			before := done
			done = func() { <-places; before() }
		case <-ctx.Done():
			done()
			return nil, false
		}
	}
	return done, true
}

func (t *turns) places(q queue) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	places, ok := t.of[q]
	if !ok {
		n := maxOfRegistry
		if !q.proven {
			n = maxUnprovenOfRegistry
		}
		places = make(chan struct{}, n)
		t.of[q] = places
	}
	return places
}
