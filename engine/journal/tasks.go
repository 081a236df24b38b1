package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// StartTask says that the task is being carried out. It may be called again; a
// task that ended, by itself or with its execution, comes back as it is.
func (j *Journal) StartTask(ctx context.Context, id int64) (Task, Execution, error) {
	var t Task
	var e Execution
	err := j.write(ctx, "", func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE tasks SET status = 'InProgress', wake_at = 0, updated_at = $2
			WHERE id = $1 AND (status = 'Pending' OR status = 'InProgress' AND wake_at > 0)`, id, micros(j.now()))
		if err != nil {
			return err
		}
		if t, err = taskByID(ctx, q, id); err != nil {
			return err
		}
		e, err = scanExecution(q.queryRow(ctx, selectExecution+` WHERE id = $1`, t.ExecutionID))
		return notFound(err)
	})
	if err != nil {
		return Task{}, Execution{}, fmt.Errorf("starting task %d: %w", id, err)
	}
	return t, e, nil
}

// SaveCursor remembers how far the listing of a task's repository got, and
// counts the slices of work that got nowhere: stalls is how many there were
// since the last one that progressed. It returns ErrEnded if the task has ended.
func (j *Journal) SaveCursor(ctx context.Context, taskID int64, cursor string, progressed bool) (stalls int, err error) {
	now := micros(j.now())
	err = j.write(ctx, "", func(ctx context.Context, q querier) error {
		err := q.queryRow(ctx, `UPDATE tasks SET cursor = $2, updated_at = $3,
			stalls = CASE WHEN $4 = 1 THEN 0 ELSE stalls + 1 END
			WHERE id = $1 AND status IN ('Initialized', 'Pending', 'InProgress') RETURNING stalls`,
			taskID, cursor, now, flag(progressed)).Scan(&stalls)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := taskByID(ctx, q, taskID); err != nil {
			return err
		}
		return ErrEnded
	})
	if err != nil {
		return 0, fmt.Errorf("saving the cursor of task %d: %w", taskID, err)
	}
	return stalls, nil
}

// EndTask ends a task and, if it was the last one, its execution. s is a final
// status. A task that is to Succeed but has subtasks that Failed becomes Failed
// with ReasonArtifactsFailed, so a caller only says how the repository itself
// fared. Subtasks of the task that have not ended become Stopped, and its pushes
// are dropped. A task that has ended keeps its status; only the execution's
// counts are brought up to date.
func (j *Journal) EndTask(ctx context.Context, taskID int64, s Status, reason, detail string) error {
	if !s.Final() {
		return fmt.Errorf("ending task %d: status %q is not final", taskID, s)
	}
	t, err := taskByID(ctx, j.store.reader(), taskID)
	if err == nil {
		err = j.writeExecution(ctx, t.ExecutionID, func(ctx context.Context, q querier, e *Execution) error {
			return j.endTask(ctx, q, e, taskID, outcome{s, reason, detail})
		})
	}
	if err != nil {
		return fmt.Errorf("ending task %d: %w", taskID, err)
	}
	return nil
}

func (j *Journal) endTask(ctx context.Context, q querier, e *Execution, taskID int64, o outcome) error {
	now := micros(j.now())
	if o.status == Succeed {
		failed, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM subtasks WHERE task_id = $1 AND status = 'Failed'`, taskID))
		if err != nil {
			return err
		}
		if failed > 0 {
			o = artifactsFailed(failed)
		}
	}
	_, err := q.exec(ctx, `UPDATE tasks SET status = $2, reason = $3, detail = $4, cursor = '', updated_at = $5
		WHERE id = $1 AND status IN ('Initialized', 'Pending', 'InProgress')`, taskID, o.status, o.reason, o.detail, now)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE subtasks SET status = 'Stopped', reason = $2, updated_at = $3
		WHERE task_id = $1 AND status IN ('Initialized', 'Pending', 'InProgress')`, taskID, ReasonInterrupted, now)
	if err != nil {
		return err
	}
	if _, err := q.exec(ctx, `DELETE FROM pushes WHERE task_id = $1`, taskID); err != nil {
		return err
	}
	if e.Status.Final() {
		return storeCounts(ctx, q, e.ID)
	}
	return j.endIfDone(ctx, q, e)
}
