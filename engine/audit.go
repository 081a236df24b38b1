package engine

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// day is how exactly entries of the audit log are kept, so that an entry a day at most
// says that some were forgotten.
const day = 24 * time.Hour

// PruneAudit forgets the entries of the audit log that are older than the setup says,
// and says so in the log.
func (e *Engine) PruneAudit(ctx context.Context) error {
	keep := e.setup.Load().Upkeep.AuditRetention
	if keep <= 0 {
		return nil
	}
	before := e.opts.Now().Add(-keep).UTC().Truncate(day)
	n, err := e.journal.PruneAudit(ctx, before)
	if n > 0 {
		e.log.Info("audit log pruned", zap.Int64("entries", n), zap.Time("before", before))
	}
	return err
}

// PruneAuditEvery calls PruneAudit now and at intervals until ctx ends.
func (e *Engine) PruneAuditEvery(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := e.PruneAudit(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("audit log not pruned, will try again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
