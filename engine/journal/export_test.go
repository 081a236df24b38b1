package journal

import "context"

// Exec runs a statement that no method of a journal would.
func (j *Journal) Exec(ctx context.Context, sql string, args ...any) error {
	return j.store.update(ctx, func(q querier) error {
		_, err := q.exec(ctx, sql, args...)
		return err
	})
}

// Sweep does now what is done every minute.
func (j *Journal) Sweep(ctx context.Context) error { return j.sweep(ctx) }

// Count returns the number that a query selects.
func (j *Journal) Count(ctx context.Context, sql string) (int64, error) {
	return scanID(j.store.reader().queryRow(ctx, sql))
}
