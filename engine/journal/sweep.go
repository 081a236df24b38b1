package journal

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// sweepInterval is how soon it is noticed that work was lost.
const sweepInterval = time.Minute

func (j *Journal) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := j.sweep(ctx); err != nil && ctx.Err() == nil {
			j.log.Warn("sweeping the journal", zap.Error(err))
		}
	}
}

// sweep ends what nobody will end any more: executions and tasks whose job is
// gone, and records of workers that died; and it drops what has become too old.
// A row and its job are written in one transaction, and a row is final before its
// job is, so what is seen here without a job has lost it.
func (j *Journal) sweep(ctx context.Context) error {
	const lost = "its job is gone"
	walks, err := collect(ctx, j.store.reader(), scanID, `SELECT id FROM executions
		WHERE status IN ('Pending', 'InProgress') AND finished_at = 0 AND walked = 0
		AND id NOT IN (SELECT CAST(args ->> 'execution_id' AS BIGINT) FROM river_job WHERE kind = 'sealwright_walk'
			AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))`)
	if err != nil {
		return err
	}
	tasks, err := collect(ctx, j.store.reader(), scanID, `SELECT id FROM tasks
		WHERE status IN ('Initialized', 'Pending', 'InProgress')
		AND id NOT IN (SELECT CAST(args ->> 'task_id' AS BIGINT) FROM river_job WHERE kind = 'sealwright_task'
			AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))`)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range walks {
		errs = append(errs, j.EndExecution(ctx, id, Failed, ReasonJobDiscarded, lost))
	}
	for _, id := range tasks {
		errs = append(errs, j.EndTask(ctx, id, Failed, ReasonJobDiscarded, lost))
	}
	errs = append(errs, j.forgetOld(ctx), j.forgetRetryTokens(ctx), j.pruneEvents(ctx), j.endClaims(ctx))
	return errors.Join(errs...)
}

// endClaims closes the records of the claims that are over, and drops these.
func (j *Journal) endClaims(ctx context.Context) error {
	now := j.now() // one for both: a claim that is dropped has had its records closed
	return j.store.update(ctx, func(q querier) error {
		if err := closeInterrupted(ctx, q, now); err != nil {
			return err
		}
		_, err := q.exec(ctx, `DELETE FROM claims WHERE expires_at <= $1`, micros(now))
		return err
	})
}
