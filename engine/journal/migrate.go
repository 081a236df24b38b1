package journal

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"go.uber.org/zap"
)

// migrations holds one directory per database. They differ only in how a
// table numbers its rows.
//
//go:embed sql
var migrations embed.FS

const (
	// schemaTable is where goose remembers what it applied.
	schemaTable = "sealwright_schema"
	// migrateLock is the advisory lock, "sealwr" in ASCII, that keeps replicas
	// which start together from migrating together.
	migrateLock = 0x7365616c7772
)

// migrate brings our tables and River's to this binary's version.
func migrate[TTx any](ctx context.Context, dialect goose.Dialect, db *sql.DB, driver riverdriver.Driver[TTx], log *zap.Logger) error {
	p, err := newProvider(dialect, db)
	if err != nil {
		return err
	}
	if err := refuseNewer(ctx, p); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the journal's tables: %w", err)
	}
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slogTo(log)})
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrating the job queue's tables: %w", err)
	}
	return nil
}

func migrateSQLite(ctx context.Context, s *sqliteStore, driver riverdriver.Driver[*sql.Tx], log *zap.Logger) error {
	return migrate(ctx, goose.DialectSQLite3, s.writeDB, driver, log)
}

func migratePostgres[TTx any](ctx context.Context, pool *pgxpool.Pool, driver riverdriver.Driver[TTx], log *zap.Logger) (err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	defer func() {
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock))
		err = errors.Join(err, unlockErr)
	}()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() //nolint:errcheck // a view of the pool: nothing is flushed
	return migrate(ctx, goose.DialectPostgres, db, driver, log)
}

func newProvider(dialect goose.Dialect, db *sql.DB) (*goose.Provider, error) {
	dir := "sql/postgres"
	if dialect == goose.DialectSQLite3 {
		dir = "sql/sqlite"
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files,
		goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// refuseNewer keeps an old binary from writing into a newer schema.
func refuseNewer(ctx context.Context, p *goose.Provider) error {
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return fmt.Errorf("the database has schema version %d, this binary knows %d: it was written by a newer version", current, target)
	}
	return nil
}

// checkSchema says clearly why a database cannot be read by this binary,
// without writing to it.
func checkSchema(ctx context.Context, q querier) error {
	files, err := fs.ReadDir(migrations, "sql/postgres")
	if err != nil {
		return err
	}
	last := files[len(files)-1].Name() // they are sorted by their numbers
	want, err := goose.NumericComponent(last)
	if err != nil {
		return err
	}
	var have int64
	if err := q.queryRow(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+schemaTable).Scan(&have); err != nil {
		return fmt.Errorf("the database holds no journal: %w", err)
	}
	if have != want {
		return fmt.Errorf("the database has schema version %d, this binary needs %d; the daemon migrates it when it starts", have, want)
	}
	return nil
}
