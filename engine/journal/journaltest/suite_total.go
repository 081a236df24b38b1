package journaltest

import (
	"fmt"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// numbered reads pages by their number, and checks the total of each.
func numbered[T any](t *testing.T, size int, read func(offset, n int) ([]T, error), total func() (int64, error), row func(T) string) []string {
	t.Helper()
	n, err := total()
	must(t, err)
	var names []string
	for offset := 0; ; offset += size {
		page, err := read(offset, size)
		must(t, err)
		for _, v := range page {
			names = append(names, row(v))
		}
		if len(page) < size {
			break
		}
	}
	if int64(len(names)) != n {
		t.Errorf("%d rows are on pages, %d in all", len(names), n)
	}
	return names
}

// testNumberedPages: what a filter chooses is counted, and read by offset.
func testNumberedPages(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a/x", "a/y", "ab/z", "a/w")
	for i := range 5 {
		status := []journal.Status{journal.Succeed, journal.Failed}[i%2]
		c, err := j.Begin(ctx, "prod", artifact(tasks[0], fmt.Sprintf("sha256:%d", i), status, "signed"), []journal.Record{record(policy.FormatCosign)}, patience)
		must(t, err)
		c.Subtask.Status, c.Records[0].State = status, journal.Signed
		must(t, j.End(ctx, c))
	}
	for below, want := range map[string][]string{"": {"a/x", "a/y", "ab/z", "a/w"}, "a": {"a/x", "a/y", "a/w"}, "A": nil} {
		f := journal.TaskFilter{ExecutionID: tasks[0].ExecutionID}
		if below != "" {
			f.View.Namespaces = []string{below}
		}
		wantPages(t, "tasks below "+below, numbered(t, 2, func(offset, n int) ([]journal.Task, error) {
			f.Offset, f.Limit = offset, n
			return j.FindTasks(ctx, f)
		}, func() (int64, error) { return j.CountTasks(ctx, f) }, func(v journal.Task) string { return v.Repository }), want...)
	}
	sub := journal.SubtaskFilter{TaskID: tasks[0].ID, Status: journal.Succeed, View: journal.View{Namespaces: []string{"a"}}}
	wantPages(t, "subtasks", numbered(t, 2, func(offset, n int) ([]journal.Subtask, error) {
		sub.Offset, sub.Limit = offset, n
		return j.Subtasks(ctx, sub)
	}, func() (int64, error) { return j.CountSubtasks(ctx, sub) }, func(v journal.Subtask) string { return v.Digest[7:] }), "0", "2", "4")
	testNumberedExecutions(t, j)

	got, err := j.Task(ctx, tasks[2].ID)
	if err != nil || got.Repository != "ab/z" {
		t.Errorf("task: %+v, %v", got, err)
	}
	_, err = j.Task(ctx, 4711)
	wantError(t, err, journal.ErrNotFound)
	for _, offset := range []int{-1, journal.MaxOffset + 1} {
		_, err := j.Executions(ctx, journal.ExecutionFilter{Offset: offset})
		wantError(t, err, journal.ErrOffset)
		_, err = j.FindTasks(ctx, journal.TaskFilter{Offset: offset})
		wantError(t, err, journal.ErrOffset)
		_, err = j.Subtasks(ctx, journal.SubtaskFilter{Offset: offset})
		wantError(t, err, journal.ErrOffset)
	}
}

func testNumberedExecutions(t *testing.T, j *journal.Journal) {
	var second journal.Execution
	for i := range 4 {
		name := []string{"prod", "other"}[i%2]
		e := fire(t, j, journal.Firing{Policy: "q", PolicyVersion: fmt.Sprint(i), Registry: name, Lane: journal.Live}, journal.Created)
		if i == 1 {
			second = e
		}
		must(t, j.EndExecution(t.Context(), e.ID, journal.Stopped, "", ""))
	}
	for _, tt := range []struct {
		f    journal.ExecutionFilter
		want []string
	}{
		{journal.ExecutionFilter{Policy: "q"}, []string{"3", "2", "1", "0"}},
		{journal.ExecutionFilter{Policy: "q", Since: second.CreatedAt}, []string{"3", "2", "1"}},
		{journal.ExecutionFilter{Policy: "q", Registry: "prod"}, []string{"2", "0"}},
		{journal.ExecutionFilter{Policy: "r"}, nil},
	} {
		wantPages(t, "executions", numbered(t, 2, func(offset, n int) ([]journal.Execution, error) {
			tt.f.Offset, tt.f.Limit = offset, n
			return j.Executions(t.Context(), tt.f)
		}, func() (int64, error) { return j.CountExecutions(t.Context(), tt.f) }, func(v journal.Execution) string { return v.PolicyVersion }), tt.want...)
	}
}
