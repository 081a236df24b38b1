package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Undelivered is what of the chain was not delivered to a sink yet.
type Undelivered struct {
	Entries int64     `json:"entries"`
	Oldest  time.Time `json:"oldest,omitzero"` // when the oldest of them became final
}

// LeaseSink makes this process the only one that delivers to a sink, for ttl,
// and returns the sequence number of the last entry that was delivered. It
// returns ErrClaimed while another process delivers.
func (j *Journal) LeaseSink(ctx context.Context, name string, ttl time.Duration) (delivered int64, err error) {
	err = j.write(ctx, sinkKey(name), func(ctx context.Context, q querier) error {
		now := j.now()
		delivered, err = scanID(q.queryRow(ctx, `INSERT INTO sinks (name, owner, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
			WHERE sinks.owner = excluded.owner OR sinks.expires_at <= $4 RETURNING delivered`,
			name, j.owner, micros(now.Add(ttl)), micros(now)))
		if errors.Is(err, sql.ErrNoRows) {
			return ErrClaimed
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("leasing sink %q: %w", name, err)
	}
	return delivered, nil
}

// Delivered says that everything up to an entry was delivered to a sink, and
// extends the lease to ttl. It returns ErrClaimed if another process has taken
// the lease over.
func (j *Journal) Delivered(ctx context.Context, name string, seq int64, ttl time.Duration) error {
	err := j.write(ctx, sinkKey(name), func(ctx context.Context, q querier) error {
		n, err := q.exec(ctx, `UPDATE sinks SET delivered = $3, expires_at = $4 WHERE name = $1 AND owner = $2 AND delivered <= $3`,
			name, j.owner, seq, micros(j.now().Add(ttl)))
		if err == nil && n == 0 {
			err = ErrClaimed
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("moving the cursor of sink %q: %w", name, err)
	}
	return nil
}

// ReleaseSink gives up a lease of this process.
func (j *Journal) ReleaseSink(ctx context.Context, name string) error {
	err := j.write(ctx, sinkKey(name), func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE sinks SET expires_at = 0 WHERE name = $1 AND owner = $2`, name, j.owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("releasing sink %q: %w", name, err)
	}
	return nil
}

// sinkKey is the writer's key of what locks a sink.
func sinkKey(name string) string { return "sink\n" + name }

// Undelivered returns what was not delivered to a sink yet: all of the chain, if
// nothing ever was.
func (j *Journal) Undelivered(ctx context.Context, name string) (Undelivered, error) {
	var b Undelivered
	var text string
	err := j.store.reader().queryRow(ctx, `SELECT h.seq - COALESCE(s.delivered, 0),
		COALESCE((SELECT c.body FROM chain c WHERE c.seq = COALESCE(s.delivered, 0) + 1), '')
		FROM chain_head h LEFT JOIN sinks s ON s.name = $1 WHERE h.id = 1`, name).Scan(&b.Entries, &text)
	if err != nil {
		return Undelivered{}, fmt.Errorf("reading the backlog of sink %q: %w", name, notFound(err))
	}
	if text != "" {
		r, err := Entry{Body: json.RawMessage(text)}.Record()
		if err != nil {
			return b, err
		}
		b.Oldest = r.FinishedAt
	}
	return b, nil
}
