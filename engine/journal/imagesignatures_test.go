package journal_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestRetryTokenAge: a retry token is known for a day, and not kept after that.
func TestRetryTokenAge(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			began := time.Now()
			j := openTest(t, journal.Options{State: state(t), Now: func() time.Time { return began.Add(time.Duration(ahead.Load())) }})
			create := func(id, call string) (journal.ImageSignature, error) {
				return j.CreateImageSignature(t.Context(), journaltest.ImageSignature(id, "app"), journal.RetryToken{Caller: "ci", Token: "t", Call: call}, 1000)
			}
			count := func() int64 {
				n, err := j.Count(t.Context(), `SELECT COUNT(*) FROM retry_tokens`)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			if _, err := create("s1", "x"); err != nil {
				t.Fatal(err)
			}
			ahead.Store(int64(24*time.Hour - time.Second))
			if err := j.Sweep(t.Context()); err != nil || count() != 1 {
				t.Fatal(err, count())
			}
			if s, err := create("s2", "x"); err != nil || s.ID != "s1" {
				t.Error(s, err)
			}
			if s, err := create("s2", "y"); !errors.Is(err, journal.ErrRetryToken) {
				t.Error(s, err)
			}
			ahead.Store(int64(24 * time.Hour))
			if s, ok, err := j.RetriedImageSignature(t.Context(), journal.RetryToken{Caller: "ci", Token: "t", Call: "x"}); ok || err != nil {
				t.Error(s, err)
			}
			if s, err := create("s2", "y"); err != nil || s.ID != "s2" {
				t.Error(s, err)
			}
			ahead.Store(int64(48 * time.Hour))
			if err := j.Sweep(t.Context()); err != nil || count() != 0 {
				t.Error(err, count())
			}
		})
	}
}
