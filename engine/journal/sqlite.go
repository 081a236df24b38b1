package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite", without cgo
)

const (
	sqliteFile = "sealwright.db"
	// sqliteReaders are for the requests that have to do with the journal at once, three
	// at the network and one at the control socket; for what counts executions; and for
	// signing, which does not wait for them.
	sqliteReaders = 6
)

// sqliteStore is the embedded database. One connection writes, so that nobody
// ever meets SQLITE_BUSY; WAL lets the readers go on meanwhile.
type sqliteStore struct {
	writeDB *sql.DB // nil if opened for reading only
	readDB  *sql.DB
	writes  *statements
	reads   *statements
}

// openSQLite opens the database in dir; it creates the file if that is missing
// and writable is asked for.
func openSQLite(ctx context.Context, dir string, writable bool) (*sqliteStore, error) {
	path, err := filepath.Abs(filepath.Join(dir, sqliteFile))
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{}
	if writable {
		if err := ensureFile(path); err != nil {
			return nil, err
		}
		s.writeDB, err = openPool(ctx, path, 1, url.Values{"_pragma": {
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		}, "_txlock": {"immediate"}})
		if err != nil {
			return nil, err
		}
	}
	s.readDB, err = openPool(ctx, path, sqliteReaders, url.Values{
		"_pragma": {"busy_timeout(10000)", "query_only(1)"}, "mode": {readMode(writable)},
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.writes, s.reads = newStatements(s.writeDB), newStatements(s.readDB)
	return s, nil
}

// readMode is how readers open the file. Beside our own writer they may also
// tend the shared-memory index; alone they must not create anything.
func readMode(writable bool) string {
	if writable {
		return "rw"
	}
	return "ro"
}

// ensureFile creates the database for its owner only, which SQLite alone would
// not do. SQLite gives the same permissions to the files beside it.
func ensureFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

func openPool(ctx context.Context, path string, conns int, query url.Values) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.Close())
	}
	return db, nil
}

func (s *sqliteStore) reader() querier { return sqlQuerier{s.readDB, s.reads.prepare} }

func (s *sqliteStore) update(ctx context.Context, f func(querier) error) error {
	if s.writeDB == nil {
		return ErrReadOnly
	}
	s.writes.catchUp(ctx)
	tx, err := s.writeDB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	q := sqliteTx{sqlQuerier{tx, s.inTx(tx)}, tx, new(links)}
	if err := f(q); err != nil {
		return err
	}
	if err := q.append(ctx, q); err != nil {
		return err
	}
	return tx.Commit()
}

// inTx returns what finds statements for a transaction. It holds the connection, so
// what is not ready yet will be for the next one.
func (s *sqliteStore) inTx(tx *sql.Tx) func(context.Context, string) (*sql.Stmt, error) {
	return func(ctx context.Context, text string) (*sql.Stmt, error) {
		if stmt := s.writes.find(text); stmt != nil {
			return tx.StmtContext(ctx, stmt), nil
		}
		s.writes.ask(text)
		return nil, nil
	}
}

func (s *sqliteStore) close() error {
	var errs []error
	for _, db := range []*sql.DB{s.readDB, s.writeDB} { // the writer last: it empties the WAL
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// sqliteTx is a transaction, with what River needs to insert jobs in it and what
// the chain is to go on with.
type sqliteTx struct {
	sqlQuerier
	tx *sql.Tx
	*links
}

func (t sqliteTx) raw() *sql.Tx { return t.tx }

// sqlConn is what *sql.DB and *sql.Tx have in common.
type sqlConn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A sqlQuerier carries out statements: as prepare has them, or by their text if that
// has none.
type sqlQuerier struct {
	conn    sqlConn
	prepare func(ctx context.Context, text string) (*sql.Stmt, error)
}

func (q sqlQuerier) exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := q.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	var res sql.Result
	if stmt != nil {
		res, err = stmt.ExecContext(ctx, args...)
	} else {
		res, err = q.conn.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (q sqlQuerier) query(ctx context.Context, query string, args ...any) (rows, error) {
	stmt, err := q.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	var rs *sql.Rows
	if stmt != nil {
		rs, err = stmt.QueryContext(ctx, args...) //nolint:rowserrcheck,sqlclosecheck // the caller does
	} else {
		rs, err = q.conn.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller does
	}
	if err != nil {
		return nil, err
	}
	return sqlRows{rs}, nil
}

func (q sqlQuerier) queryRow(ctx context.Context, query string, args ...any) scanner {
	stmt, err := q.prepare(ctx, query)
	switch {
	case err != nil:
		return failed{err}
	case stmt != nil:
		return stmt.QueryRowContext(ctx, args...)
	}
	return q.conn.QueryRowContext(ctx, query, args...)
}

// failed is a row that could not be asked for.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

type sqlRows struct{ *sql.Rows }

// Close has no error to report that Err has not.
func (r sqlRows) Close() { _ = r.Rows.Close() }
