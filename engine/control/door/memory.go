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
	seen   map[[sha256.Size]byte]sighting
	order  expiries
}

// A sighting is of a signature that came.
type sighting struct {
	repeatable bool // all that came with it were
	forgotten  bool // it may come once more
	times      int  // it was admitted
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, seen: map[[sha256.Size]byte]sighting{}}
}

// admit takes a claim that is true: once, or again if it was and is repeatable. It
// reads the clock itself, after what it forgets: a request that was within the window
// when it began to arrive need not be any more. It returns what forgets the claim.
func (m *memory) admit(c claim, clock func() time.Time) (forget func(), err error) {
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
		return nil, ErrClock
	}
	before, seen := m.seen[mark]
	switch {
	case seen && before.repeatable && c.repeatable:
		return func() {}, nil
	case seen && !before.forgotten:
		return nil, ErrReplayed
	case !seen && len(m.seen) >= m.limit:
		return nil, ErrBusy
	case !seen:
		heap.Push(&m.order, expiry{until, mark})
	}
	now := sighting{repeatable: c.repeatable, times: before.times + 1}
	m.seen[mark] = now
	return func() { m.forget(mark, now) }, nil
}

// forget lets a signature come once more that has not come since. It keeps its place until
// it expires.
func (m *memory) forget(mark [sha256.Size]byte, as sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[mark] == as {
		as.forgotten = true
		m.seen[mark] = as
	}
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
