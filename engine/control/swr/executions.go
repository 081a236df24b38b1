package swr

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// An execution is one as SWR shows it; its numbers count artifacts.
type execution struct {
	ID         int64  `json:"id"`
	PolicyID   int64  `json:"policy_id"`
	Status     string `json:"status"`
	StatusText string `json:"status_text"`
	Total      int64  `json:"total"`
	Failed     int64  `json:"failed"`
	Succeed    int64  `json:"succeed"`
	InProgress int64  `json:"in_progress"`
	Stopped    int64  `json:"stopped"`
	Trigger    string `json:"trigger"`
	CreatedAt  string `json:"created_at"`
	UpdatedAt  string `json:"updated_at"`
}

// A task is one repository of an execution.
type task struct {
	ID          int64  `json:"id"`
	ExecutionID int64  `json:"execution_id"`
	JobID       string `json:"job_id"`
	Status      string `json:"status"`
	StatusText  string `json:"status_text"`
	Namespace   string `json:"namespace"`
	Repository  string `json:"repository"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
}

// A subtask is one artifact of a task.
type subtask struct {
	ID         int64  `json:"id"`
	JobID      string `json:"job_id"`
	Namespace  string `json:"namespace"`
	Repository string `json:"repository"`
	Tags       string `json:"tags"`
	Digest     string `json:"digest"`
	Status     string `json:"status"`
	StatusText string `json:"status_text"`
	CreatedAt  string `json:"created_at"`
	UpdatedAt  string `json:"updated_at"`
}

// statuses are the words for what executions, tasks and subtasks are at.
var statuses = []string{string(journal.Initialized), string(journal.Pending), string(journal.InProgress),
	string(journal.Succeed), string(journal.Failed), string(journal.Stopped)}

func (a *API) execute(ctx context.Context, c *call) (any, error) {
	k, err := a.policy(ctx, c)
	if err != nil {
		return nil, err
	}
	if !k.Policy.IsEnabled() {
		return nil, conflict("The policy is disabled. Enable it before it is executed.")
	}
	var x journal.Execution
	err = a.change(ctx, c, target(c, k.ID)+"/executions", func(ctx context.Context) error {
		x, err = a.Engine.FireFor(ctx, c.id, k.Policy.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return identified{x.ID}, nil
}

func (a *API) listExecutions(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	k, err := a.policy(ctx, c)
	if err != nil {
		return nil, err
	}
	filter := journal.ExecutionFilter{Policy: k.Policy.Name, Registry: c.registry, Since: k.CreatedAt, View: c.view(k), Offset: offset, Limit: limit}
	total, err := a.Journal.CountExecutions(ctx, filter)
	if err != nil {
		return nil, err
	}
	found, err := a.Journal.Executions(ctx, filter)
	if err != nil {
		return nil, err
	}
	list := []execution{}
	for _, x := range found {
		updated := x.CreatedAt
		if !x.StartedAt.IsZero() {
			updated = x.StartedAt
		}
		if !x.FinishedAt.IsZero() {
			updated = x.FinishedAt
		}
		list = append(list, execution{ID: x.ID, PolicyID: k.ID, Status: string(x.Status), StatusText: why(x.Reason, x.Detail),
			Total: x.Counts.Total, Failed: x.Counts.Failed, Succeed: x.Counts.Succeed, InProgress: x.Counts.InProgress, Stopped: x.Counts.Stopped,
			Trigger: string(x.Trigger), CreatedAt: stamp(x.CreatedAt), UpdatedAt: stamp(updated)})
	}
	return struct {
		Executions []execution `json:"executions"`
		Total      int64       `json:"total"`
	}{list, total}, nil
}

// execution returns the id of the one that the path names if it is one of the
// policy that the path names.
func (a *API) execution(ctx context.Context, c *call) (int64, error) {
	id, err := c.pathID("execution_id")
	if err != nil {
		return 0, err
	}
	k, err := a.policy(ctx, c)
	if err != nil {
		return 0, err
	}
	// Of those of a policy that had the name before, nothing is shown.
	found, err := a.Journal.Executions(ctx, journal.ExecutionFilter{ID: id, Policy: k.Policy.Name, Registry: c.registry, Since: k.CreatedAt, View: c.view(k), Limit: 1})
	if err == nil && len(found) == 0 {
		err = rights.ErrUnknown
	}
	return id, err
}

// view is what a caller sees of a policy's executions: who does not see all namespaces
// of the registry, none of the time when the policy had another one.
func (c *call) view(k known) journal.View {
	if c.caller.SeesNamespace(c.registry, "") {
		return journal.View{}
	}
	return journal.View{Namespaces: c.caller.Namespaces, Policies: []string{k.Policy.Name}}
}

// below is what repositories of the call's namespace begin with. The policy of a
// file may have had another namespace when it was executed.
func (c *call) below() string { return c.namespace + "/" }

func (a *API) listTasks(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	id, err := a.execution(ctx, c)
	if err != nil {
		return nil, err
	}
	filter := journal.TaskFilter{ExecutionID: id, View: journal.View{Namespaces: []string{c.namespace}}, Offset: offset, Limit: limit}
	total, err := a.Journal.CountTasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	found, err := a.Journal.FindTasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	list := []task{}
	for _, t := range found {
		list = append(list, task{ID: t.ID, ExecutionID: id, JobID: fmt.Sprintf("task-%d", t.ID), Status: string(t.Status), StatusText: why(t.Reason, t.Detail),
			Namespace: c.namespace, Repository: strings.TrimPrefix(t.Repository, c.below()), CreatedAt: stamp(t.CreatedAt), UpdatedAt: stamp(t.UpdatedAt)})
	}
	return struct {
		Tasks []task `json:"tasks"`
		Total int64  `json:"total"`
	}{list, total}, nil
}

func (a *API) listSubtasks(ctx context.Context, c *call) (any, error) {
	filter, err := a.subtaskFilter(ctx, c)
	if err != nil {
		return nil, err
	}
	total, err := a.Journal.CountSubtasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	found, err := a.Journal.Subtasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	list := []subtask{}
	for _, s := range found {
		list = append(list, subtask{ID: s.ID, JobID: fmt.Sprintf("subtask-%d", s.ID), Namespace: c.namespace, Repository: strings.TrimPrefix(s.Repository, c.below()),
			Tags: strings.Join(s.Tags, ","), Digest: s.Digest, Status: string(s.Status), StatusText: why(s.Reason, s.Detail),
			CreatedAt: stamp(s.CreatedAt), UpdatedAt: stamp(s.UpdatedAt)})
	}
	return struct {
		Subtasks []subtask `json:"sub_tasks"`
		Total    int64     `json:"total"`
	}{list, total}, nil
}

func (a *API) subtaskFilter(ctx context.Context, c *call) (journal.SubtaskFilter, error) {
	offset, limit, err := c.page()
	if err != nil {
		return journal.SubtaskFilter{}, err
	}
	status, err := c.choice("status", statuses...)
	if err != nil {
		return journal.SubtaskFilter{}, err
	}
	id, err := c.pathID("task_id")
	if err != nil {
		return journal.SubtaskFilter{}, err
	}
	execution, err := a.execution(ctx, c)
	if err != nil {
		return journal.SubtaskFilter{}, err
	}
	t, err := a.Journal.Task(ctx, id)
	if err != nil {
		return journal.SubtaskFilter{}, err
	}
	if t.ExecutionID != execution || !strings.HasPrefix(t.Repository, c.below()) {
		return journal.SubtaskFilter{}, rights.ErrUnknown
	}
	return journal.SubtaskFilter{ExecutionID: execution, TaskID: id, Status: journal.Status(status), View: journal.View{Namespaces: []string{c.namespace}}, Offset: offset, Limit: limit}, nil
}

// why is a reason with what there is to say about it.
func why(reason, detail string) string {
	if reason == "" || detail == "" {
		return reason + detail
	}
	return reason + ": " + detail
}
