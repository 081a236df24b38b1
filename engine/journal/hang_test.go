package journal_test

import (
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

// TestHang: a replica that is paused in the middle of a transaction does not keep the
// others from signing.
func TestHang(t *testing.T) {
	t.Parallel()
	state := journaltest.PostgresJournal(t)
	paused := openTest(t, journal.Options{State: state + "&idle_in_transaction_session_timeout=300ms"})
	other := openTest(t, journal.Options{State: state})
	_, task := firedTask(t, other, "p")
	locked, hung, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { ended <- paused.Hang(t.Context(), locked, hung) }()
	<-locked
	began := time.Now()
	if err := carryOut(t.Context(), other, task.ID); err != nil {
		t.Errorf("beside a replica that is paused: %v", err)
	}
	t.Logf("signed after %v", time.Since(began).Round(time.Millisecond))
	close(hung)
	if err := <-ended; err == nil {
		t.Error("what the paused replica wrote was committed")
	}
	if err := carryOut(t.Context(), paused, task.ID); err != nil { // and it goes on itself
		t.Error(err)
	}
	report, err := other.VerifyChain(t.Context())
	if err != nil || report.Fault != nil || report.Entries != 1 {
		t.Errorf("chain: %+v, %v", report, err)
	}
}

// TestSessions: the bound of transactions that stand still is ours, unless the URL has one.
func TestSessions(t *testing.T) {
	t.Parallel()
	state := journaltest.PostgresJournal(t)
	for url, want := range map[string]string{
		state: "10s",
		state + "&idle_in_transaction_session_timeout=3s": "3s",
	} {
		j := openTest(t, journal.Options{State: url})
		n, err := j.Count(t.Context(), `SELECT COUNT(*) WHERE current_setting('idle_in_transaction_session_timeout') = '`+want+`'`)
		if err != nil || n != 1 {
			t.Errorf("%s: not %s, %v", url, want, err)
		}
	}
}
