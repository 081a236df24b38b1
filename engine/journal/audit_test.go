package journal_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestPruneAudit: entries are kept as long as they are to be, those whose outcome
// nobody knows longer, and that some were forgotten is an entry.
func TestPruneAudit(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(testing.TB) string{"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			began := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
			j := openTest(t, journal.Options{State: state(t), Now: func() time.Time { return began.Add(time.Duration(ahead.Load())) }})
			audit := func(target string, finish bool) {
				t.Helper()
				id, err := j.Audit(t.Context(), journal.AuditEntry{Caller: "ci", Target: target})
				if err == nil && finish {
					err = j.Audited(t.Context(), id, "done")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			prune := func(want int64) {
				t.Helper()
				if n, err := j.PruneAudit(t.Context(), began.Add(time.Hour)); n != want || err != nil {
					t.Errorf("pruned %d, %v; want %d", n, err, want)
				}
			}
			prune(0)
			audit("old", true)
			audit("open", false)
			ahead.Store(int64(time.Hour - time.Microsecond))
			audit("old", true)
			ahead.Store(int64(time.Hour))
			audit("young", true)
			prune(2)
			prune(0)
			list, err := j.AuditEntries(t.Context(), journal.AuditFilter{})
			got := []string{}
			for _, e := range list {
				got = append(got, strings.Join([]string{e.Caller, e.Action, e.Target, e.Outcome}, "|"))
			}
			if want := "[sealwright|prune-audit|entries before 2026-06-01T01:00:00Z|done ci||young|done ci||open|]"; fmt.Sprint(got) != want || err != nil {
				t.Errorf("%v, %v; want %s", got, err, want)
			}
		})
	}
}

// TestPruneAuditBatches: what was forgotten stays so when the rest fails, and the
// entry about it stays open, and the rest is forgotten later.
func TestPruneAuditBatches(t *testing.T) {
	t.Parallel()
	j := openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})
	const batches = 2 * journal.PruneRows
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO audit (at, caller, api, action, target, request_id, outcome, finished_at)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= %d) SELECT i, 'ci', '', '', '', '', 'done', i FROM n`, batches),
		fmt.Sprintf(`CREATE TRIGGER fault BEFORE DELETE ON audit WHEN old.id > %d BEGIN SELECT RAISE(ABORT, 'a fault'); END`, batches),
	} {
		if err := j.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := j.PruneAudit(t.Context(), time.Now()); n != batches || err == nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	left := func() int64 {
		n, err := j.Count(t.Context(), `SELECT COUNT(*) FROM audit`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	list, err := j.AuditEntries(t.Context(), journal.AuditFilter{Caller: "sealwright"})
	if len(list) != 1 || list[0].Outcome != "" || err != nil || left() != 2 {
		t.Errorf("%+v, %v, and %d entries", list, err, left())
	}
	if err := j.Exec(t.Context(), `DROP TRIGGER fault`); err != nil {
		t.Fatal(err)
	}
	if n, err := j.PruneAudit(t.Context(), time.Now().Add(-time.Hour)); n != 1 || err != nil || left() != 2 {
		t.Errorf("then pruned %d, %v, and %d entries are left", n, err, left())
	}
}
