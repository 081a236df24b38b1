package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.uber.org/zap"
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
	// Task carries out one repository. It calls EndTask before it returns nil.
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
	// LiveWorkers and BacklogWorkers are how many jobs of a lane this process
	// runs at a time. They are separate, so that live work never waits behind
	// backlog. Defaults 4 and 8.
	LiveWorkers, BacklogWorkers int
	// Slice is how long a handler works before it returns Again, so that
	// everybody gets a turn. Default 1 minute.
	Slice time.Duration
	// Grace is what a handler then has to end the artifact it has begun: its
	// context ends after Slice + Grace. The jobs of a replica that died are
	// taken over after that time. Default 1 minute.
	Grace time.Duration
}

const (
	defaultLiveWorkers    = 4
	defaultBacklogWorkers = 8
	defaultSlice          = time.Minute
	defaultGrace          = time.Minute
	// rescueGrace keeps River from rescuing a job that is just ending.
	rescueGrace = 5 * time.Second
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
func (j *Journal) StopJobs(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.running
	if w == nil {
		return nil
	}
	j.running = nil
	w.cancel()
	w.wg.Wait()
	if err := w.client.Stop(ctx); err != nil {
		if ctx.Err() == nil {
			return fmt.Errorf("stopping jobs: %w", err)
		}
		return w.client.StopAndCancel(context.WithoutCancel(ctx))
	}
	return nil
}

func (j *Journal) riverConfig(h Handlers, o JobOptions) *river.Config {
	timeout := o.Slice + o.Grace
	ws := river.NewWorkers()
	river.AddWorker(ws, &worker[walkArgs]{j: j, run: func(ctx context.Context, a walkArgs) error {
		return j.runWalk(ctx, h.Walk, a.ExecutionID)
	}})
	river.AddWorker(ws, &worker[taskArgs]{j: j, run: func(ctx context.Context, a taskArgs) error {
		return j.runTask(ctx, h.Task, a.TaskID)
	}})
	return &river.Config{
		CompletedJobRetentionPeriod: keepDone,
		ErrorHandler:                undertaker{j},
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           pollInterval,
		JobTimeout:                  timeout,
		Logger:                      slogTo(j.log),
		Queues: map[string]river.QueueConfig{
			string(Live):    {MaxWorkers: o.LiveWorkers},
			string(Backlog): {MaxWorkers: o.BacklogWorkers},
		},
		RescueStuckJobsAfter: timeout + rescueGrace,
		RetryPolicy:          backOff{},
		Workers:              ws,
	}
}

// worker adapts a handler to River.
type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]
	j   *Journal
	run func(context.Context, A) error
}

// Work implements river.Worker.
func (w *worker[A]) Work(ctx context.Context, job *river.Job[A]) error {
	if errors.Is(ctx.Err(), context.Canceled) { // fetched while the jobs were being stopped
		return river.JobSnooze(0)
	}
	err := w.run(ctx, job.Args)
	var again Again
	switch {
	case err == nil:
		return nil
	case errors.As(err, &again):
		return river.JobSnooze(max(again.After, 0))
	case errors.Is(ctx.Err(), context.Canceled): // stopped: no attempt is used up
		return river.JobSnooze(0)
	}
	return err
}

// errNotEnded is a bug of a handler; without it the execution would wait for
// ever.
var errNotEnded = errors.New("the handler returned before it ended its work")

func (j *Journal) runWalk(ctx context.Context, walk func(context.Context, int64) error, id int64) error {
	if err := walk(ctx, id); err != nil {
		return err
	}
	var walked, finished int64
	err := j.store.reader().queryRow(ctx, `SELECT walked, finished_at FROM executions WHERE id = $1`, id).Scan(&walked, &finished)
	if err = notFound(err); errors.Is(err, ErrNotFound) {
		return nil // pruned
	}
	if err == nil && walked == 0 && finished == 0 {
		return errNotEnded
	}
	return err
}

func (j *Journal) runTask(ctx context.Context, task func(context.Context, int64) error, id int64) error {
	if err := task(ctx, id); err != nil {
		return err
	}
	t, err := taskByID(ctx, j.store.reader(), id)
	if errors.Is(err, ErrNotFound) {
		return nil // pruned
	}
	if err == nil && !t.Status.Final() {
		return errNotEnded
	}
	return err
}

// undertaker ends what a job belongs to when the job failed for the last time.
type undertaker struct{ j *Journal }

// HandleError implements river.ErrorHandler.
func (u undertaker) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	u.j.log.Warn("job failed", zap.String("kind", job.Kind), zap.Int64("job", job.ID),
		zap.ByteString("args", job.EncodedArgs), zap.Int("attempt", job.Attempt), zap.Error(err))
	u.bury(ctx, job, err.Error())
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (u undertaker) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	u.j.log.Error("job panicked", zap.String("kind", job.Kind), zap.Int64("job", job.ID),
		zap.ByteString("args", job.EncodedArgs), zap.Int("attempt", job.Attempt),
		zap.Any("panic", value), zap.String("stack", trace))
	u.bury(ctx, job, fmt.Sprintf("panic: %v", value))
	return nil
}

// bury does nothing while there are attempts left. If it cannot write, the
// sweeper will do its work.
func (u undertaker) bury(ctx context.Context, job *rivertype.JobRow, detail string) {
	if job.Attempt < job.MaxAttempts {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	if err := u.j.failJob(ctx, job.Kind, job.EncodedArgs, detail); err != nil {
		u.j.log.Error("ending the work of a discarded job", zap.Int64("job", job.ID), zap.Error(err))
	}
}
