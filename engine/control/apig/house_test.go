package apig_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	project = "0123456789abcdef0123456789abcdef"
	base    = "/v2/" + project + "/apigw/instances/" + controltest.Instance
	other   = "/v2/" + project + "/apigw/instances/" + controltest.OtherInstance
	sinks   = "/v2/" + project + "/apigw/instances/" + apig.Everywhere
	absent  = "00000000000000000000000000000000"
	// partToken is that of a caller who sees one namespace of the registry.
	partToken = "part-token-0123456789-0123456789-0123456789-0"
)

// A place is the API in a house.
type place struct {
	*controltest.House
	url  string
	seal *apig.Seal
	keys *apig.Keys
	core zapcore.Core
	logs *observer.ObservedLogs

	mu   sync.Mutex
	apis map[string][]apig.API
}

func sealKey(n byte) []byte { return bytes.Repeat([]byte{n}, apig.SealSize) }

func newSeal(tb testing.TB, current []byte, older ...[]byte) *apig.Seal {
	tb.Helper()
	s, err := apig.NewSeal(current, older...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newPlace(t *testing.T, o controltest.Options) *place {
	t.Helper()
	o.Credentials = append(o.Credentials, door.Credential{Name: "part", Role: door.Admin, TokenSHA256: sha(partToken), Namespaces: []string{"library"}})
	p := &place{House: controltest.New(t, o), seal: newSeal(t, sealKey(1))}
	p.apis = map[string][]apig.API{
		// As the daemon has them: sinks are of no registry, events of one.
		"":                   {{ID: "sink:records", Name: "records", Kind: "sinks"}, {ID: "sink:chat", Name: "chat", Kind: "sinks"}},
		controltest.Registry: {{ID: "events:prod", Name: "prod", Kind: "events"}},
		controltest.Other:    {{ID: "hooks:theirs", Name: "theirs", Kind: "hooks"}},
	}
	// Hooks are no APIs of the daemon; they are for what needs several in one instance.
	p.apis[controltest.Registry] = append(p.apis[controltest.Registry],
		apig.API{ID: "hooks:records", Name: "records", Kind: "hooks"}, apig.API{ID: "hooks:chat", Name: "chat", Kind: "hooks"})
	p.keys = apig.NewKeys(apig.KeysOptions{Journal: p.Journal, Seal: p.seal})
	core, logs := observer.New(zap.DebugLevel)
	p.core, p.logs = core, logs
	p.url = p.Serve(t, apig.New(apig.Options{Journal: p.Journal, Door: p.Door, Rights: p.Rights, Log: zap.New(core), Seal: p.seal, APIs: p.listed}))
	return p
}

func (p *place) listed(registry string) []apig.API {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.apis[registry]
}

func (p *place) setAPIs(registry string, list ...apig.API) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apis[registry] = list
}

// A said is an answer.
type said struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// text returns a member of the body that is text.
func (s said) text(name string) string {
	text, _ := s.body[name].(string)
	return text
}

// items returns a member of the body that is a list of objects.
func (s said) items(name string) []map[string]any {
	var all []map[string]any
	list, _ := s.body[name].([]any)
	for _, item := range list {
		object, _ := item.(map[string]any)
		all = append(all, object)
	}
	return all
}

// ask sends a request with a token. path begins behind the server's address.
func (p *place) ask(t *testing.T, method, path, token, body string) said {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	return p.send(t, r)
}

func (p *place) send(t *testing.T, r *http.Request) said {
	t.Helper()
	answer, err := http.DefaultTransport.RoundTrip(r) // follows nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return saidOf(t, r, answer, raw)
}

// saidOf reads an answer, which is JSON.
func saidOf(t *testing.T, r *http.Request, answer *http.Response, raw []byte) said {
	t.Helper()
	s := said{status: answer.StatusCode, header: answer.Header, raw: string(raw)}
	if len(raw) > 0 && json.Unmarshal(raw, &s.body) != nil {
		t.Fatalf("%s %s: %d, not JSON: %s", r.Method, r.URL, s.status, raw)
	}
	if len(s.header.Get("X-Request-Id")) != 32 {
		t.Errorf("%s %s: request id %q", r.Method, r.URL, s.header.Get("X-Request-Id"))
	}
	return s
}

// create makes a signature key of the instance and returns the answer.
func (p *place) create(t *testing.T, body string) said {
	t.Helper()
	return p.createAt(t, base, body)
}

func (p *place) createAt(t *testing.T, instance, body string) said {
	t.Helper()
	s := p.ask(t, http.MethodPost, instance+"/signs", controltest.AdminToken, body)
	if s.status != http.StatusCreated {
		t.Fatalf("%s: %d %s", body, s.status, s.raw)
	}
	return s
}

// bind binds a signature key of the instance to APIs.
func (p *place) bind(t *testing.T, sign string, apis ...string) said {
	t.Helper()
	return p.bindAt(t, base, sign, apis...)
}

func (p *place) bindAt(t *testing.T, instance, sign string, apis ...string) said {
	t.Helper()
	body, err := json.Marshal(map[string]any{"sign_id": sign, "publish_ids": apis})
	if err != nil {
		t.Fatal(err)
	}
	return p.ask(t, http.MethodPost, instance+"/sign-bindings", controltest.AdminToken, string(body))
}

// want fails unless an answer is this error of the vendor's.
func want(t *testing.T, what string, s said, status int, code, message string) {
	t.Helper()
	if s.status != status || s.text("error_code") != code || s.text("error_msg") != message {
		t.Errorf("%s: %d %s\nwant %d %s %s", what, s.status, s.raw, status, code, message)
	}
	if s.text("request_id") != s.header.Get("X-Request-Id") {
		t.Errorf("%s: request ids %q and %q", what, s.text("request_id"), s.header.Get("X-Request-Id"))
	}
}

const docs = ". Please refer to the support documentation"

func (p *place) stored(t *testing.T) []journal.SignatureKey {
	t.Helper()
	list, err := p.Journal.SignatureKeys(t.Context(), controltest.Registry)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// store puts a signature key into the journal, which is quicker than to ask for it.
func (p *place) store(t *testing.T, name string) {
	_, err := p.Journal.CreateSignatureKey(t.Context(), journal.SignatureKey{ID: rand.Text(), Registry: controltest.Registry, Name: name, Type: "hmac"}, 1000)
	if err != nil {
		t.Error(err)
	}
}
