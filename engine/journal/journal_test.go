package journal_test

import (
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
		runChild(state)
		return
	}
	code := journaltest.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		println(err.Error())
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
		return openTest(t, journal.Options{State: t.TempDir()})
	})
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	journaltest.Suite(t, func(t *testing.T) *journal.Journal {
		return openTest(t, journal.Options{State: journaltest.Postgres(t)})
	})
}
