package engine

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// maxWay is how long an artifact gives way at most: signing goes on, however many
	// callers there are.
	maxWay = 100 * time.Millisecond
	// wayStep is how often it looks whether somebody waits still.
	wayStep = 5 * time.Millisecond
)

// A way is where artifacts of a run let those pass who wait for an answer. Both want the
// same processors, for which Go has no priorities: without it a caller waits for whatever
// the artifacts under way do next, and there is always more of them.
type way struct{ ahead atomic.Int64 }

// give waits until nobody is ahead, but for maxWay at most, or until ctx or stop ends.
func (w *way) give(ctx context.Context, stop <-chan struct{}) {
	for waited := time.Duration(0); waited < maxWay && w.ahead.Load() > 0; waited += wayStep {
		select {
		case <-time.After(wayStep):
		case <-ctx.Done():
			return
		case <-stop:
			return
		}
	}
}

// GiveWay has the artifacts of runs that have not begun wait, a tenth of a second each at
// most, until done is called: somebody waits for an answer. What was pushed does not wait.
func (e *Engine) GiveWay() (done func()) {
	e.way.ahead.Add(1)
	return func() { e.way.ahead.Add(-1) }
}
