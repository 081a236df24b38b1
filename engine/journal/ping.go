package journal

import "context"

// Ping reports whether the journal can still be written: whether a signature
// could be recorded now. It goes the way of every record, to the disk.
func (j *Journal) Ping(ctx context.Context) error {
	now := micros(j.now())
	return j.write(ctx, "", func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `INSERT INTO pings (id, pinged_at) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET pinged_at = excluded.pinged_at`, now)
		return err
	})
}
