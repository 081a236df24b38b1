package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestLifecycle takes a policy from its creation to real signatures in a real
// registry, through changes, to its end.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	digests := []v1.Hash{s.Server.Push(t, "team/app:v1", registrytest.Image(t)), s.Server.Push(t, "team/web:v1", registrytest.Image(t))}
	s.Server.Push(t, "elsewhere/app:v1", registrytest.Image(t))

	p := covering("all of team", controltest.Registry, "team")
	p.Key = controltest.KeyAlias
	a := s.as(t, admin, http.MethodPost, "/policies", text(t, p))
	created := want[api.PolicyState](t, a, http.StatusCreated)
	ref := fmt.Sprint("/policies/", created.ID)
	if a.header.Get("Location") != api.Prefix+ref || a.header.Get("ETag") != fmt.Sprintf(`"%d"`, created.Revision) {
		t.Errorf("headers %v", a.header)
	}
	if created.Policy.Key != controltest.Key || created.Creator != "admin" || created.ReadOnly || created.Origin != journal.FromAPI || !created.Enabled {
		t.Errorf("created %+v", created)
	}
	for _, path := range []string{ref, "/policies/all%20of%20team"} {
		if got := want[api.PolicyState](t, s.as(t, viewer, http.MethodGet, path, ""), http.StatusOK); got.ID != created.ID {
			t.Errorf("%s: %+v", path, got)
		}
	}
	wantPlan(t, s, ref)
	id := wantSigned(t, s, ref, digests)
	wantHistory(t, s, id)
	wantChanges(t, s, ref, created)

	long := http.Header{"If-Match": {strings.Repeat("7", 501)}}
	refused(t, s.send(t, request{method: http.MethodDelete, path: ref, header: long}), http.StatusUnprocessableEntity)
	if a := s.as(t, admin, http.MethodDelete, ref, ""); a.status != http.StatusNoContent || len(a.body) > 0 {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	refused(t, s.get(t, ref), http.StatusNotFound)
	refused(t, s.as(t, admin, http.MethodDelete, ref, ""), http.StatusNotFound)
	if got := want[journal.Execution](t, s.get(t, fmt.Sprint("/executions/", id)), http.StatusOK); got.Status != journal.Succeed {
		t.Errorf("history of a deleted policy: %+v", got)
	}
	wantAudited(t, s, ref, "create-policy done", "fire-policy done",
		"replace-policy not done", "replace-policy not done", "replace-policy not done", "replace-policy not done", "replace-policy done",
		"replace-policy not done", "replace-policy not done", "disable-policy done", "disable-policy nothing to change", "fire-policy not done",
		"delete-policy not done", "delete-policy done", "delete-policy refused: not_found")
}

func wantPlan(t *testing.T, s *site, ref string) {
	t.Helper()
	plan := want[api.Plan](t, s.as(t, viewer, http.MethodPost, ref+"/plan?findings=1", ""), http.StatusOK)
	if plan.Unsigned != 2 || plan.KeyUses != 2 || plan.Requests["PUT"] == 0 || !plan.Finished || plan.FindingsTotal != 2 || len(plan.Findings) != 1 || !plan.Truncated {
		t.Errorf("plan %+v", plan)
	}
	if n := want[list[journal.Execution]](t, s.get(t, "/executions"), http.StatusOK).Items; len(n) != 0 {
		t.Errorf("a plan did something: %+v", n)
	}
}

// wantSigned fires the policy and finds its signatures in the registry.
func wantSigned(t *testing.T, s *site, ref string, digests []v1.Hash) int64 {
	t.Helper()
	a := s.as(t, operator, http.MethodPost, ref+"/fire", "")
	x := want[journal.Execution](t, a, http.StatusAccepted)
	if a.header.Get("Location") != fmt.Sprint(api.Prefix, "/executions/", x.ID) {
		t.Errorf("headers %v", a.header)
	}
	if x = s.Await(t, x.ID); x.Status != journal.Succeed || x.Counts.Reasons["signed"] != 2 {
		t.Fatalf("execution %+v", x)
	}
	for i, repository := range []string{"team/app", "team/web"} {
		if n := s.Server.Signatures(t, repository, digests[i]); n != 1 {
			t.Errorf("%s has %d signatures", repository, n)
		}
	}
	c := want[api.Coverage](t, s.as(t, viewer, http.MethodGet, ref+"/coverage", ""), http.StatusOK)
	if !c.Complete || c.Signed != 2 || len(c.Findings) != 0 || c.Truncated {
		t.Errorf("coverage %+v", c)
	}
	return x.ID
}

func wantHistory(t *testing.T, s *site, id int64) {
	t.Helper()
	tasks := want[list[journal.Task]](t, s.get(t, fmt.Sprintf("/executions/%d/tasks?status=Succeed", id)), http.StatusOK).Items
	if len(tasks) != 2 {
		t.Fatalf("tasks %+v", tasks)
	}
	subtasks := want[list[journal.Subtask]](t, s.get(t, fmt.Sprintf("/executions/%d/subtasks?task=%d&reason=signed", id, tasks[0].ID)), http.StatusOK).Items
	if len(subtasks) != 1 || subtasks[0].Repository != tasks[0].Repository {
		t.Fatalf("subtasks %+v", subtasks)
	}
	records := want[list[journal.Record]](t, s.get(t, "/records?repository=team/app"), http.StatusOK).Items
	if len(records) != 1 || records[0].State != journal.Signed || records[0].KeyFingerprint != s.Public[controltest.Key].Fingerprint() {
		t.Fatalf("records %+v", records)
	}
}

func wantChanges(t *testing.T, s *site, ref string, created api.PolicyState) {
	t.Helper()
	p := created.Policy
	p.Description = "changed"
	put := func(match string) answer {
		r := request{method: http.MethodPut, path: ref, body: text(t, p)}
		if match != "" {
			r.header = http.Header{"If-Match": {match}}
		}
		return s.send(t, r)
	}
	refused(t, put(""), http.StatusPreconditionRequired)
	refused(t, put(`"0"`), http.StatusPreconditionFailed)
	refused(t, put(fmt.Sprintf(`W/"%d"`, created.Revision)), http.StatusPreconditionFailed)
	refused(t, put(`7`), http.StatusBadRequest)
	a := put(fmt.Sprintf(`"0", "%d"`, created.Revision))
	changed := want[api.PolicyState](t, a, http.StatusOK)
	if changed.Policy.Description != "changed" || changed.Revision <= created.Revision || a.header.Get("ETag") != fmt.Sprintf(`"%d"`, changed.Revision) {
		t.Errorf("changed %+v", changed)
	}
	p.Registry = controltest.Other
	p.Formats = append(p.Formats, "bundle")
	p.Timestamp = append(p.Timestamp, struct {
		URL string `yaml:"url" json:"url"`
		CA  string `yaml:"ca" json:"ca"`
	}{"http://tsa.example", "/etc/passwd"})
	if p := refused(t, put("*"), http.StatusUnprocessableEntity); len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Problem, "timestamp") {
		t.Errorf("%+v", p)
	}
	p.Name = "another"
	if p := refused(t, put("*"), http.StatusUnprocessableEntity); len(p.Errors) != 1 || p.Errors[0].Field != "name" {
		t.Errorf("%+v", p)
	}
	for range 2 { // the second time there is nothing to do
		if got := want[api.PolicyState](t, s.as(t, admin, http.MethodPost, ref+"/disable", ""), http.StatusOK); got.Enabled {
			t.Errorf("disabled: %+v", got)
		}
	}
	refused(t, s.as(t, operator, http.MethodPost, ref+"/fire", ""), http.StatusConflict)
}

// wantAudited: every call that could change something is written down, and what it is
// about by its name if it came so far that this was looked up.
func wantAudited(t *testing.T, s *site, ref string, audited ...string) {
	t.Helper()
	entries := want[list[journal.AuditEntry]](t, s.get(t, "/audit?api=api"), http.StatusOK).Items
	var got []string
	for _, e := range slices.Backward(entries) {
		if e.RequestID == "" || e.Target != controltest.Registry+"/all of team" && !strings.HasPrefix(e.Target, api.Prefix+ref) {
			t.Errorf("entry %+v", e)
		}
		got = append(got, e.Action+" "+e.Outcome)
	}
	if d := cmp.Diff(audited, got); d != "" {
		t.Error(d)
	}
}

// TestWarning: whoever makes or sees a policy that no event fires is told, and may fire it.
func TestWarning(t *testing.T) {
	t.Parallel()
	const why = "no events"
	s := open(t, controltest.Options{Silent: map[string]string{controltest.Registry: why}})
	p := covering("pushes", controltest.Registry, "team")
	p.Trigger = policy.Trigger{Type: policy.EventBased}
	created := want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), http.StatusCreated)
	ref := fmt.Sprint("/policies/", created.ID)
	seen := want[api.PolicyState](t, s.get(t, ref), http.StatusOK)
	if created.Warning != why || seen.Warning != why || seen.Problem != "" {
		t.Errorf("created %+v\nseen %+v", created, seen)
	}
	want[journal.Execution](t, s.as(t, operator, http.MethodPost, ref+"/fire", ""), http.StatusAccepted)
	p.Name, p.Registry = "elsewhere", controltest.Other
	if other := want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), http.StatusCreated); other.Warning != "" {
		t.Errorf("%+v", other)
	}
}
