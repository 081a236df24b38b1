package journal

import (
	"context"
	"fmt"
)

// embedded reports whether the journal is a database of this process alone.
func (j *Journal) embedded() bool { return j.lock != nil }

// recoverEmbedded takes up what a killed process left behind. The lock proves
// that nobody runs it: its jobs are available again at once, its claims are
// void, nobody delivers to a sink or leads the queue's maintenance.
func (j *Journal) recoverEmbedded(ctx context.Context) error {
	err := j.store.update(ctx, func(q querier) error {
		if err := freeJobs(ctx, q); err != nil {
			return err
		}
		for _, sql := range []string{`DELETE FROM river_leader`, `DELETE FROM claims`, `UPDATE sinks SET expires_at = 0`} {
			if _, err := q.exec(ctx, sql); err != nil {
				return err
			}
		}
		return closeInterrupted(ctx, q, j.now())
	})
	if err != nil {
		return fmt.Errorf("recovering from the last run: %w", err)
	}
	return nil
}

// recoverJobs takes up jobs whose end could not be written when this process
// worked them before. Replicas leave that to River, since they cannot know who
// runs a job. The caller runs none.
func (j *Journal) recoverJobs(ctx context.Context) error {
	if !j.embedded() {
		return nil
	}
	if err := j.store.update(ctx, func(q querier) error { return freeJobs(ctx, q) }); err != nil {
		return fmt.Errorf("recovering jobs: %w", err)
	}
	return nil
}

// freeJobs makes the embedded database's running jobs available. They get their
// attempt back: that their process died is not the work's fault.
func freeJobs(ctx context.Context, q querier) error {
	_, err := q.exec(ctx, `UPDATE river_job SET state = 'available', attempt = MAX(attempt - 1, 0),
		scheduled_at = datetime('now', 'subsec') WHERE state = 'running'`)
	return err
}
