package journal_test

import (
	"bytes"
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

// TestChainWithoutHead: a record does not become final without its entry.
func TestChainWithoutHead(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		_, task := firedTask(t, j, "p")
		c := began(t, j, task, "sha256:1", time.Minute, policy.FormatCosign)
		if err := j.Exec(t.Context(), `UPDATE chain_head SET id = 1, hash = NULL`); err == nil {
			t.Fatal("the head has no hash")
		}
		// The insert fails, after the record was completed.
		if err := j.Exec(t.Context(), `INSERT INTO chain (seq, record_id, body, previous_hash, hash) VALUES (1, 9, '', '', '')`); err != nil {
			t.Fatal(err)
		}
		c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
		if err := j.End(t.Context(), c); err == nil {
			t.Fatal("ended without an entry")
		}
		wantCount(t, j, `SELECT COUNT(*) FROM records WHERE state = 'signing'`, 1)
		wantCount(t, j, `SELECT COUNT(*) FROM claims`, 1)
		wantCount(t, j, `SELECT COUNT(*) FROM chain`, 1)
		wantCount(t, j, `SELECT seq FROM chain_head`, 0)
		if err := j.Exec(t.Context(), `DELETE FROM chain`); err != nil {
			t.Fatal(err)
		}
		if err := j.End(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantChain(t, j, "1 1 signed ")
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

// TestChainAnyByte: no byte of an entry can be changed.
func TestChainAnyByte(t *testing.T) {
	t.Parallel()
	j := openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})
	_, task := firedTask(t, j, "p")
	signMany(t, j, task, "", 2)
	es, err := j.Entries(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	flips := func(text string, set func(string)) {
		for i := range text {
			changed := []byte(text)
			changed[i] ^= 1
			set(string(changed))
			if err := es[1].Follows(es[0]); err == nil {
				t.Fatalf("byte %d of %q may be changed", i, text)
			}
		}
		set(text)
	}
	flips(string(es[1].Body), func(s string) { es[1].Body = []byte(s) })
	flips(es[1].PreviousHash, func(s string) { es[1].PreviousHash = s })
	flips(es[1].Hash, func(s string) { es[1].Hash = s })
	if err := es[1].Follows(es[0]); err != nil {
		t.Fatal(err)
	}
}

// TestChainFaults: whatever is done to the chain, or to the records, is found.
func TestChainFaults(t *testing.T) {
	t.Parallel()
	const rechained = `UPDATE chain_head SET seq = 3, hash = (SELECT hash FROM chain WHERE seq = 3)`
	tests := map[string]struct {
		do   []string
		want string
	}{
		"body":          {[]string{`UPDATE chain SET body = REPLACE(body, '"signed"', '"failed"') WHERE seq = 3`}, "entry 3 of the record chain: its hash is not that of what it says"},
		"record id":     {[]string{`UPDATE chain SET record_id = 1 WHERE seq = 3`}, "entry 3 of the record chain: is of record 3, but is filed under 1"},
		"hash":          {[]string{`UPDATE chain SET hash = previous_hash WHERE seq = 2`}, "entry 2 of the record chain: its hash is not that of what it says"},
		"previous hash": {[]string{`UPDATE chain SET previous_hash = hash WHERE seq = 4`}, "entry 4 of the record chain: does not follow from the entry before it"},
		"first":         {[]string{`DELETE FROM chain WHERE seq = 1`}, "entry 1 of the record chain: is missing"},
		"middle":        {[]string{`DELETE FROM chain WHERE seq = 3`}, "entry 3 of the record chain: is missing"},
		"middle closed": {[]string{`DELETE FROM chain WHERE seq = 3`, `UPDATE chain SET seq = seq - 1 WHERE seq = 4`, `UPDATE chain SET seq = seq - 1 WHERE seq = 5`, `UPDATE chain_head SET seq = 4`}, "entry 3 of the record chain: does not follow from the entry before it"},
		"swapped":       {[]string{`UPDATE chain SET seq = 99 WHERE seq = 2`, `UPDATE chain SET seq = 2 WHERE seq = 3`, `UPDATE chain SET seq = 3 WHERE seq = 99`}, "entry 2 of the record chain: does not follow from the entry before it"},
		"tail":          {[]string{`DELETE FROM chain WHERE seq > 3`}, "entry 4 of the record chain: is missing"},
		"tail and head": {[]string{`DELETE FROM chain WHERE seq > 3`, rechained}, "record 4: is final, but not in the chain"},
		"all traces":    {[]string{`DELETE FROM chain WHERE seq > 3`, rechained, `DELETE FROM records WHERE id > 3`}, "record chain: the head HEAD is not in it"},
		"head":          {[]string{rechained}, "entry 4 of the record chain: is behind the head, entry 3"},
		"head's hash":   {[]string{`UPDATE chain_head SET hash = 'ff'`}, "entry 5 of the record chain: is not the head that was written down"},
		"all":           {[]string{`DELETE FROM chain`}, "entry 1 of the record chain: is missing"},
		"table":         {[]string{`UPDATE records SET identity = 'other' WHERE id = 3`}, "record 3: is not what entry 3 of the chain says"},
		"table's state": {[]string{`UPDATE records SET state = 'signing' WHERE id = 3`}, "record 3: is signing, but entry 3 of the chain says how it ended"},
		"record gone":   {[]string{`DELETE FROM records WHERE id = 3`}, "entry 3 of the record chain: its record is gone"},
		"invented":      {[]string{`UPDATE records SET state = 'signed' WHERE id = 6`}, "record 6: is final, but not in the chain"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databases(t, func(t *testing.T, j *journal.Journal) {
				_, task := firedTask(t, j, "p")
				signMany(t, j, task, "", 5)
				began(t, j, task, "sha256:open", time.Minute, policy.FormatCosign) // record 6
				before, err := j.VerifyChain(t.Context())
				if err != nil || before.Fault != nil || before.Entries != 5 || before.Records != 5 {
					t.Fatalf("%+v, %v", before, err)
				}
				for _, sql := range test.do {
					if err := j.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				report, err := j.VerifyChain(t.Context())
				if strings.Contains(test.want, "HEAD") && report.Fault == nil { // only who knows the head finds it
					report, err = j.VerifyChain(t.Context(), before.Head)
				}
				if err != nil || report.Fault == nil {
					t.Fatalf("%+v, %v", report, err)
				}
				want := strings.ReplaceAll(test.want, "HEAD", before.Head)
				if got := report.Fault.Error(); !strings.HasPrefix(got, want) {
					t.Errorf("%s, want %s", got, want)
				}
			})
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

// TestRequestID: an execution keeps the id of the request that fired it first,
// also while it waits.
func TestRequestID(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, j *journal.Journal) {
		fire := func(id string) string {
			e, _, err := j.Fire(t.Context(), journal.Firing{Policy: "p", Lane: journal.Live, RequestID: id})
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(e.ID, " ", e.RequestID)
		}
		for _, want := range []struct{ id, execution string }{{"a", "1 a"}, {"", "2 "}, {"b", "2 b"}, {"c", "2 b"}} {
			if got := fire(want.id); got != want.execution {
				t.Errorf("request %q: execution %s, want %s", want.id, got, want.execution)
			}
		}
	})
}
