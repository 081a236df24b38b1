package kms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// breakAfter is how many calls in a row must find the store unavailable
	// before it is left alone.
	breakAfter = 10
	// breakFor is how long it is left alone.
	breakFor = 10 * time.Second
)

// A breaker leaves a store alone that has been unavailable many times in a
// row, so that an outage costs neither it nor us a flood of vain requests.
// After a while one call tries it; the others go on when that one is answered.
// The zero value is ready.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // no call before, while failures >= breakAfter
	trying   bool      // one call is out to see
}

// allow returns an error if the store is to be left alone. Else the caller
// reports what came of its call, and whether it was sent to see.
func (b *breaker) allow() (sentToSee bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return false, nil
	}
	wait := time.Until(b.until)
	if wait > 0 || b.trying {
		return false, &StoreError{Kind: ErrUnavailable, Code: "left alone",
			Message:    fmt.Sprintf("%d calls in a row found it unavailable", b.failures),
			RetryAfter: max(wait, firstBackoff)}
	}
	b.trying = true
	return true, nil
}

// report tells what came of a call that was allowed. One that was made before
// the store was left alone can end long after: that it failed says nothing new.
func (b *breaker) report(sentToSee bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sentToSee {
		b.trying = false
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return // the caller left; that says nothing of the store
	case !errors.Is(err, ErrUnavailable):
		b.failures = 0 // any answer shows that it lives
		return
	case b.failures >= breakAfter && !sentToSee:
		return
	}
	b.failures++
	b.until = time.Now().Add(breakFor)
}
