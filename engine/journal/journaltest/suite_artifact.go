package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

func testMerged(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a")
	first := artifact(tasks[0], "sha256:1", journal.InProgress, "")
	first.Tags, first.MediaType = []string{"v2", "v1"}, "m"
	must(t, j.PutSubtask(ctx, first))
	if _, seen, err := j.Seen(ctx, first.ExecutionID, "a", "sha256:1"); seen || err != nil {
		t.Fatalf("an artifact in progress was seen: %v, %v", seen, err)
	}
	second := artifact(tasks[0], "sha256:1", journal.Failed, "no_access")
	second.Tags, second.MediaType, second.Detail, second.TagMoved = []string{"v3", "v1"}, "m", "denied", true
	must(t, j.PutSubtask(ctx, second))
	got, seen, err := j.Seen(ctx, first.ExecutionID, "a", "sha256:1")
	must(t, err)
	want := second
	want.Tags = []string{"v1", "v2", "v3"}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(journal.Subtask{}, "ID", "CreatedAt", "UpdatedAt")); d != "" || !seen {
		t.Fatalf("seen: %v (-want +got):\n%s", seen, d)
	}
	for _, other := range []struct{ repository, digest string }{{"b", "sha256:1"}, {"a", "sha256:2"}, {"a", ""}} {
		if _, seen, err := j.Seen(ctx, first.ExecutionID, other.repository, other.digest); seen || err != nil {
			t.Errorf("seen %v: %v, %v", other, seen, err)
		}
	}
}

func testUnresolvable(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	for _, tags := range [][]string{{"x", "y"}, {"y", "x"}, {"z"}} {
		s := artifact(tasks[0], "", journal.Failed, "tag_gone")
		s.Tags = tags
		must(t, j.PutSubtask(ctx, s))
	}
	got, err := j.Subtasks(ctx, journal.SubtaskFilter{ExecutionID: e.ID})
	must(t, err)
	if len(got) != 2 || !cmp.Equal(got[0].Tags, []string{"x", "y"}) || !cmp.Equal(got[1].Tags, []string{"z"}) {
		t.Fatalf("subtasks: %+v", got)
	}
	if _, err := j.Begin(ctx, "prod", artifact(tasks[0], "", "", ""), nil, patience); err == nil {
		t.Fatal("claimed an artifact without digest")
	}
}

func record(format policy.Format) journal.Record {
	return journal.Record{
		Policy: "p", PolicyVersion: "v1", Trigger: policy.Manual, Tags: []string{"v1"}, Identity: "prod/a",
		Format: format, Key: "release", KeyFingerprint: "ff", Algorithm: policy.ECDSASHA256,
	}
}

func testClaim(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a", "b")
	s := artifact(tasks[0], "sha256:1", "", "")
	c, err := j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
	must(t, err)
	_, err = j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
	wantError(t, err, journal.ErrClaimed)
	for _, other := range []struct {
		registry string
		subtask  journal.Subtask
	}{
		{"other", s},
		{"prod", artifact(tasks[1], "sha256:1", "", "")},
		{"prod", artifact(tasks[0], "sha256:2", "", "")},
	} {
		c, err := j.Begin(ctx, other.registry, other.subtask, nil, patience)
		if err != nil {
			t.Errorf("claiming something else: %v", err)
		} else if c.Touched {
			t.Errorf("claiming something else: touched")
		}
	}
	if c.Touched {
		t.Error("the first claim finds the artifact touched")
	}
	c.Subtask.Status, c.Records[0].State = journal.Failed, journal.Broken
	must(t, j.End(ctx, c))
	again, err := j.Begin(ctx, "prod", s, nil, patience)
	if err != nil {
		t.Fatalf("claiming what was given up: %v", err)
	}
	if !again.Touched {
		t.Error("the second claim does not find the artifact touched")
	}
}

// testOneClaimant: of many who want one artifact, one at a time gets it.
func testOneClaimant(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "a")
	s := artifact(tasks[0], "sha256:1", "", "")
	var mu sync.Mutex
	var holders, ended int
	hold := func(n int) bool { mu.Lock(); defer mu.Unlock(); holders += n; return holders == 1 }
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				c, err := j.Begin(t.Context(), "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
				if errors.Is(err, journal.ErrClaimed) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if !hold(1) {
					t.Error("two hold the claim")
				}
				c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
				hold(-1)
				if err := j.End(t.Context(), c); err != nil {
					t.Error(err)
				}
				mu.Lock()
				ended++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	rs, err := j.Records(t.Context(), journal.RecordFilter{Digest: "sha256:1", Limit: 1000})
	must(t, err)
	if ended == 0 || len(rs) != ended {
		t.Fatalf("%d records of %d claims", len(rs), ended)
	}
}

func testExpiredClaim(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a")
	s := artifact(tasks[0], "sha256:1", "", "")
	lost, err := j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, -time.Second)
	must(t, err)
	c, err := j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
	must(t, err)
	states := func() (got []string) {
		rs, err := j.Records(ctx, journal.RecordFilter{})
		must(t, err)
		for _, r := range rs {
			got = append(got, string(r.State)+" "+r.Reason)
		}
		return got
	}
	if d := cmp.Diff([]string{"signing ", "failed interrupted"}, states()); d != "" {
		t.Fatalf("records (-want +got):\n%s", d)
	}
	// The slow one still says what happened, and does not take the claim away.
	lost.Subtask.Status, lost.Records[0].State, lost.Records[0].Reason = journal.Succeed, journal.Signed, ""
	must(t, j.End(ctx, lost))
	_, err = j.Begin(ctx, "prod", s, nil, patience)
	wantError(t, err, journal.ErrClaimed)
	c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
	must(t, j.End(ctx, c))
	if d := cmp.Diff([]string{"signed ", "signed "}, states()); d != "" {
		t.Fatalf("records (-want +got):\n%s", d)
	}
}

func testRecord(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	s := artifact(tasks[0], "sha256:1", "", "")
	s.Tags = []string{"v1"}
	given := []journal.Record{record(policy.FormatCosign), record(policy.FormatNotationJWS)}
	c, err := j.Begin(ctx, "prod", s, given, patience)
	must(t, err)
	got, err := j.Records(ctx, journal.RecordFilter{Repository: "a"})
	must(t, err)
	want := []journal.Record{c.Records[1], c.Records[0]} // the newest first
	near := cmpopts.EquateApproxTime(time.Microsecond)
	if d := cmp.Diff(want, got, near); d != "" {
		t.Fatalf("begun (-want +got):\n%s", d)
	}
	if r := c.Records[0]; r.State != journal.Signing || r.ExecutionID != e.ID || r.Registry != "prod" || r.Repository != "a" ||
		r.Digest != "sha256:1" || given[0].ID != 0 {
		t.Fatalf("record: %+v", r)
	}
	if c.Subtask.Status != journal.InProgress || c.Subtask.ID == 0 {
		t.Fatalf("subtask: %+v", c.Subtask)
	}
	c.Subtask.Status, c.Subtask.Reason = journal.Failed, "partly"
	c.Records[0].State, c.Records[0].Signature, c.Records[0].StoredAs, c.Records[0].TagMoved = journal.Signed, "c2ln", "sha256:9", true
	c.Records[1].State, c.Records[1].Reason = journal.Broken, "unauthorized"
	must(t, j.End(ctx, c))
	got, err = j.Records(ctx, journal.RecordFilter{Registry: "prod", Policy: "p"})
	must(t, err)
	want = []journal.Record{c.Records[1], c.Records[0]}
	if d := cmp.Diff(want, got, near, cmpopts.IgnoreFields(journal.Record{}, "FinishedAt")); d != "" {
		t.Fatalf("ended (-want +got):\n%s", d)
	}
	if got[0].FinishedAt.Before(got[0].CreatedAt) {
		t.Fatalf("finished at %v", got[0].FinishedAt)
	}
	sub, seen, err := j.Seen(ctx, e.ID, "a", "sha256:1")
	must(t, err)
	if !seen || sub.Reason != "partly" || !cmp.Equal(sub.Tags, []string{"v1"}) {
		t.Fatalf("subtask: %v %+v", seen, sub)
	}
}

func testNotFinal(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a")
	c, err := j.Begin(ctx, "prod", artifact(tasks[0], "sha256:1", "", ""), []journal.Record{record(policy.FormatCosign)}, patience)
	must(t, err)
	c.Records[0].State = journal.Signed
	if err := j.End(ctx, c); err == nil {
		t.Fatal("ended with a subtask in progress")
	}
	c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signing
	if err := j.End(ctx, c); err == nil {
		t.Fatal("ended with a record in state signing")
	}
}

// testFaults: writes share transactions, not each other's failures.
func testFaults(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	const callers, each = 16, 10
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for k := range each {
				s := artifact(tasks[0], fmt.Sprintf("sha256:%d-%d", i, k), journal.Succeed, "signed")
				faulty := (i+k)%5 == 0
				if faulty {
					s.TaskID = 1 << 40 // no such task
				}
				if err := j.PutSubtask(ctx, s); (err != nil) != faulty {
					t.Errorf("%d-%d: faulty %v, error %v", i, k, faulty, err)
				}
			}
		})
	}
	wg.Wait()
	want := 0
	for i := range callers {
		for k := range each {
			_, seen, err := j.Seen(ctx, e.ID, "a", fmt.Sprintf("sha256:%d-%d", i, k))
			must(t, err)
			if faulty := (i+k)%5 == 0; seen == faulty {
				t.Errorf("%d-%d: faulty %v, written %v", i, k, faulty, seen)
			}
			if seen {
				want++
			}
		}
	}
	got, err := j.Execution(ctx, e.ID)
	must(t, err)
	if got.Counts.Total != int64(want) || got.Counts.Reasons["signed"] != int64(want) {
		t.Fatalf("counts %+v, want %d", got.Counts, want)
	}
}

func testCancelled(t *testing.T, j *journal.Journal) {
	_, tasks := begun(t, j, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 50 {
		digest := fmt.Sprintf("sha256:%d", i)
		err := j.PutSubtask(ctx, artifact(tasks[0], digest, journal.Succeed, ""))
		_, seen, seenErr := j.Seen(t.Context(), tasks[0].ExecutionID, "a", digest)
		must(t, seenErr)
		if seen != (err == nil) {
			t.Fatalf("error %v, but written: %v", err, seen)
		}
	}
}

// interrupted leaves a record behind whose worker died.
func interrupted(t *testing.T, j *journal.Journal, s journal.Subtask, r journal.Record) journal.Record {
	t.Helper()
	c, err := j.Begin(t.Context(), "prod", s, []journal.Record{r}, -time.Second)
	must(t, err)
	next, err := j.Begin(t.Context(), "prod", s, nil, patience)
	must(t, err)
	next.Subtask.Status = journal.Stopped
	must(t, j.End(t.Context(), next))
	return c.Records[0]
}

// wantRecord compares what the journal says became of a record.
func wantRecord(t *testing.T, j *journal.Journal, id int64, want string) {
	t.Helper()
	rs, err := j.Records(t.Context(), journal.RecordFilter{Limit: 1000})
	must(t, err)
	for _, r := range rs {
		if r.ID != id {
			continue
		}
		if got := fmt.Sprintf("%s %s %s %s", r.State, r.Reason, r.Signature, r.StoredAs); got != want {
			t.Errorf("record %d: %q, want %q", id, got, want)
		}
		if r.FinishedAt.IsZero() {
			t.Errorf("record %d is not finished", id)
		}
		return
	}
	t.Errorf("record %d is gone", id)
}

func otherFormat(r *journal.Record)     { r.Format = policy.FormatNotationJWS }
func otherKey(r *journal.Record)        { r.KeyFingerprint = "ee" }
func otherDigest(r *journal.Record)     { r.Digest = "sha256:2" }
func otherRepository(r *journal.Record) { r.Repository = "b" }
func otherRegistry(r *journal.Record)   { r.Registry = "other" }

// testFound: the signature of a worker that died is found later.
func testFound(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	e, tasks := begun(t, j, "a")
	s := artifact(tasks[0], "sha256:1", journal.Succeed, "already_signed")
	s.Tags = []string{"v1"}
	older := interrupted(t, j, s, record(policy.FormatCosign))
	newer := interrupted(t, j, s, record(policy.FormatCosign))
	seen := newer
	seen.Signature, seen.StoredAs = "c2ln", "sha256:9"
	for _, change := range []func(*journal.Record){otherFormat, otherKey, otherDigest, otherRepository, otherRegistry} {
		other := seen
		change(&other)
		must(t, j.Found(ctx, s, []journal.Record{other}))
	}
	wantRecord(t, j, newer.ID, "failed interrupted  ")
	must(t, j.Found(ctx, s, []journal.Record{seen}))
	wantRecord(t, j, newer.ID, "signed found c2ln sha256:9")
	wantRecord(t, j, older.ID, "failed interrupted  ")
	got, known, err := j.Seen(ctx, e.ID, "a", "sha256:1")
	must(t, err)
	if !known || got.Status != journal.Succeed || !cmp.Equal(got.Tags, s.Tags) {
		t.Fatalf("subtask: %v, %+v", known, got)
	}
	rs, err := j.Records(ctx, journal.RecordFilter{})
	must(t, err)
	if len(rs) != 2 {
		t.Fatalf("%d records of 2 attempts", len(rs))
	}
	s.Digest, seen.Digest = "sha256:3", "sha256:3"
	must(t, j.Found(ctx, s, nil), j.Found(ctx, s, []journal.Record{seen}))
	if rs, err = j.Records(ctx, journal.RecordFilter{Digest: "sha256:3"}); err != nil || len(rs) != 0 {
		t.Fatalf("records of an artifact that was never signed here: %+v, %v", rs, err)
	}
}

// testFoundTwice: one signature is not the proof of two attempts.
func testFoundTwice(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	_, tasks := begun(t, j, "a")
	s := artifact(tasks[0], "sha256:1", journal.Succeed, "already_signed")
	first := interrupted(t, j, s, record(policy.FormatCosign))
	c, err := j.Begin(ctx, "prod", s, []journal.Record{record(policy.FormatCosign)}, patience)
	must(t, err)
	c.Subtask.Status, c.Records[0].State, c.Records[0].Signature = journal.Succeed, journal.Signed, "c2ln"
	must(t, j.End(ctx, c))
	early := first
	early.Signature = "c2ln"
	must(t, j.Found(ctx, s, []journal.Record{early}))
	wantRecord(t, j, first.ID, "failed interrupted  ")
	last := interrupted(t, j, s, record(policy.FormatCosign))
	seen := last
	seen.Signature, seen.StoredAs = "c2ln", "sha256:9"
	must(t, j.Found(ctx, s, []journal.Record{seen}), j.Found(ctx, s, []journal.Record{seen}))
	wantRecord(t, j, first.ID, "failed interrupted  ")
	wantRecord(t, j, last.ID, "failed interrupted  ")
	seen.Signature = "bmV3"
	must(t, j.Found(ctx, s, []journal.Record{seen}), j.Found(ctx, s, []journal.Record{seen}))
	wantRecord(t, j, first.ID, "failed interrupted  ")
	wantRecord(t, j, last.ID, "signed found bmV3 sha256:9")
}

// Many artifacts at once: what was dealt with before keeps its outcome.
func testManyArtifacts(t *testing.T, j *journal.Journal) {
	e, tasks := begun(t, j, "app")
	signed := artifact(tasks[0], "sha256:0", journal.Succeed, "signed")
	signed.Tags = []string{"v0"}
	must(t, j.PutSubtask(t.Context(), signed))
	var many []journal.Subtask
	for i := range 450 {
		s := artifact(tasks[0], fmt.Sprintf("sha256:%d", i%440), journal.Succeed, "already_signed")
		s.Tags = []string{fmt.Sprintf("t%d", i)}
		many = append(many, s)
	}
	must(t, j.PutSubtasks(t.Context(), many), j.PutSubtasks(t.Context(), nil))
	got, err := j.Subtasks(t.Context(), journal.SubtaskFilter{ExecutionID: e.ID, Limit: 1000})
	must(t, err)
	by := map[string]journal.Subtask{}
	for _, s := range got {
		by[s.Digest] = s
	}
	if len(got) != 440 || len(by) != 440 {
		t.Errorf("%d subtasks of %d digests, want 440", len(got), len(by))
	}
	if s := by["sha256:0"]; s.Reason != "signed" || fmt.Sprint(s.Tags) != "[t0 t440 v0]" {
		t.Errorf("the one that was signed is now %+v", s)
	}
	if s := by["sha256:1"]; s.Reason != "already_signed" || fmt.Sprint(s.Tags) != "[t1 t441]" {
		t.Errorf("the one with two tags is %+v", s)
	}
}
