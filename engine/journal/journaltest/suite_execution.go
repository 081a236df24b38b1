package journaltest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
)

func testUnknown(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, err := j.Execution(ctx, 7)
	wantError(t, err, journal.ErrNotFound)
	_, err = j.StartExecution(ctx, 7)
	wantError(t, err, journal.ErrNotFound)
	_, _, err = j.StartTask(ctx, 7)
	wantError(t, err, journal.ErrNotFound)
	wantError(t, j.AddTasks(ctx, 7, []string{"a"}), journal.ErrNotFound)
	wantError(t, j.EndWalk(ctx, 7), journal.ErrNotFound)
	wantError(t, j.EndTask(ctx, 7, journal.Succeed, "", ""), journal.ErrNotFound)
	wantError(t, j.EndExecution(ctx, 7, journal.Stopped, "", ""), journal.ErrNotFound)
	_, err = j.SaveCursor(ctx, 7, "x", true)
	wantError(t, err, journal.ErrNotFound)
	if err := j.EndExecution(ctx, 7, journal.Pending, "", ""); err == nil {
		t.Fatal("ended an execution as Pending")
	}
	if err := j.EndTask(ctx, 7, journal.InProgress, "", ""); err == nil {
		t.Fatal("ended a task as InProgress")
	}
}

// ending is how a task ends, and with which artifacts.
type ending struct {
	status    journal.Status
	reason    string
	artifacts []journal.Status
}

func testOutcomes(t *testing.T, j *journal.Journal) {
	ok, bad, stop := journal.Succeed, journal.Failed, journal.Stopped
	for _, c := range []struct {
		name   string
		tasks  []ending
		status journal.Status
		reason string
	}{
		{"nothing to do", nil, ok, ""},
		{"all well", []ending{{ok, "", []journal.Status{ok, ok}}, {ok, "", nil}}, ok, ""},
		{"an artifact failed", []ending{{bad, "artifacts_failed", []journal.Status{ok, bad}}, {ok, "", nil}}, bad, "artifacts_failed"},
		{"an artifact failed in a task that did not", []ending{{ok, "", []journal.Status{bad}}}, bad, "artifacts_failed"},
		{"a repository failed", []ending{{bad, "no_access", nil}, {bad, "artifacts_failed", []journal.Status{bad}}}, bad, "repositories_failed"},
		{"stopped", []ending{{stop, "policy_disabled", nil}, {ok, "", []journal.Status{ok}}}, stop, ""},
		{"stopped and failed", []ending{{stop, "policy_disabled", nil}, {bad, "no_access", nil}}, bad, "repositories_failed"},
		{"an artifact left in progress", []ending{{ok, "", []journal.Status{journal.InProgress}}}, ok, ""},
	} {
		t.Run(c.name, func(t *testing.T) { testOutcome(t, j, c.tasks, c.status, c.reason) })
	}
}

func testOutcome(t *testing.T, j *journal.Journal, endings []ending, status journal.Status, reason string) {
	var names []string
	for i := range endings {
		names = append(names, string(rune('a'+i)))
	}
	want, tasks := begun(t, j, names...)
	want.Tasks = int64(len(endings))
	for i, e := range endings {
		want.Status = journal.InProgress
		for k, s := range e.artifacts {
			must(t, j.PutSubtask(t.Context(), artifact(tasks[i], string(rune('0'+k)), s, "because_"+string(s))))
			addCount(&want.Counts, s)
		}
		wantExecution(t, j, want)
		must(t, j.EndTask(t.Context(), tasks[i].ID, e.status, e.reason, "detail"))
		if n := want.Counts.InProgress; n > 0 {
			want.Counts = journal.Counts{Total: n, Stopped: n, Reasons: map[string]int64{"interrupted": n}}
		}
	}
	want.Status, want.Reason = status, reason
	wantExecution(t, j, want)
}

func addCount(c *journal.Counts, s journal.Status) {
	c.Total++
	switch s {
	case journal.Succeed:
		c.Succeed++
	case journal.Failed:
		c.Failed++
	case journal.InProgress:
		c.InProgress++
	}
	if c.Reasons == nil {
		c.Reasons = map[string]int64{}
	}
	c.Reasons["because_"+string(s)]++
}

// testLastTasks: however many tasks end at the same time, one of them is the
// last one.
func testLastTasks(t *testing.T, j *journal.Journal) {
	for range 20 {
		e, tasks := begun(t, j, "a", "b", "c", "d")
		var wg sync.WaitGroup
		for _, task := range tasks {
			wg.Go(func() {
				if err := j.EndTask(t.Context(), task.ID, journal.Succeed, "", ""); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		e.Status, e.Tasks = journal.Succeed, int64(len(tasks))
		wantExecution(t, j, e)
	}
}

func testForcedEnd(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a", "b", "c")
	waiting := fire(t, j, manual(), journal.Created)
	must(t, j.EndTask(ctx, tasks[0].ID, journal.Succeed, "", ""))
	_, _, err := j.StartTask(ctx, tasks[1].ID)
	must(t, err, j.EndExecution(ctx, e.ID, journal.Stopped, "policy_gone", "removed"))
	e.Status, e.Reason, e.Tasks = journal.Stopped, "policy_gone", 3
	wantExecution(t, j, e)
	got, err := j.Tasks(ctx, e.ID, 0, 0)
	must(t, err)
	for i, want := range []journal.Status{journal.Succeed, journal.Stopped, journal.Stopped} {
		if got[i].Status != want {
			t.Errorf("task %d is %s, want %s", i, got[i].Status, want)
		}
	}
	waiting.Status = journal.Pending
	wantExecution(t, j, waiting)

	// What is still running finds out, and changes nothing any more.
	wantError(t, j.AddTasks(ctx, e.ID, []string{"d"}), journal.ErrEnded)
	_, err = j.SaveCursor(ctx, tasks[1].ID, "x", true)
	wantError(t, err, journal.ErrEnded)
	task, _, err := j.StartTask(ctx, tasks[1].ID)
	must(t, err, j.EndWalk(ctx, e.ID), j.EndTask(ctx, tasks[1].ID, journal.Failed, "late", ""),
		j.EndExecution(ctx, e.ID, journal.Failed, "late", ""))
	if task.Status != journal.Stopped {
		t.Errorf("a stopped task starts as %s", task.Status)
	}
	wantExecution(t, j, e)

	// A waiting execution can be stopped too; nobody takes its place.
	fire(t, j, manual(), journal.Created)
	last := fire(t, j, manual(), journal.Coalesced)
	must(t, j.EndExecution(ctx, last.ID, journal.Stopped, "policy_gone", ""))
	wantExecution(t, j, waiting)
}

// testLateWork: an artifact that was begun before its execution was stopped is
// finished, and counted.
func testLateWork(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	c, err := j.Begin(ctx, "prod", artifact(tasks[0], "sha256:1", "", ""), nil, patience)
	must(t, err, j.EndExecution(ctx, e.ID, journal.Stopped, "by_hand", ""))
	e.Status, e.Reason, e.Tasks, e.Counts = journal.Stopped, "by_hand", 1, journal.Counts{Total: 1, InProgress: 1}
	wantExecution(t, j, e)
	c.Subtask.Status, c.Subtask.Reason = journal.Succeed, "signed"
	must(t, j.End(ctx, c), j.EndTask(ctx, tasks[0].ID, journal.Stopped, "by_hand", ""))
	e.Counts = journal.Counts{Total: 1, Succeed: 1, Reasons: map[string]int64{"signed": 1}}
	wantExecution(t, j, e)
}

func repositories(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint("r", i))
	}
	return names
}

func testAddTasks(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	const n = 24
	e := fire(t, j, manual(), journal.Created)
	started := make(chan int64, 2*n)
	names := repositories(n)
	must(t, j.AddTasks(ctx, e.ID, names[:n/2]), j.AddTasks(ctx, e.ID, names), j.AddTasks(ctx, e.ID, names), j.AddTasks(ctx, e.ID, nil))
	must(t, j.EndWalk(ctx, e.ID))
	work(t, j, journal.Handlers{Walk: func(ctxJob, int64) error { return nil }, Task: endTask(j, started)}, journal.JobOptions{})
	seen := map[int64]bool{}
	for range n {
		id := receive(t, started)
		if seen[id] {
			t.Fatalf("task %d has two jobs", id)
		}
		seen[id] = true
	}
	e.Status, e.Tasks = journal.Succeed, n
	wantExecution(t, j, e)
}

// testManyTasks: more at a time than one statement may insert.
func testManyTasks(t *testing.T, j *journal.Journal) {
	const n = 1001
	e := fire(t, j, manual(), journal.Created)
	must(t, j.AddTasks(t.Context(), e.ID, repositories(n)))
	got := pages(t, 300, func(after int64, n int) ([]journal.Task, error) { return j.Tasks(t.Context(), e.ID, after, n) },
		func(v journal.Task) (int64, string) { return v.ID, v.Repository })
	wantPages(t, "tasks", got, repositories(n)...)
}

func testCursor(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	_, err := j.SaveCursor(ctx, tasks[0].ID, "page 2", true)
	must(t, err)
	got, of, err := j.StartTask(ctx, tasks[0].ID)
	must(t, err)
	want := journal.Task{ID: tasks[0].ID, ExecutionID: e.ID, Repository: "a", Status: journal.InProgress, Cursor: "page 2"}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(journal.Task{}, "CreatedAt", "UpdatedAt")); d != "" {
		t.Fatalf("task (-want +got):\n%s", d)
	}
	if of.ID != e.ID || of.PolicyVersion != "v1" || of.Status != journal.InProgress {
		t.Fatalf("its execution: %+v", of)
	}
}

// testStalls: slices of work without progress are counted until one progresses,
// for each task.
func testStalls(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "a", "b")
	for i, step := range []struct {
		task       int
		progressed bool
		want       int
	}{{0, false, 1}, {0, false, 2}, {1, false, 1}, {0, true, 0}, {0, false, 1}, {1, false, 2}, {1, true, 0}, {1, true, 0}} {
		got, err := j.SaveCursor(t.Context(), tasks[step.task].ID, "same page", step.progressed)
		must(t, err)
		if got != step.want {
			t.Errorf("step %d: %d stalls, want %d", i, got, step.want)
		}
	}
}

// testArtifactsFailed: a task succeeds only if all its artifacts did.
func testArtifactsFailed(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "fine", "partly", "stopped", "gone", "again")
	for i, task := range tasks[1:] {
		for k, s := range []journal.Status{journal.Succeed, journal.Failed, journal.Failed}[:1+min(i+1, 2)] {
			must(t, j.PutSubtask(ctx, artifact(task, fmt.Sprint(k), s, "r")))
		}
	}
	must(t, j.PutSubtask(ctx, artifact(tasks[4], "1", journal.Succeed, "signed")),
		j.PutSubtask(ctx, artifact(tasks[4], "2", journal.Succeed, "signed"))) // they failed at first
	must(t, j.EndTask(ctx, tasks[0].ID, journal.Succeed, "", ""),
		j.EndTask(ctx, tasks[1].ID, journal.Succeed, "", ""),
		j.EndTask(ctx, tasks[2].ID, journal.Stopped, "by_hand", "no more"),
		j.EndTask(ctx, tasks[3].ID, journal.Succeed, "repository_gone", ""),
		j.EndTask(ctx, tasks[4].ID, journal.Succeed, "", ""),
		j.EndTask(ctx, tasks[0].ID, journal.Failed, "late", ""))
	got, err := j.Tasks(ctx, e.ID, 0, 0)
	must(t, err)
	for i, want := range []string{
		"Succeed  ", "Failed artifacts_failed 1 artifacts failed", "Stopped by_hand no more",
		"Failed artifacts_failed 2 artifacts failed", "Succeed  ",
	} {
		if ended := fmt.Sprintf("%s %s %s", got[i].Status, got[i].Reason, got[i].Detail); ended != want {
			t.Errorf("task %s: %q, want %q", got[i].Repository, ended, want)
		}
	}
}
