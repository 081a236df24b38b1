package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"go.uber.org/zap"
)

// Options say where the journal lives and who writes it.
type Options struct {
	// State is a directory, for the embedded database in
	// DIRECTORY/sealwright.db, or a postgres:// URL. Required.
	State string
	// Log receives what nobody else can be told. Nil logs nothing.
	Log *zap.Logger
	// Now is the clock of everything but the job queue, which runs on the
	// real one. Nil means time.Now.
	Now func() time.Time
	// Ended, when set, is told of each execution that this process ended. It must not
	// block.
	Ended func(Execution)
	// Owner names this process in claims. Empty means host:pid:random.
	Owner string
}

// A Journal is an open database and, between StartJobs and StopJobs, the
// workers on its jobs. Its methods may be called from many goroutines.
type Journal struct {
	store  store
	queue  jobQueue
	writer *writer
	lock   *dirLock // of the embedded database
	log    *zap.Logger
	now    func() time.Time
	ended  func(Execution)
	owner  string

	tallies *tallies

	mu      sync.Mutex // guards running
	running *workers   // nil unless jobs are being worked
}

// Open opens the journal for writing and migrates it. The embedded database
// belongs to one process at a time: ErrInUse names the other one. What a
// killed process left running there is taken up again.
func Open(ctx context.Context, o Options) (*Journal, error) {
	j := newJournal(o)
	postgres, err := isPostgres(o.State)
	if err != nil {
		return nil, err
	}
	if postgres {
		err = j.openPostgres(ctx, o.State)
	} else {
		err = j.openSQLite(ctx, o.State)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal: %w", err), j.Close())
	}
	return j, nil
}

// OpenReadOnly opens an existing journal beside whoever writes it. It creates
// and migrates nothing; every method that would write returns ErrReadOnly.
func OpenReadOnly(ctx context.Context, state string) (*Journal, error) {
	j := newJournal(Options{})
	postgres, err := isPostgres(state)
	if err != nil {
		return nil, err
	}
	if postgres {
		j.store, err = nonNil(openPostgres(ctx, state, true))
	} else {
		if _, err := os.Stat(filepath.Join(state, sqliteFile)); err != nil {
			return nil, fmt.Errorf("no journal in %s: %w", state, err)
		}
		j.store, err = nonNil(openSQLite(ctx, state, false))
	}
	if err == nil {
		err = checkSchema(ctx, j.store.reader())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal for reading: %w", err), j.Close())
	}
	return j, nil
}

// nonNil keeps a nil pointer from becoming a store that is not nil.
func nonNil[S interface {
	*sqliteStore | *postgresStore
	store
}](s S, err error) (store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func newJournal(o Options) *Journal {
	j := &Journal{log: o.Log, now: o.Now, ended: o.Ended, owner: o.Owner, tallies: newTallies()}
	if j.log == nil {
		j.log = zap.NewNop()
	}
	if j.now == nil {
		j.now = time.Now
	}
	if j.ended == nil {
		j.ended = func(Execution) {}
	}
	if j.owner == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		j.owner = fmt.Sprintf("%s:%d:%s", host, os.Getpid(), rand.Text()[:8])
	}
	return j
}

// isPostgres reports whether state is a database URL rather than a directory.
func isPostgres(state string) (bool, error) {
	scheme, _, isURL := strings.Cut(state, "://")
	switch {
	case state == "":
		return false, errors.New("state is required; allowed: a directory, or a postgres:// URL")
	case !isURL:
		return false, nil
	case scheme == "postgres" || scheme == "postgresql":
		return true, nil
	}
	return false, fmt.Errorf("state: unknown scheme %q; allowed: a directory, or a postgres:// URL", scheme)
}

func (j *Journal) openSQLite(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	if j.lock, err = lockDir(dir); err != nil {
		return err
	}
	s, err := openSQLite(ctx, dir, true)
	if err != nil {
		return err
	}
	j.store = s
	driver := riversqlite.New(s.writeDB)
	if err := migrateSQLite(ctx, s, driver, j.log); err != nil {
		return err
	}
	if j.queue, err = newRiverQueue(driver, j.log); err != nil {
		return err
	}
	if err := j.recoverEmbedded(ctx); err != nil {
		return err
	}
	j.writer = startWriter(j.store, 1)
	return nil
}

// postgresWriters commit at the same time, because there a transaction waits
// for the network and the server's disk, not for another transaction.
const postgresWriters = 4

func (j *Journal) openPostgres(ctx context.Context, url string) error {
	s, err := openPostgres(ctx, url, false)
	if err != nil {
		return err
	}
	j.store = s
	driver := riverpgxv5.New(s.pool)
	if err := migratePostgres(ctx, s.pool, driver, j.log); err != nil {
		return err
	}
	if j.queue, err = newRiverQueue(driver, j.log); err != nil {
		return err
	}
	j.writer = startWriter(j.store, postgresWriters)
	return nil
}

// Close stops the jobs without waiting for them to end by themselves, and
// closes the database. To let them end, call StopJobs first.
func (j *Journal) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	errs := []error{j.StopJobs(ctx)}
	if j.writer != nil {
		j.writer.stop()
	}
	j.tallies.close()
	if j.store != nil {
		errs = append(errs, j.store.close())
	}
	return errors.Join(append(errs, j.lock.release())...)
}
