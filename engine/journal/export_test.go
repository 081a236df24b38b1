package journal

import (
	"context"
	"time"
)

// PruneRows is how many rows one transaction deletes.
const PruneRows = pruneRows

// Exec runs a statement that no method of a journal would.
func (j *Journal) Exec(ctx context.Context, sql string, args ...any) error {
	return j.store.update(ctx, func(q querier) error {
		_, err := q.exec(ctx, sql, args...)
		return err
	})
}

// Hang locks the head of the chain in a transaction that then stands still until hung
// is closed, as that of a process that was paused. It closes locked in between.
func (j *Journal) Hang(ctx context.Context, locked chan<- struct{}, hung <-chan struct{}) error {
	return j.store.update(ctx, func(q querier) error {
		if _, err := q.exec(ctx, `UPDATE chain_head SET seq = seq`); err != nil {
			return err
		}
		close(locked)
		<-hung
		return nil
	})
}

// Sweep does now what is done every minute.
func (j *Journal) Sweep(ctx context.Context) error { return j.sweep(ctx) }

// Count returns the number that a query selects.
func (j *Journal) Count(ctx context.Context, sql string) (int64, error) {
	return scanID(j.store.reader().queryRow(ctx, sql))
}

// RescueAfter is when a job that still runs is taken for one that does not.
func (j *Journal) RescueAfter(o JobOptions) time.Duration {
	return j.riverConfig(Handlers{}, o.withDefaults()).RescueStuckJobsAfter
}

// FailStop makes the next attempt to stop the running jobs fail.
func (j *Journal) FailStop(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running.client = &failingClient{j.running.client, err}
}

// failingClient fails to stop once.
type failingClient struct {
	jobClient
	err error
}

func (c *failingClient) Stop(ctx context.Context) error {
	if err := c.err; err != nil {
		c.err = nil
		return err
	}
	return c.jobClient.Stop(ctx)
}

// Follows returns what keeps e from being the entry after the last one.
func (e Entry) Follows(last Entry) error { return e.follows(last) }
