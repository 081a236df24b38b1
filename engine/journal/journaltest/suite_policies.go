package journaltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// roomy are bounds that nothing here meets.
var roomy = journal.PolicyBounds{Quota: 1000} //nolint:gochecknoglobals // never changed

func storable(origin journal.Origin, namespace, label string) journal.StoredPolicy {
	return journal.StoredPolicy{Origin: origin, Label: label, Creator: "ops", Document: json.RawMessage(`{"a": 1}`),
		Policy: policy.Policy{Registry: "prod", Namespace: namespace, Key: "release", Trigger: policy.Trigger{Type: policy.Manual},
			Scope: []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Matches: []string{"v*"}}}}}}
}

func mustCreate(t *testing.T, j *journal.Journal, p journal.StoredPolicy) journal.StoredPolicy {
	t.Helper()
	created, err := j.CreatePolicy(t.Context(), p, roomy)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// testStoredPolicies: what was stored is read back, changed and deleted, and each
// change gives a new revision.
func testStoredPolicies(t *testing.T, j *journal.Journal) {
	revisions := map[int64]bool{}
	revision := func() int64 {
		n, err := j.PoliciesRevision(t.Context())
		if err != nil || revisions[n] {
			t.Fatalf("revision %d again, %v", n, err)
		}
		revisions[n] = true
		return n
	}
	if n := revision(); n != 0 {
		t.Fatalf("an empty journal has revision %d", n)
	}
	want := storable(journal.FromAPI, "library", "every release")
	got := mustCreate(t, j, want)
	revision()
	if got.Policy.Name != "every release" || got.ID == 0 || got.Revision == 0 || got.CreatedAt.IsZero() || got.UpdatedAt.Before(got.CreatedAt) {
		t.Fatalf("%+v", got)
	}
	changed, err := j.UpdatePolicy(t.Context(), got.ID, roomy, func(p *journal.StoredPolicy) error {
		p.Policy.Key, p.Policy.Name, p.ID, p.Creator = "other", "renamed", 99, "mallory"
		return nil
	})
	if err != nil || changed.Policy.Key != "other" || changed.Policy.Name != got.Policy.Name || changed.ID != got.ID || changed.Creator != "ops" || changed.Revision <= got.Revision {
		t.Fatalf("%+v, %v", changed, err)
	}
	now := revision()
	list, at, err := j.StoredPolicies(t.Context())
	if d := cmp.Diff([]journal.StoredPolicy{changed}, list); d != "" || err != nil || at != now {
		t.Fatalf("%v at %d, %v", d, at, err)
	}
	refused := errors.New("no")
	if _, err := j.UpdatePolicy(t.Context(), got.ID, roomy, func(*journal.StoredPolicy) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if err := j.DeletePolicy(t.Context(), got.ID, func(journal.StoredPolicy) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if n, err := j.PoliciesRevision(t.Context()); n != now || err != nil {
		t.Fatalf("what was refused made revision %d of %d, %v", n, now, err)
	}
	if err := j.DeletePolicy(t.Context(), got.ID, func(journal.StoredPolicy) error { return nil }); err != nil {
		t.Fatal(err)
	}
	revision()
	for what, err := range map[string]error{
		"update": second(j.UpdatePolicy(t.Context(), got.ID, roomy, func(*journal.StoredPolicy) error { return nil })),
		"delete": j.DeletePolicy(t.Context(), got.ID, func(journal.StoredPolicy) error { return nil }),
	} {
		if !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// testPolicyNames: names are unique among all policies, labels in their namespace.
func testPolicyNames(t *testing.T, j *journal.Journal) {
	ids, err := j.FilePolicyIDs(t.Context(), []string{"nightly", "from file"})
	if err != nil || ids["nightly"] == 0 || ids["nightly"] == ids["from file"] {
		t.Fatalf("%v, %v", ids, err)
	}
	again, err := j.FilePolicyIDs(t.Context(), []string{"from file", "nightly", "new"})
	if err != nil || again["nightly"] != ids["nightly"] || again["from file"] != ids["from file"] {
		t.Fatalf("%v, then %v, %v", ids, again, err)
	}
	named := storable(journal.FromAPI, "a", "nightly")
	named.Policy.Name = "nightly"
	if _, err := j.CreatePolicy(t.Context(), named, journal.PolicyBounds{Reserved: []string{"nightly"}, Quota: roomy.Quota}); !errors.Is(err, journal.ErrExists) {
		t.Errorf("the name of a file's policy: %v", err)
	}
	if p := mustCreate(t, j, named); p.ID == ids["nightly"] { // the file is gone
		t.Errorf("id %d was that of the file's policy", p.ID)
	}
	named.Label = "another"
	if _, err := j.CreatePolicy(t.Context(), named, roomy); !errors.Is(err, journal.ErrExists) {
		t.Errorf("the same name again: %v", err)
	}
	first := mustCreate(t, j, storable(journal.FromSWR, "a", "policy_1"))
	if _, err := j.CreatePolicy(t.Context(), storable(journal.FromSWR, "a", "policy_1"), roomy); !errors.Is(err, journal.ErrExists) {
		t.Errorf("the same label again: %v", err)
	}
	other := mustCreate(t, j, storable(journal.FromSWR, "b", "policy_1"))
	if first.Policy.Name != "policy_1" || other.Policy.Name != fmt.Sprintf("policy_1-%d", other.ID) {
		t.Errorf("names %q and %q", first.Policy.Name, other.Policy.Name)
	}
	for _, c := range []struct{ label, want string }{ // # stands for the id
		{"\u751f\u4ea7", "swr"},
		{"prod/\u751f\u4ea7/x", "prod-x"},
		{"-_.", "swr-#"},
		{strings.Repeat("a", 200), strings.Repeat("a", 100)},
		{strings.Repeat("a", 100), strings.Repeat("a", 100) + "-#"},
		{strings.Repeat("b ", 100), strings.Repeat("b ", 49) + "b"},
		{"library signing", "library signing"},
	} {
		p := mustCreate(t, j, storable(journal.FromSWR, "c", c.label))
		want := strings.ReplaceAll(c.want, "#", fmt.Sprint(p.ID))
		if p.Policy.Name != want || p.Label != c.label || !policy.ValidName(p.Policy.Name) {
			t.Errorf("label %q made the name %q, want %q", c.label, p.Policy.Name, want)
		}
	}
	if _, err := j.UpdatePolicy(t.Context(), other.ID, roomy, func(p *journal.StoredPolicy) error { p.Policy.Namespace = "a"; return nil }); !errors.Is(err, journal.ErrExists) {
		t.Errorf("moving to where the label is taken: %v", err)
	}
}

// testPutPolicy: one policy for each namespace, whatever it is called.
func testPutPolicy(t *testing.T, j *journal.Journal) {
	put := func(p journal.StoredPolicy) journal.StoredPolicy {
		t.Helper()
		p, err := j.PutPolicy(t.Context(), p, roomy)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := put(storable(journal.FromTCR, "library", "one"))
	elsewhere := put(storable(journal.FromTCR, "team", "one"))
	second := put(storable(journal.FromTCR, "library", "two"))
	if second.ID != first.ID || second.Policy.Name != first.Policy.Name || second.Label != "two" || second.Revision <= first.Revision || elsewhere.ID == first.ID {
		t.Errorf("%+v\n%+v\n%+v", first, elsewhere, second)
	}
	list, _, err := j.StoredPolicies(t.Context())
	if d := cmp.Diff([]journal.StoredPolicy{second, elsewhere}, list); d != "" || err != nil {
		t.Error(d, err)
	}
}

// testPoliciesAtOnce: of many who store the same, one does.
func testPoliciesAtOnce(t *testing.T, j *journal.Journal) {
	var won, lost sync.Map
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			p, err := j.CreatePolicy(t.Context(), storable(journal.FromSWR, "a", "same"), roomy)
			switch {
			case err == nil:
				won.Store(p.ID, i)
			case errors.Is(err, journal.ErrExists):
				lost.Store(i, true)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if size(&won) != 1 || size(&lost) != 19 {
		t.Errorf("%d stored it, %d were refused", size(&won), size(&lost))
	}
}

func size(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// testAudit: an entry is there before the change, and says later what came of it.
func testAudit(t *testing.T, j *journal.Journal) {
	entry := journal.AuditEntry{Caller: "ci", API: "swr", Action: "CreateInstanceSignPolicy", Target: "prod/library", RequestID: "r1"}
	id, err := j.Audit(t.Context(), entry)
	if err != nil {
		t.Fatal(err)
	}
	other, err := j.Audit(t.Context(), journal.AuditEntry{Caller: "ops", API: "tcr"})
	if err != nil || other == id {
		t.Fatal(other, err)
	}
	read := func(f journal.AuditFilter) []journal.AuditEntry {
		t.Helper()
		list, err := j.AuditEntries(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := read(journal.AuditFilter{}); len(list) != 2 || list[0].ID != other || list[1].Outcome != "" || list[1].At.IsZero() {
		t.Fatalf("%+v", list)
	}
	if err := j.Audited(t.Context(), id, "201"); err != nil {
		t.Fatal(err)
	}
	entry.ID, entry.Outcome = id, "201"
	got := read(journal.AuditFilter{Caller: "ci", API: "swr", Before: other})
	if d := cmp.Diff([]journal.AuditEntry{entry}, got, cmpopts.IgnoreTypes(time.Time{})); d != "" || got[0].FinishedAt.IsZero() {
		t.Error(d)
	}
}
