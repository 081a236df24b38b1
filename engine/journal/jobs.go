package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
)

// Handlers do the work. They must be idempotent: a job runs again after a
// crash, and in the worst case twice at a time.
//
// A handler that returns an error or panics is run again after 1, 2, 4, …
// seconds (at most a minute), 25 times in all; then its task or execution
// Failed with ReasonJobDiscarded. When its context ends because the jobs are
// being stopped, whatever it returns makes it run again at the next start.
type Handlers struct {
	// Walk finds the repositories of an execution. It calls EndWalk or
	// EndExecution before it returns nil.
	Walk func(ctx context.Context, executionID int64) error
	// Task carries out one repository. It calls EndTask, or lets Settle end the
	// task, before it returns nil.
	Task func(ctx context.Context, taskID int64) error
}

// Again is the error by which a handler asks to be run again, because its time
// slice is over or because it has to wait. It is not a failure.
type Again struct {
	// After is how long to wait at least. Zero: behind the jobs that wait now.
	After time.Duration
}

func (a Again) Error() string { return fmt.Sprintf("again after %s", a.After) }

// JobOptions say how much is done at a time.
type JobOptions struct {
	// PushWorkers, LiveWorkers and BacklogWorkers are how many jobs of a lane this
	// process runs at a time. They are separate, so that no lane waits behind
	// another. Defaults 4, 4 and 8.
	PushWorkers, LiveWorkers, BacklogWorkers int
	// Slice is how long a handler works before it returns Again, so that
	// everybody gets a turn. Default 1 minute.
	Slice time.Duration
	// Grace is what a handler then has to end the artifact it has begun: its
	// context ends after Slice + Grace. Default 1 minute.
	//
	// The tasks of a replica that died are taken over after Slice + Grace, and
	// its walks after WalkTimeout; the embedded database takes up at its start
	// what its process left behind. Nobody can tell a dead replica from one that
	// is slow, so a handler that works on after its context ended may run twice
	// at a time.
	Grace time.Duration
	// WalkTimeout is how long Handlers.Walk may take: its context ends then. A
	// walk is not sliced, because a listing of repositories cannot be continued.
	// Default 30 minutes.
	WalkTimeout time.Duration
}

const (
	defaultPushWorkers    = 4
	defaultLiveWorkers    = 4
	defaultBacklogWorkers = 8
	defaultSlice          = time.Minute
	defaultGrace          = time.Minute
	defaultWalkTimeout    = 30 * time.Minute
	// rescueGrace keeps River from rescuing a job that is just ending.
	rescueGrace = 5 * time.Second
	// embeddedRescue is when River rescues jobs of the embedded database, where
	// a job that runs is our own and no replica can have died: in effect never,
	// but for one whose end could not be written.
	embeddedRescue = 24 * time.Hour
	// pollInterval bounds how long a job waits whose notification got lost, and
	// is how fine Again and retries are timed.
	pollInterval = 250 * time.Millisecond
	// fetchCooldown is the least time between two fetches of a queue.
	fetchCooldown = 10 * time.Millisecond
	// keepDone is how long River keeps jobs that are done. The journal has its
	// own history.
	keepDone = time.Hour
)

func (o JobOptions) withDefaults() JobOptions {
	if o.PushWorkers <= 0 {
		o.PushWorkers = defaultPushWorkers
	}
	if o.LiveWorkers <= 0 {
		o.LiveWorkers = defaultLiveWorkers
	}
	if o.BacklogWorkers <= 0 {
		o.BacklogWorkers = defaultBacklogWorkers
	}
	if o.Slice <= 0 {
		o.Slice = defaultSlice
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.WalkTimeout <= 0 {
		o.WalkTimeout = defaultWalkTimeout
	}
	return o
}

// workers is what StartJobs started.
type workers struct {
	client jobClient
	cancel context.CancelFunc // stops the sweeper
	wg     sync.WaitGroup
}

// StartJobs begins to work jobs and returns. ctx bounds only the start; the
// jobs go on until StopJobs. After StopJobs it may be called again.
func (j *Journal) StartJobs(ctx context.Context, h Handlers, o JobOptions) error {
	if j.queue == nil {
		return ErrReadOnly
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running != nil {
		return errors.New("jobs are already running")
	}
	if err := j.recoverJobs(ctx); err != nil {
		return fmt.Errorf("starting jobs: %w", err)
	}
	if err := j.sweep(ctx); err != nil {
		return fmt.Errorf("starting jobs: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	client, err := j.queue.start(ctx, j.riverConfig(h, o.withDefaults()))
	if err != nil {
		return fmt.Errorf("starting jobs: %w", err)
	}
	w := &workers{client: client}
	ctx, w.cancel = context.WithCancel(ctx)
	w.wg.Go(func() { j.sweepLoop(ctx) })
	j.running = w
	return nil
}

// StopJobs stops taking jobs and waits for those that run. When ctx ends their
// contexts are cancelled, and StopJobs waits on until the handlers returned.
// Their jobs run again at the next start. Without running jobs it does nothing.
// After an error the jobs count as running, and StopJobs may be called again.
func (j *Journal) StopJobs(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.running
	if w == nil {
		return nil
	}
	err := w.client.Stop(ctx)
	if err != nil && ctx.Err() != nil {
		err = w.client.StopAndCancel(context.WithoutCancel(ctx))
	}
	if err != nil {
		return fmt.Errorf("stopping jobs: %w", err)
	}
	w.cancel()
	w.wg.Wait()
	j.running = nil
	return nil
}

// rescueAfter is when River takes a job that still runs for one whose replica
// died. Of a walk River waits for its own, longer timeout first.
func (j *Journal) rescueAfter(timeout time.Duration) time.Duration {
	after := timeout + rescueGrace
	if j.embedded() {
		after = max(after, embeddedRescue)
	}
	return after
}

func (j *Journal) riverConfig(h Handlers, o JobOptions) *river.Config {
	timeout := o.Slice + o.Grace
	ws := river.NewWorkers()
	river.AddWorker(ws, &worker[walkArgs]{timeout: o.WalkTimeout, run: func(ctx context.Context, a walkArgs) error {
		return j.runWalk(ctx, h.Walk, a.ExecutionID)
	}})
	river.AddWorker(ws, &worker[taskArgs]{timeout: timeout, run: func(ctx context.Context, a taskArgs) error {
		return j.runTask(ctx, h.Task, a)
	}})
	return &river.Config{
		CompletedJobRetentionPeriod: keepDone,
		ErrorHandler:                undertaker{j},
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           pollInterval,
		JobTimeout:                  timeout,
		Logger:                      slogTo(j.log),
		Queues: map[string]river.QueueConfig{
			string(Pushes):  {MaxWorkers: o.PushWorkers},
			string(Live):    {MaxWorkers: o.LiveWorkers},
			string(Backlog): {MaxWorkers: o.BacklogWorkers},
		},
		RescueStuckJobsAfter: j.rescueAfter(timeout),
		RetryPolicy:          backOff{},
		Workers:              ws,
	}
}
