package journal_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestHold: nobody else has what is held, until it is released or its time is
// over.
func TestHold(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return journaltest.SQLiteJournal(t) },
		"postgres": func(t *testing.T) string { return journaltest.PostgresJournal(t) },
	} {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64
			j := openTest(t, journal.Options{State: state(t), Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
			ctx := t.Context()
			h, err := j.Hold(ctx, "prod", "app", "sha256:1", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.Hold(ctx, "prod", "app", "sha256:1", time.Minute); !errors.Is(err, journal.ErrClaimed) {
				t.Errorf("held twice: %v", err)
			}
			if _, err := j.Begin(ctx, "prod", journal.Subtask{Repository: "app", Digest: "sha256:1"}, nil, time.Minute); !errors.Is(err, journal.ErrClaimed) {
				t.Errorf("begun while held: %v", err)
			}
			other, err := j.Hold(ctx, "prod", "app", "sha256:2", time.Minute)
			if err != nil {
				t.Errorf("another artifact: %v", err)
			}
			for range 2 {
				if err := h.Release(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := j.Hold(ctx, "prod", "app", "sha256:1", time.Minute); err != nil {
				t.Errorf("what was released: %v", err)
			}
			ahead.Store(int64(2 * time.Minute))
			late, err := j.Hold(ctx, "prod", "app", "sha256:2", time.Minute)
			if err != nil {
				t.Errorf("what was held too long: %v", err)
			}
			if err := other.Release(ctx); err != nil {
				t.Error(err)
			}
			if _, err := j.Hold(ctx, "prod", "app", "sha256:2", time.Minute); !errors.Is(err, journal.ErrClaimed) {
				t.Errorf("whose time was over gave up another's: %v", err)
			}
			if err := late.Release(ctx); err != nil {
				t.Error(err)
			}
			if _, err := j.Hold(ctx, "prod", "app", "", time.Minute); err == nil {
				t.Error("held an artifact without digest")
			}
		})
	}
}
