package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/policy"
)

const (
	admin, operator, viewer, stranger = controltest.AdminToken, controltest.OperatorToken, controltest.ViewerToken, controltest.StrangerToken
	tenant                            = "tenant-token-0123456789-0123456789-0123456789" // admin of namespace team in both registries
)

// A site is an API that is served.
type site struct {
	*controltest.House
	api  *api.API
	url  string
	logs *observer.ObservedLogs
	doc  *document
}

func open(t testing.TB, o controltest.Options, edit ...func(*api.Options)) *site {
	t.Helper()
	o.Credentials = append(o.Credentials, door.Credential{Name: "tenant", Role: door.Admin, TokenSHA256: sum(tenant), Namespaces: []string{"team"}, Keys: []string{controltest.Key}})
	if o.Rights.PerSecond == 0 {
		o.Rights.PerSecond, o.Rights.Burst = 1e6, 1e6
	}
	s := &site{House: controltest.New(t, o)}
	var core zapcore
	core, s.logs = observer.New(zap.InfoLevel)
	log := zap.New(core)
	options := api.Options{Engine: s.Engine, Journal: s.Journal, Rights: s.Rights, Door: s.Door, Log: log,
		Health: control.NewHealth(control.HealthOptions{Dependencies: s.Engine.Dependencies, Log: log}),
		Kind:   func(string) string { return "generic" }}
	for _, f := range edit {
		f(&options)
	}
	s.api = api.New(options)
	s.url = s.Serve(t, s.api)
	t.Cleanup(s.api.Drain)
	s.doc = parseDocument(t, s.get(t, "/openapi.json").body)
	return s
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// A request is sent by admin unless it says another.
type request struct {
	method, path, token, body string
	header                    http.Header
}

func (s *site) send(t testing.TB, r request) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, s.url+api.Prefix+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token == "" {
		r.token = admin
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	for name, values := range r.header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{resp.StatusCode, resp.Header, body}
	if got.header.Get("X-Request-Id") == "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: headers %v", r.method, r.path, got.header)
	}
	if s.doc != nil {
		s.doc.check(t, r.method, r.path, got)
	}
	return got
}

func (s *site) get(t testing.TB, path string) answer {
	t.Helper()
	return s.send(t, request{method: http.MethodGet, path: path})
}

// as sends a request of another caller.
func (s *site) as(t testing.TB, token, method, path, body string) answer {
	t.Helper()
	return s.send(t, request{method: method, path: path, token: token, body: body})
}

// want fails the test unless the answer has the status, and decodes it.
func want[T any](t testing.TB, a answer, status int) T {
	t.Helper()
	var v T
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if len(a.body) == 0 {
		return v
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

// refused fails the test unless the answer is a problem with the status.
func refused(t testing.TB, a answer, status int) api.Problem {
	t.Helper()
	p := want[api.Problem](t, a, status)
	if a.header.Get("Content-Type") != "application/problem+json" || p.Status != status || p.Detail == "" || p.Title == "" ||
		p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("not a problem: %v %s", a.header, a.body)
	}
	return p
}

type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// text is a policy as JSON.
func text(t testing.TB, p policy.Policy) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// covering is a policy of everything in a namespace.
func covering(name, registry, namespace string) policy.Policy {
	all := policy.Selector{Matches: []string{"**"}}
	return policy.Policy{Name: name, Registry: registry, Namespace: namespace, Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
}

// A document is the OpenAPI document, which every answer must follow.
type document struct {
	paths map[string]map[string]pathItem

	mu       sync.Mutex // of what follows
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

type pathItem struct {
	Responses map[string]struct{ Content map[string]any }
}

const documentURL = "https://example.com/openapi.json"

func parseDocument(t testing.TB, text []byte) *document {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := d.compiler.AddResource(documentURL, tree); err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Paths map[string]map[string]pathItem
	}
	if err := json.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	d.paths = parsed.Paths
	return d
}
