package api

import (
	"context"
	"net/http"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

type executionsInput struct {
	PageInput
	Policy   string             `query:"policy" maxLength:"512" doc:"only those of what is called so: a policy, drift/POLICY, a campaign"`
	Registry string             `query:"registry" maxLength:"128" doc:"only those of policies of this registry"`
	Trigger  policy.TriggerType `query:"trigger" doc:"only those that this fired"`
	Status   journal.Status     `query:"status" doc:"only those in this state"`
}

// An ExecutionInput says which execution is meant.
type ExecutionInput struct {
	Execution int64 `path:"execution" minimum:"1" doc:"the execution's id"`
}

// A TasksInput says which tasks of an execution are meant.
type TasksInput struct {
	ExecutionInput
	PageInput
	Status journal.Status `query:"status" doc:"only those in this state"`
}

type subtasksInput struct {
	TasksInput
	Task   int64  `query:"task" minimum:"1" doc:"only those of this task"`
	Reason string `query:"reason" maxLength:"64" doc:"only those with this reason, such as signed"`
}

func (a *API) executionOperations() {
	const tag = "executions"
	register(a, operation{id: "list-executions", method: http.MethodGet, path: "/executions", tag: tag, role: door.Viewer,
		summary: "List executions", text: "The newest first. Who sees only some namespaces sees the executions of policies in them."}, a.listExecutions)
	register(a, operation{id: "get-execution", method: http.MethodGet, path: "/executions/{execution}", tag: tag, role: door.Viewer,
		summary: "Get an execution"}, func(ctx context.Context, s session, in *ExecutionInput) (*executionOutput, error) {
		x, err := a.execution(ctx, s, in.Execution)
		return &executionOutput{Body: x}, err
	})
	register(a, operation{id: "list-tasks", method: http.MethodGet, path: "/executions/{execution}/tasks", tag: tag, role: door.Viewer,
		summary: "List the tasks of an execution", text: "A task is a repository. In the order in which they were found."}, a.listTasks)
	register(a, operation{id: "list-subtasks", method: http.MethodGet, path: "/executions/{execution}/subtasks", tag: tag, role: door.Viewer,
		summary: "List the subtasks of an execution", text: "A subtask is an artifact. In the order in which they were found."}, a.listSubtasks)
}

func (a *API) listExecutions(ctx context.Context, s session, in *executionsInput) (*pageOutput[journal.Execution], error) {
	view, err := a.view(ctx, s)
	if err != nil {
		return nil, err
	}
	list, err := a.Journal.Executions(ctx, journal.ExecutionFilter{Policy: in.Policy, Registry: in.Registry, Trigger: in.Trigger, Status: in.Status,
		View: view, Before: in.after(), Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return paged(list, in.Limit, func(x *journal.Execution) int64 { return x.ID }), nil
}

// execution returns an execution if the caller sees it.
func (a *API) execution(ctx context.Context, s session, id int64) (journal.Execution, error) {
	view, err := a.view(ctx, s)
	if err != nil {
		return journal.Execution{}, err
	}
	list, err := a.Journal.Executions(ctx, journal.ExecutionFilter{ID: id, View: view, Limit: 1})
	if err != nil {
		return journal.Execution{}, err
	}
	if len(list) == 0 {
		return journal.Execution{}, errNotFound
	}
	return list[0], nil
}

func (a *API) listTasks(ctx context.Context, s session, in *TasksInput) (*pageOutput[journal.Task], error) {
	x, err := a.execution(ctx, s, in.Execution)
	if err != nil {
		return nil, err
	}
	list, err := a.Journal.FindTasks(ctx, journal.TaskFilter{ExecutionID: x.ID, Status: in.Status, View: journal.View{Namespaces: s.Namespaces},
		After: in.after(), Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return paged(list, in.Limit, func(t *journal.Task) int64 { return t.ID }), nil
}

func (a *API) listSubtasks(ctx context.Context, s session, in *subtasksInput) (*pageOutput[journal.Subtask], error) {
	x, err := a.execution(ctx, s, in.Execution)
	if err != nil {
		return nil, err
	}
	list, err := a.Journal.Subtasks(ctx, journal.SubtaskFilter{ExecutionID: x.ID, TaskID: in.Task, Status: in.Status, Reason: in.Reason,
		View: journal.View{Namespaces: s.Namespaces}, After: in.after(), Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return paged(list, in.Limit, func(t *journal.Subtask) int64 { return t.ID }), nil
}
