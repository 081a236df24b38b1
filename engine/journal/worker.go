package journal

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"
)

// worker adapts a handler to River.
type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]
	timeout time.Duration
	run     func(context.Context, A) error
}

// Timeout implements river.Worker.
func (w *worker[A]) Timeout(*river.Job[A]) time.Duration { return w.timeout }

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

func (j *Journal) runTask(ctx context.Context, task func(context.Context, int64) error, a taskArgs) error {
	t, err := taskByID(ctx, j.store.reader(), a.TaskID)
	if errors.Is(err, ErrNotFound) || err == nil && t.Round > a.Round {
		return nil // pruned, or another job's by now
	}
	if err != nil {
		return err
	}
	if err := task(ctx, a.TaskID); err != nil {
		return err
	}
	t, err = taskByID(ctx, j.store.reader(), a.TaskID)
	if errors.Is(err, ErrNotFound) || err == nil && t.Round > a.Round {
		return nil
	}
	if err == nil && !t.Status.Final() {
		return errNotEnded
	}
	return err
}
