package swr

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

// TestPanic: a fault of ours answers as SWR does when it has one, and nothing of it
// is told.
func TestPanic(t *testing.T) {
	h := open(t, controltest.Options{})
	for i := range h.api.routes {
		if h.api.routes[i].name == "ShowInstanceSignPolicy" {
			h.api.routes[i].run = func(*API, context.Context, *call) (any, error) { panic("s3cret") }
		}
	}
	a := h.ask(t, viewer, "GET", policies+"/1", "")
	a.want(t, 500, "SVCSTG.SWR.5000001")
	if strings.Contains(a.body, "s3cret") || strings.Contains(a.body, ".go") {
		t.Errorf("the answer tells of it: %s", a.body)
	}
	h.ask(t, viewer, "GET", "/signature/policies", "").want(t, 200, "")
}

// TestNoJournal: without a journal nothing is changed, nor told why.
func TestNoJournal(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	if err := h.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range [][3]string{{"POST", policies, policyJSON("b")}, {"PUT", policies + "/1", policyJSON("b")}, {"DELETE", policies + "/1", ""},
		{"POST", policies + "/1/executions", ""}, {"GET", "/signature/policies", ""}} {
		a := h.ask(t, admin, tt[0], tt[1], tt[2])
		a.want(t, 500, "SVCSTG.SWR.5000001")
		if strings.Contains(a.body, "journal") || strings.Contains(a.body, "closed") {
			t.Errorf("%s: %s", tt[1], a.body)
		}
	}
	if list := h.Engine.Policies(); len(list) != 1 || list[0].Name != "a" {
		t.Errorf("policies: %+v", list)
	}
}

// TestRequestIDs: each answer has an id of its own, whatever the caller sends.
func TestRequestIDs(t *testing.T) {
	h := open(t, controltest.Options{})
	seen := map[string]bool{}
	for range 20 {
		a := h.send(t, "GET", h.url+"/signature/policies", "", http.Header{"X-Auth-Token": {viewer}, "X-Request-Id": {"mine"}})
		a.want(t, 200, "")
		if seen[a.id] {
			t.Fatalf("id %s twice", a.id)
		}
		seen[a.id] = true
	}
}

// FuzzRoute: whatever a path is, it leads to one operation or to none, and what is
// taken from it is text in which nothing is hidden.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/v2/p/instances/i/signature/policies", "/v2/p/instances/i/namespaces/n/repositories/a/b%2Fc%252Fd/artifacts/v1/accessories",
		"/v2/p/instances/i/namespaces/n/signature/policies/1/executions/2/tasks/3/subtasks", "/v2/p/instances/i/namespaces/%2e%2e", "/v2//instances/i/statistics"} {
		f.Add("GET", path, "limit=1&offset=2")
	}
	a := New(Options{})
	f.Fuzz(func(t *testing.T, method, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		c := &call{}
		if a.route(c, &http.Request{Method: method, URL: u}) != nil {
			return
		}
		for name, value := range c.path {
			if value == "" || strings.ContainsRune(value, 0) || value == ".." || strings.Contains(value, "/") && name != "repository_name" && !strings.Contains(strings.ToLower(path), "%2f") {
				t.Errorf("%s of %q is %q", name, path, value)
			}
		}
		if name := c.path["repository_name"]; validRepository(name) && (strings.Contains(name, "..") || strings.Contains(name, "%") || !utf8.ValidString(name)) {
			t.Errorf("%q is a repository", name)
		}
		if c.query, err = url.ParseQuery(query); err != nil {
			return
		}
		if offset, limit, err := c.page(); err == nil && (limit < 1 || limit > maxLimit || offset < 0 || offset%limit != 0) {
			t.Errorf("%q gives offset %d, limit %d", query, offset, limit)
		}
	})
}
