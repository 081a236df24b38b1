package apig_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// everything are all operations, with a body that could be right.
func everything(id string) [][3]string {
	return [][3]string{
		{"POST", "/signs", `{"name":"demo"}`}, {"GET", "/signs", ""}, {"PUT", "/signs/" + id, `{"name":"demo"}`}, {"DELETE", "/signs/" + id, ""},
		{"POST", "/sign-bindings", `{"sign_id":"` + id + `","publish_ids":["hooks:chat"]}`}, {"DELETE", "/sign-bindings/" + id, ""},
		{"GET", "/sign-bindings/binded-apis?sign_id=" + id, ""}, {"GET", "/sign-bindings/unbinded-apis?sign_id=" + id, ""},
		{"GET", "/sign-bindings/binded-signs?api_id=hooks:records", ""},
	}
}

// TestSignatureKeysAreOff: where nothing can encrypt secrets, who may call is told why,
// in the vendor's words, and who may not is told nothing.
func TestSignatureKeysAreOff(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	place.url = place.Serve(t, apig.New(apig.Options{Journal: place.Journal, Door: place.Door, Rights: place.Rights, Log: zap.NewNop(), APIs: place.listed}))
	for _, op := range everything(strings.Repeat("0", 32)) {
		what := op[0] + " " + op[1]
		answer := place.ask(t, op[0], base+op[1], controltest.AdminToken, op[2])
		want(t, what, answer, 404, "APIG.0101", "The API does not exist or has not been published in the environment.")
		if !strings.Contains(answer.text("detail"), "signature_keys") {
			t.Errorf("%s: %s", what, answer.raw)
		}
		want(t, what+" by a wrong token", place.ask(t, op[0], base+op[1], "wrong", op[2]), 401, "APIG.1002", "Incorrect token or token resolution failed")
	}
}

// TestWhoMay: for every operation, who may not is told so before anything else, and
// another tenant's instance is one that is not there.
func TestWhoMay(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	id := place.create(t, `{"name":"first"}`).text("id")
	for _, op := range everything(id) {
		what := op[0] + " " + op[1]
		ask := func(token string) said { return place.ask(t, op[0], base+op[1], token, op[2]) }
		want(t, what+" by nobody", ask(""), 401, "APIG.1000", "The token is missing.")
		want(t, what+" by a wrong token", ask("wrong"), 401, "APIG.1002", "Incorrect token or token resolution failed")
		want(t, what+" by a stranger", ask(controltest.StrangerToken), 404, "APIG.3030", "The instance does not exist;id:"+controltest.Instance)
		want(t, what+" by who sees a part", ask(partToken), 403, "APIG.1005", "No permissions to request this method")
		if op[0] != "GET" {
			want(t, what+" by a viewer", ask(controltest.ViewerToken), 403, "APIG.1005", "No permissions to request this method")
			want(t, what+" by an operator", ask(controltest.OperatorToken), 403, "APIG.1005", "No permissions to request this method")
		} else if s := ask(controltest.ViewerToken); s.status != 200 {
			t.Errorf("%s by a viewer: %d %s", what, s.status, s.raw)
		}
		nowhere := place.ask(t, op[0], "/v2/p/apigw/instances/nothing"+op[1], controltest.StrangerToken, op[2])
		want(t, what+" nowhere", nowhere, 404, "APIG.3030", "The instance does not exist;id:nothing")
	}
	if k := place.stored(t); len(k) != 1 || k[0].Name != "first" {
		t.Errorf("%+v", k)
	}
	theirs := place.ask(t, http.MethodGet, other+"/signs", controltest.StrangerToken, "")
	if theirs.status != 200 || len(theirs.items("signs")) != 0 {
		t.Errorf("%d %s", theirs.status, theirs.raw)
	}
	for _, op := range [][3]string{{"PUT", "/signs/" + id, `{"name":"demo"}`}, {"DELETE", "/signs/" + id, ""}, {"POST", "/sign-bindings", `{"sign_id":"` + id + `","publish_ids":["hooks:theirs"]}`}} {
		want(t, op[0]+op[1], place.ask(t, op[0], other+op[1], controltest.StrangerToken, op[2]), 404, "APIG.3017", "Signature key "+id+" does not exist")
	}
	if s := place.ask(t, http.MethodGet, "/v2/x/apigw/instances/"+controltest.Registry+"/signs", controltest.ViewerToken, ""); s.status != 200 || len(s.items("signs")) != 1 {
		t.Errorf("by the registry's name: %s", s.raw)
	}
}

// TestRoutes: what is not an operation, and what only looks like one.
func TestRoutes(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	for _, c := range [][2]string{
		{"GET", "/"}, {"GET", "/v2"}, {"GET", base}, {"GET", base + "/"}, {"GET", base + "/signs/"}, {"GET", base + "//signs"}, {"GET", base + "/signs/" + absent},
		{"PATCH", base + "/signs"}, {"HEAD", base + "/signs"}, {"PUT", base + "/signs"}, {"DELETE", base + "/signs"}, {"POST", base + "/signs/" + absent},
		{"GET", base + "/sign-bindings"}, {"GET", base + "/sign-bindings/" + absent}, {"POST", base + "/sign-bindings/binded-apis"}, {"GET", base + "/Signs"},
		{"GET", "/v1/p/apigw/instances/i/signs"}, {"GET", "/v2/p/apic/instances/i/signs"}, {"GET", "/v2//apigw/instances/i/signs"}, {"GET", "/v2/p/apigw/instances//signs"},
		{"GET", "/v2/p/apigw/instances/./signs"}, {"GET", "/v2/p/apigw/instances/%2e%2e/signs"}, {"GET", "/x/../v2/p/apigw/instances/i/signs"}, {"GET", base + "/signs/../signs"},
		{"GET", base + "%2Fsigns"}, {"GET", base + "/signs%2F" + absent}, {"GET", base + "/sign%252Dbindings/binded-apis"}, {"GET", base + "/signs/a/b"}, {"GET", base + "/signs%00"},
		{"GET", "/" + strings.Repeat("a/", 5000)}, {"GET", "/v2/p/apigw/instances/i/" + strings.Repeat("s", 100_000)}, {"OPTIONS", base + "/signs"},
	} {
		s := place.ask(t, c[0], c[1], controltest.AdminToken, "")
		if c[0] == "HEAD" {
			if s.status != 404 {
				t.Errorf("%s %s: %d", c[0], c[1], s.status)
			}
			continue
		}
		want(t, fmt.Sprintf("%s %.80s", c[0], c[1]), s, 404, "APIG.0101", "The API does not exist or has not been published in the environment.")
	}
	for path, id := range map[string]string{"/signs/a%2Fb": "a/b", "/signs/a%00b": "a\x00b", "/signs/%2e%2e%2f": "../", "/signs/" + strings.Repeat("a", 1000): strings.Repeat("a", 64),
		"/signs/" + strings.ToUpper("abcdefabcdefabcdefabcdefabcdefab"): "ABCDEFABCDEFABCDEFABCDEFABCDEFAB", "/signs/%ff": "\ufffd"} {
		want(t, path, place.ask(t, http.MethodDelete, base+path, controltest.AdminToken, ""), 404, "APIG.3017", "Signature key "+id+" does not exist")
	}
	want(t, "a binding", place.ask(t, http.MethodDelete, base+"/sign-bindings/a%00b", controltest.AdminToken, ""), 404, "APIG.3018", "The signature key binding record does not exist")
	for path, id := range map[string]string{"a%2Fb": "a/b", "a%00b": "a\x00b", "%252e": "%2e", strings.Repeat("i", 5000): strings.Repeat("i", 64)} {
		want(t, path, place.ask(t, http.MethodGet, "/v2/p/apigw/instances/"+path+"/signs", controltest.AdminToken, ""), 404, "APIG.3030", "The instance does not exist;id:"+id)
	}
	entries, err := place.Journal.AuditEntries(t.Context(), journal.AuditFilter{})
	if err != nil || len(entries) != 7 { // what there is a route for, and would be a change
		t.Errorf("%d: %+v, %v", len(entries), entries, err)
	}
	for _, e := range entries {
		if e.Outcome != "not done" || len(e.Target) > 300 || strings.ContainsFunc(e.Target, unicode.IsControl) {
			t.Errorf("%+v", e)
		}
	}
}

// TestBodies: only one JSON object with each name once is read.
func TestBodies(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	for _, body := range []string{"", " ", "null", "[]", `"name"`, "1", "{", `{"name"`, `{"name":`, `{"name":"demo"`, `{"name":"demo",}`, `{"name":"demo"}{}`, `{"name":"demo"} x`,
		`{"name":"demo","name":"demo"}`, `{"name":"demo","x":[{"a":1,"a":2}]}`, `{"name":"demo","n\u0061me":"other"}`, `{"name":"demo","x":1,"x":2}`, "{\"name\":\"de\xffmo\"}", "\ufeff{\"name\":\"demo\"}", `{name:"demo"}`, `{'name':'demo'}`,
		`{"name":"demo","x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, `{"name":"demo","x":NaN}`, `{"name":"demo"}` + "\x00"} {
		for _, path := range []string{"/signs", "/sign-bindings"} {
			s := place.ask(t, http.MethodPost, base+path, controltest.AdminToken, body)
			want(t, fmt.Sprintf("%s %.60q", path, body), s, 400, "APIG.2000", "Parameter error")
		}
	}
	place.create(t, " \n{\"name\" : \"d\\u0065mo\", \"NAME\": \"x\", \"x\": [[[{\"a\":1,\"A\":2}]]]} \n")
	if k := place.stored(t); len(k) != 1 || k[0].Name != "demo" {
		t.Errorf("%+v", k)
	}
	for _, length := range []int64{controltest.HugeSize, -1} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, place.url+base+"/signs", nil)
		ok(t, err)
		r.Header.Set("X-Auth-Token", controltest.AdminToken)
		r.ContentLength = length
		answer, text := controltest.SendHuge(t, r)
		want(t, fmt.Sprint("100 MiB, said to be ", length), saidOf(t, r, answer, text), 413, "APIG.0201", "Request entity too large.")
	}
}

// TestHeaders: two proofs are none, and a caller's request id is not ours.
func TestHeaders(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	for name, change := range map[string]func(http.Header){
		"two tokens":          func(h http.Header) { h.Add("X-Auth-Token", controltest.AdminToken) },
		"token and signature": func(h http.Header) { h.Set("Authorization", "SDK-HMAC-SHA256 Access=a") },
		"empty token":         func(h http.Header) { h.Set("X-Auth-Token", "") },
		"long token":          func(h http.Header) { h.Set("X-Auth-Token", strings.Repeat("a", 100_000)) },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, place.url+base+"/signs", nil)
		ok(t, err)
		r.Header.Set("X-Auth-Token", controltest.AdminToken)
		change(r.Header)
		want(t, name, place.send(t, r), 401, "APIG.1002", "Incorrect token or token resolution failed")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, place.url+base+"/signs", nil)
	ok(t, err)
	r.Header.Set("X-Auth-Token", controltest.AdminToken)
	r.Header.Set("X-Request-Id", "theirs")
	s := place.send(t, r)
	if s.status != 200 || s.header.Get("X-Request-Id") == "theirs" || s.header.Get("Cache-Control") != "no-store" || s.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", s.status, s.header)
	}
	r.Header.Del("X-Auth-Token")
	r.Header.Set("Authorization", "Bearer "+controltest.AdminToken)
	if s := place.send(t, r); s.status != 401 || s.text("error_code") != "APIG.0301" {
		t.Errorf("bearer: %d %s", s.status, s.raw)
	}
}

// TestRate: who asks too often is told so in the vendor's words.
func TestRate(t *testing.T) {
	t.Parallel()
	place := newPlace(t, controltest.Options{Rights: rights.Options{PerSecond: 0.0001, Burst: 2}})
	for range 2 {
		if s := place.ask(t, http.MethodGet, base+"/signs", controltest.ViewerToken, ""); s.status != 200 {
			t.Fatal(s.raw)
		}
	}
	want(t, "a third", place.ask(t, http.MethodGet, base+"/signs", controltest.ViewerToken, ""), 429, "APIG.0308", "The throttling threshold has been reached.")
}

// TestAudit: each change is written down before it, with what came of it, and no
// secret is anywhere but in the answer that shows it once.
func TestAudit(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	const secret, secret2, aes = "sig-secret-0123456789", "sig-secret-9876543210", "9876543210fedcba"
	made := place.create(t, `{"name":"demo","sign_secret":"`+secret+`"}`)
	id := made.text("id")
	hidden := place.create(t, `{"name":"aes","sign_type":"aes","sign_algorithm":"aes-128-cfb","sign_key":"`+aes+`"}`)
	place.ask(t, http.MethodPost, base+"/signs", controltest.AdminToken, `{"name":"demo","sign_secret":"`+secret+`"}`)
	place.ask(t, http.MethodPost, base+"/signs", controltest.AdminToken, `{"name":"bad","sign_secret":"`+secret+`*"}`)
	place.ask(t, http.MethodPut, base+"/signs/"+id, controltest.AdminToken, `{"name":"demo","sign_secret":"`+secret2+`"}`)
	bound := place.bind(t, id, "hooks:records", "hooks:chat")
	binding := bound.items("bindings")[0]["id"].(string)
	place.ask(t, http.MethodDelete, base+"/sign-bindings/"+binding, controltest.AdminToken, "")
	place.ask(t, http.MethodDelete, base+"/signs/"+id, controltest.AdminToken, "")
	entries, err := place.Journal.AuditEntries(t.Context(), journal.AuditFilter{API: "apig"})
	ok(t, err)
	var got []string
	for _, e := range entries {
		got = append([]string{e.Action + " " + e.Target + ": " + e.Outcome}, got...)
		if e.Caller != "admin" || len(e.RequestID) != 32 || e.FinishedAt.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	wanted := []string{"CreateSignatureKeyV2 prod/signs/demo: done", "CreateSignatureKeyV2 prod/signs/aes: done",
		"CreateSignatureKeyV2 prod/signs/demo: not done", "CreateSignatureKeyV2 " + base + "/signs: not done", "UpdateSignatureKeyV2 prod/signs/" + id + ": done",
		"AssociateSignatureKeyV2 prod/signs/" + id + " with hooks:chat, hooks:records: done", "DisassociateSignatureKeyV2 prod/sign-bindings/" + binding + ": done",
		"DeleteSignatureKeyV2 prod/signs/" + id + ": done"}
	if strings.Join(got, "\n") != strings.Join(wanted, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
	said, err := json.Marshal(struct{ Entries, Stored, Logs any }{entries, place.stored(t), place.logs.All()})
	ok(t, err)
	shown := bound.raw + place.ask(t, http.MethodGet, base+"/signs", controltest.AdminToken, "").raw
	for _, text := range []string{secret, secret2, aes, hidden.text("sign_secret")} {
		if strings.Contains(string(said), text) || strings.Contains(shown, text) {
			t.Errorf("%s is shown", text)
		}
	}
}

// TestFaults: what is wrong with us is not told, and is logged with the request's id.
func TestFaults(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	place.create(t, `{"name":"demo"}`)
	handler := apig.New(apig.Options{Journal: place.Journal, Door: place.Door, Rights: place.Rights, Log: zap.New(place.core), Seal: newSeal(t, sealKey(2)),
		APIs: func(string) []apig.API { panic("boom") }})
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, base+path, strings.NewReader(body))
		r.Header.Set("X-Auth-Token", controltest.AdminToken)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	id := place.stored(t)[0].ID
	for message, w := range map[string]*httptest.ResponseRecorder{
		"apig request panicked": ask("GET", "/sign-bindings/unbinded-apis?sign_id="+id, ""),
		"apig request failed":   ask("PUT", "/signs/"+id, `{"name":"demo","sign_secret":"************"}`),
	} {
		logged := place.logs.FilterMessage(message).All()
		if w.Code != 500 || len(logged) != 1 || logged[0].ContextMap()["request"] != w.Header().Get("X-Request-Id") {
			t.Errorf("%s: %d %s, %+v", message, w.Code, w.Body, logged)
		}
		if body := w.Body.String(); !strings.Contains(body, `"error_code":"APIG.9999","error_msg":"System error"`) || strings.Contains(body, "boom") || strings.Contains(body, "seal") {
			t.Errorf("%s: %s", message, body)
		}
	}
	if stack, _ := place.logs.FilterMessage("apig request panicked").All()[0].ContextMap()["stack"].(string); !strings.Contains(stack, "unboundAPIs") {
		t.Errorf("stack %s", stack)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // it is the very one
			t.Errorf("%v", p)
		}
	}()
	apig.New(apig.Options{Journal: place.Journal, Door: place.Door, Rights: place.Rights, Log: zap.NewNop(), Seal: place.seal,
		APIs: func(string) []apig.API { panic(http.ErrAbortHandler) }}).ServeHTTP(httptest.NewRecorder(), func() *http.Request {
		r := httptest.NewRequest("GET", base+"/sign-bindings/unbinded-apis?sign_id="+id, nil)
		r.Header.Set("X-Auth-Token", controltest.AdminToken)
		return r
	}())
}

// TestAtOnce: of many who create the same, bind the same API, or change what is being
// deleted, each gets an answer that fits what there is in the end.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	statuses := func(n int, ask func(i int) said) map[int]int {
		var mu sync.Mutex
		var all sync.WaitGroup
		got := map[int]int{}
		for i := range n {
			all.Go(func() {
				s := ask(i)
				mu.Lock()
				defer mu.Unlock()
				got[s.status]++
			})
		}
		all.Wait()
		return got
	}
	got := statuses(6, func(int) said { return place.ask(t, "POST", base+"/signs", controltest.AdminToken, `{"name":"same"}`) })
	if got[201] != 1 || got[400] != 5 || len(place.stored(t)) != 1 {
		t.Errorf("created: %v", got)
	}
	one, two := place.stored(t)[0].ID, place.create(t, `{"name":"two"}`).text("id")
	got = statuses(6, func(i int) said { return place.bind(t, []string{one, two}[i%2], "hooks:records") })
	if got[201] != 3 || got[400] != 3 {
		t.Errorf("bound: %v", got)
	}
	got = statuses(6, func(i int) said {
		if i == 3 {
			return place.ask(t, "DELETE", base+"/signs/"+one, controltest.AdminToken, "")
		}
		return place.ask(t, "PUT", base+"/signs/"+one, controltest.AdminToken, fmt.Sprintf(`{"name":"name_%d"}`, i))
	})
	if got[204] != 1 || got[200]+got[404] != 5 || len(place.stored(t)) != 1 {
		t.Errorf("changed and deleted: %v", got)
	}
}
