package journal_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// BenchmarkWrites measures durable writes by 1, 16 and 64 callers: outcomes
// without key use ("put"), and the two writes around a key use ("sign").
func BenchmarkWrites(b *testing.B) {
	for name, state := range map[string]func(testing.TB) string{
		"sqlite":   journaltest.SQLiteJournal,
		"postgres": journaltest.PostgresJournal,
	} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/put/%d", name, callers), func(b *testing.B) {
				j, task := benchTask(b, state(b))
				share(b, callers, 1, func(n int64) error { return j.PutSubtask(b.Context(), numbered(task, n)) })
			})
			b.Run(fmt.Sprintf("%s/sign/%d", name, callers), func(b *testing.B) {
				j, task := benchTask(b, state(b))
				share(b, callers, 2, func(n int64) error { return sign(b, j, numbered(task, n)) })
			})
		}
	}
}

func benchTask(b *testing.B, state string) (*journal.Journal, journal.Task) {
	b.Helper()
	j := openTest(b, journal.Options{State: state})
	e, _, err := j.Fire(b.Context(), journal.Firing{Policy: "p", Lane: journal.Live})
	if err == nil {
		err = j.AddTasks(b.Context(), e.ID, []string{"library/app"})
	}
	if err != nil {
		b.Fatal(err)
	}
	tasks, err := j.Tasks(b.Context(), e.ID, 0, 1)
	if err != nil {
		b.Fatal(err)
	}
	return j, tasks[0]
}

func numbered(t journal.Task, n int64) journal.Subtask {
	return journal.Subtask{
		ExecutionID: t.ExecutionID, TaskID: t.ID, Repository: t.Repository, Digest: fmt.Sprintf("sha256:%064d", n),
		MediaType: "application/vnd.oci.image.manifest.v1+json", Tags: []string{"v1.2.3"}, Status: journal.Succeed, Reason: "already_signed",
	}
}

func sign(b *testing.B, j *journal.Journal, s journal.Subtask) error {
	c, err := j.Begin(b.Context(), "prod", s, []journal.Record{{Policy: "p", Format: policy.FormatCosign, Key: "release"}}, time.Minute)
	if err != nil {
		return err
	}
	c.Subtask.Status, c.Subtask.Reason, c.Records[0].State = journal.Succeed, "signed", journal.Signed
	return j.End(b.Context(), c)
}

// share runs b.N calls by several callers and reports durable writes per second.
func share(b *testing.B, callers, writes int, call func(n int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				if err := call(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*writes)/b.Elapsed().Seconds(), "writes/s")
}
