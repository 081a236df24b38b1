package journal

import (
	"context"
	"encoding/json"
)

// storeCounts keeps the counts with the execution, where they survive pruning
// and cost nothing to read.
func storeCounts(ctx context.Context, q querier, id int64) error {
	tasks, counts, err := count(ctx, q, id)
	if err != nil {
		return err
	}
	b, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE executions SET tasks = $2, counts = $3 WHERE id = $1`, id, tasks, string(b))
	return err
}

// count counts an execution's tasks and subtasks.
func count(ctx context.Context, q querier, id int64) (tasks int64, c Counts, err error) {
	if err := q.queryRow(ctx, `SELECT COUNT(*) FROM tasks WHERE execution_id = $1`, id).Scan(&tasks); err != nil {
		return 0, c, err
	}
	rs, err := q.query(ctx, `SELECT status, reason, COUNT(*) FROM subtasks WHERE execution_id = $1 GROUP BY status, reason`, id)
	if err != nil {
		return 0, c, err
	}
	defer rs.Close()
	for rs.Next() {
		var status Status
		var reason string
		var n int64
		if err := rs.Scan(&status, &reason, &n); err != nil {
			return 0, c, err
		}
		c.add(status, reason, n)
	}
	return tasks, c, rs.Err()
}

func (c *Counts) add(status Status, reason string, n int64) {
	c.Total += n
	switch status {
	case Succeed:
		c.Succeed += n
	case Failed:
		c.Failed += n
	case Stopped:
		c.Stopped += n
	default:
		c.InProgress += n
	}
	if reason == "" {
		return
	}
	if c.Reasons == nil {
		c.Reasons = map[string]int64{}
	}
	c.Reasons[reason] += n
}
