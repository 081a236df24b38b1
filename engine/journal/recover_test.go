package journal_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestRescueAfter: the embedded database never takes a job away from its own
// process; replicas do so soon, but not before the job's time is over.
func TestRescueAfter(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		soon, never := 3*time.Minute, 24*time.Hour
		for _, o := range []journal.JobOptions{{}, {Slice: time.Hour, Grace: time.Hour}, {Slice: 24 * time.Hour}} {
			timeout := cmp.Or(o.Slice, time.Minute) + cmp.Or(o.Grace, time.Minute)
			got := j.RescueAfter(o)
			if got <= timeout {
				t.Errorf("rescued after %v, but a task may take %v", got, timeout)
			}
			if isPostgres(t) && got > timeout+soon {
				t.Errorf("the work of a dead replica waits for %v", got)
			}
			if !isPostgres(t) && got < never {
				t.Errorf("the process's own work is rescued after %v", got)
			}
		}
	})
}

// isPostgres tells the subtests of databases apart.
func isPostgres(t *testing.T) bool { return strings.HasSuffix(t.Name(), "/postgres") }

// stuck makes all jobs look as if a process worked them that died long ago.
const stuck = `UPDATE river_job SET state = 'running', attempt = 25, attempted_at = `

// TestRecoverJobs: a killed process costs no attempt, not even the last one.
func TestRecoverJobs(t *testing.T) {
	t.Parallel()
	const waiting = `SELECT COUNT(*) FROM river_job WHERE state = 'available' AND attempt = `
	state := journaltest.SQLiteJournal(t)
	j := openTest(t, journal.Options{State: state})
	firedTask(t, j, "p")
	wantCount(t, j, waiting+"0", 2)
	if err := errors.Join(j.Exec(t.Context(), stuck+`datetime('now', '-1 day')`), j.Close()); err != nil {
		t.Fatal(err)
	}
	j = openTest(t, journal.Options{State: state})
	wantCount(t, j, waiting+"24", 2)

	// A job whose end could not be written is recovered without a new process.
	err := errors.Join(j.Exec(t.Context(), stuck+`datetime('now')`),
		j.Exec(t.Context(), `UPDATE river_job SET attempt = 0 WHERE kind = 'sealwright_walk'`))
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{}, 2)
	again := func(context.Context, int64) error {
		ran <- struct{}{}
		return journal.Again{After: time.Hour}
	}
	if err := j.StartJobs(t.Context(), journal.Handlers{Walk: again, Task: again}, journal.JobOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-ran:
		case <-time.After(patience):
			t.Fatal("a job is stuck")
		}
	}
	if err := j.StopJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, j, `SELECT COUNT(*) FROM river_job WHERE kind = 'sealwright_task' AND attempt = 24`, 1)
	wantCount(t, j, `SELECT COUNT(*) FROM river_job WHERE kind = 'sealwright_walk' AND attempt = 0`, 1)
}

// TestTakeOver: the tasks of a dead replica are taken over when their time is
// over; a walk has more time.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	j := openTest(t, journal.Options{State: journaltest.PostgresJournal(t)})
	_, task := firedTask(t, j, "p")
	if err := j.Exec(t.Context(), `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '10 minutes'`); err != nil {
		t.Fatal(err)
	}
	ran := make(chan int64, 1)
	err := j.StartJobs(t.Context(), journal.Handlers{
		Walk: func(context.Context, int64) error {
			t.Error("a walk was run twice at a time")
			return journal.Again{After: time.Hour}
		},
		Task: func(_ context.Context, id int64) error {
			ran <- id
			return journal.Again{After: time.Hour}
		},
	}, journal.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-ran:
		if id != task.ID {
			t.Fatalf("task %d ran, want %d", id, task.ID)
		}
	case <-time.After(patience):
		t.Fatal("the task of a dead replica is stuck")
	}
	wantCount(t, j, `SELECT COUNT(*) FROM river_job WHERE kind = 'sealwright_walk' AND state = 'running'`, 1)
}

func wantCount(t *testing.T, j *journal.Journal, sql string, want int64) {
	t.Helper()
	if n, err := j.Count(t.Context(), sql); err != nil || n != want {
		t.Fatalf("%d, %v, want %d: %s", n, err, want, sql)
	}
}

// TestStopFails: jobs that could not be stopped can be stopped again.
func TestStopFails(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		again := func(context.Context, int64) error { return journal.Again{After: time.Hour} }
		h := journal.Handlers{Walk: again, Task: again}
		if err := j.StartJobs(t.Context(), h, journal.JobOptions{}); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		j.FailStop(broken)
		if err := j.StopJobs(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("stopped: %v", err)
		}
		if err := j.StartJobs(t.Context(), h, journal.JobOptions{}); err == nil {
			t.Fatal("started jobs that were not stopped")
		}
		if err := j.StopJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := j.StartJobs(t.Context(), h, journal.JobOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPrunedMeanwhile: nothing is claimed if the subtask is pruned between two
// statements, which a trigger does here.
func TestPrunedMeanwhile(t *testing.T) {
	t.Parallel()
	prune := map[bool][]string{
		false: {`CREATE TRIGGER gone BEFORE UPDATE ON subtasks BEGIN SELECT RAISE(IGNORE); END`},
		true: {
			`CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			`CREATE TRIGGER gone BEFORE UPDATE ON subtasks FOR EACH ROW EXECUTE FUNCTION gone()`,
		},
	}
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: "a", Digest: "sha256:1", Status: journal.InProgress}
		if err := j.PutSubtask(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for _, sql := range prune[isPostgres(t)] {
			if err := j.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.Begin(t.Context(), "prod", s, []journal.Record{{Policy: "p"}}, time.Hour); !errors.Is(err, journal.ErrNotFound) {
			t.Fatalf("claimed: %v", err)
		}
		wantCount(t, j, `SELECT COUNT(*) FROM claims`, 0)
		wantCount(t, j, `SELECT COUNT(*) FROM records`, 0)
		if err := j.Found(t.Context(), s, nil); !errors.Is(err, journal.ErrNotFound) {
			t.Fatalf("found: %v", err)
		}
	})
}
