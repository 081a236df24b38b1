package journal

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// pageLimit is the size of a page when the caller does not say.
const pageLimit = 100

// MaxOffset is how many rows a page may leave out at most: each costs a little
// whenever the page is read. Cursors have no such limit.
const MaxOffset = 1_000_000

// ErrOffset is for a page that begins below 0 or beyond MaxOffset.
var ErrOffset = fmt.Errorf("offset is not allowed; allowed: 0 to %d", MaxOffset)

// An ExecutionFilter chooses executions. Zero fields choose all.
type ExecutionFilter struct {
	ID       int64
	Policy   string
	Registry string
	Trigger  policy.TriggerType
	Status   Status
	Since    time.Time // created then or later
	View     View
	Before   int64 // continue after this execution of the last page
	Offset   int   // leave out so many; for clients that number pages
	Limit    int   // default 100
}

// A TaskFilter chooses tasks of an execution. Zero fields choose all.
type TaskFilter struct {
	ExecutionID int64
	Status      Status
	View        View  // of its namespaces alone: whoever asks sees the execution
	After       int64 // continue after this task of the last page
	Offset      int   // leave out so many; for clients that number pages
	Limit       int   // default 100
}

// A SubtaskFilter chooses subtasks. Zero fields choose all.
type SubtaskFilter struct {
	ExecutionID, TaskID int64
	Status              Status
	Reason              string
	View                View  // of its namespaces alone: whoever asks sees the execution
	After               int64 // continue after this subtask of the last page
	Offset              int   // leave out so many; for clients that number pages
	Limit               int   // default 100
}

// A RecordFilter chooses records. Zero fields choose all.
type RecordFilter struct {
	Digest, Registry, Repository, Policy string
	View                                 View
	After                                int64 // continue after this record of the last page
	Limit                                int   // default 100
}

// Executions returns a page of executions, the newest first. The counts of those that
// go on may be a little old, see [tallies]; those of [Journal.Execution] are not.
func (j *Journal) Executions(ctx context.Context, f ExecutionFilter) ([]Execution, error) {
	rows, err := page(f.Offset, f.Limit)
	if err != nil {
		return nil, err
	}
	w := f.where()
	q := j.store.reader()
	es, err := collect(ctx, q, scanExecution, selectExecution+w.sql()+` ORDER BY id DESC `+rows, w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading executions: %w", err)
	}
	for i := range es {
		e := &es[i]
		if !e.counts() {
			continue
		}
		t, err := j.tallies.of(ctx, q, e.ID)
		if err != nil {
			return nil, fmt.Errorf("counting execution %d: %w", e.ID, err)
		}
		e.Tasks, e.Counts = t.tasks, t.counts
	}
	return es, nil
}

// Execution returns one execution, or ErrNotFound.
func (j *Journal) Execution(ctx context.Context, id int64) (Execution, error) {
	e, err := executionByID(ctx, j.store.reader(), id)
	if err != nil {
		return Execution{}, fmt.Errorf("execution %d: %w", id, err)
	}
	return e, nil
}

// Tasks returns a page of an execution's tasks in the order in which they were
// found, those after the task with the id after. A limit of 0 means 100.
func (j *Journal) Tasks(ctx context.Context, executionID, after int64, n int) ([]Task, error) {
	return j.FindTasks(ctx, TaskFilter{ExecutionID: executionID, After: after, Limit: n})
}

// FindTasks is Tasks for some of them.
func (j *Journal) FindTasks(ctx context.Context, f TaskFilter) ([]Task, error) {
	rows, err := page(f.Offset, f.Limit)
	if err != nil {
		return nil, err
	}
	w := f.where()
	ts, err := collect(ctx, j.store.reader(), scanTask, selectTask+w.sql()+` ORDER BY id `+rows, w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading the tasks of execution %d: %w", f.ExecutionID, err)
	}
	return ts, nil
}

// Subtasks returns a page of subtasks in the order in which they were found.
func (j *Journal) Subtasks(ctx context.Context, f SubtaskFilter) ([]Subtask, error) {
	rows, err := page(f.Offset, f.Limit)
	if err != nil {
		return nil, err
	}
	w := f.where()
	ss, err := collect(ctx, j.store.reader(), scanSubtask, selectSubtask+w.sql()+` ORDER BY id `+rows, w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading subtasks: %w", err)
	}
	return ss, nil
}

// Records returns a page of records, the newest first.
func (j *Journal) Records(ctx context.Context, f RecordFilter) ([]Record, error) {
	var w where
	w.equal("digest", f.Digest)
	w.equal("registry", f.Registry)
	w.equal("repository", f.Repository)
	w.equal("policy", f.Policy)
	w.in("registry", f.View.Registries)
	w.within(f.View.Namespaces)
	w.cursor("id <", f.After)
	rs, err := collect(ctx, j.store.reader(), scanRecord, selectRecord+w.sql()+` ORDER BY id DESC `+limit(f.Limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	return rs, nil
}

func limit(n int) string {
	if n <= 0 {
		n = pageLimit
	}
	return "LIMIT " + strconv.Itoa(n)
}

// page is a limit after rows that are left out.
func page(offset, n int) (string, error) {
	if offset < 0 || offset > MaxOffset {
		return "", ErrOffset
	}
	return limit(n) + " OFFSET " + strconv.Itoa(offset), nil
}

func executionByID(ctx context.Context, q querier, id int64) (Execution, error) {
	e, err := scanExecution(q.queryRow(ctx, selectExecution+` WHERE id = $1`, id))
	if err != nil {
		return Execution{}, notFound(err)
	}
	if e.counts() {
		e.Tasks, e.Counts, err = count(ctx, q, e.ID)
	}
	return e, err
}

// counts reports whether the execution has to be counted: what ended has its counts.
func (e *Execution) counts() bool { return !e.Status.Final() && e.Status != Initialized }

func taskByID(ctx context.Context, q querier, id int64) (Task, error) {
	t, err := scanTask(q.queryRow(ctx, selectTask+` WHERE id = $1`, id))
	return t, notFound(err)
}
