package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// TestStatements: what is asked for again is read once, there is an end to what is
// kept, and who reads waits for nobody who writes, nor the other way round.
func TestStatements(t *testing.T) {
	t.Parallel()
	s, err := openSQLite(t.Context(), t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	write := func(text string, args ...any) {
		t.Helper()
		if err := s.update(t.Context(), func(q querier) error { _, err := q.exec(t.Context(), text, args...); return err }); err != nil {
			t.Error(err)
		}
	}
	write(`CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INTEGER)`)
	write(`INSERT INTO numbers (n) VALUES ($1)`, 1)
	write(`INSERT INTO numbers (n) VALUES ($1)`, 2)
	kept := s.writes.find(`INSERT INTO numbers (n) VALUES ($1)`)
	if kept == nil {
		t.Error("a statement that came twice is not kept")
	}
	write(`ALTER TABLE numbers ADD COLUMN more INTEGER NOT NULL DEFAULT 3`)
	write(`INSERT INTO numbers (n) VALUES ($1)`, 3)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 50 {
				write(fmt.Sprintf(`INSERT INTO numbers (n, more) VALUES ($1, %d)`, n), i)
				sum(t, s, fmt.Sprintf(`SELECT SUM(n) FROM numbers WHERE more = %d`, n+100*i))
			}
		})
	}
	all.Wait()
	if got, want := sum(t, s, `SELECT SUM(n * more) FROM numbers`), int64(3*(1+2+3)+28*(49*50/2)); got != want {
		t.Errorf("sum %d, want %d", got, want)
	}
	for name, of := range map[string]*statements{"reads": s.reads, "writes": s.writes} {
		if n := len(of.ready); n < maxStatements/3 || n > maxStatements+sqliteReaders {
			t.Errorf("%s: %d statements are kept", name, n)
		}
	}
	if s.writes.find(`INSERT INTO numbers (n) VALUES ($1)`) != kept {
		t.Error("it was read again")
	}
}

func sum(t *testing.T, s *sqliteStore, text string) int64 {
	t.Helper()
	var n *int64
	if err := s.reader().queryRow(context.WithoutCancel(t.Context()), text).Scan(&n); err != nil {
		t.Error(err)
	}
	if n == nil {
		return 0
	}
	return *n
}
