package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
)

type ctxJob = context.Context

// walkNothing is a walk that finds no repository.
func walkNothing(j *journal.Journal, walked chan<- int64) func(ctxJob, int64) error {
	return func(ctx ctxJob, id int64) error {
		if _, err := j.StartExecution(ctx, id); err != nil {
			return err
		}
		defer func() { walked <- id }()
		return j.EndWalk(ctx, id)
	}
}

// endTask is a task that ends at once.
func endTask(j *journal.Journal, ended chan<- int64) func(ctxJob, int64) error {
	return func(ctx ctxJob, id int64) error {
		if _, _, err := j.StartTask(ctx, id); err != nil {
			return err
		}
		defer func() { ended <- id }()
		return j.EndTask(ctx, id, journal.Succeed, "", "")
	}
}

func testJobs(t *testing.T, j *journal.Journal) {
	const n = 20
	ended := make(chan int64, n)
	work(t, j, journal.Handlers{
		Walk: func(ctx ctxJob, id int64) error {
			if _, err := j.StartExecution(ctx, id); err != nil {
				return err
			}
			for i := range n {
				if err := j.AddTasks(ctx, id, []string{fmt.Sprint("r", i)}); err != nil {
					return err
				}
			}
			return j.EndWalk(ctx, id)
		},
		Task: endTask(j, ended),
	}, journal.JobOptions{})
	e := fire(t, j, manual(), journal.Created)
	for range n {
		receive(t, ended)
	}
	// The walk may end after the last task; the next execution shows it did.
	next := make(chan int64, 1)
	stopNow(t, j)
	work(t, j, journal.Handlers{Walk: walkNothing(j, next)}, journal.JobOptions{})
	fire(t, j, manual(), journal.Created)
	receive(t, next)
	e.Status, e.Tasks = journal.Succeed, n
	wantExecution(t, j, e)
}

func testAgain(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "a")
	ended := make(chan int64, 1)
	var runs atomic.Int64
	work(t, j, journal.Handlers{
		Walk: func(ctxJob, int64) error { return nil },
		Task: func(ctx ctxJob, id int64) error {
			if runs.Add(1) < 4 {
				return fmt.Errorf("its slice is over: %w", journal.Again{After: time.Millisecond})
			}
			return endTask(j, ended)(ctx, id)
		},
	}, journal.JobOptions{})
	if id := receive(t, ended); id != tasks[0].ID || runs.Load() != 4 {
		t.Fatalf("task %d ended after %d runs", id, runs.Load())
	}
}

// testRetry: neither an error nor a panic stops the others or itself for good.
func testRetry(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "errors", "panics", "fine")
	ended := make(chan int64, len(tasks))
	var failed, panicked atomic.Bool
	work(t, j, journal.Handlers{
		Walk: func(ctxJob, int64) error { return nil },
		Task: func(ctx ctxJob, id int64) error {
			switch {
			case id == tasks[0].ID && failed.CompareAndSwap(false, true):
				return errors.New("not this time")
			case id == tasks[1].ID && panicked.CompareAndSwap(false, true):
				panic("not this time")
			}
			return endTask(j, ended)(ctx, id)
		},
	}, journal.JobOptions{})
	if id := receive(t, ended); id != tasks[2].ID {
		t.Fatalf("task %d ended first", id)
	}
	receive(t, ended)
	receive(t, ended)
}

// testNotEnded: a handler that forgets to end its work is run again.
func testNotEnded(t *testing.T, j *journal.Journal) {
	begun(t, j, "a")
	fired := fire(t, j, journal.Firing{Policy: "other", Lane: journal.Live}, journal.Created)
	ended, walked := make(chan int64, 1), make(chan int64, 1)
	var taskRuns, walkRuns atomic.Int64
	work(t, j, journal.Handlers{
		Walk: func(ctx ctxJob, id int64) error {
			if id != fired.ID || walkRuns.Add(1) == 1 {
				return nil
			}
			return walkNothing(j, walked)(ctx, id)
		},
		Task: func(ctx ctxJob, id int64) error {
			if taskRuns.Add(1) == 1 {
				return nil
			}
			return endTask(j, ended)(ctx, id)
		},
	}, journal.JobOptions{})
	receive(t, ended)
	receive(t, walked)
}

// testLanes: live work goes on while backlog fills all its workers.
func testLanes(t *testing.T, j *journal.Journal) {
	backlog, live := make(chan int64, 8), make(chan int64, 1)
	release := make(chan struct{})
	work(t, j, journal.Handlers{Walk: func(ctx ctxJob, id int64) error {
		e, err := j.StartExecution(ctx, id)
		if err != nil {
			return err
		}
		if e.Lane == journal.Live {
			return walkNothing(j, live)(ctx, id)
		}
		backlog <- id
		<-release
		return j.EndWalk(ctx, id)
	}}, journal.JobOptions{LiveWorkers: 1, BacklogWorkers: 2})
	defer close(release)
	for i := range 4 {
		fire(t, j, journal.Firing{Policy: fmt.Sprint("b", i), Lane: journal.Backlog}, journal.Created)
	}
	receive(t, backlog)
	receive(t, backlog)
	e := fire(t, j, manual(), journal.Created)
	if id := receive(t, live); id != e.ID {
		t.Fatalf("execution %d walked in the live lane, want %d", id, e.ID)
	}
	if len(backlog) > 0 {
		t.Fatal("three jobs run on two backlog workers")
	}
}

// testStop: a handler is waited for, then cancelled; its job is not lost.
func testStop(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "a")
	started, cancelled := make(chan struct{}), make(chan struct{})
	work(t, j, journal.Handlers{
		Walk: func(ctxJob, int64) error { return nil },
		Task: func(ctx ctxJob, _ int64) error {
			close(started)
			<-ctx.Done()
			close(cancelled)
			return ctx.Err()
		},
	}, journal.JobOptions{})
	receive(t, started)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- j.StopJobs(ctx) }()
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a running handler: %v", err)
	case <-cancelled:
		t.Fatal("cancelled before its time")
	case <-time.After(300 * time.Millisecond): // nothing happens
	}
	cancel()
	receive(t, cancelled)
	must(t, receive(t, stopped))
	ended := make(chan int64, 1)
	work(t, j, journal.Handlers{Walk: func(ctxJob, int64) error { return nil }, Task: endTask(j, ended)}, journal.JobOptions{})
	if id := receive(t, ended); id != tasks[0].ID {
		t.Fatalf("task %d ended", id)
	}
}

func testTwice(t *testing.T, j *journal.Journal) {
	walked := make(chan int64, 1)
	h := journal.Handlers{Walk: walkNothing(j, walked)}
	must(t, j.StopJobs(t.Context()))
	for range 2 {
		must(t, j.StartJobs(t.Context(), h, journal.JobOptions{}))
		if err := j.StartJobs(t.Context(), h, journal.JobOptions{}); err == nil {
			t.Fatal("started jobs that run")
		}
		fire(t, j, manual(), journal.Created)
		receive(t, walked)
		must(t, j.StopJobs(t.Context()), j.StopJobs(t.Context()))
	}
}

// testTimeouts: a walk has more time than a slice of a task.
func testTimeouts(t *testing.T, j *journal.Journal) {
	const short, long = time.Minute, time.Hour
	e := fire(t, j, manual(), journal.Created)
	must(t, j.AddTasks(t.Context(), e.ID, []string{"a"}))
	walk, task := make(chan time.Duration, 1), make(chan time.Duration, 1)
	handler := func(left chan time.Duration) func(ctxJob, int64) error {
		return func(ctx ctxJob, _ int64) error {
			deadline, ok := ctx.Deadline()
			if !ok {
				return errors.New("a job without deadline")
			}
			left <- time.Until(deadline)
			return journal.Again{After: time.Hour}
		}
	}
	work(t, j, journal.Handlers{Walk: handler(walk), Task: handler(task)},
		journal.JobOptions{Slice: short / 2, Grace: short / 2, WalkTimeout: long})
	if d := receive(t, task); d > short {
		t.Errorf("a task has %v, want %v", d, short)
	}
	if d := receive(t, walk); d <= short || d > long {
		t.Errorf("a walk has %v, want %v", d, long)
	}
}
