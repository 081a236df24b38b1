package journaltest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

func testPages(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a", "b", "c", "d", "e")
	for i := range 7 {
		s := artifact(tasks[i%2], fmt.Sprintf("sha256:%d", i), journal.Succeed, []string{"signed", "already_signed"}[i%2])
		c, err := j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
		must(t, err)
		c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
		must(t, j.End(ctx, c))
	}
	execution := tasks[0].ExecutionID
	names := pages(t, 2, func(after int64, n int) ([]journal.Task, error) { return j.Tasks(ctx, execution, after, n) },
		func(v journal.Task) (int64, string) { return v.ID, v.Repository })
	wantPages(t, "tasks", names, "a", "b", "c", "d", "e")
	names = pages(t, 3, func(after int64, n int) ([]journal.Subtask, error) {
		return j.Subtasks(ctx, journal.SubtaskFilter{TaskID: tasks[0].ID, Status: journal.Succeed, Reason: "signed", After: after, Limit: n})
	}, func(v journal.Subtask) (int64, string) { return v.ID, v.Digest[7:] })
	wantPages(t, "subtasks", names, "0", "2", "4", "6")
	names = pages(t, 3, func(after int64, n int) ([]journal.Record, error) {
		return j.Records(ctx, journal.RecordFilter{Registry: "prod", Repository: "a", After: after, Limit: n})
	}, func(v journal.Record) (int64, string) { return v.ID, v.Digest[7:] })
	wantPages(t, "records", names, "6", "4", "2", "0")

	for i := range 5 {
		fire(t, j, journal.Firing{Policy: fmt.Sprint("q", i%2), PolicyVersion: fmt.Sprint(i), Lane: journal.Live},
			[]journal.FireResult{"created", "created", "created", "created", "coalesced"}[i])
	}
	names = pages(t, 1, func(before int64, n int) ([]journal.Execution, error) {
		return j.Executions(ctx, journal.ExecutionFilter{Policy: "q1", Before: before, Limit: n})
	}, func(v journal.Execution) (int64, string) { return v.ID, v.PolicyVersion })
	wantPages(t, "executions", names, "3", "1")
	es, err := j.Executions(ctx, journal.ExecutionFilter{Status: journal.InProgress})
	must(t, err)
	if len(es) != 1 || es[0].ID != execution || es[0].Counts.Total != 7 || es[0].Tasks != 5 {
		t.Fatalf("executions in progress: %+v", es)
	}
}

// pages reads page after page and returns the names of all rows.
func pages[T any](t *testing.T, size int, read func(cursor int64, n int) ([]T, error), row func(T) (int64, string)) []string {
	t.Helper()
	var names []string
	var cursor int64
	for {
		page, err := read(cursor, size)
		must(t, err)
		if len(page) > size {
			t.Fatalf("a page of %d has %d rows", size, len(page))
		}
		for _, v := range page {
			var name string
			cursor, name = row(v)
			names = append(names, name)
		}
		if len(page) < size {
			return names
		}
	}
}

func wantPages(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func testPrune(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	var ids []int64
	for i := range 5 {
		e, tasks := begun(t, j, "a")
		ids = append(ids, e.ID)
		c, err := j.Begin(ctx, "prod", artifact(tasks[0], "sha256:1", "", ""), []journal.Record{record(policy.FormatCosign)}, patience)
		must(t, err)
		c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
		must(t, j.End(ctx, c))
		if i < 4 {
			must(t, j.EndTask(ctx, tasks[0].ID, journal.Succeed, "", ""))
		}
	}
	other := fire(t, j, journal.Firing{Policy: "other", Lane: journal.Live}, journal.Created)
	n, err := j.Prune(ctx, "p", 2)
	must(t, err)
	if n != 3 {
		t.Fatalf("pruned %d executions, want 3", n)
	}
	for i, id := range ids {
		_, err := j.Execution(ctx, id)
		ss, subErr := j.Subtasks(ctx, journal.SubtaskFilter{ExecutionID: id})
		must(t, subErr)
		if gone := i < 3; gone != (err != nil) || gone != (len(ss) == 0) {
			t.Errorf("execution %d: %v, %d subtasks", i, err, len(ss))
		}
	}
	rs, err := j.Records(ctx, journal.RecordFilter{Policy: "p"})
	must(t, err)
	if len(rs) != 5 {
		t.Fatalf("%d records are left of 5", len(rs))
	}
	// Not what is active, however few are kept.
	n, err = j.Prune(ctx, "p", 0)
	must(t, err)
	if n != 1 {
		t.Fatalf("pruned %d more executions, want 1", n)
	}
	wantExecution(t, j, other)
}

func testPing(t *testing.T, j *journal.Journal) {
	must(t, j.Ping(t.Context()), j.Ping(t.Context()))
	must(t, j.Close())
	wantError(t, j.Ping(t.Context()), journal.ErrClosed)
	must(t, j.Close())
}
