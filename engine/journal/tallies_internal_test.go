package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A slowCount is a database in which counting takes a second.
type slowCount struct{ counted atomic.Int64 }

func (s *slowCount) exec(context.Context, string, ...any) (int64, error) {
	return 0, errors.New("counting writes nothing")
}

func (s *slowCount) queryRow(context.Context, string, ...any) scanner { return s }

// Scan is of the number of tasks.
func (s *slowCount) Scan(dest ...any) error {
	n := s.counted.Add(1)
	time.Sleep(time.Second)
	*dest[0].(*int64) = n
	return nil
}

func (s *slowCount) query(context.Context, string, ...any) (rows, error) { return &oneRow{}, nil }

type oneRow struct{ read bool }

func (r *oneRow) Next() bool { was := r.read; r.read = true; return !was }
func (*oneRow) Err() error   { return nil }
func (*oneRow) Close()       {}
func (*oneRow) Scan(dest ...any) error {
	*dest[0].(*Status), *dest[1].(*string), *dest[2].(*int64) = Succeed, "signed", 7
	return nil
}

// TestTallies: many who look on have an execution counted once, and again when the
// counts are ten times as old as counting took. For that they wait only if the counts are
// twice as old.
func TestTallies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, kept := &slowCount{}, newTallies()
		look := func(want int64) {
			t.Helper()
			got, err := kept.of(t.Context(), q, 1)
			if err != nil || got.tasks != want || got.counts.Reasons["signed"] != 7 {
				t.Errorf("counted as %+v, %v; want count %d", got, err, want)
			}
			got.counts.Reasons["signed"] = 0 // it is the caller's
		}
		leaving, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := kept.of(leaving, q, 1); !errors.Is(err, context.Canceled) {
				t.Errorf("who leaves gets %v", err)
			}
		})
		synctest.Wait() // the one who leaves is the one who began to count
		for range 100 {
			all.Go(func() { look(1) })
		}
		synctest.Wait()
		leave()
		all.Wait()
		time.Sleep(tallyShare*time.Second - time.Millisecond)
		look(1)
		time.Sleep(time.Millisecond)
		began := time.Now()
		for range 100 {
			look(1) // while it is counted
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("who looks on waits %s for counts", took)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		look(2)
		if _, err := kept.of(t.Context(), q, 2); err != nil || q.counted.Load() != 3 {
			t.Errorf("another execution: %v, counted %d times", err, q.counted.Load())
		}
		time.Sleep(tallyShare * time.Second)
		look(2) // the first has its turn
		synctest.Wait()
		if _, err := kept.of(t.Context(), q, 2); err != nil || q.counted.Load() != 4 {
			t.Errorf("another execution: %v, counted %d times, of which one at a time that nobody waits for", err, q.counted.Load())
		}
		time.Sleep(2*tallyShare*time.Second + time.Second)
		look(5)
		if len(kept.kept) != 1 {
			t.Errorf("old counts are kept: %v", kept.kept)
		}
		time.Sleep(tallyShare * time.Second)
		look(5) // and it is counted anew
		synctest.Wait()
		began = time.Now()
		kept.close()
		if took := time.Since(began); took != time.Second {
			t.Errorf("closed after %s, want when the count has ended", took)
		}
		time.Sleep(time.Minute)
		if _, err := kept.of(t.Context(), q, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("counted after it was closed: %v", err)
		}
	})
}
