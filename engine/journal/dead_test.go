package journal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// databases opens an empty journal on each database.
func databases(t *testing.T, test func(t *testing.T, j *journal.Journal)) {
	for name, state := range map[string]func(testing.TB) string{
		"sqlite":   journaltest.SQLiteJournal,
		"postgres": journaltest.PostgresJournal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, openTest(t, journal.Options{State: state(t), Log: zap.NewNop()}))
		})
	}
}

// TestDead: what a job belongs to Failed when the job failed for the last time.
func TestDead(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		walk, walkTask := firedTask(t, j, "walk fails")
		task, dead := firedTask(t, j, "task panics")
		if err := errors.Join(j.EndWalk(t.Context(), task.ID), j.Exec(t.Context(), `UPDATE river_job SET attempt = 24`)); err != nil {
			t.Fatal(err)
		}
		err := j.StartJobs(t.Context(), journal.Handlers{
			Walk: func(_ context.Context, id int64) error {
				if id == walk.ID {
					return errors.New("no such registry")
				}
				return nil
			},
			Task: func(_ context.Context, id int64) error {
				if id == dead.ID {
					panic("bug")
				}
				return journal.Again{After: time.Hour}
			},
		}, journal.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wantEnd(t, j, walk.ID, "Failed job_discarded no such registry")
		wantEnd(t, j, task.ID, "Failed repositories_failed 1 repositories failed")
		ts, err := j.Tasks(t.Context(), task.ID, 0, 0)
		if err != nil || ts[0].Reason != "job_discarded" || ts[0].Detail != "panic: bug" {
			t.Fatalf("%+v, %v", ts, err)
		}
		if ts, err = j.Tasks(t.Context(), walk.ID, 0, 0); err != nil || ts[0].ID != walkTask.ID || ts[0].Status != journal.Stopped {
			t.Fatalf("%+v, %v", ts, err)
		}
	})
}

// firedTask is an execution with one task.
func firedTask(t *testing.T, j *journal.Journal, policy string) (journal.Execution, journal.Task) {
	t.Helper()
	e, _, err := j.Fire(t.Context(), journal.Firing{Policy: policy, Lane: journal.Live})
	if err == nil {
		err = j.AddTasks(t.Context(), e.ID, []string{"a"})
	}
	if err != nil {
		t.Fatal(err)
	}
	ts, err := j.Tasks(t.Context(), e.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return e, ts[0]
}

// wantEnd waits until an execution has ended.
func wantEnd(t *testing.T, j *journal.Journal, id int64, want string) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for begin := time.Now(); time.Since(begin) < patience; <-look.C {
		e, err := j.Execution(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !e.Status.Final() {
			continue
		}
		if got := strings.Join([]string{string(e.Status), e.Reason, e.Detail}, " "); got != want {
			t.Fatalf("execution %d: %s, want %s", id, got, want)
		}
		return
	}
	t.Fatalf("execution %d has not ended", id)
}

// TestStopKeepsAttempts: being stopped is not a failure, not even at the last
// attempt.
func TestStopKeepsAttempts(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		if err := j.Exec(t.Context(), `UPDATE river_job SET attempt = 24`); err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		err := j.StartJobs(t.Context(), journal.Handlers{
			Walk: func(context.Context, int64) error { return journal.Again{After: time.Hour} },
			Task: func(ctx context.Context, _ int64) error {
				close(started)
				<-ctx.Done()
				return errors.New("reading the next page: context canceled")
			},
		}, journal.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := j.StopJobs(ctx); err != nil {
			t.Fatal(err)
		}
		ts, err := j.Tasks(t.Context(), task.ExecutionID, 0, 0)
		if err != nil || ts[0].Status.Final() {
			t.Fatalf("%+v, %v", ts, err)
		}
		n, err := j.Count(t.Context(), `SELECT COUNT(*) FROM river_job WHERE kind = 'sealwright_task' AND state = 'available' AND attempt = 24`)
		if err != nil || n != 1 {
			t.Fatalf("%d jobs wait for the next start, %v", n, err)
		}
	})
}

// TestInsertsNotify: a job that follows another one closely does not wait until
// the workers look by themselves.
func TestInsertsNotify(t *testing.T) {
	t.Parallel()
	j := openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})
	for i := range 5 {
		if _, _, err := j.Fire(t.Context(), journal.Firing{Policy: fmt.Sprint("p", i), Lane: journal.Live}); err != nil {
			t.Fatal(err)
		}
	}
	// One is what River's own cooldown would let through.
	n, err := j.Count(t.Context(), `SELECT COUNT(*) FROM river_notification WHERE topic = 'river_insert'`)
	if err != nil || n < 2 {
		t.Fatalf("%d notifications for 5 jobs, %v", n, err)
	}
}

// TestLost: work whose job is gone is ended, other work is left alone.
func TestLost(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		walk, _ := firedTask(t, j, "lost walk")
		task, _ := firedTask(t, j, "lost task")
		fine, _ := firedTask(t, j, "fine")
		waiting, _, err := j.Fire(t.Context(), journal.Firing{Policy: "fine"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.EndWalk(t.Context(), task.ID), j.Sweep(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, id := range []int64{walk.ID, task.ID, fine.ID, waiting.ID} {
			if e, err := j.Execution(t.Context(), id); err != nil || e.Status.Final() {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		err = errors.Join(
			j.Exec(t.Context(), `DELETE FROM river_job WHERE kind = 'sealwright_walk' AND CAST(args ->> 'execution_id' AS BIGINT) = $1`, walk.ID),
			j.Exec(t.Context(), `UPDATE river_job SET state = 'discarded', finalized_at = CURRENT_TIMESTAMP WHERE kind = 'sealwright_task'
				AND CAST(args ->> 'task_id' AS BIGINT) IN (SELECT id FROM tasks WHERE execution_id = $1)`, task.ID),
			j.Sweep(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		wantEnd(t, j, walk.ID, "Failed job_discarded its job is gone")
		wantEnd(t, j, task.ID, "Failed repositories_failed 1 repositories failed")
		if e, err := j.Execution(t.Context(), fine.ID); err != nil || e.Status != journal.Pending {
			t.Fatalf("%+v, %v", e, err)
		}
	})
}

// TestSweepRecords: a record whose claim's time is over is closed.
func TestSweepRecords(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		for digest, ttl := range map[string]time.Duration{"dead": -time.Second, "live": time.Hour} {
			s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: "a", Digest: digest}
			if _, err := j.Begin(t.Context(), "prod", s, []journal.Record{{Policy: "p"}}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for digest, want := range map[string]journal.RecordState{"dead": journal.Broken, "live": journal.Signing} {
			rs, err := j.Records(t.Context(), journal.RecordFilter{Digest: digest})
			if err != nil || len(rs) != 1 || rs[0].State != want {
				t.Errorf("%s: %+v, %v", digest, rs, err)
			}
		}
	})
}

// TestSweepBetweenTwoTimes: no claim is dropped whose record is left open, also
// not one that ends while the journal is swept.
func TestSweepBetweenTwoTimes(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{
		"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clock atomic.Int64 // each look at it takes a second
			clock.Store(time.Now().Unix())
			j := openTest(t, journal.Options{State: state(t), Log: zap.NewNop(), Now: func() time.Time { return time.Unix(clock.Add(1), 0) }})
			_, task := firedTask(t, j, "p")
			const claims = 20
			for i := range claims {
				s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: "a", Digest: fmt.Sprint(i)}
				if _, err := j.Begin(t.Context(), "prod", s, []journal.Record{{Policy: "p"}}, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			for end := clock.Load() + 120; clock.Load() < end; {
				if err := j.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantCount(t, j, `SELECT COUNT(*) FROM records WHERE state = 'signing'
					AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.digest = records.digest)`, 0)
			}
			wantCount(t, j, `SELECT COUNT(*) FROM claims`, 0)
			wantCount(t, j, `SELECT COUNT(*) FROM records WHERE reason = 'interrupted'`, claims)
		})
	}
}

// TestEndedIsTold: of each execution once, whichever way it ends.
func TestEndedIsTold(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{
		"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			ended := map[string]int{}
			j := openTest(t, journal.Options{State: state(t), Log: zap.NewNop(), Ended: func(e journal.Execution) {
				mu.Lock()
				defer mu.Unlock()
				ended[fmt.Sprint(e.Policy, " ", e.Status, " ", e.Reason, " ", !e.FinishedAt.IsZero())]++
			}})
			_, task := firedTask(t, j, "by its tasks")
			cut, _ := firedTask(t, j, "by hand")
			firedTask(t, j, "not at all")
			for range 2 {
				err := errors.Join(j.EndWalk(t.Context(), task.ExecutionID), j.EndTask(t.Context(), task.ID, journal.Succeed, "", ""),
					j.EndExecution(t.Context(), cut.ID, journal.Stopped, "policy_gone", ""))
				if err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]int{"by its tasks Succeed  true": 1, "by hand Stopped policy_gone true": 1}
			if d := cmp.Diff(want, ended); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDepth: what waits, and since when, and what is worked on, by lane; what sleeps
// does not wait.
func TestDepth(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		before := time.Now().Add(-time.Minute)
		_, task := firedTask(t, j, "p")
		e, _, err := j.Fire(t.Context(), journal.Firing{Policy: "q", Lane: journal.Backlog})
		if err == nil {
			err = j.AddTasks(t.Context(), e.ID, []string{"a", "b", "c"})
		}
		if err == nil {
			_, _, err = j.StartTask(t.Context(), task.ID)
		}
		push := journal.Firing{Policy: "r", Registry: "prod", Trigger: policy.EventBased, Lane: journal.Pushes}
		if err == nil {
			_, err = j.Deliver(t.Context(), push, []journal.Push{{Repository: "sleeps", Due: time.Now().Add(time.Hour)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := j.Depth(t.Context())
		if err != nil || len(got) != 3 || got[2].Oldest.Before(before) || got[2].Oldest.After(time.Now().Add(time.Minute)) {
			t.Fatalf("%+v, %v", got, err)
		}
		got[2].Oldest = time.Time{}
		want := []journal.LaneDepth{{Lane: journal.Pushes}, {Lane: journal.Live, Working: 1}, {Lane: journal.Backlog, Waiting: 3}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// TestPanicIsLogged: with its stack, under a constant message.
func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.ErrorLevel)
	j := openTest(t, journal.Options{State: journaltest.SQLiteJournal(t), Log: zap.New(core)})
	firedTask(t, j, "p")
	walked := make(chan struct{})
	again := false
	err := j.StartJobs(t.Context(), journal.Handlers{
		Task: func(context.Context, int64) error { return journal.Again{After: time.Hour} },
		Walk: func(ctx context.Context, id int64) error {
			if !again {
				again = true
				explode()
			}
			defer close(walked)
			return j.EndWalk(ctx, id)
		},
	}, journal.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-walked
	entries := logs.FilterMessage("job panicked").All()
	if len(entries) != 1 {
		t.Fatalf("logged: %v", logs.All())
	}
	if stack, _ := entries[0].ContextMap()["stack"].(string); !strings.Contains(stack, "explode") {
		t.Fatalf("stack: %s", stack)
	}
	if n := logs.FilterMessage("job queue").Len(); n == 0 {
		t.Fatal("the job queue's own log does not arrive")
	}
}

func explode() { panic("bug") }
