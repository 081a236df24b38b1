package engine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestPruneAudit: the audit log is kept as long as the configuration in force says, to
// the day, and it is logged what is not.
func TestPruneAudit(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	var now atomic.Pointer[time.Time]
	at := func(t time.Time) { now.Store(&t) }
	at(time.Now())
	s := registrytest.Distribution(t)
	h := build(t, s, nil, func(o *engine.Options) { o.Log, o.Now = zap.New(core), func() time.Time { return *now.Load() } })
	id, err := h.journal.Audit(t.Context(), journal.AuditEntry{Caller: "ci"})
	if err == nil {
		err = h.journal.Audited(t.Context(), id, "done")
	}
	if err != nil {
		t.Fatal(err)
	}
	entries := func() []journal.AuditEntry {
		list, err := h.journal.AuditEntries(t.Context(), journal.AuditFilter{Caller: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	const keep = 10 * 24 * time.Hour
	end := entries()[0].At.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) // of its day
	at(end.Add(100 * keep))
	if err := h.PruneAudit(t.Context()); err != nil || len(entries()) != 1 {
		t.Errorf("%v, %+v, which are kept for ever", err, entries())
	}
	setup := newSetup(t, s)
	setup.Upkeep.AuditRetention = keep
	h.replace(setup)
	at(end.Add(keep - time.Microsecond))
	if err := h.PruneAudit(t.Context()); err != nil || len(entries()) != 1 || logs.FilterMessage("audit log pruned").Len() != 0 {
		t.Errorf("%v, %+v, which are kept for this day", err, entries())
	}
	at(end.Add(keep))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pruning sync.WaitGroup
	pruning.Go(func() { h.PruneAuditEvery(ctx, time.Hour) })
	for end := time.Now().Add(time.Minute); logs.FilterMessage("audit log pruned").Len() == 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	pruning.Wait()
	if n := logs.FilterMessage("audit log pruned").Len(); n != 1 || len(entries()) != 0 {
		t.Errorf("%+v are left, and it is logged %d times", entries(), n)
	}
}
