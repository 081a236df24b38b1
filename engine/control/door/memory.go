package door

import (
	"container/heap"
	"crypto/sha256"
	"sync"
	"time"
)

// A memory holds the signatures of one key that could still be replayed.
type memory struct {
	limit int

	mu sync.Mutex
	// latest is the last time that the memory was swept at. Its time never goes back:
	// what was swept could be replayed otherwise.
	latest time.Time
	seen   map[[sha256.Size]byte]bool // whether all that came with it were repeatable
	order  expiries
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, seen: map[[sha256.Size]byte]bool{}}
}

// admit takes a claim that is true: once, or again if it was and is repeatable. It
// reads the clock itself, after what it forgets: a request that was within the window
// when it began to arrive need not be any more.
func (m *memory) admit(c claim, clock func() time.Time) error {
	mark := sha256.Sum256(c.signature)
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := clock(); now.After(m.latest) {
		m.latest = now
	}
	for len(m.order) > 0 && m.order[0].at.Before(m.latest) {
		delete(m.seen, heap.Pop(&m.order).(expiry).mark)
	}
	until := c.at.Add(c.window)
	if until.Before(m.latest) {
		return ErrClock
	}
	if repeatable, seen := m.seen[mark]; seen {
		if repeatable && c.repeatable {
			return nil
		}
		return ErrReplayed
	}
	if len(m.seen) >= m.limit {
		return ErrBusy
	}
	m.seen[mark] = c.repeatable
	heap.Push(&m.order, expiry{until, mark})
	return nil
}

// An expiry is when a signature is forgotten.
type expiry struct {
	at   time.Time
	mark [sha256.Size]byte
}

// expiries are a heap whose first is the earliest.
type expiries []expiry

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(expiry)) }
func (e *expiries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}
