package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgresConns is the size of the pool unless the URL says pool_max_conns:
// River's services, the writers and a few readers.
const postgresConns = 16

// postgresStore is a PostgreSQL database that replicas share.
type postgresStore struct {
	pool     *pgxpool.Pool
	readOnly bool
}

func openPostgres(ctx context.Context, url string, readOnly bool) (*postgresStore, error) {
	cfg, err := pgxpool.ParseConfig(url) // its errors do not show the password
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = postgresConns
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "sealwright"
	}
	if readOnly {
		params["default_transaction_read_only"] = "on"
	}
	cfg.AfterConnect = configureSession
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return &postgresStore{pool: pool, readOnly: readOnly}, nil
}

// idleInTransaction is for how long the server lets a transaction of ours stand still.
// None waits for anything but the server, so a process whose transaction does is paused
// or cut off, and the rows that it locked, the head of the chain among them, would keep
// all other replicas from signing until it comes back.
const idleInTransaction = 10 * time.Second

// configureSession keeps the promise of "flushed before the key is used" on servers
// whose default is not to wait for the disk, and bounds for how long a process that
// is paused holds up the others, unless the server or the URL says another bound.
func configureSession(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') = 'off'`)
	if err == nil {
		_, err = c.Exec(ctx, `SELECT set_config('idle_in_transaction_session_timeout', $1, false)
			WHERE current_setting('idle_in_transaction_session_timeout') = '0'`, strconv.FormatInt(idleInTransaction.Milliseconds(), 10))
	}
	return err
}

func (s *postgresStore) reader() querier { return pgQuerier{s.pool} }

// postgresTries is how often a transaction runs that loses against another:
// the databases' advice for deadlocks and serialization failures.
const postgresTries = 5

func (s *postgresStore) update(ctx context.Context, f func(querier) error) error {
	if s.readOnly {
		return ErrReadOnly
	}
	var err error
	for range postgresTries {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			q := pgTx{pgQuerier{tx}, tx, new(links)}
			if err := f(q); err != nil {
				return err
			}
			return q.append(ctx, q)
		})
		if !lostRace(err) {
			return err
		}
	}
	return fmt.Errorf("after %d tries: %w", postgresTries, err)
}

// lostRace reports errors of class 40: the transaction did nothing, and may do
// so again.
func lostRace(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && strings.HasPrefix(pe.Code, "40") && pe.Code != "40003"
}

func (s *postgresStore) close() error {
	s.pool.Close()
	return nil
}

// pgTx is a transaction, with what River needs to insert jobs in it and what the
// chain is to go on with.
type pgTx struct {
	pgQuerier
	tx pgx.Tx
	*links
}

func (t pgTx) raw() pgx.Tx { return t.tx }

// pgConn is what a pool and a transaction have in common.
type pgConn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

type pgQuerier struct{ conn pgConn }

func (q pgQuerier) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := q.conn.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

func (q pgQuerier) query(ctx context.Context, sql string, args ...any) (rows, error) {
	return q.conn.Query(ctx, sql, args...)
}

func (q pgQuerier) queryRow(ctx context.Context, sql string, args ...any) scanner {
	return q.conn.QueryRow(ctx, sql, args...)
}
