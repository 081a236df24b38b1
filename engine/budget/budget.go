// Package budget is how much a server may be asked: a rate and a number of
// requests under way, cut when the server throttles us. Every request to a
// registry, a key store or a timestamp authority waits for one. It imports
// nothing of ours.
package budget

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	minRate      = 0.5  // requests a second that throttling leaves, unless fewer are allowed
	recoveryRate = 0.05 // share of the configured rate that comes back in a second
	burstSeconds = 0.1  // how much unused rate may be saved up
	// backlogShare is how many requests are let through, while both lanes wait,
	// until one of them is the backlog's. A tenth slows live work by hardly
	// more than what its own rate varies by, and brings a backlog to its end
	// under a flood of live requests that never ends.
	backlogShare = 10
)

// A Budget is what one server may be asked: a rate, as a token bucket,
// and a number of requests under way. Both are given out together, in one queue
// per lane: to live requests first, but one in backlogShare to the backlog, so
// that no request of either lane waits for ever.
//
// The rate is cut in half when the host throttles us, and grows back steadily
// to the configured rate, never above.
type Budget struct {
	mu         sync.Mutex
	configured float64
	burst      float64
	rate       float64
	tokens     float64
	updated    time.Time // of rate and tokens
	cut        time.Time // when the rate was last halved
	paused     time.Time // nothing is sent before
	places     int       // for requests under way
	free       int       // of them
	queues     [2]list.List
	passed     int // live requests let through before one of the backlog that waited
	timer      *time.Timer
}

// A waiter gets one value: nil when it may send, else why it never may.
type waiter struct {
	granted  chan error
	deadline time.Time
	bounded  bool
}

// Limits are what a server may be asked at most. Both are required.
type Limits struct {
	RequestsPerSecond float64
	Concurrency       int // requests under way at once
}

// ErrPaused says that the server asked for a pause that outlasts the caller's
// deadline.
var ErrPaused = errors.New("the server asked us to wait")

// New returns a Budget of these limits.
func New(limits Limits) *Budget {
	burst := max(1, limits.RequestsPerSecond*burstSeconds)
	return &Budget{
		configured: limits.RequestsPerSecond,
		burst:      burst,
		rate:       limits.RequestsPerSecond,
		tokens:     burst,
		updated:    time.Now(),
		places:     limits.Concurrency,
		free:       limits.Concurrency,
	}
}

// Acquire waits until one request may be sent. The caller calls Release
// when the answer has been read. It fails with ErrPaused, or as ctx ends.
func (b *Budget) Acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{granted: make(chan error, 1)}
	w.deadline, w.bounded = ctx.Deadline()
	queue := &b.queues[laneOf(ctx)]

	b.mu.Lock()
	place := queue.PushBack(w)
	b.dispatch()
	b.mu.Unlock()

	select {
	case err := <-w.granted:
		return err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case err := <-w.granted:
		if err == nil { // granted while we gave up: hand it on, unused
			b.tokens = min(b.burst, b.tokens+1)
			b.free++
			b.dispatch()
		}
	default:
		queue.Remove(place)
	}
	return ctx.Err()
}

// A State is how a budget stands.
type State struct {
	// Configured and Current are requests a second: what is allowed, and what the
	// server's throttling left of it.
	Configured, Current float64
	// UnderWay are requests that were sent and not answered yet.
	UnderWay int
	// Waiting are callers whose turn has not come, by lane.
	Waiting map[Lane]int
}

// State returns how the budget stands now.
func (b *Budget) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(time.Now())
	return State{Configured: b.configured, Current: b.rate, UnderWay: b.places - b.free,
		Waiting: map[Lane]int{Live: b.queues[Live].Len(), Backlog: b.queues[Backlog].Len()}}
}

// Release ends a request under way.
func (b *Budget) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free++
	b.dispatch()
}

// Throttled lowers the rate and keeps everybody waiting for pause. sent is
// when the throttled request was sent: of the many requests under way when
// the host starts throttling, only the first one halves the rate.
func (b *Budget) Throttled(sent time.Time, pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.advance(now)
	if sent.After(b.cut) {
		b.rate = max(min(minRate, b.configured), b.rate/2)
		b.cut = now
	}
	b.tokens = min(b.tokens, 0)
	if until := now.Add(pause); until.After(b.paused) {
		b.paused = until
	}
	b.dispatch()
}

// advance brings tokens and rate up to now. A pause earns neither. Tokens are
// earned at the rate of the start of the step, which is never the higher one.
func (b *Budget) advance(now time.Time) {
	from := b.updated
	if b.paused.After(from) {
		from = b.paused
	}
	if !now.After(from) {
		return
	}
	elapsed := now.Sub(from).Seconds()
	b.tokens = min(b.burst, b.tokens+b.rate*elapsed)
	b.rate = min(b.configured, b.rate+recoveryRate*b.configured*elapsed)
	b.updated = now
}

// dispatch lets through who may be let through now, and sets the alarm for
// the next. It is called whenever something has changed.
func (b *Budget) dispatch() {
	now := time.Now()
	b.advance(now)
	if now.Before(b.paused) {
		b.refuse()
		b.wake(b.paused.Sub(now))
		return
	}
	const whole = 1 - 1e-9 // tokens are sums of fractions
	for b.free > 0 {
		queue := b.next()
		if queue == nil {
			return
		}
		if b.tokens < whole {
			b.wake(time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + 1)
			return
		}
		b.tokens--
		b.free--
		b.noteTurn(queue)
		queue.Remove(queue.Front()).(*waiter).granted <- nil
	}
}

// next returns the queue whose turn it is, nil when nobody waits.
func (b *Budget) next() *list.List {
	live, backlog := &b.queues[Live], &b.queues[Backlog]
	switch {
	case live.Len() > 0 && (backlog.Len() == 0 || b.passed < backlogShare-1):
		return live
	case backlog.Len() > 0:
		return backlog
	default:
		return nil
	}
}

// noteTurn counts what the backlog has waited for. Live requests that nobody
// waits behind do not count: whoever comes later has not waited for them.
func (b *Budget) noteTurn(queue *list.List) {
	backlog := &b.queues[Backlog]
	switch {
	case queue == backlog:
		b.passed = 0
	case backlog.Len() > 0:
		b.passed++
	}
}

// refuse turns away those for whom the pause lasts too long: they learn now
// what waiting would only tell them later.
func (b *Budget) refuse() {
	for lane := range b.queues {
		queue := &b.queues[lane]
		var after *list.Element
		for e := queue.Front(); e != nil; e = after {
			after = e.Next()
			w := e.Value.(*waiter)
			if w.bounded && w.deadline.Before(b.paused) {
				queue.Remove(e)
				w.granted <- fmt.Errorf("%w until %s, which is too late", ErrPaused, b.paused.UTC().Format(time.RFC3339))
			}
		}
	}
}

// wake calls dispatch again after d, if anybody waits for that.
func (b *Budget) wake(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.next() == nil {
		return
	}
	b.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dispatch()
	})
}

// Rate is how many requests a second may be sent now.
func (b *Budget) Rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(time.Now())
	return b.rate
}

// Free is how many requests more could be under way now.
func (b *Budget) Free() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
