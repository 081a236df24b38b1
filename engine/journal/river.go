package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"go.uber.org/zap"
)

// A job is a row of the queue: an execution to walk or a task to carry out.
type job struct {
	args river.JobArgs
	lane Lane
	at   time.Time // not to be begun before; zero: now
}

// walkArgs is the job that finds an execution's repositories.
type walkArgs struct {
	ExecutionID int64 `json:"execution_id"`
}

// Kind names the job in the database.
func (walkArgs) Kind() string { return "sealwright_walk" }

// taskArgs is the job that carries out one repository.
type taskArgs struct {
	TaskID int64 `json:"task_id"`
	// Round tells the job of a task that was opened again, or called while it
	// slept, from the one before, which then does nothing.
	Round int64 `json:"round,omitempty"`
}

// Kind names the job in the database.
func (taskArgs) Kind() string { return "sealwright_task" }

const (
	maxAttempts = 25
	// Walks go first within a lane: they are what lets others see the work.
	walkPriority = 1
	taskPriority = 2
)

// insertOpts make a job unique as long as it is not done.
func insertOpts(j job) *river.InsertOpts {
	priority := taskPriority
	if _, ok := j.args.(walkArgs); ok {
		priority = walkPriority
	}
	return &river.InsertOpts{
		MaxAttempts: maxAttempts,
		Priority:    priority,
		Queue:       string(j.lane),
		ScheduledAt: j.at,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	}
}

// jobQueue is River on either database.
type jobQueue interface {
	// insert adds jobs in the transaction of q.
	insert(ctx context.Context, q querier, jobs ...job) error
	// start returns a client that works jobs until it is stopped.
	start(ctx context.Context, cfg *river.Config) (jobClient, error)
}

// jobClient stops working; see river.Client.
type jobClient interface {
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
}

// riverQueue is the one implementation; TTx is the transaction of a driver.
type riverQueue[TTx any] struct {
	driver  riverdriver.Driver[TTx]
	inserts *river.Client[TTx]
}

func newRiverQueue[TTx any](driver riverdriver.Driver[TTx], log *zap.Logger) (*riverQueue[TTx], error) {
	// The cooldown is how long an insert stays silent after the last one told
	// the workers; with River's default a job would wait for the next poll.
	c, err := river.NewClient(driver, &river.Config{Logger: slogTo(log), FetchCooldown: river.FetchCooldownMin})
	if err != nil {
		return nil, fmt.Errorf("opening the job queue: %w", err)
	}
	return &riverQueue[TTx]{driver, c}, nil
}

func (r *riverQueue[TTx]) insert(ctx context.Context, q querier, jobs ...job) error {
	tx, ok := q.(interface{ raw() TTx })
	if !ok {
		return errors.New("jobs are only inserted in a transaction")
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i] = river.InsertManyParams{Args: j.args, InsertOpts: insertOpts(j)}
	}
	if _, err := r.inserts.InsertManyTx(ctx, tx.raw(), params); err != nil {
		return fmt.Errorf("inserting jobs: %w", err)
	}
	return nil
}

func (r *riverQueue[TTx]) start(ctx context.Context, cfg *river.Config) (jobClient, error) {
	c, err := river.NewClient(r.driver, cfg)
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// backOff retries a failed job after 1, 2, 4, … seconds, at most a minute.
type backOff struct{}

// NextRetry implements river.ClientRetryPolicy.
func (backOff) NextRetry(j *rivertype.JobRow) time.Time {
	const most = time.Minute
	d := time.Second << min(len(j.Errors), 6)
	return time.Now().Add(min(d, most))
}
