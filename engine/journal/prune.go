package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// pruneRows is how many rows one transaction deletes, so that others get their
// turn.
const pruneRows = 2000

// Prune forgets the executions of a policy that are older than its newest keep
// ones, with their tasks and subtasks, and returns how many. It never forgets
// records, executions that have not ended, or the last tick. Executions that
// events began, of which there are many more, are left to the journal itself.
func (j *Journal) Prune(ctx context.Context, name string, keep int) (int64, error) {
	return j.prune(ctx, name, keep, `trigger_type <> 'event_based'`)
}

// eventHistoryKept is how many of the executions of a policy that events began
// are kept.
const eventHistoryKept = 200

// pruneEvents forgets the oldest executions that events began.
func (j *Journal) pruneEvents(ctx context.Context) error {
	names, err := collect(ctx, j.store.reader(), scanText, `SELECT policy FROM executions
		WHERE trigger_type = 'event_based' GROUP BY policy HAVING COUNT(*) > $1`, eventHistoryKept)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		_, err := j.prune(ctx, name, eventHistoryKept, `trigger_type = 'event_based'`)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// prune forgets those of a policy's executions for which also the condition
// holds.
func (j *Journal) prune(ctx context.Context, name string, keep int, condition string) (int64, error) {
	ids, err := j.prunable(ctx, name, keep, condition)
	if err != nil {
		return 0, fmt.Errorf("pruning policy %q: %w", name, err)
	}
	var pruned int64
	for _, id := range ids {
		if err := j.forget(ctx, id); err != nil {
			return pruned, fmt.Errorf("pruning execution %d: %w", id, err)
		}
		pruned++
	}
	return pruned, nil
}

func (j *Journal) prunable(ctx context.Context, name string, keep int, condition string) ([]int64, error) {
	q := j.store.reader()
	oldest, err := scanID(q.queryRow(ctx, `SELECT id FROM executions WHERE policy = $1 AND `+condition+` ORDER BY id DESC LIMIT 1 OFFSET $2`, name, max(keep, 1)-1))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return collect(ctx, q, scanID, `SELECT id FROM executions WHERE policy = $1 AND id < $2 AND finished_at > 0 AND `+condition+` ORDER BY id`, name, oldest)
}

// forget deletes one execution, its rows before itself.
func (j *Journal) forget(ctx context.Context, id int64) error {
	for _, table := range []string{"subtasks", "tasks"} {
		for more := true; more; {
			err := j.store.update(ctx, func(q querier) error {
				n, err := q.exec(ctx, `DELETE FROM `+table+` WHERE id IN
					(SELECT id FROM `+table+` WHERE execution_id = $1 LIMIT $2)`, id, pruneRows)
				more = n == pruneRows
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return j.store.update(ctx, func(q querier) error {
		_, err := q.exec(ctx, `DELETE FROM executions WHERE id = $1`, id)
		return err
	})
}
