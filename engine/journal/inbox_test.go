package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// delivered is an inbox with a push of app:v1, and its task.
func delivered(t *testing.T, j *journal.Journal) (tell func(), task journal.Task) {
	t.Helper()
	firing := journal.Firing{Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.EventBased, Lane: journal.Pushes}
	tell = func() {
		t.Helper()
		if _, err := j.Deliver(t.Context(), firing, []journal.Push{{Repository: "app", Tag: "v1", At: time.Now()}}); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	es, err := j.Executions(t.Context(), journal.ExecutionFilter{Policy: "p", Limit: 1})
	if err != nil || len(es) != 1 {
		t.Fatal(len(es), err)
	}
	tasks, err := j.Tasks(t.Context(), es[0].ID, 0, 0)
	if err != nil || len(tasks) != 1 {
		t.Fatal(len(tasks), err)
	}
	return tell, tasks[0]
}

// TestPutOffIsLifted: a tag that is pushed again is due, however long it has
// waited, and its latency counts from then.
func TestPutOffIsLifted(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		tell, task := delivered(t, j)
		hour := time.Hour.Microseconds()
		if err := j.Exec(t.Context(), `UPDATE pushes SET received_at = received_at - $1, pushed_at = pushed_at - $1, due_at = due_at + $1`, hour); err != nil {
			t.Fatal(err)
		}
		if due, err := j.Due(t.Context(), task.ID, 10); err != nil || len(due) != 0 {
			t.Fatal(due, err)
		}
		tell()
		due, err := j.Due(t.Context(), task.ID, 10)
		if err != nil || len(due) != 1 || due[0].Told != 1 || time.Since(due[0].At) > time.Minute {
			t.Errorf("due are %+v, %v", due, err)
		}
	})
}

// TestWokenTasksAreAwake: while the job of a task that slept runs, what comes in
// is left to it.
func TestWokenTasksAreAwake(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		tell, task := delivered(t, j)
		due, err := j.Due(t.Context(), task.ID, 10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Settle(t.Context(), task.ID, []journal.Settled{{Delivered: due[0], Again: time.Now().Add(time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := j.StartTask(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		tell()
		if now, _, err := j.StartTask(t.Context(), task.ID); err != nil || now.Round != 0 {
			t.Errorf("round %d, %v: another job was called", now.Round, err)
		}
	})
}

// TestOldRoundsEndNothing: a job that is discarded after another has taken its
// place leaves the task to that.
func TestOldRoundsEndNothing(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		tell, task := delivered(t, j)
		failed, goOn := make(chan struct{}, 1), make(chan struct{})
		if err := j.Exec(t.Context(), `UPDATE river_job SET attempt = 24`); err != nil {
			t.Fatal(err)
		}
		err := j.StartJobs(t.Context(), journal.Handlers{
			Walk: func(context.Context, int64) error { return nil },
			Task: func(ctx context.Context, id int64) error {
				select {
				case failed <- struct{}{}: // the first round
					<-goOn
					return errors.New("no luck")
				default:
					return journal.Again{After: time.Hour}
				}
			},
		}, journal.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-failed:
		case <-time.After(patience):
			t.Fatal("the job did not begin")
		}
		if err := j.Exec(t.Context(), `UPDATE tasks SET wake_at = 1`); err != nil { // as if it slept
			t.Fatal(err)
		}
		tell()
		close(goOn)
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for begin := time.Now(); ; <-look.C {
			n, err := j.Count(t.Context(), `SELECT COUNT(*) FROM river_job WHERE state = 'discarded'`)
			if err != nil || time.Since(begin) > patience {
				t.Fatal(n, err)
			}
			if n == 1 {
				break
			}
		}
		if now, _, err := j.StartTask(t.Context(), task.ID); err != nil || now.Status.Final() || now.Round != 1 {
			t.Errorf("the task is %+v, %v", now, err)
		}
		if n, _, err := j.Waiting(t.Context()); err != nil || n != 1 {
			t.Errorf("%d pushes wait, %v, want 1", n, err)
		}
	})
}
