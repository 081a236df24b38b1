package journaltest

import (
	"fmt"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// inRegistry is an execution with tasks that are done, of which each signed one
// artifact.
func inRegistry(t *testing.T, j *journal.Journal, registry, name string, repositories ...string) int64 {
	t.Helper()
	ctx := t.Context()
	e := fire(t, j, journal.Firing{Policy: name, PolicyVersion: "v1", Registry: registry, Trigger: policy.Manual, Lane: journal.Live}, journal.Created)
	_, err := j.StartExecution(ctx, e.ID)
	must(t, err, j.AddTasks(ctx, e.ID, repositories), j.EndWalk(ctx, e.ID))
	tasks, err := j.Tasks(ctx, e.ID, 0, 0)
	must(t, err)
	for _, task := range tasks {
		r := record(policy.FormatCosign)
		r.Policy = name
		c, err := j.Begin(ctx, registry, artifact(task, fmt.Sprint("sha256:", task.ID), "", ""), []journal.Record{r}, patience)
		must(t, err)
		c.Subtask.Status, c.Subtask.Reason, c.Records[0].State = journal.Succeed, "signed", journal.Signed
		must(t, j.End(ctx, c), j.EndTask(ctx, task.ID, journal.Succeed, "", ""))
	}
	return e.ID
}

// testView: what a reader may not see is in no page, also if the page is small, and
// characters of names mean nothing else.
func testView(t *testing.T, j *journal.Journal) {
	all := []int64{
		inRegistry(t, j, "prod", "whole", "team_a/app", "team_a", "team-a/app", "team_ab/app", "TEAM_A/app", "library/x"),
		inRegistry(t, j, "prod", "mine", "team_a/app", "team_a/deep/er"),
		inRegistry(t, j, "prod", "empty"),
		inRegistry(t, j, "other", "elsewhere", "team_a/app"),
		inRegistry(t, j, "prod", "moved", "team-b/app"), // its name is of a policy in team_a by now
	}
	for what, c := range map[string]struct {
		view       journal.View
		executions []int64
		records    []string
		subtasks   []string // of the first execution
	}{
		"everything": {journal.View{}, []int64{all[4], all[3], all[2], all[1], all[0]},
			[]string{"team-b/app", "team_a/app", "team_a/deep/er", "team_a/app", "library/x", "TEAM_A/app", "team_ab/app", "team-a/app", "team_a", "team_a/app"},
			[]string{"team_a/app", "team_a", "team-a/app", "team_ab/app", "TEAM_A/app", "library/x"}},
		"a registry": {journal.View{Registries: []string{"other", "third"}}, []int64{all[3]}, []string{"team_a/app"},
			[]string{"team_a/app", "team_a", "team-a/app", "team_ab/app", "TEAM_A/app", "library/x"}},
		"a namespace": {journal.View{Registries: []string{"prod"}, Namespaces: []string{"team_a"}, Policies: []string{"mine", "moved", "empty"}},
			[]int64{all[2], all[1]}, []string{"team_a/deep/er", "team_a/app", "team_a", "team_a/app"}, []string{"team_a/app", "team_a"}},
		"two namespaces": {journal.View{Namespaces: []string{"library", "team-a"}, Policies: []string{"nothing"}},
			nil, []string{"library/x", "team-a/app"}, []string{"team-a/app", "library/x"}},
		"no policy": {journal.View{Namespaces: []string{"team_a"}}, nil,
			[]string{"team_a/app", "team_a/deep/er", "team_a/app", "team_a", "team_a/app"}, []string{"team_a/app", "team_a"}},
	} {
		wantView(t, j, what, c.view, c.executions, c.records, c.subtasks, all[0])
	}
}

func wantView(t *testing.T, j *journal.Journal, what string, view journal.View, executions []int64, records, subtasks []string, first int64) {
	t.Helper()
	ctx := t.Context()
	got := pages(t, 2, func(before int64, n int) ([]journal.Execution, error) {
		return j.Executions(ctx, journal.ExecutionFilter{View: view, Before: before, Limit: n})
	}, func(e journal.Execution) (int64, string) { return e.ID, fmt.Sprint(e.ID) })
	var want []string
	for _, id := range executions {
		want = append(want, fmt.Sprint(id))
	}
	wantPages(t, what+": executions", got, want...)
	got = pages(t, 2, func(after int64, n int) ([]journal.Record, error) {
		return j.Records(ctx, journal.RecordFilter{View: view, After: after, Limit: n})
	}, func(r journal.Record) (int64, string) { return r.ID, r.Repository })
	wantPages(t, what+": records", got, records...)
	got = pages(t, 2, func(after int64, n int) ([]journal.Task, error) {
		return j.FindTasks(ctx, journal.TaskFilter{ExecutionID: first, View: view, After: after, Limit: n})
	}, func(v journal.Task) (int64, string) { return v.ID, v.Repository })
	wantPages(t, what+": tasks", got, subtasks...)
	got = pages(t, 2, func(after int64, n int) ([]journal.Subtask, error) {
		return j.Subtasks(ctx, journal.SubtaskFilter{ExecutionID: first, View: view, After: after, Limit: n})
	}, func(v journal.Subtask) (int64, string) { return v.ID, v.Repository })
	wantPages(t, what+": subtasks", got, subtasks...)
}

// testFilters: executions are found by id, registry and trigger, tasks by status.
func testFilters(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	first := inRegistry(t, j, "prod", "a", "x", "y")
	second := inRegistry(t, j, "other", "b", "x")
	ticked := fire(t, j, scheduled(1), journal.Created).ID
	for what, c := range map[string]struct {
		filter journal.ExecutionFilter
		want   int64
	}{
		"id":       {journal.ExecutionFilter{ID: first}, first},
		"registry": {journal.ExecutionFilter{Registry: "other"}, second},
		"trigger":  {journal.ExecutionFilter{Trigger: policy.Scheduled}, ticked},
		"view":     {journal.ExecutionFilter{ID: first, View: journal.View{Registries: []string{"other"}}}, 0},
	} {
		got, err := j.Executions(ctx, c.filter)
		must(t, err)
		if c.want == 0 && len(got) > 0 || c.want != 0 && (len(got) != 1 || got[0].ID != c.want) {
			t.Errorf("%s: %+v, want execution %d", what, got, c.want)
		}
	}
	for status, want := range map[journal.Status]int{journal.Succeed: 2, journal.Failed: 0} {
		got, err := j.FindTasks(ctx, journal.TaskFilter{ExecutionID: first, Status: status})
		must(t, err)
		if len(got) != want {
			t.Errorf("%d tasks that %s, want %d", len(got), status, want)
		}
	}
}
