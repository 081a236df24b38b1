package journal_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestSinkCursor: a cursor begins at the chain's beginning, only goes forward,
// and is there after a restart.
func TestSinkCursor(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		ctx := t.Context()
		_, task := firedTask(t, j, "p")
		signMany(t, j, task, "", 3)
		wantBacklog := func(entries int64) {
			t.Helper()
			b, err := j.Undelivered(ctx, "archive")
			if err != nil || b.Entries != entries || b.Oldest.IsZero() != (entries == 0) {
				t.Errorf("%+v, %v; want %d entries", b, err, entries)
			}
		}
		wantBacklog(3)
		lease := func(want int64) {
			t.Helper()
			if at, err := j.LeaseSink(ctx, "archive", time.Minute); err != nil || at != want {
				t.Errorf("%d, %v; want %d", at, err, want)
			}
		}
		lease(0)
		for range 2 { // a transaction may run again
			if err := j.Delivered(ctx, "archive", 2, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		wantBacklog(1)
		if err := j.Delivered(ctx, "archive", 1, time.Minute); !errors.Is(err, journal.ErrClaimed) {
			t.Errorf("the cursor went back: %v", err)
		}
		lease(2)
		if err := j.Delivered(ctx, "archive", 3, time.Minute); err != nil {
			t.Fatal(err)
		}
		wantBacklog(0)
		if b, err := j.Undelivered(ctx, "another"); err != nil || b.Entries != 3 {
			t.Errorf("%+v, %v", b, err)
		}
	})
}

// TestSinkLease: one replica delivers to a sink at a time. Another takes over
// when the lease is released or has run out, and the first one notices.
func TestSinkLease(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	state := journaltest.PostgresJournal(t)
	a, b := openTest(t, journal.Options{State: state, Now: now}), openTest(t, journal.Options{State: state, Now: now})
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	lease := func(j *journal.Journal) error {
		_, err := j.LeaseSink(t.Context(), "archive", time.Hour)
		return err
	}
	want("first", lease(a), nil)
	want("again", lease(a), nil)
	want("other's", lease(b), journal.ErrClaimed)
	want("other's cursor", b.Delivered(t.Context(), "archive", 1, time.Hour), journal.ErrClaimed)
	want("releasing another's", b.ReleaseSink(t.Context(), "archive"), nil)
	want("other's still", lease(b), journal.ErrClaimed)
	ahead.Store(int64(50 * time.Minute))
	want("extending", a.Delivered(t.Context(), "archive", 1, time.Hour), nil)
	ahead.Store(int64(70 * time.Minute))
	want("extended", lease(b), journal.ErrClaimed)
	ahead.Store(int64(3 * time.Hour))
	want("run out", lease(b), nil)
	want("lost", a.Delivered(t.Context(), "archive", 2, time.Hour), journal.ErrClaimed)
	want("release", b.ReleaseSink(t.Context(), "archive"), nil)
	want("released", lease(a), nil)
}

// TestSinkRestart: the lease of a killed process keeps nobody waiting, as nobody
// else can have the embedded database.
func TestSinkRestart(t *testing.T) {
	t.Parallel()
	state := journaltest.SQLiteJournal(t)
	for range 2 {
		j := openTest(t, journal.Options{State: state})
		if _, err := j.LeaseSink(t.Context(), "archive", time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
