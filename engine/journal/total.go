package journal

import (
	"context"
	"fmt"
)

// CountExecutions returns how many executions there are on all pages of a filter.
func (j *Journal) CountExecutions(ctx context.Context, f ExecutionFilter) (int64, error) {
	f.Before = 0
	return j.total(ctx, "executions", f.where())
}

// CountTasks returns how many tasks there are on all pages of a filter.
func (j *Journal) CountTasks(ctx context.Context, f TaskFilter) (int64, error) {
	f.After = 0
	return j.total(ctx, "tasks", f.where())
}

// CountSubtasks returns how many subtasks there are on all pages of a filter.
func (j *Journal) CountSubtasks(ctx context.Context, f SubtaskFilter) (int64, error) {
	f.After = 0
	return j.total(ctx, "subtasks", f.where())
}

func (j *Journal) total(ctx context.Context, table string, w where) (int64, error) {
	n, err := scanID(j.store.reader().queryRow(ctx, `SELECT COUNT(*) FROM `+table+w.sql(), w.args...))
	if err != nil {
		return 0, fmt.Errorf("counting %s: %w", table, err)
	}
	return n, nil
}

// Task returns one task, or ErrNotFound.
func (j *Journal) Task(ctx context.Context, id int64) (Task, error) {
	t, err := taskByID(ctx, j.store.reader(), id)
	if err != nil {
		return Task{}, fmt.Errorf("task %d: %w", id, err)
	}
	return t, nil
}

func (f ExecutionFilter) where() where {
	var w where
	w.equalID("id", f.ID)
	w.equal("policy", f.Policy)
	w.equal("registry", f.Registry)
	w.equal("trigger_type", string(f.Trigger))
	w.equal("status", string(f.Status))
	w.executions(f.View)
	if !f.Since.IsZero() {
		w.add("created_at >=", micros(f.Since))
	}
	w.cursor("id <", f.Before)
	return w
}

func (f TaskFilter) where() where {
	var w where
	w.add("execution_id =", f.ExecutionID)
	w.equal("status", string(f.Status))
	w.within(f.View.Namespaces)
	w.cursor("id >", f.After)
	return w
}

func (f SubtaskFilter) where() where {
	var w where
	w.equalID("execution_id", f.ExecutionID)
	w.equalID("task_id", f.TaskID)
	w.equal("status", string(f.Status))
	w.equal("reason", f.Reason)
	w.within(f.View.Namespaces)
	w.cursor("id >", f.After)
	return w
}
