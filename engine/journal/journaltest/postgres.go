// Package journaltest has what tests of the journal, and of everything above
// it, need: a throw-away PostgreSQL, and the suite that every database passes.
package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealwright/sealwright/engine/journal"
)

// startTimeout bounds how long a server takes to start on a busy machine.
const startTimeout = time.Minute

// server is the process's one PostgreSQL server, shared by its tests.
var server struct { //nolint:gochecknoglobals // starting a server takes seconds
	sync.Mutex
	cluster   *cluster
	users     int  // tests that have a database
	keep      bool // until Main ends
	databases int
	migrated  bool // there is a database to copy, see PostgresJournal
}

// Main runs a package's tests and keeps one PostgreSQL server for all of them,
// where Postgres alone stops it whenever no test needs it:
//
//	func TestMain(m *testing.M) { os.Exit(journaltest.Main(m)) }
func Main(m *testing.M) int {
	server.Lock()
	server.keep = true
	server.Unlock()
	code := m.Run()
	server.Lock()
	defer server.Unlock()
	if err := stopServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Postgres returns the URL of a fresh, empty database. The first call starts a
// server in a temporary directory, which only listens on a socket there; it dies
// with the test process, and its databases with it: to drop one would flush all.
// A machine without PostgreSQL fails the test.
func Postgres(t testing.TB) string {
	t.Helper()
	return database(t, func(c *cluster, name string) error { return c.exec("CREATE DATABASE " + name) })
}

// PostgresJournal is Postgres with an empty journal in it, which is quicker than
// to migrate a database for each test.
func PostgresJournal(t testing.TB) string {
	t.Helper()
	return database(t, func(c *cluster, name string) error {
		if err := migrateOnce(c); err != nil {
			return fmt.Errorf("migrating the template: %w", err)
		}
		return c.exec("CREATE DATABASE " + name + " TEMPLATE journal")
	})
}

// database starts the server if there is none, and creates a database.
func database(t testing.TB, create func(c *cluster, name string) error) string {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.cluster == nil {
		c, err := startCluster()
		if err != nil {
			t.Fatalf("starting PostgreSQL: %v", err)
		}
		server.cluster = c
	}
	server.users++
	server.databases++
	t.Cleanup(func() { release(t) })
	name := fmt.Sprintf("test%d", server.databases)
	if err := create(server.cluster, name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	return server.cluster.url(name)
}

// migrateOnce is called with the lock held.
func migrateOnce(c *cluster) error {
	if server.migrated {
		return nil
	}
	if err := c.exec("CREATE DATABASE journal"); err != nil {
		return err
	}
	j, err := journal.Open(context.Background(), journal.Options{State: c.url("journal")})
	if err != nil {
		return err
	}
	server.migrated = true
	return j.Close()
}

func release(t testing.TB) {
	server.Lock()
	defer server.Unlock()
	server.users--
	if server.users > 0 || server.keep {
		return
	}
	if err := stopServer(); err != nil {
		t.Error(err)
	}
}

// stopServer is called with the lock held.
func stopServer() error {
	c := server.cluster
	server.cluster, server.migrated = nil, false
	if c == nil {
		return nil
	}
	return c.stop()
}

// cluster is a running server.
type cluster struct {
	dir  string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{} // closed when the server has exited
}

func startCluster() (*cluster, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	attr, uid, gid, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, done: make(chan struct{})}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.init(bin, attr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(bin, attr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.await(); err != nil {
		err = errors.Join(err, c.stop())
		return nil, fmt.Errorf("%w\n%s", err, c.log.Bytes())
	}
	return c, nil
}

func (c *cluster) init(bin string, attr *syscall.SysProcAttr) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), //nolint:gosec // our own arguments
		"--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C", "-D", filepath.Join(c.dir, "data"))
	cmd.SysProcAttr, cmd.Dir = attr, c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// start runs the server from a thread of its own: the kernel kills the server
// when that thread ends, which is when the test process does.
func (c *cluster) start(bin string, attr *syscall.SysProcAttr) error {
	c.cmd = exec.CommandContext(context.Background(), filepath.Join(bin, "postgres"), "-D", filepath.Join(c.dir, "data"), //nolint:gosec // our own arguments
		"-c", "listen_addresses=", "-c", "unix_socket_directories="+c.dir, "-c", "max_connections=400",
		"-c", "shared_buffers=32MB", "-c", "fsync=on", "-c", "deadlock_timeout=200ms")
	c.cmd.SysProcAttr, c.cmd.Dir = attr, c.dir
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // it is killed: the error says only that
		}
		close(c.done)
	}()
	return <-started
}

// await waits until the server takes connections.
func (c *cluster) await() error {
	deadline := time.Now().Add(startTimeout)
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := c.exec("SELECT 1")
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-c.done:
			return errors.New("postgres exited")
		case <-retry.C:
		}
	}
}

func (c *cluster) url(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + url.QueryEscape(c.dir)
}

func (c *cluster) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// stop ends the server at once; its data is worth nothing.
func (c *cluster) stop() error {
	err := c.cmd.Process.Signal(syscall.SIGQUIT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-c.done
	return errors.Join(err, os.RemoveAll(c.dir))
}

// findBinaries returns the directory of initdb and postgres.
func findBinaries() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(p), "postgres")); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian
	if err == nil && len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	return "", errors.New("no initdb and postgres in PATH or /usr/lib/postgresql; apt-get install -y postgresql")
}

// unprivileged says as whom to run the server, since it refuses to be root.
func unprivileged() (attr *syscall.SysProcAttr, uid, gid int, err error) {
	attr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() != 0 {
		return attr, os.Getuid(), os.Getgid(), nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		var u *user.User
		if u, err = user.Lookup(name); err != nil {
			continue
		}
		id, idErr := strconv.ParseUint(u.Uid, 10, 32)
		group, groupErr := strconv.ParseUint(u.Gid, 10, 32)
		if err = errors.Join(idErr, groupErr); err != nil {
			continue
		}
		attr.Credential = &syscall.Credential{Uid: uint32(id), Gid: uint32(group)}
		return attr, int(id), int(group), nil
	}
	return nil, 0, 0, fmt.Errorf("no user to run PostgreSQL as: %w", err)
}
