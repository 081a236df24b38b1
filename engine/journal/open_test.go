package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, journal.Options{State: dir})
	_, err := journal.Open(t.Context(), journal.Options{State: dir})
	if !errors.Is(err, journal.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := j.Ping(t.Context()); err != nil {
		t.Fatalf("the first one suffers: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, journal.Options{State: dir})
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "of?the#art%20") // nothing a URL would mangle
	j := openTest(t, journal.Options{State: dir})
	if err := j.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("directory: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestBadState(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[string]string{
		"":                      "allowed: a directory, or a postgres:// URL",
		"mysql://root:pw@db/x":  `unknown scheme "mysql"; allowed:`,
		file:                    "not a directory",
		"postgres://u:geheim@[": "cannot parse",
		"postgres://u:geheim@127.0.0.1:1/x?connect_timeout=2": "connect",
	} {
		_, err := journal.Open(t.Context(), journal.Options{State: state})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", state, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return t.TempDir() },
		"postgres": journaltest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := state(t)
			if _, err := journal.OpenReadOnly(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no journal") {
				t.Fatalf("nothing to read: %v", err)
			}
			w := openTest(t, journal.Options{State: s})
			r, err := journal.OpenReadOnly(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			e, _ := firedTask(t, w, "p")
			if got, err := r.Execution(t.Context(), e.ID); err != nil || got.Tasks != 1 {
				t.Fatalf("beside the writer: %+v, %v", got, err)
			}
			wantReadOnly(t, r)
			if err := errors.Join(w.Close(), r.Close()); err != nil {
				t.Fatal(err)
			}
			if r, err = journal.OpenReadOnly(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if es, err := r.Executions(t.Context(), journal.ExecutionFilter{}); err != nil || len(es) != 1 {
				t.Fatalf("without a writer: %+v, %v", es, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func wantReadOnly(t *testing.T, j *journal.Journal) {
	t.Helper()
	ctx := t.Context()
	_, _, fireErr := j.Fire(ctx, journal.Firing{Policy: "q"})
	_, beginErr := j.Begin(ctx, "prod", journal.Subtask{Digest: "d"}, nil, 0)
	_, pruneErr := j.Prune(ctx, "p", 1)
	for what, err := range map[string]error{
		"Fire": fireErr, "Begin": beginErr, "Ping": j.Ping(ctx),
		"EndTask":   j.EndTask(ctx, 1, journal.Failed, "", ""),
		"StartJobs": j.StartJobs(ctx, journal.Handlers{}, journal.JobOptions{}),
	} {
		if !errors.Is(err, journal.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if pruneErr != nil { // nothing to prune
		t.Error(pruneErr)
	}
}

// TestNewerSchema: an old binary leaves a newer database alone.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return t.TempDir() },
		"postgres": journaltest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := state(t)
			j := openTest(t, journal.Options{State: s})
			// goose asks for the newest row.
			err := j.Exec(t.Context(), `INSERT INTO sealwright_schema (version_id, is_applied) VALUES (99, true)`)
			if err = errors.Join(err, j.Close()); err != nil {
				t.Fatal(err)
			}
			for what, open := range map[string]func() (*journal.Journal, error){
				"Open":         func() (*journal.Journal, error) { return journal.Open(t.Context(), journal.Options{State: s}) },
				"OpenReadOnly": func() (*journal.Journal, error) { return journal.OpenReadOnly(t.Context(), s) },
			} {
				if _, err := open(); err == nil || !strings.Contains(err.Error(), "schema version 99") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestMigrateTogether: replicas that start at the same time all start.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	state := journaltest.Postgres(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			j, err := journal.Open(context.Background(), journal.Options{State: state, Log: zap.NewNop()})
			if err == nil {
				err = errors.Join(j.Ping(context.Background()), j.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestSchemas: the two schemas differ only in how a table numbers its rows, and in what
// makes PostgreSQL compare text by its bytes, as SQLite does.
func TestSchemas(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	files, err := filepath.Glob("sql/postgres/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		pg := strings.NewReplacer("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT",
			` COLLATE "C"`, "").Replace(read(f))
		if pg != read(filepath.Join("sql/sqlite", filepath.Base(f))) {
			t.Errorf("%s differs", filepath.Base(f))
		}
	}
}
