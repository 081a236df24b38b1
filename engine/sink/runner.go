package sink

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// batch is how many entries are delivered at a time: what a crash may
	// deliver twice.
	batch = 32
	// patience bounds one delivery.
	patience = time.Minute
	// lease is how long a sink is ours, which must be longer than a delivery
	// takes, by more than the replicas' clocks differ.
	lease = 3 * time.Minute
)

// Options say what is delivered, and where.
type Options struct {
	// Name is what the cursor is kept by. Required.
	Name string
	// Sink takes the entries. The runner closes it. Required.
	Sink Sink
	// Journal has the chain and the cursor. Required.
	Journal *journal.Journal
	// Log is told of failures. Nil logs nothing.
	Log *zap.Logger
	// Poll is how soon new entries are noticed. Default 1 second.
	Poll time.Duration
	// Least is how long the first wait is after a failure, and Most the longest.
	// Defaults 1 second and 5 minutes.
	Least, Most time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Least == 0 {
		o.Least = time.Second
	}
	if o.Most == 0 {
		o.Most = 5 * time.Minute
	}
	return o
}

// Counts are what a runner did since it was started.
type Counts struct {
	Delivered int64 // entries
	Failures  int64 // deliveries that did not take all
	LastError string
	// LastFailure is when that was. Both are empty again after a try that did not
	// fail.
	LastFailure time.Time
}

// A Runner delivers to one sink until it is stopped.
type Runner struct {
	opts    Options
	backoff backoff
	quit    chan struct{}
	once    sync.Once
	cut     context.CancelFunc
	done    chan struct{}

	// Of the goroutine alone.
	cursor int64     // the last entry delivered, as far as is known
	ours   time.Time // until when the sink is leased

	mu     sync.Mutex
	counts Counts
}

// Start starts a runner, which Stop must stop before the journal is closed.
func Start(o Options) *Runner {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runner{opts: o, backoff: backoff{least: o.Least, most: o.Most}, quit: make(chan struct{}), cut: cancel, done: make(chan struct{})}
	go r.run(ctx)
	return r
}

// Stop delivers what is left, as long as it is taken and ctx has not ended, and
// returns when the runner has stopped. Stopping again does nothing.
func (r *Runner) Stop(ctx context.Context) {
	r.once.Do(func() { close(r.quit) })
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	r.cut()
	<-r.done
}

// Counts returns what was done so far.
func (r *Runner) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Undelivered returns what the sink does not have yet.
func (r *Runner) Undelivered(ctx context.Context) (journal.Undelivered, error) {
	return r.opts.Journal.Undelivered(ctx, r.opts.Name)
}

func (r *Runner) run(ctx context.Context) {
	defer close(r.done)
	defer r.release()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.quit:
			r.drain(ctx)
			return
		case <-wait.C:
		}
		wait.Reset(r.next(r.step(ctx)))
	}
}

// drain delivers what is left until there is nothing, or until it fails.
func (r *Runner) drain(ctx context.Context) {
	for {
		if n, err := r.step(ctx); n == 0 || err != nil {
			return
		}
	}
}

// release lets another replica go on at once, and closes the sink.
func (r *Runner) release() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if !r.ours.IsZero() {
		err = r.opts.Journal.ReleaseSink(ctx, r.opts.Name)
	}
	if err = errors.Join(err, r.opts.Sink.Close()); err != nil {
		r.opts.Log.Warn("sink not closed in order", zap.Error(err))
	}
}

// next decides, by what came of a step, how long to wait for the next one.
func (r *Runner) next(n int, err error) time.Duration {
	switch {
	case errors.Is(err, journal.ErrClaimed): // another replica's turn
		r.backoff.reset()
		return max(lease/12, r.opts.Poll)
	case err != nil:
		if n > 0 {
			r.backoff.reset()
		}
		return r.backoff.next(err)
	}
	r.backoff.reset()
	if n == 0 {
		return r.opts.Poll
	}
	return 0
}

// step delivers the next batch and returns how many entries of it were taken.
func (r *Runner) step(ctx context.Context) (int, error) {
	n, err := r.deliver(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Delivered += int64(n)
	switch {
	case ctx.Err() != nil: // not the sink's fault
	case errors.Is(err, journal.ErrClaimed): // another replica's to tell how it stands
		r.counts.LastError, r.counts.LastFailure = "", time.Time{}
	case err == nil && r.counts.LastError != "":
		r.opts.Log.Info("records are delivered again", zap.Int64("entry", r.cursor))
		r.counts.LastError, r.counts.LastFailure = "", time.Time{}
	case err != nil:
		r.opts.Log.Warn("records not delivered, they are tried again", zap.Int64("after_entry", r.cursor), zap.Error(err))
		r.counts.Failures++
		r.counts.LastError, r.counts.LastFailure = err.Error(), time.Now()
	}
	return n, err
}

func (r *Runner) deliver(ctx context.Context) (int, error) {
	entries, err := r.opts.Journal.Entries(ctx, r.cursor, batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if time.Until(r.ours) < lease-patience {
		at, err := r.opts.Journal.LeaseSink(ctx, r.opts.Name, lease)
		if err != nil {
			r.ours = time.Time{}
			return 0, err
		}
		r.ours = time.Now().Add(lease)
		if at != r.cursor { // others delivered meanwhile, or this is the start
			r.cursor = at
			if entries, err = r.opts.Journal.Entries(ctx, at, batch); err != nil || len(entries) == 0 {
				return 0, err
			}
		}
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n, err := r.opts.Sink.Deliver(bounded, entries)
	if n == 0 {
		return 0, err
	}
	return n, errors.Join(err, r.advance(ctx, entries[n-1].Seq))
}

// advance moves the cursor, also when the runner is being cut: what was taken
// need not be delivered again.
func (r *Runner) advance(ctx context.Context, seq int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := r.opts.Journal.Delivered(ctx, r.opts.Name, seq, lease); err != nil {
		r.ours = time.Time{} // ask before going on
		return err
	}
	r.cursor, r.ours = seq, time.Now().Add(lease)
	return nil
}
