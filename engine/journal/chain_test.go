package journal_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// chainRecord is a record with something in every field that Begin takes.
func chainRecord() journal.Record {
	return journal.Record{Policy: "p", PolicyVersion: "v1", RequestID: "req-1", Trigger: policy.Manual, Tags: []string{"v1 <&>"},
		Identity: "registry.example.com/app", Format: policy.FormatCosign, Key: "release", KeyFingerprint: "ff", KeyVersion: "2",
		Algorithm: policy.ECDSASHA256}
}

// began claims one artifact, with a record for each format.
func began(t testing.TB, j *journal.Journal, task journal.Task, digest string, ttl time.Duration, formats ...policy.Format) *journal.Claim {
	t.Helper()
	var records []journal.Record
	for _, f := range formats {
		r := chainRecord()
		r.Format = f
		records = append(records, r)
	}
	s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: task.Repository, Digest: digest}
	c, err := j.Begin(t.Context(), "prod", s, records, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ended ends a claim; its records become what state says.
func ended(t testing.TB, j *journal.Journal, c *journal.Claim, state journal.RecordState, reason string) {
	t.Helper()
	c.Subtask.Status, c.Subtask.Reason = journal.Succeed, reason
	for i := range c.Records {
		c.Records[i].State, c.Records[i].Reason = state, reason
		c.Records[i].Signature, c.Records[i].StoredAs = "c2ln", "sha256:stored"
	}
	if err := j.End(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// signMany signs n artifacts, each in one format.
func signMany(t testing.TB, j *journal.Journal, task journal.Task, prefix string, n int) {
	t.Helper()
	for i := range n {
		ended(t, j, began(t, j, task, fmt.Sprint("sha256:", prefix, i), time.Minute, policy.FormatCosign), journal.Signed, "signed")
	}
}

// wantChain compares what the entries say, and that all is well.
func wantChain(t *testing.T, j *journal.Journal, want ...string) journal.ChainReport {
	t.Helper()
	var got []string
	for e, err := range j.Chain(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Record()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %d %s %s", e.Seq, r.ID, r.State, r.Reason))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("chain (-want +got):\n%s", d)
	}
	report, err := j.VerifyChain(t.Context())
	if err != nil || report.Fault != nil || report.Entries != int64(len(want)) {
		t.Fatalf("%+v, %v", report, err)
	}
	return report
}

// TestChainEveryEnd: every way in which a record becomes final appends one entry.
func TestChainEveryEnd(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		ctx := t.Context()
		wantChain(t, j)
		_, task := firedTask(t, j, "p")
		signed := began(t, j, task, "sha256:1", time.Minute, policy.FormatCosign, policy.FormatBundle)
		wantChain(t, j)
		ended(t, j, signed, journal.Signed, "signed")
		ended(t, j, began(t, j, task, "sha256:2", time.Minute, policy.FormatCosign), journal.Broken, "key_refused")
		want := []string{"1 1 signed signed", "2 2 signed signed", "3 3 failed key_refused"}
		wantChain(t, j, want...)

		// A transaction whose confirmation was lost runs again.
		if err := j.End(ctx, signed); err != nil {
			t.Fatal(err)
		}
		wantChain(t, j, want...)

		began(t, j, task, "sha256:3", -time.Second, policy.FormatCosign) // record 4, taken over
		late := began(t, j, task, "sha256:3", -time.Second, policy.FormatCosign)
		want = append(want, "4 4 failed interrupted")
		wantChain(t, j, want...)
		if err := errors.Join(j.Sweep(ctx), j.Sweep(ctx)); err != nil {
			t.Fatal(err)
		}
		want = append(want, "5 5 failed interrupted")
		wantChain(t, j, want...)
		ended(t, j, late, journal.Signed, "signed") // after its time was over
		want = append(want, "6 5 signed signed")
		wantChain(t, j, want...)

		began(t, j, task, "sha256:4", -time.Second, policy.FormatCosign)
		if err := j.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		found := chainRecord()
		found.Registry, found.Repository, found.Digest, found.Signature = "prod", task.Repository, "sha256:4", "Zm91bmQ="
		s := journal.Subtask{ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: task.Repository, Digest: "sha256:4",
			Status: journal.Succeed, Reason: "already_signed"}
		for range 2 {
			if err := j.Found(ctx, s, []journal.Record{found}); err != nil {
				t.Fatal(err)
			}
		}
		wantChain(t, j, append(want, "7 6 failed interrupted", "8 6 signed found")...)
	})
}

// TestChainRecovery: what a killed process left behind is closed, and chained.
func TestChainRecovery(t *testing.T) {
	t.Parallel()
	state := journaltest.SQLiteJournal(t)
	j := openTest(t, journal.Options{State: state})
	_, task := firedTask(t, j, "p")
	began(t, j, task, "sha256:1", time.Hour, policy.FormatCosign, policy.FormatBundle)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		j = openTest(t, journal.Options{State: state})
		wantChain(t, j, "1 1 failed interrupted", "2 2 failed interrupted")
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChainEntry: an entry says all that the record says, and its hash can be
// computed by anybody.
func TestChainEntry(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		c := began(t, j, task, "sha256:1", time.Minute, policy.FormatCosign)
		c.Records[0].TagMoved, c.Records[0].Identity = true, "what was promised stays"
		ended(t, j, c, journal.Signed, "signed")
		rs, err := j.Records(t.Context(), journal.RecordFilter{})
		if err != nil {
			t.Fatal(err)
		}
		es, err := j.Entries(t.Context(), 0, 0)
		if err != nil || len(es) != 1 {
			t.Fatal(es, err)
		}
		r, err := es[0].Record()
		if d := cmp.Diff(rs[0], r); err != nil || d != "" || r.RequestID != "req-1" || !r.TagMoved || r.Identity != chainRecord().Identity {
			t.Fatalf("%v, (-table +entry):\n%s\n%+v", err, d, r)
		}
		sum := sha256.Sum256([]byte("sealwright.dev/record-chain/v1\n1\n" + strings.Repeat("0", 64) + "\n" + string(es[0].Body)))
		if got := fmt.Sprintf("%x", sum); got != es[0].Hash {
			t.Errorf("hash %s, want %s", es[0].Hash, got)
		}
		line, err := es[0].JSON()
		if err != nil || !bytes.Contains(line, es[0].Body) || bytes.ContainsRune(line, '\n') {
			t.Errorf("%s, %v: not with the body as it is", line, err)
		}
		var members map[string]any
		if err := json.Unmarshal(es[0].Body, &members); err != nil || len(members) != 24 || fmt.Sprint(members["gates"]) != "[]" {
			t.Errorf("%v, %v", members, err)
		}
	})
}

// TestChainConcurrent: many writers, on PostgreSQL those of two replicas, append
// to one chain.
func TestChainConcurrent(t *testing.T) {
	t.Parallel()
	const callers, each = 8, 12
	for name, state := range map[string]func(testing.TB) string{
		"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where := state(t)
			replicas := []*journal.Journal{openTest(t, journal.Options{State: where})}
			if isPostgres(t) {
				replicas = append(replicas, openTest(t, journal.Options{State: where}))
			}
			_, task := firedTask(t, replicas[0], "p")
			var wg sync.WaitGroup
			for i := range callers {
				j := replicas[i%len(replicas)]
				wg.Go(func() {
					for k := range each {
						digest := fmt.Sprintf("sha256:%d-%d", i, k)
						if k%4 == 0 { // its worker dies
							began(t, j, task, digest, -time.Second, policy.FormatCosign)
							if err := j.Sweep(t.Context()); err != nil {
								t.Error(err)
							}
						}
						ended(t, j, began(t, j, task, digest, time.Minute, policy.FormatCosign, policy.FormatBundle), journal.Signed, "signed")
					}
				})
			}
			wg.Wait()
			report, err := replicas[0].VerifyChain(t.Context())
			if want := int64(callers * each * 9 / 4); err != nil || report.Fault != nil || report.Entries != want || report.Records != want {
				t.Errorf("%+v, %v; want %d entries", report, err, want)
			}
		})
	}
}

// TestChainHeads: each head that the chain ever had stays in it.
func TestChainHeads(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		heads := []string{wantChain(t, j).Head}
		for i := range 3 {
			signMany(t, j, task, fmt.Sprint(i), 1)
			report, err := j.VerifyChain(t.Context(), slices.Clone(heads)...)
			if err != nil || report.Fault != nil {
				t.Fatalf("%+v, %v", report, err)
			}
			heads = append(heads, report.Head)
		}
		report, err := j.VerifyChain(t.Context(), append(heads, strings.Repeat("ab", 32))...)
		if err != nil || report.Fault == nil {
			t.Errorf("%+v, %v: a head that never was", report, err)
		}
	})
}

// TestChainBegins: what became final before there was a chain stays outside.
func TestChainBegins(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		signMany(t, j, task, "old", 2)
		open := began(t, j, task, "sha256:open", time.Minute, policy.FormatCosign)
		for _, sql := range []string{`DELETE FROM chain`, `DELETE FROM chain_head`,
			`INSERT INTO chain_head (id, seq, hash, last_before) SELECT 1, 0, '` + journal.Genesis + `', MAX(id) FROM records`} {
			if err := j.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		ended(t, j, open, journal.Signed, "signed")
		signMany(t, j, task, "new", 1)
		if report := wantChain(t, j, "1 3 signed signed", "2 4 signed signed"); report.Outside != 2 || report.Records != 2 {
			t.Errorf("%+v", report)
		}
	})
}

// TestChainPages: a chain of several pages is read to its end.
func TestChainPages(t *testing.T) {
	t.Parallel()
	j := openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})
	_, task := firedTask(t, j, "p")
	const artifacts, formats = 3, 350
	for i := range artifacts {
		ended(t, j, began(t, j, task, fmt.Sprint("sha256:", i), time.Minute, slices.Repeat([]policy.Format{policy.FormatCosign}, formats)...),
			journal.Signed, "signed")
	}
	report, err := j.VerifyChain(t.Context())
	if err != nil || report.Fault != nil || report.Entries != artifacts*formats || report.Records != artifacts*formats {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestRequestID: an execution keeps the id of the request that fired it first, also while
// it waits. Before there is one it has an id of its own.
func TestRequestID(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		fire := func(id string) string {
			f := journal.Firing{Policy: "p", Trigger: policy.Manual, Lane: journal.Live, RequestID: id}
			if id == "" {
				f.Trigger, f.Tick = policy.Scheduled, time.Now().Add(-time.Minute)
			}
			e, _, err := j.Fire(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if own, is := strings.CutPrefix(e.RequestID, "scheduled-"); is && len(own) == len(rand.Text()) {
				return fmt.Sprint(e.ID, " its own")
			}
			return fmt.Sprint(e.ID, " ", e.RequestID)
		}
		for _, want := range []struct{ id, execution string }{{"a", "1 a"}, {"", "2 its own"}, {"b", "2 b"}, {"c", "2 b"}} {
			if got := fire(want.id); got != want.execution {
				t.Errorf("request %q: execution %s, want %s", want.id, got, want.execution)
			}
		}
	})
}
