package journal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

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
