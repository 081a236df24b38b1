package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestRoles: each operation asks for a token, and for the role that the document
// tells of; who has it gets past that.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	roles := map[string]int{"viewer": 0, "operator": 1, "admin": 2}
	needs := map[string]string{ // all others: viewer
		"POST /policies": "admin", "PUT /policies/{policy}": "admin", "DELETE /policies/{policy}": "admin",
		"POST /policies/{policy}/enable": "admin", "POST /policies/{policy}/disable": "admin", "GET /audit": "admin",
		"POST /policies/{policy}/fire": "operator",
	}
	operations := 0
	for template, methods := range s.doc.paths {
		path := strings.TrimPrefix(strings.NewReplacer("{policy}", "999", "{execution}", "999").Replace(template), api.Prefix)
		for method := range methods {
			operations++
			method = strings.ToUpper(method)
			need := needs[method+" "+strings.TrimPrefix(template, api.Prefix)]
			if need == "" {
				need = "viewer"
			}
			for i, token := range []string{viewer, operator, admin} {
				a := s.send(t, request{method: method, path: path, token: token})
				if refusedByRole := a.status == http.StatusForbidden; refusedByRole != (i < roles[need]) {
					t.Errorf("%s %s by role %d: %d, and it needs %s", method, path, i, a.status, need)
				}
			}
			for _, token := range []string{"wrong", strings.Repeat("x", 9000)} {
				a := s.send(t, request{method: method, path: path, token: token})
				if a.status != http.StatusUnauthorized && a.status != http.StatusBadRequest || strings.Contains(string(a.body), token) {
					t.Errorf("%s %s with a wrong token: %d %s", method, path, a.status, a.body)
				}
			}
		}
	}
	if operations < 20 {
		t.Errorf("%d operations", operations)
	}
}

// TestTenants: what a caller does not see is not there for it, and it can change
// nothing about it.
func TestTenants(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{Policies: []policy.Policy{covering("of a file", controltest.Registry, "")}})
	s.get(t, "/policies") // which gives the file's its id
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	s.Server.Push(t, "library/app:v1", registrytest.Image(t))
	var ids []string
	for _, p := range []policy.Policy{covering("library", controltest.Registry, "library"), covering("team", controltest.Registry, "team"),
		covering("team-elsewhere", controltest.Other, "team/deep"), covering("whole", controltest.Registry, "")} {
		id := want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), http.StatusCreated).ID
		ids = append(ids, fmt.Sprint(id))
		s.Await(t, want[journal.Execution](t, s.as(t, admin, http.MethodPost, "/policies/"+p.Name+"/fire", ""), http.StatusAccepted).ID)
	}
	for token, want := range map[string]struct{ policies, executions, records []string }{
		viewer: {[]string{"of a file", "library", "team", "team-elsewhere", "whole"}, []string{"whole", "team-elsewhere", "team", "library"},
			[]string{"library/app", "team/app"}},
		stranger: {[]string{"team-elsewhere"}, []string{"team-elsewhere"}, nil},
		tenant:   {[]string{"team", "team-elsewhere"}, []string{"team-elsewhere", "team"}, []string{"team/app"}},
	} {
		wantNames(t, s, token, "/policies", want.policies, func(p api.PolicyState) string { return p.Name })
		wantNames(t, s, token, "/executions", want.executions, func(x journal.Execution) string { return x.Policy })
		wantNames(t, s, token, "/records", want.records, func(r journal.Record) string { return r.Repository })
	}
	for _, token := range []string{stranger, tenant} {
		for _, ref := range []string{"library", "of%20a%20file", ids[0], ids[3]} {
			wantAbsent(t, s, token, ref)
		}
		refused(t, s.as(t, token, http.MethodGet, "/executions/1", ""), http.StatusNotFound)
		refused(t, s.as(t, token, http.MethodGet, "/executions/1/tasks", ""), http.StatusNotFound)
		refused(t, s.as(t, token, http.MethodGet, "/executions/1/subtasks", ""), http.StatusNotFound)
		refused(t, s.as(t, token, http.MethodGet, "/executions/1/events", ""), http.StatusNotFound)
	}
}

// wantNames reads all pages of a list, one item each.
func wantNames[T any](t *testing.T, s *site, token, path string, names []string, name func(T) string) {
	t.Helper()
	var got []string
	for cursor := ""; ; {
		l := want[list[T]](t, s.as(t, token, http.MethodGet, path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+"limit=1"+cursor, ""), http.StatusOK)
		for _, item := range l.Items {
			got = append(got, name(item))
		}
		if l.Next == "" {
			break
		}
		cursor = "&cursor=" + l.Next
	}
	if path == "/records" {
		slices.Sort(got)
	}
	if !slices.Equal(got, names) {
		t.Errorf("%s by %.8s: %q, want %q", path, token, got, names)
	}
}

// wantAbsent compares with the answers for what is not there at all.
func wantAbsent(t *testing.T, s *site, token, ref string) {
	t.Helper()
	for _, r := range []request{
		{method: http.MethodGet, path: ""}, {method: http.MethodDelete, path: ""}, {method: http.MethodPost, path: "/enable"},
		{method: http.MethodPost, path: "/disable"}, {method: http.MethodPost, path: "/fire"}, {method: http.MethodPost, path: "/plan"},
		{method: http.MethodGet, path: "/coverage"},
		{method: http.MethodPut, path: "", body: text(t, covering("x", controltest.Other, "team")), header: http.Header{"If-Match": {"*"}}},
	} {
		r.token = token
		path := r.path
		r.path = "/policies/" + ref + path
		there := refused(t, s.send(t, r), http.StatusNotFound)
		r.path = "/policies/nothing" + path
		if nothing := refused(t, s.send(t, r), http.StatusNotFound); nothing.Detail != there.Detail {
			t.Errorf("%s %s: %q, and for nothing %q", r.method, path, there.Detail, nothing.Detail)
		}
	}
}

// TestTenantsMayNotReachOut: nobody creates or moves a policy where it sees nothing.
func TestTenantsMayNotReachOut(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	outside := covering("p", controltest.Registry, "team")
	outside.SignatureRepository = "library/{repository}"
	inside := outside
	inside.SignatureRepository = "{repository}-signatures"
	mine := want[api.PolicyState](t, s.as(t, tenant, http.MethodPost, "/policies", text(t, covering("mine", controltest.Registry, "team/a"))), http.StatusCreated)
	for _, c := range []struct {
		token, field string
		p            policy.Policy
	}{
		{stranger, "registry", covering("p", controltest.Registry, "team")},
		{stranger, "registry", covering("p", "nowhere", "team")},
		{tenant, "namespace", covering("p", controltest.Registry, "")},
		{tenant, "namespace", covering("p", controltest.Registry, "teams")},
		{tenant, "signature_repository", outside},
	} {
		p := refused(t, s.as(t, c.token, http.MethodPost, "/policies", text(t, c.p)), http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || p.Errors[0].Field != c.field || strings.Contains(p.Errors[0].Allowed, controltest.Registry) {
			t.Errorf("%+v: %+v", c.p, p.Errors)
		}
		if c.token == tenant {
			c.p.Name = "mine"
			refused(t, s.send(t, request{method: http.MethodPut, path: fmt.Sprint("/policies/", mine.ID), token: tenant, body: text(t, c.p),
				header: http.Header{"If-Match": {"*"}}}), http.StatusUnprocessableEntity)
		}
	}
	want[api.PolicyState](t, s.as(t, tenant, http.MethodPost, "/policies", text(t, inside)), http.StatusCreated)
}

// TestState: keys, registries and health, for those who see all and those who do not.
func TestState(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, func(o *api.Options) {
		sink := engine.Dependency{Kind: engine.SinkDependency, Name: "siem", Probe: func(context.Context) error { return nil }}
		o.Health = control.NewHealth(control.HealthOptions{Dependencies: func() []engine.Dependency { return append(o.Engine.Dependencies(), sink) }, Log: o.Log})
	})
	keys := want[list[api.Key]](t, s.as(t, stranger, http.MethodGet, "/keys", ""), http.StatusOK).Items
	if len(keys) != 2 || keys[0].Name != controltest.Key || keys[0].PEM != string(s.Public[controltest.Key].PEM()) || len(keys[0].JWK) == 0 ||
		!slices.Equal(keys[0].Aliases, []string{controltest.KeyAlias}) || !keys[0].Usable {
		t.Errorf("keys %+v", keys)
	}
	registries := func(token string) []api.Registry {
		return want[list[api.Registry]](t, s.as(t, token, http.MethodGet, "/registries", ""), http.StatusOK).Items
	}
	if all := registries(viewer); len(all) != 2 || all[1].Name != controltest.Registry || all[1].Host != s.Server.Host || all[1].Kind != "generic" ||
		!slices.Equal(all[1].Instances, []string{controltest.Instance, controltest.Registry}) {
		t.Errorf("registries %+v", all)
	}
	if some := registries(stranger); len(some) != 1 || some[0].Name != controltest.Other {
		t.Errorf("registries of a stranger: %+v", some)
	}
	for token, checks := range map[string]int{viewer: 6, stranger: 4} {
		if h := want[api.Health](t, s.as(t, token, http.MethodGet, "/health", ""), http.StatusOK); !h.Ready || len(h.Checks) != checks {
			t.Errorf("health %+v, want %d checks", h, checks)
		}
	}
}

// TestAuditOfOthers: who does not see all registries sees its own entries.
func TestAuditOfOthers(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	for token, namespace := range map[string]string{admin: "library", tenant: "team"} {
		want[api.PolicyState](t, s.as(t, token, http.MethodPost, "/policies", text(t, covering(namespace, controltest.Registry, namespace))), http.StatusCreated)
	}
	caller := func(e journal.AuditEntry) string { return e.Caller }
	wantNames(t, s, tenant, "/audit", []string{"tenant"}, caller)
	if l := want[list[journal.AuditEntry]](t, s.as(t, tenant, http.MethodGet, "/audit?caller=admin", ""), http.StatusOK); len(l.Items) != 0 {
		t.Errorf("%+v", l.Items)
	}
	if l := want[list[journal.AuditEntry]](t, s.get(t, "/audit?caller=tenant"), http.StatusOK); len(l.Items) != 1 {
		t.Errorf("%+v", l.Items)
	}
	if l := want[list[journal.AuditEntry]](t, s.get(t, "/audit"), http.StatusOK); len(l.Items) != 2 {
		t.Errorf("%+v", l.Items)
	}
}

// TestRate: one request too many is told so, and when to come again.
func TestRate(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{Rights: rights.Options{PerSecond: 1e-9, Burst: 2}}) // of which reading the document took one
	want[api.Health](t, s.get(t, "/health"), http.StatusOK)
	if a := s.get(t, "/health"); refused(t, a, http.StatusTooManyRequests).Detail == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
	want[api.Health](t, s.as(t, viewer, http.MethodGet, "/health", ""), http.StatusOK)
}

// TestReadOnly: policies of files and of vendors' APIs are changed where they come
// from; a vendor's may be fired and deleted.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{Policies: []policy.Policy{covering("of a file", controltest.Registry, "team")}})
	vendors := covering("", controltest.Registry, "library")
	stored, err := s.Engine.CreatePolicy(t.Context(), journal.StoredPolicy{Policy: vendors, Origin: journal.FromSWR, Label: "发布", Document: []byte(`{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"/policies/of%20a%20file", fmt.Sprint("/policies/", stored.ID)} {
		p := want[api.PolicyState](t, s.get(t, ref), http.StatusOK)
		if !p.ReadOnly || p.ManagedBy == "" || p.Deletable != (p.Origin == journal.FromSWR) {
			t.Errorf("%+v", p)
		}
		body := p.Policy
		body.Description = "changed"
		refused(t, s.send(t, request{method: http.MethodPut, path: ref, body: text(t, body), header: http.Header{"If-Match": {"*"}}}), http.StatusConflict)
		for _, path := range []string{"/enable", "/disable"} {
			if p := refused(t, s.as(t, admin, http.MethodPost, ref+path, ""), http.StatusConflict); !strings.Contains(p.Detail, "changed by") {
				t.Errorf("%s", p.Detail)
			}
		}
		s.Await(t, want[journal.Execution](t, s.as(t, operator, http.MethodPost, ref+"/fire", ""), http.StatusAccepted).ID)
	}
	if p := want[api.PolicyState](t, s.get(t, fmt.Sprint("/policies/", stored.ID)), http.StatusOK); p.Label != "发布" {
		t.Errorf("label %q", p.Label)
	}
	refused(t, s.as(t, admin, http.MethodDelete, "/policies/of%20a%20file", ""), http.StatusConflict)
	if a := s.as(t, admin, http.MethodDelete, fmt.Sprint("/policies/", stored.ID), ""); a.status != http.StatusNoContent {
		t.Errorf("deleting a vendor's: %d %s", a.status, a.body)
	}
	wantNames(t, s, admin, "/policies?origin=swr&registry=prod", nil, func(p api.PolicyState) string { return p.Name })
	refused(t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("of a file", controltest.Registry, "x"))), http.StatusConflict)
}

// TestKeysOfTenants: a tenant's policies sign with its own keys, and the others are not
// there for it.
func TestKeysOfTenants(t *testing.T) {
	s := open(t, controltest.Options{})
	p := covering("theirs", controltest.Registry, "team")
	p.Key = controltest.RSAKey
	refused(t, s.send(t, request{method: http.MethodPost, path: "/policies", token: tenant, body: text(t, p)}), http.StatusUnprocessableEntity)
	a := s.send(t, request{method: http.MethodGet, path: "/keys", token: tenant})
	if a.status != http.StatusOK || strings.Contains(string(a.body), controltest.RSAKeyAlias) || !strings.Contains(string(a.body), controltest.KeyAlias) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestDomainsOfTenants: a tenant's policies sign under no name but the registry's, or one
// that the configuration has for it.
func TestDomainsOfTenants(t *testing.T) {
	ours := covering("of the file", controltest.Registry, "library")
	ours.Domain = "registry.example.com"
	s := open(t, controltest.Options{Policies: []policy.Policy{ours}})
	for i, c := range []struct {
		token, domain string
		status        int
	}{
		{tenant, "", http.StatusCreated}, {tenant, "registry.example.com", http.StatusCreated}, {tenant, s.Server.Host, http.StatusCreated},
		{tenant, "other.example.com", http.StatusUnprocessableEntity}, {controltest.AdminToken, "other.example.com", http.StatusCreated},
	} {
		p := covering(fmt.Sprint("p", i), controltest.Registry, "team")
		p.Domain = c.domain
		if a := s.send(t, request{method: http.MethodPost, path: "/policies", token: c.token, body: text(t, p)}); a.status != c.status {
			t.Errorf("%q: %d %s, want %d", c.domain, a.status, a.body, c.status)
		}
	}
}

// TestEnableNeedsTheKey: a tenant enables nothing that signs with a key that it may not
// use; it may disable it.
func TestEnableNeedsTheKey(t *testing.T) {
	s := open(t, controltest.Options{})
	p, off := covering("theirs", controltest.Registry, "team"), false
	p.Key, p.Enabled = controltest.RSAKey, &off
	if a := s.send(t, request{method: http.MethodPost, path: "/policies", body: text(t, p)}); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	refused(t, s.send(t, request{method: http.MethodPost, path: "/policies/theirs/enable", token: tenant}), http.StatusUnprocessableEntity)
	if a := s.send(t, request{method: http.MethodPost, path: "/policies/theirs/enable"}); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := s.send(t, request{method: http.MethodPost, path: "/policies/theirs/disable", token: tenant}); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}
