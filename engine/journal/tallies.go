package journal

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// tallyShare is how many times as long as counting took counts are used, so that
	// counting one execution takes at most about a tenth of the time of one reader. For as
	// long again they are used still, while it is counted anew, one execution at a time.
	tallyShare = 10
	// tallyTime bounds how long counting may take, whoever waits for it.
	tallyTime = time.Minute
)

// tallies keep the counts of executions that go on: many may look on, again and again,
// and an execution of a great estate takes long to count.
type tallies struct {
	counting singleflight.Group
	life     context.Context //nolint:containedctx // that of the journal, not of a call
	end      context.CancelFunc
	running  sync.WaitGroup // counts

	mu    sync.Mutex
	kept  map[int64]tally // by execution
	ahead bool            // one is counted that nobody waits for
}

func newTallies() *tallies {
	t := &tallies{kept: map[int64]tally{}}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// close ends the counts under way and begins no more.
func (t *tallies) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	t.running.Wait()
}

// A tally is what was counted of an execution. Nobody changes it.
type tally struct {
	tasks  int64
	counts Counts
	fresh  time.Time // until then
	until  time.Time // it is used
}

// of returns the counts of an execution, with reasons that are the caller's own.
func (t *tallies) of(ctx context.Context, q querier, execution int64) (tally, error) {
	found, ok, stale := t.find(execution)
	switch {
	case stale:
		done := t.recount(ctx, q, execution)
		go func() {
			<-done
			t.mu.Lock()
			defer t.mu.Unlock()
			t.ahead = false
		}()
	case !ok:
		select {
		case <-ctx.Done():
			return tally{}, ctx.Err()
		case r := <-t.recount(ctx, q, execution):
			if r.Err != nil {
				return tally{}, r.Err
			}
			found, _ = r.Val.(tally)
		}
	}
	found.counts.Reasons = maps.Clone(found.counts.Reasons)
	return found, nil
}

// find returns what is kept of an execution, and whether it is for the caller to have it
// counted anew: of all executions one at a time is.
func (t *tallies) find(execution int64) (found tally, ok, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok = t.kept[execution]
	now := time.Now()
	ok = ok && now.Before(found.until)
	if stale = ok && !t.ahead && !now.Before(found.fresh); stale {
		t.ahead = true
	}
	return found, ok, stale
}

func (t *tallies) recount(ctx context.Context, q querier, execution int64) <-chan singleflight.Result {
	return t.counting.DoChan(strconv.FormatInt(execution, 10), func() (any, error) {
		if !t.begin() {
			return nil, t.life.Err()
		}
		defer t.running.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tallyTime) // others wait for it too
		defer cancel()
		defer context.AfterFunc(t.life, cancel)()
		return t.count(ctx, q, execution)
	})
}

// begin notes that a count is under way, unless the journal is closed.
func (t *tallies) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life.Err() != nil {
		return false
	}
	t.running.Add(1)
	return true
}

func (t *tallies) count(ctx context.Context, q querier, execution int64) (tally, error) {
	began := time.Now()
	tasks, counts, err := count(ctx, q, execution)
	if err != nil {
		return tally{}, err
	}
	now := time.Now()
	share := tallyShare * now.Sub(began)
	counted := tally{tasks, counts, now.Add(share), now.Add(2 * share)}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.kept, func(_ int64, old tally) bool { return now.After(old.until) })
	t.kept[execution] = counted
	return counted, nil
}
