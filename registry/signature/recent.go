package signature

import "sync"

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
