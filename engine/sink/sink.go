// Package sink takes signature records elsewhere: to a file, or to a server that
// wants them. What it delivers are the entries of the journal's chain, in order
// and at least once, with the entry's hash to tell a second delivery by. Signing
// never waits for it, and no entry is passed over.
package sink

import (
	"context"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
)

// A Sink takes entries. It is used by one goroutine at a time.
type Sink interface {
	// Deliver takes entries, in order, and returns how many of them, counted
	// from the first, are taken for good. Fewer than all without an error means
	// that there was no time for more. An entry may be delivered again.
	Deliver(ctx context.Context, entries []journal.Entry) (int, error)
	// Close gives up what the sink holds.
	Close() error
}

// A Later error asks for the next try not to come too soon.
type Later struct {
	After time.Duration
	Err   error
}

func (l *Later) Error() string { return l.Err.Error() }

// Unwrap returns why.
func (l *Later) Unwrap() error { return l.Err }
