package registry

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	minRate      = 0.5  // requests a second that throttling leaves, unless fewer are configured
	recoveryRate = 0.05 // share of the configured rate that comes back in a second
	burstSeconds = 0.1  // how much unused rate may be saved up
)

// A budget is what one registry host may be asked: a rate, as a token bucket,
// and a number of requests under way. Both are given out in one queue per
// lane, so that neither lets a backlog request pass a live one.
//
// The rate is cut in half when the host throttles us, and grows back steadily
// to the configured rate, never above.
type budget struct {
	mu         sync.Mutex
	configured float64
	burst      float64
	rate       float64
	tokens     float64
	updated    time.Time // of rate and tokens
	cut        time.Time // when the rate was last halved
	paused     time.Time // nothing is sent before
	free       int       // places for requests under way
	queues     [2]list.List
	timer      *time.Timer
}

// A waiter gets one value: nil when it may send, else why it never may.
type waiter struct {
	granted  chan error
	deadline time.Time
	bounded  bool
}

func newBudget(limits Limits) *budget {
	burst := max(1, limits.RequestsPerSecond*burstSeconds)
	return &budget{
		configured: limits.RequestsPerSecond,
		burst:      burst,
		rate:       limits.RequestsPerSecond,
		tokens:     burst,
		updated:    time.Now(),
		free:       limits.Concurrency,
	}
}

// acquire waits until one request may be sent. The caller releases it when
// the answer has been read.
func (b *budget) acquire(ctx context.Context) error {
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

// release ends a request under way.
func (b *budget) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free++
	b.dispatch()
}

// throttled lowers the rate and keeps everybody waiting for pause. sent is
// when the throttled request was sent: of the many requests under way when
// the host starts throttling, only the first one halves the rate.
func (b *budget) throttled(sent time.Time, pause time.Duration) {
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
func (b *budget) advance(now time.Time) {
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
func (b *budget) dispatch() {
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
		queue.Remove(queue.Front()).(*waiter).granted <- nil
	}
}

// next returns the queue whose turn it is, nil when nobody waits.
func (b *budget) next() *list.List {
	for _, lane := range []Lane{Live, Backlog} {
		if b.queues[lane].Len() > 0 {
			return &b.queues[lane]
		}
	}
	return nil
}

// refuse turns away those for whom the pause lasts too long: they learn now
// what waiting would only tell them later.
func (b *budget) refuse() {
	for lane := range b.queues {
		queue := &b.queues[lane]
		var after *list.Element
		for e := queue.Front(); e != nil; e = after {
			after = e.Next()
			w := e.Value.(*waiter)
			if w.bounded && w.deadline.Before(b.paused) {
				queue.Remove(e)
				w.granted <- fmt.Errorf("the registry asked to wait until %s, which is too late: %w",
					b.paused.UTC().Format(time.RFC3339), ErrRateLimited)
			}
		}
	}
}

// wake calls dispatch again after d, if anybody waits for that.
func (b *budget) wake(d time.Duration) {
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
