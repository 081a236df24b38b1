package journal_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

func TestMain(m *testing.M) {
	if state := os.Getenv(childState); state != "" {
		if os.Getenv(childSigns) != "" {
			signForEver(state)
		}
		runChild(state)
		return
	}
	// The tests wait for disks and timers rather than for processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := journaltest.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func openTest(t testing.TB, o journal.Options) *journal.Journal {
	t.Helper()
	if o.Log == nil {
		o.Log = zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
	}
	j, err := journal.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	journaltest.Suite(t, func(t *testing.T) *journal.Journal {
		return openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})
	})
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	journaltest.Suite(t, func(t *testing.T) *journal.Journal {
		return openTest(t, journal.Options{State: journaltest.PostgresJournal(t)})
	})
}
