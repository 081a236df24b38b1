package journal

import (
	"context"
	"database/sql"
	"errors"
)

// querier is the little of SQL that the journal speaks, on a transaction or on
// a pool. Placeholders are $1, $2, …; the statements are the same for both
// databases.
type querier interface {
	// exec returns how many rows were affected.
	exec(ctx context.Context, sql string, args ...any) (int64, error)
	query(ctx context.Context, sql string, args ...any) (rows, error)
	// queryRow's Scan returns an error that is sql.ErrNoRows if there is none.
	queryRow(ctx context.Context, sql string, args ...any) scanner
}

type scanner interface{ Scan(dest ...any) error }

type rows interface {
	scanner
	Next() bool
	Err() error
	Close()
}

// A store is one database.
type store interface {
	// reader reads what is committed, outside of any transaction.
	reader() querier
	// update runs f in a transaction that is durable when update returns nil.
	// f may run more than once, so it must not keep anything of a failed run.
	update(ctx context.Context, f func(querier) error) error
	close() error
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rs, err := q.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rs.Close()
	var all []T
	for rs.Next() {
		v, err := scan(rs)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rs.Err()
}

// advance gives what has a name among revisions its next one. It locks a row: whoever
// advances the same is alone with it until its transaction ends.
func advance(ctx context.Context, q querier, name string) (int64, error) {
	return scanID(q.queryRow(ctx, `INSERT INTO revisions (name, revision) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET revision = revisions.revision + 1 RETURNING revision`, name))
}

func scanID(s scanner) (int64, error) {
	var id int64
	err := s.Scan(&id)
	return id, err
}

func scanText(s scanner) (string, error) {
	var text string
	err := s.Scan(&text)
	return text, err
}

// notFound turns the databases' "no rows" into ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
