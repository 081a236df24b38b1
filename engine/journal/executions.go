package journal

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// StartExecution says that the execution is being carried out. It may be called
// again; an execution that ended comes back as it is. What is going on in it is
// not counted here.
func (j *Journal) StartExecution(ctx context.Context, id int64) (Execution, error) {
	var e Execution
	err := j.write(ctx, "", func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE executions SET status = 'InProgress', started_at = $2
			WHERE id = $1 AND status = 'Pending'`, id, micros(j.now()))
		if err != nil {
			return err
		}
		e, err = scanExecution(q.queryRow(ctx, selectExecution+` WHERE id = $1`, id))
		return notFound(err)
	})
	if err != nil {
		return Execution{}, fmt.Errorf("starting execution %d: %w", id, err)
	}
	return e, nil
}

// tasksPerInsert keeps a statement's parameters below every database's limit.
const tasksPerInsert = 200

// AddTasks adds a task, and its job, for each repository that has none in this
// execution yet. It returns ErrEnded if the execution has ended.
func (j *Journal) AddTasks(ctx context.Context, executionID int64, repositories []string) error {
	err := j.writeExecution(ctx, executionID, func(ctx context.Context, q querier, e *Execution) error {
		if e.Status.Final() {
			return ErrEnded
		}
		for rest := repositories; len(rest) > 0; {
			n := min(len(rest), tasksPerInsert)
			if err := j.addTasks(ctx, q, *e, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("adding tasks to execution %d: %w", executionID, err)
	}
	return nil
}

func (j *Journal) addTasks(ctx context.Context, q querier, e Execution, repositories []string) error {
	now := micros(j.now())
	var values strings.Builder
	args := []any{e.ID, now}
	for i, r := range repositories {
		if i > 0 {
			values.WriteString(", ")
		}
		args = append(args, r)
		values.WriteString("($1, $" + strconv.Itoa(len(args)) + ", 'Pending', $2, $2)")
	}
	ids, err := collect(ctx, q, scanID, `INSERT INTO tasks (execution_id, repository, status, created_at, updated_at) VALUES `+
		values.String()+` ON CONFLICT (execution_id, repository) DO NOTHING RETURNING id`, args...)
	if err != nil || len(ids) == 0 {
		return err
	}
	jobs := make([]job, len(ids))
	for i, id := range ids {
		jobs[i] = job{args: taskArgs{TaskID: id}, lane: e.Lane}
	}
	return j.queue.insert(ctx, q, jobs...)
}

// EndWalk says that all repositories of the execution are known. If their tasks
// have ended already, so does the execution.
func (j *Journal) EndWalk(ctx context.Context, executionID int64) error {
	err := j.writeExecution(ctx, executionID, func(ctx context.Context, q querier, e *Execution) error {
		if e.Status.Final() {
			return nil
		}
		if _, err := q.exec(ctx, `UPDATE executions SET walked = 1 WHERE id = $1`, executionID); err != nil {
			return err
		}
		return j.endIfDone(ctx, q, e)
	})
	if err != nil {
		return fmt.Errorf("ending the walk of execution %d: %w", executionID, err)
	}
	return nil
}

// EndExecution ends the execution whatever goes on in it: tasks that have not
// ended become Stopped, for the same reason, and their pushes are dropped. s is
// a final status. Ending an execution that has ended does nothing.
func (j *Journal) EndExecution(ctx context.Context, executionID int64, s Status, reason, detail string) error {
	if !s.Final() {
		return fmt.Errorf("ending execution %d: status %q is not final", executionID, s)
	}
	err := j.writeExecution(ctx, executionID, func(ctx context.Context, q querier, e *Execution) error {
		if e.Status.Final() {
			return nil
		}
		_, err := q.exec(ctx, `UPDATE tasks SET status = 'Stopped', reason = $2, updated_at = $3
			WHERE execution_id = $1 AND status IN ('Initialized', 'Pending', 'InProgress')`, executionID, reason, micros(j.now()))
		if err != nil {
			return err
		}
		_, err = q.exec(ctx, `DELETE FROM pushes WHERE task_id IN (SELECT id FROM tasks WHERE execution_id = $1)`, executionID)
		if err != nil {
			return err
		}
		return j.finish(ctx, q, e, outcome{s, reason, detail})
	})
	if err != nil {
		return fmt.Errorf("ending execution %d: %w", executionID, err)
	}
	return nil
}

// writeExecution runs a part with an execution that no other transaction starts
// or ends until it commits.
func (j *Journal) writeExecution(ctx context.Context, id int64, run func(context.Context, querier, *Execution) error) error {
	var name string
	if err := j.store.reader().queryRow(ctx, `SELECT policy FROM executions WHERE id = $1`, id).Scan(&name); err != nil {
		return notFound(err)
	}
	var ended *Execution
	err := j.write(ctx, policyKey(name), func(ctx context.Context, q querier) error {
		ended = nil
		if _, err := lockPolicy(ctx, q, name); err != nil {
			return err
		}
		e, err := scanExecution(q.queryRow(ctx, selectExecution+` WHERE id = $1`, id))
		if err != nil {
			return notFound(err)
		}
		had := e.Status.Final()
		err = run(ctx, q, &e)
		if !had && e.Status.Final() {
			ended = &e
		}
		return err
	})
	if err == nil && ended != nil {
		j.ended(*ended)
	}
	return err
}

// outcome is how something ended.
type outcome struct {
	status         Status
	reason, detail string
}

// artifactsFailed is the outcome of what was in order but for n artifacts.
func artifactsFailed(n int64) outcome {
	return outcome{Failed, ReasonArtifactsFailed, fmt.Sprintf("%d artifacts failed", n)}
}

// endIfDone ends an execution when its walk and all its tasks have ended.
func (j *Journal) endIfDone(ctx context.Context, q querier, e *Execution) error {
	var walked, open int64
	err := q.queryRow(ctx, `SELECT walked, (SELECT COUNT(*) FROM tasks
		WHERE execution_id = $1 AND status IN ('Initialized', 'Pending', 'InProgress'))
		FROM executions WHERE id = $1`, e.ID).Scan(&walked, &open)
	if err != nil || walked == 0 || open > 0 {
		return err
	}
	o, err := outcomeOf(ctx, q, e.ID)
	if err != nil {
		return err
	}
	return j.finish(ctx, q, e, o)
}

// outcomeOf derives how an execution ended from its tasks and subtasks.
func outcomeOf(ctx context.Context, q querier, id int64) (outcome, error) {
	var repositories, failed, stopped, artifacts int64
	err := q.queryRow(ctx, `SELECT
		COALESCE(SUM(CASE WHEN status = 'Failed' AND reason <> $2 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN status = 'Failed' THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN status = 'Stopped' THEN 1 ELSE 0 END), 0),
		(SELECT COUNT(*) FROM subtasks WHERE execution_id = $1 AND status = 'Failed')
		FROM tasks WHERE execution_id = $1`, id, ReasonArtifactsFailed).
		Scan(&repositories, &failed, &stopped, &artifacts)
	switch {
	case err != nil:
		return outcome{}, err
	case repositories > 0:
		return outcome{Failed, ReasonRepositoriesFailed, fmt.Sprintf("%d repositories failed", repositories)}, nil
	case failed > 0 || artifacts > 0:
		return artifactsFailed(artifacts), nil
	case stopped > 0:
		return outcome{Stopped, "", fmt.Sprintf("%d repositories were stopped", stopped)}, nil
	}
	return outcome{status: Succeed}, nil
}

// finish ends an execution, also e, stores its counts, and starts the one that
// waits.
func (j *Journal) finish(ctx context.Context, q querier, e *Execution, o outcome) error {
	now := j.now()
	_, err := q.exec(ctx, `UPDATE executions SET status = $2, reason = $3, detail = $4, finished_at = $5 WHERE id = $1`,
		e.ID, o.status, o.reason, o.detail, micros(now))
	if err != nil {
		return err
	}
	if err := storeCounts(ctx, q, e.ID); err != nil {
		return err
	}
	e.Status, e.Reason, e.Detail, e.FinishedAt = o.status, o.reason, o.detail, fromMicros(micros(now))
	return j.promote(ctx, q, e.Policy)
}
