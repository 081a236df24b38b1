package journal

import (
	"context"
	"fmt"
	"time"
)

// An AuditEntry says who asked for a change through an API.
type AuditEntry struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Caller    string    `json:"caller"`
	API       string    `json:"api"`    // which dialect
	Action    string    `json:"action"` // in the dialect's own word
	Target    string    `json:"target"` // what was to be changed
	RequestID string    `json:"request_id"`
	// Outcome is what came of it: done, not done, nothing to change, or refused and why; or
	// how many others were left out. It is empty while the change is under way, or if the
	// process died meanwhile.
	Outcome    string    `json:"outcome,omitempty"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// An AuditFilter chooses entries. Zero fields choose all.
type AuditFilter struct {
	Caller, API string
	Before      int64 // continue after this entry of the last page
	Limit       int   // default 100
}

// Audit records that somebody asks for a change, and returns the entry's id. When
// it returns, the entry is durable: only then may anything be changed. An entry that
// has an outcome is complete.
func (j *Journal) Audit(ctx context.Context, e AuditEntry) (int64, error) {
	var id int64
	err := j.write(ctx, "audit", func(ctx context.Context, q querier) (err error) {
		at, finished := micros(j.now()), int64(0)
		if e.Outcome != "" {
			finished = at
		}
		id, err = scanID(q.queryRow(ctx, `INSERT INTO audit (at, caller, api, action, target, request_id, outcome, finished_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id`, at, e.Caller, e.API, e.Action, e.Target, e.RequestID, e.Outcome, finished))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("writing the audit log: %w", err)
	}
	return id, nil
}

// Audited completes an entry with what came of the change.
func (j *Journal) Audited(ctx context.Context, id int64, outcome string) error {
	err := j.write(ctx, "audit", func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE audit SET outcome = $2, finished_at = $3 WHERE id = $1`, id, outcome, micros(j.now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

// PruneAudit forgets the entries of the audit log that are older than before, some at a
// time, and returns how many. One whose outcome nobody knows is never forgotten. If
// there is something to forget, an entry of ours says so first.
func (j *Journal) PruneAudit(ctx context.Context, before time.Time) (int64, error) {
	const old = `at < $1 AND finished_at > 0`
	n, err := scanID(j.store.reader().queryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM audit WHERE `+old+` LIMIT 1) AS found`, micros(before)))
	if err != nil {
		return 0, fmt.Errorf("looking for old entries of the audit log: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	id, err := j.Audit(ctx, AuditEntry{Caller: "sealwright", API: "journal", Action: "prune-audit", Target: "entries before " + before.UTC().Format(time.RFC3339)})
	if err != nil {
		return 0, err
	}
	var pruned int64
	for more := true; more; {
		err := j.store.update(ctx, func(q querier) error {
			n, err = q.exec(ctx, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE `+old+` ORDER BY at LIMIT $2)`, micros(before), pruneRows)
			return err
		})
		if err != nil {
			return pruned, fmt.Errorf("pruning the audit log: %w", err)
		}
		pruned, more = pruned+n, n == pruneRows
	}
	return pruned, j.Audited(ctx, id, "done")
}

// AuditEntries returns a page of the audit log, the newest first.
func (j *Journal) AuditEntries(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	var w where
	w.equal("caller", f.Caller)
	w.equal("api", f.API)
	w.cursor("id <", f.Before)
	list, err := collect(ctx, j.store.reader(), scanAudit, `SELECT id, at, caller, api, action, target, request_id, outcome, finished_at FROM audit`+
		w.sql()+` ORDER BY id DESC `+limit(f.Limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return list, nil
}

func scanAudit(s scanner) (AuditEntry, error) {
	var e AuditEntry
	var at, finished int64
	err := s.Scan(&e.ID, &at, &e.Caller, &e.API, &e.Action, &e.Target, &e.RequestID, &e.Outcome, &finished)
	e.At, e.FinishedAt = fromMicros(at), fromMicros(finished)
	return e, err
}
