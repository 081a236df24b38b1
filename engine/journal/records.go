package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

func insertRecord(ctx context.Context, q querier, c *Claim, i int, now time.Time) error {
	r := &c.Records[i]
	r.Registry, r.Repository, r.Digest = c.Registry, c.Subtask.Repository, c.Subtask.Digest
	r.ExecutionID = c.Subtask.ExecutionID
	r.State, r.CreatedAt, r.FinishedAt = Signing, now, time.Time{}
	var err error
	r.ID, err = scanID(q.queryRow(ctx, `INSERT INTO records (execution_id, policy, policy_version, trigger_type, registry,
		repository, digest, tags, identity, format, key_name, key_fingerprint, key_version, algorithm, state, reason, signature,
		stored_as, tag_moved, created_at, request_id, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0) RETURNING id`,
		r.ExecutionID, r.Policy, r.PolicyVersion, r.Trigger, r.Registry, r.Repository, r.Digest, toJSON(r.Tags),
		r.Identity, r.Format, r.Key, r.KeyFingerprint, r.KeyVersion, r.Algorithm, r.State, r.Reason, r.Signature,
		r.StoredAs, flag(r.TagMoved), micros(now), r.RequestID))
	return err
}

// finishRecord completes a record. What was promised before the key was used
// stays as it was. Doing so again changes nothing, as a transaction that was
// committed may run again when only its confirmation was lost.
func finishRecord(ctx context.Context, q querier, r *Record, now time.Time) error {
	n, err := becomeFinal(ctx, q, `UPDATE records SET state = $2, reason = $3, signature = $4, stored_as = $5, tag_moved = $6,
		finished_at = $7 WHERE id = $1
		AND (state <> $2 OR reason <> $3 OR signature <> $4 OR stored_as <> $5 OR tag_moved <> $6)`,
		r.ID, r.State, r.Reason, r.Signature, r.StoredAs, flag(r.TagMoved), micros(cmp.Or(r.FinishedAt, now)))
	if err != nil || n > 0 {
		return err
	}
	_, err = scanID(q.queryRow(ctx, `SELECT id FROM records WHERE id = $1`, r.ID))
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("record %d is gone", r.ID)
	}
	return err
}

// becomeFinal runs an update that makes records final, and has the chain go on
// with each of them at the end of the transaction.
func becomeFinal(ctx context.Context, q querier, update string, args ...any) (int, error) {
	tx, ok := q.(interface{ chain(records []Record) })
	if !ok {
		return 0, errors.New("records become final only in a transaction")
	}
	records, err := collect(ctx, q, scanRecord, update+` RETURNING `+recordColumns, args...)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
	tx.chain(records)
	return len(records), nil
}

// recordFound completes the newest record whose worker died before it could say
// that it had brought the signature of r to the registry. If another record is
// the proof of that very signature already, the interrupted one stays what it
// is: an attempt that nothing came of.
func recordFound(ctx context.Context, q querier, r *Record, now time.Time) error {
	_, err := becomeFinal(ctx, q, `UPDATE records SET state = 'signed', reason = 'found', signature = $6, stored_as = $7, finished_at = $8
		WHERE reason = 'interrupted' AND id = (SELECT MAX(id) FROM records
			WHERE registry = $1 AND repository = $2 AND digest = $3 AND format = $4 AND key_fingerprint = $5
			AND state = 'failed' AND reason = 'interrupted')
		AND NOT EXISTS (SELECT 1 FROM records o
			WHERE o.registry = $1 AND o.repository = $2 AND o.digest = $3 AND o.format = $4 AND o.key_fingerprint = $5
			AND o.state = 'signed' AND o.signature = $6)`,
		r.Registry, r.Repository, r.Digest, r.Format, r.KeyFingerprint, r.Signature, r.StoredAs, micros(now))
	return err
}

// closeInterrupted closes the records whose worker died: those without a live
// claim. A claim and its records begin and end in one transaction.
func closeInterrupted(ctx context.Context, q querier, now time.Time) error {
	_, err := becomeFinal(ctx, q, `UPDATE records SET state = 'failed', reason = 'interrupted', finished_at = $1
		WHERE state = 'signing' AND NOT EXISTS (SELECT 1 FROM claims c
			WHERE c.registry = records.registry AND c.repository = records.repository
			AND c.digest = records.digest AND c.expires_at > $1)`, micros(now))
	return err
}
