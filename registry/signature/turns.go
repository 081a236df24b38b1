package signature

import (
	"context"
	"sync"
)

// turns lets one caller at a time work on what a key names. The zero value is
// ready.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn // :: key → whose turn it is; only keys in use
}

type turn struct {
	free  chan struct{} // holds a token while nobody has the turn
	users int           // who has it and who waits
}

// take waits until it is the caller's turn or ctx is done. The caller must call
// release.
func (t *turns) take(ctx context.Context, key string) (release func(), err error) {
	mine := t.enter(key)
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			t.leave(key, mine)
		}, nil
	case <-ctx.Done():
		t.leave(key, mine)
		return nil, ctx.Err()
	}
}

func (t *turns) enter(key string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.held[key]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		if t.held == nil {
			t.held = map[string]*turn{}
		}
		t.held[key] = mine
	}
	mine.users++
	return mine
}

func (t *turns) leave(key string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(t.held, key)
	}
}

// generation is how many keys recent remembers at least.
const generation = 4096

// recent remembers the keys that were added last: at least generation, at most
// twice as many. The zero value is ready.
type recent struct {
	mu       sync.Mutex
	now, old map[string]struct{}
}

func (r *recent) add(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now) >= generation {
		r.old, r.now = r.now, nil
	}
	if r.now == nil {
		r.now = map[string]struct{}{}
	}
	r.now[key] = struct{}{}
}

func (r *recent) has(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, now := r.now[key]
	_, old := r.old[key]
	return now || old
}
