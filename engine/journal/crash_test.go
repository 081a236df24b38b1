package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

const (
	// childState makes the test binary work on the journal it names, see
	// runChild.
	childState = "JOURNAL_TEST_CHILD_STATE"
	// crashTasks is how many tasks there are; crashWorkers of them run when
	// the child is killed.
	crashTasks, crashWorkers = 12, 5
	patience                 = 3 * time.Minute
)

// crashJobs lets jobs of a killed process be taken over soon. On a machine that is
// busy with other things a job may not be done in that time; then it is tried again.
func crashJobs() journal.JobOptions {
	return journal.JobOptions{LiveWorkers: crashWorkers, Slice: time.Second, Grace: 5 * time.Second, WalkTimeout: 6 * time.Second}
}

// runChild begins tasks and never ends them. It prints a line for each.
func runChild(state string) {
	ctx := context.Background()
	j, err := journal.Open(ctx, journal.Options{State: state})
	if err == nil {
		err = j.StartJobs(ctx, journal.Handlers{
			Walk: func(ctx context.Context, id int64) error { return walkAll(ctx, j, id) },
			Task: func(ctx context.Context, id int64) error {
				task, _, err := j.StartTask(ctx, id)
				if err != nil {
					return err
				}
				s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: id, Repository: task.Repository, Digest: "sha256:1"}
				if _, err := j.Begin(ctx, "prod", s, []journal.Record{{Policy: "p"}}, time.Second); err != nil {
					return err
				}
				fmt.Println("begun", id)
				select {} // until killed
			},
		}, crashJobs())
	}
	if err == nil {
		_, _, err = j.Fire(ctx, journal.Firing{Policy: "p", Lane: journal.Live})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

func walkAll(ctx context.Context, j *journal.Journal, id int64) error {
	if _, err := j.StartExecution(ctx, id); err != nil {
		return err
	}
	var names []string
	for i := range crashTasks {
		names = append(names, fmt.Sprint("r", i))
	}
	if err := j.AddTasks(ctx, id, names); err != nil {
		return err
	}
	return j.EndWalk(ctx, id)
}

// crash runs a child until all its workers are busy, and kills it.
func crash(t *testing.T, state string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), childState+"="+state), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; n < crashWorkers; {
		if !lines.Scan() {
			t.Fatalf("the child ended: %v", cmd.Wait())
		}
		if strings.HasPrefix(lines.Text(), "begun ") {
			n++
		} else {
			t.Log(lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
}

// childSigns makes the child sign for ever instead, see signForEver.
const childSigns = "JOURNAL_TEST_CHILD_SIGNS"

// signForEver ends claims as fast as several writers can, and prints a line for
// each.
func signForEver(state string) {
	ctx := context.Background()
	j, err := journal.Open(ctx, journal.Options{State: state})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := range 4 {
		go func() {
			for k := 0; ; k++ {
				s := journal.Subtask{ExecutionID: 1, TaskID: 1, Repository: "r", Digest: fmt.Sprintf("sha256:%d-%d", i, k)}
				c, err := j.Begin(ctx, "prod", s, []journal.Record{{Policy: "p"}, {Policy: "p"}}, time.Minute)
				if err == nil {
					c.Subtask.Status, c.Records[0].State, c.Records[1].State = journal.Succeed, journal.Signed, journal.Broken
					err = j.End(ctx, c)
				}
				if err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				fmt.Println("begun", k)
			}
		}()
	}
	select {}
}

// TestCrashKeepsTheChain: whenever a process is killed, there is an entry for
// each record that is final, and none for one that is not.
func TestCrashKeepsTheChain(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where := state(t)
			j := openTest(t, journal.Options{State: where})
			firedTask(t, j, "p")
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			for round := range 5 {
				crash(t, where, childSigns+"=1")
				j := openTest(t, journal.Options{State: where})
				report, err := j.VerifyChain(t.Context())
				if err != nil || report.Fault != nil || report.Entries < crashWorkers {
					t.Errorf("after crash %d: %+v, %v", round+1, report, err)
				}
				final, err := j.Count(t.Context(), `SELECT COUNT(*) FROM records WHERE state <> 'signing'`)
				if err != nil || final != report.Entries {
					t.Errorf("after crash %d: %d records are final, the chain has %d entries, %v", round+1, final, report.Entries, err)
				}
				// What was claimed is free for the next child.
				if err := j.Exec(t.Context(), `UPDATE claims SET expires_at = 0`); err != nil {
					t.Fatal(err)
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		state := t.TempDir()
		crash(t, state)
		resume(t, state) // the queue's rescuer would come after a day
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		state := journaltest.Postgres(t)
		crash(t, state)
		resume(t, state)
	})
}

// resume carries out what a killed process left behind.
func resume(t *testing.T, state string) {
	j := openTest(t, journal.Options{State: state, Log: zaptest.NewLogger(t)}) // with the failures of jobs
	begin := time.Now()
	ended := make(chan int64, 25*crashTasks) // once for each try, at most
	err := j.StartJobs(t.Context(), journal.Handlers{
		Walk: func(ctx context.Context, id int64) error { return walkAll(ctx, j, id) },
		Task: func(ctx context.Context, id int64) error {
			if err := carryOut(ctx, j, id); err != nil {
				return err // and again
			}
			ended <- id
			return nil
		},
	}, crashJobs())
	if err != nil {
		t.Fatal(err)
	}
	late := time.After(patience)
	for tasks := map[int64]bool{}; len(tasks) < crashTasks; {
		select {
		case id := <-ended:
			tasks[id] = true
		case <-late:
			t.Fatal("work was lost")
		}
	}
	t.Logf("all work was done %v after the journal was opened", time.Since(begin).Round(time.Millisecond))
	es, err := j.Executions(t.Context(), journal.ExecutionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if e := es[0]; len(es) != 1 || e.Status != journal.Succeed || e.Tasks != crashTasks || e.Counts.Succeed != crashTasks {
		t.Fatalf("executions: %+v", es)
	}
	rs, err := j.Records(t.Context(), journal.RecordFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, r := range rs {
		states[string(r.State)+" "+r.Reason]++
	}
	if states["signed "] != crashTasks || states["failed interrupted"] != crashWorkers || len(states) != 2 {
		t.Fatalf("records: %v", states)
	}
	report, err := j.VerifyChain(t.Context())
	if err != nil || report.Fault != nil || report.Entries != crashTasks+crashWorkers {
		t.Fatalf("chain: %+v, %v", report, err)
	}
}

// carryOut signs the one artifact of a task.
func carryOut(ctx context.Context, j *journal.Journal, id int64) error {
	task, e, err := j.StartTask(ctx, id)
	if err != nil {
		return err
	}
	s := journal.Subtask{ExecutionID: e.ID, TaskID: id, Repository: task.Repository, Digest: "sha256:1"}
	_, seen, err := j.Seen(ctx, e.ID, s.Repository, s.Digest)
	if err != nil {
		return err
	}
	if !seen {
		c, err := j.Begin(ctx, "prod", s, []journal.Record{{Policy: "p"}}, time.Minute)
		if err != nil {
			return err
		}
		c.Subtask.Status, c.Subtask.Reason, c.Records[0].State = journal.Succeed, "signed", journal.Signed
		if err := j.End(ctx, c); err != nil {
			return err
		}
	}
	return j.EndTask(ctx, id, journal.Succeed, "", "")
}

// replica carries out tasks and says which.
func replica(t *testing.T, state string, runs chan<- int64, share *atomic.Int64) *journal.Journal {
	t.Helper()
	j := openTest(t, journal.Options{State: state})
	err := j.StartJobs(t.Context(), journal.Handlers{
		Walk: func(context.Context, int64) error { return nil },
		Task: func(ctx context.Context, id int64) error {
			share.Add(1)
			defer func() { runs <- id }()
			return carryOut(ctx, j, id)
		},
	}, journal.JobOptions{LiveWorkers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestReplicas: two processes on one database, here two journals, carry out
// each task once and fire each tick once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	const tasks = 60
	state := journaltest.PostgresJournal(t)
	runs := make(chan int64, 2*tasks)
	var share [2]atomic.Int64
	var replicas [2]*journal.Journal
	for i := range replicas {
		replicas[i] = replica(t, state, runs, &share[i])
	}
	e, result, err := replicas[0].Fire(t.Context(), journal.Firing{Policy: "p", Tick: time.Unix(7, 0), Lane: journal.Live})
	if err != nil || result != journal.Created {
		t.Fatal(result, err)
	}
	same, result, err := replicas[1].Fire(t.Context(), journal.Firing{Policy: "p", Tick: time.Unix(7, 0), Lane: journal.Live})
	if err != nil || result != journal.Duplicate || same.ID != e.ID {
		t.Fatal(result, err)
	}
	for i := range tasks {
		if err := replicas[i%2].AddTasks(t.Context(), e.ID, []string{fmt.Sprint("r", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := replicas[1].EndWalk(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for range tasks {
		select {
		case id := <-runs:
			if seen[id] {
				t.Fatalf("task %d was carried out twice", id)
			}
			seen[id] = true
		case <-time.After(patience):
			t.Fatal("work was lost")
		}
	}
	if share[0].Load() == 0 || share[1].Load() == 0 {
		t.Errorf("one replica did all: %d and %d", share[0].Load(), share[1].Load())
	}
	got, err := replicas[0].Execution(t.Context(), e.ID)
	if err != nil || got.Status != journal.Succeed || got.Counts.Succeed != tasks {
		t.Fatalf("%+v, %v", got, err)
	}
}
