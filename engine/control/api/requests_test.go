package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

// raw sends bytes as they are, and returns the answer.
func (s *site) raw(t *testing.T, head string, body io.Reader) answer {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if body != nil {
		_, _ = io.Copy(c, body) // the server may have had enough
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}
}

const asAdmin = "Host: x\nConnection: close\nAuthorization: Bearer " + admin + "\n"

// TestPaths: only what is there is there, however it is written.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	for path, status := range map[string]int{
		"/api/v1/policies": 200, "/api/v1/policies/": 404, "/api/v1//policies": 404, "/api/v1/./policies": 404, "/api/v1/x/../policies": 404,
		"/api/v1/%2e%2e/v1/policies": 404, "/api/v1/policies%2F": 404, "/api/v1/policies%2Fx": 404, "/api/v1%2Fpolicies": 404, "/api/v1": 404, "/": 404,
		"/api/v1/policies/a%2Fb": 404, "/api/v1/policies/drift%2Fx": 404, "/api/v1/policies/a%252Fb": 404, "/api/v1/policies/%00": 404,
		"/api/v1/policies/..%2Fexecutions": 404, "/api/v1/POLICIES": 404, "/api/v1/policies/" + strings.Repeat("a", 129): 422,
		"/api/v1/policies/" + strings.Repeat("a", 20000): 404, "/api/v1/policies;x=1": 404, "/api/v1/executions/x": 422, "/api/v1/executions/0": 422,
		"/api/v1/executions/99999999999999999999": 422, "/api/v1/executions/-1": 422, "/api/v1/policies/99999999999999999999": 404,
		"/api/v1/policies?limit=0": 422, "/api/v1/policies?limit=501": 422, "/api/v1/policies?limit=1&limit=2": 422, "/api/v1/policies?cursor=-1": 422,
		"/api/v1/policies?cursor=99999999999999999999": 422, "/api/v1/policies?x=1": 422, "/api/v1/policies?origin=nobody": 422,
		"/api/v1/executions?status=failed": 422, "/api/v1/policies?limit=%zz": 422, "/api/v1/policies?a;b": 422, "/metrics": 404,
	} {
		a := s.raw(t, "GET "+path+" HTTP/1.1\n"+asAdmin, nil)
		if a.status != status {
			t.Errorf("GET %.80s: %d, want %d: %.300s", path, a.status, status, a.body)
		}
		if status == http.StatusUnprocessableEntity && len(refused(t, a, status).Errors) == 0 {
			t.Errorf("GET %s: no faults: %s", path, a.body)
		}
	}
}

// TestMethods: HEAD is GET without its body, OPTIONS says what there is, to nobody
// in particular, and others are refused before anybody is asked who he is.
func TestMethods(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"OPTIONS", "/policies", 204, "GET, HEAD, OPTIONS, POST"}, {"PATCH", "/policies", 405, "GET, HEAD, OPTIONS, POST"},
		{"TRACE", "/executions", 405, "GET, HEAD, OPTIONS"}, {"POST", "/policies/1", 405, "DELETE, GET, HEAD, OPTIONS, PUT"},
		{"GET", "/policies/1/fire", 405, "OPTIONS, POST"}, {"HEAD", "/policies/1/fire", 405, "OPTIONS, POST"}, {"OPTIONS", "/nothing", 404, ""},
		{"GET", "/nothing", 404, ""}, {"OPTIONS", "/openapi.json", 204, "GET, HEAD, OPTIONS"},
	} {
		a := s.raw(t, c.method+" /api/v1"+c.path+" HTTP/1.1\nHost: x\nOrigin: https://example.com\nConnection: close\n", nil)
		if a.status != c.status || a.header.Get("Allow") != c.allow || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %d %v", c.method, c.path, a.status, a.header)
		}
	}
	a := s.send(t, request{method: http.MethodHead, path: "/policies"})
	if a.status != http.StatusOK || len(a.body) > 0 || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	a = s.send(t, request{method: http.MethodGet, path: "/policies", header: http.Header{"Accept": {"application/problem+json"}}})
	if a.header.Get("Content-Type") != "application/json" {
		t.Errorf("another Accept: %v", a.header)
	}
}

// TestHeaders: what is said twice or wrongly is refused.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	for head, status := range map[string]int{
		"Host: x\n": 401, "Host: x\nAuthorization: Basic YTpi\n": 401, "Host: x\nAuthorization: Bearer\n": 400,
		"Host: x\nAuthorization: Bearer " + admin + "\nAuthorization: Bearer " + viewer + "\n": 400,
		"Host: x\nAuthorization: Bearer " + admin + "\nX-Auth-Token: " + admin + "\n":          400,
		"Host: x\nX-Auth-Token: " + admin + "\n":                                               200,
	} {
		a := s.raw(t, "GET /api/v1/policies HTTP/1.1\nConnection: close\n"+head, nil)
		if a.status != status || (status == http.StatusUnauthorized) != (a.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%q: %d %v", head, a.status, a.header)
		}
	}
	post := "POST /api/v1/policies HTTP/1.1\nContent-Length: 2\n" + asAdmin
	for kind, status := range map[string]int{
		"": 415, "Content-Type: text/plain\n": 415, "Content-Type: application/json; charset=latin1\n": 415, "Content-Type: application/jsonx\n": 415,
		"Content-Type: application/x-www-form-urlencoded\n": 415, "Content-Type: application/json; boundary=x\n": 415,
		"Content-Type: application/json\nContent-Type: application/json\n": 415, "Content-Type: application/json; charset=utf-8\n": 422,
	} {
		if a := s.raw(t, post+kind, strings.NewReader("{}")); a.status != status {
			t.Errorf("%q: %d %s", kind, a.status, a.body)
		}
	}
}

// TestBodies: a body is one JSON value of at most 1 MiB that says nothing twice.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	good := text(t, covering("p", controltest.Registry, ""))
	for body, status := range map[string]int{
		"": 400, "{": 400, "[]": 422, "null": 422, "7": 422, good + good: 400, good + " x": 400, good + "\x00": 400, "\xef\xbb\xbf" + good: 400,
		`{"name":"p","name":"q"}`: 400, strings.Replace(good, `"name"`, `"na\u006de":"x","name"`, 1): 400,
		strings.Repeat("[", 100000): 400, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40): 400, "{\"name\":\"\xff\"}": 400,
		`{"name":` + strings.Repeat("9", 1000) + `}`: 422, good[:len(good)-1] + "," + `"a":"` + strings.Repeat("x", 1<<20) + `"}`: 413,
	} {
		head := fmt.Sprintf("POST /api/v1/policies HTTP/1.1\nContent-Type: application/json\nContent-Length: %d\n", len(body)) + asAdmin
		if a := s.raw(t, head, strings.NewReader(body)); a.status != status {
			t.Errorf("%.60q: %d, want %d: %s", body, a.status, status, a.body)
		}
	}
	huge := "POST /api/v1/policies HTTP/1.1\nContent-Type: application/json\nContent-Length: 104857600\n" + asAdmin
	if a := s.raw(t, huge, nil); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("100 MiB: %d", a.status)
	}
	for _, length := range []int64{controltest.HugeSize, -1} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+api.Prefix+"/policies", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + admin}}
		r.ContentLength = length
		sent, body := controltest.SendHuge(t, r)
		if sent.StatusCode != http.StatusRequestEntityTooLarge || sent.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("100 MiB that are sent, said to be %d: %d %s", length, sent.StatusCode, body)
		}
	}
	if a := s.as(t, admin, http.MethodPost, "/policies/1/enable", "{}"); a.status != http.StatusBadRequest {
		t.Errorf("a body where none is wanted: %d", a.status)
	}
	want[list[api.PolicyState]](t, s.get(t, "/policies"), http.StatusOK)
}

// TestFaults: each thing that is wrong with a policy is said, with its place.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	const rest = `"registry":"prod","trigger":{"type":"manual"},"key":"release","scope":[{"repositories":"**","tags":"**"}]`
	for body, fields := range map[string][]string{
		`{}`:                                     {"name", "registry", "trigger.type", "scope", "key"},
		`{"name":"p",` + rest + `,"Name":"q"}`:   {"Name"},
		`{"NAME":"p",` + rest + `}`:              {"NAME"},
		`{"name":"p",` + rest + `,"extra":1}`:    {"extra"},
		`{"name":"p",` + rest + `,"enabled":1}`:  {"enabled"},
		`{"name":7,` + rest + `,"formats":"x"}`:  {"formats", "name"},
		`{"name":"p",` + rest + `,"index":null}`: {"index"},
		`{"name":"7",` + rest + `}`:              {"name"},
		`{"name":"p/q",` + rest + `}`:            {"name"},
		`{"name":"p","registry":"prod","trigger":{"type":"never","x":1},"key":"release","scope":[{"repositories":{"Matches":"**"},"tags":7}]}`: {
			"scope[0].repositories.Matches", "scope[0].tags", "trigger.x"},
		`{"name":"p","registry":"prod","trigger":{"type":"manual"},"key":"release","scope":[{"repositories":["a",7],"tags":{"excludes":[null]}}]}`: {
			"scope[0].repositories[1]", "scope[0].tags.excludes[0]"},
		`{"name":"p","registry":"prod","trigger":{"type":"manual"},"key":"release","scope":[{"repositories":[],"tags":"**"}]}`: {""},
		`{"name":"p","registry":"no","trigger":{"type":"manual"},"key":"no","scope":[{"repositories":"**","tags":"**"}]}`:      {"registry", "key"},
		`{"name":"p",` + rest + `,"domain":"` + strings.Repeat("/", 2000) + `"}`:                                               {"domain"},
	} {
		p := refused(t, s.as(t, admin, http.MethodPost, "/policies", body), http.StatusUnprocessableEntity)
		var got []string
		for _, f := range p.Errors {
			got = append(got, f.Field)
			if f.Problem == "" || len(f.Problem) > 1600 {
				t.Errorf("%+v", f)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(fields) {
			t.Errorf("%.200s: %q, want %q: %+v", body, got, fields, p.Errors)
		}
	}
	many := strings.Repeat(`{"repositories":"[","tags":"["},`, 1000)
	p := refused(t, s.as(t, admin, http.MethodPost, "/policies", `{"name":"p","registry":"prod","trigger":{"type":"manual"},"key":"release","scope":[`+
		strings.TrimSuffix(many, ",")+`]}`), http.StatusUnprocessableEntity)
	if len(p.Errors) != 100 {
		t.Errorf("%d faults", len(p.Errors))
	}
}

// TestPanic: a panic is answered and logged, and what fails inside is not told.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, func(o *api.Options) { o.Kind = func(string) string { panic("a secret") } })
	p := refused(t, s.get(t, "/registries"), http.StatusInternalServerError)
	logged := s.logs.FilterMessage("panic").All()
	if strings.Contains(p.Detail, "secret") || len(logged) != 1 || logged[0].ContextMap()["request"] != p.RequestID ||
		!strings.Contains(fmt.Sprint(logged[0].ContextMap()["stack"]), "listRegistries") {
		t.Errorf("%+v, %+v", p, logged)
	}
	if err := s.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	p = refused(t, s.get(t, "/executions"), http.StatusInternalServerError)
	logged = s.logs.FilterMessage("request failed").All()
	if strings.Contains(p.Detail, "journal") || len(logged) != 1 || logged[0].ContextMap()["request"] != p.RequestID {
		t.Errorf("%+v, %+v", p, logged)
	}
}

// TestFailTogether: those who wait for the same, and get nothing, are told so by their own
// requests' ids, by which the log tells more.
func TestFailTogether(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, func(o *api.Options) { o.Kind = func(string) string { panic("a secret") } })
	if err := s.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	leave := s.TakeTurns(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	told := map[string]bool{}
	for _, path := range []string{"/registries", "/executions"} {
		for range 4 {
			all.Go(func() {
				a := s.get(t, path)
				var p api.Problem
				err := json.Unmarshal(a.body, &p)
				mu.Lock()
				defer mu.Unlock()
				if a.status != http.StatusInternalServerError || err != nil || p.RequestID != a.header.Get("X-Request-Id") || told[p.RequestID] || strings.Contains(string(a.body), "secret") {
					t.Errorf("%s: %d %s, %v", path, a.status, a.body, err)
				}
				told[p.RequestID] = true
			})
		}
	}
	time.Sleep(200 * time.Millisecond) // they wait, most likely
	leave()
	all.Wait()
	logged := map[string]bool{}
	for _, l := range s.logs.All() {
		if l.Message == "panic" || l.Message == "request failed" {
			logged[fmt.Sprint(l.ContextMap()["request"])] = true
		}
	}
	if d := cmp.Diff(told, logged); d != "" {
		t.Error(d)
	}
}

// TestAuthenticate: whoever serves the API may know callers by other means.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, func(o *api.Options) {
		o.Authenticate = func(*http.Request) (door.Caller, error) { return door.Caller{Name: "local", Role: door.Admin}, nil }
	})
	a := s.raw(t, "GET /api/v1/policies HTTP/1.1\nHost: x\nConnection: close\n", nil)
	if a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	p := text(t, covering("p", controltest.Registry, ""))
	created := want[api.PolicyState](t, s.raw(t, fmt.Sprintf("POST /api/v1/policies HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Length: %d\n",
		len(p)), strings.NewReader(p)), http.StatusCreated)
	if created.Creator != "local" {
		t.Errorf("%+v", created)
	}
}
