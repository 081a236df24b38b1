package sink

import (
	"errors"
	"math/rand/v2"
	"time"
)

// longest bounds what a server may ask us to wait.
const longest = time.Hour

// A backoff is how long to wait after failures in a row: twice as long after
// each, up to most.
type backoff struct {
	least, most time.Duration
	failures    int
}

func (b *backoff) reset() { b.failures = 0 }

// next returns how long to wait after one more failure: less a random part, so
// that many senders do not come back at once, but not less than asked for.
func (b *backoff) next(err error) time.Duration {
	wait := b.most
	if b.failures < 32 && b.least<<b.failures > 0 {
		wait = min(b.least<<b.failures, b.most)
	}
	b.failures++
	wait -= rand.N(wait/2 + 1) //nolint:gosec // jitter is no secret
	if later := (*Later)(nil); errors.As(err, &later) {
		wait = max(wait, min(later.After, longest))
	}
	return wait
}
