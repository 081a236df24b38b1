package apig_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
)

func values(items []map[string]any, name string) []string {
	list := []string{}
	for _, item := range items {
		list = append(list, fmt.Sprint(item[name]))
	}
	return list
}

// TestListPages: paging as documented: what is out of bounds is moved into them.
func TestListPages(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	var all []string
	for i := range 22 {
		all = append(all, fmt.Sprintf("key_%02d", i))
		place.store(t, all[i])
	}
	place.ask(t, http.MethodPost, other+"/signs", controltest.AdminToken, `{"name":"theirs"}`)
	for query, want := range map[string][]string{
		"":                    all[:20],
		"?limit=0":            all[:20],
		"?limit=-1":           all[:20],
		"?limit=501":          all,
		"?limit=500&offset=0": all,
		"?limit=5&offset=20":  all[20:],
		"?limit=3&offset=1":   all[1:4],
		"?offset=-5&limit=1":  all[:1],
		"?offset=22":          {},
		"?limit=&offset=":     all[:20],
		"?offset=9223372036854775807&limit=9223372036854775807": {},
		"?name=KEY_01":                     {},
		"?name=key_1&limit=500":            all[10:20],
		"?name=key_01&precise_search=name": {"key_01"},
		"?name=key_1&precise_search=name":  {},
		"?precise_search=name&limit=2":     all[:2],
		"?name=%25":                        {},
		"?name=_2":                         all[20:],
		"?id=" + absent:                    {},
		"?id=x%00y":                        {},
		"?unknown=1&unknown=2&limit=1":     all[:1],
		"?id=" + place.stored(t)[7].ID:     all[7:8],
	} {
		s := place.ask(t, http.MethodGet, base+"/signs"+query, controltest.ViewerToken, "")
		got := values(s.items("signs"), "name")
		if s.status != 200 || !slices.Equal(got, want) || s.body["size"] != float64(len(want)) || !strings.Contains(s.raw, `"signs":[`) {
			t.Errorf("%s: %d, %v, want %v", query, s.status, got, want)
		}
		if !strings.Contains(query, "name=") && !strings.Contains(query, "id=") && s.body["total"] != float64(22) {
			t.Errorf("%s: total %v", query, s.body["total"])
		}
	}
	for query, field := range map[string]string{"?offset=a": "offset", "?limit=1.5": "limit", "?limit=1&limit=2": "limit", "?name=a&name=b": "name", "?id=1&id=1": "id",
		"?offset=9223372036854775808": "offset", "?precise_search=id": "precise_search", "?precise_search=name,id": "precise_search", "?%zz": "query", "?a;b": "query"} {
		want(t, query, place.ask(t, http.MethodGet, base+"/signs"+query, controltest.ViewerToken, ""), 400, "APIG.2012", "Invalid parameter value,parameterName:"+field+docs)
	}
}

// TestQuota: an instance has 200 signature keys at most, as the vendor's has.
func TestQuota(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	var all sync.WaitGroup // they are written together
	for i := range 199 {
		all.Go(func() { place.store(t, fmt.Sprintf("key_%d", i)) })
	}
	all.Wait()
	place.create(t, `{"name":"last"}`)
	s := place.ask(t, http.MethodPost, base+"/signs", controltest.AdminToken, `{"name":"more"}`)
	want(t, "one more", s, 403, "APIG.3105", "The number of signature keys exceeds the maximum allowed limit")
	if s := place.ask(t, http.MethodPost, other+"/signs", controltest.AdminToken, `{"name":"more"}`); s.status != 201 {
		t.Error(s.raw)
	}
}

// TestBindings: one signature key for an API, all bindings of a request or none, and
// lists from each side.
func TestBindings(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	one, two := place.create(t, `{"name":"one"}`).text("id"), place.create(t, `{"name":"two"}`).text("id")
	first := place.bind(t, one, "hooks:records", "hooks:records")
	if first.status != 201 || len(first.items("bindings")) != 1 {
		t.Fatal(first.raw)
	}
	again := place.bind(t, one, "hooks:records")
	if again.status != 201 || again.items("bindings")[0]["id"] != first.items("bindings")[0]["id"] {
		t.Errorf("again: %s", again.raw)
	}
	want(t, "another key", place.bind(t, two, "hooks:chat", "hooks:records"), 400, "APIG.3309", "The operation has already been performed")
	want(t, "no such API", place.bind(t, two, "hooks:chat", "hooks:none"), 404, "APIG.3002", "API hooks:none does not exist")
	want(t, "API of another instance", place.bind(t, two, "hooks:theirs"), 404, "APIG.3002", "API hooks:theirs does not exist")
	want(t, "no such key", place.bind(t, absent, "hooks:chat"), 404, "APIG.3017", "Signature key "+absent+" does not exist")
	want(t, "odd key", place.bind(t, "a\x00b", "hooks:chat"), 404, "APIG.3017", "Signature key a\x00b does not exist")
	place.bind(t, two, "events:prod")
	hooks := place.listed(controltest.Registry)
	place.setAPIs(controltest.Registry, append(slices.Clone(hooks), apig.API{ID: "hooks:taken", Name: "taken", Kind: "hooks", Refused: "it sends a token"})...)
	if s := place.bind(t, two, "hooks:chat", "hooks:taken"); s.status != 400 || s.text("error_code") != "APIG.2011" || s.text("detail") != "it sends a token" {
		t.Errorf("an API that refuses keys: %d %s", s.status, s.raw)
	}
	place.setAPIs(controltest.Registry, hooks...)

	get := func(path string) said {
		t.Helper()
		s := place.ask(t, http.MethodGet, base+"/sign-bindings/"+path, controltest.ViewerToken, "")
		if s.status != 200 {
			t.Errorf("%s: %d %s", path, s.status, s.raw)
		}
		return s
	}
	for path, apis := range map[string][]string{
		"binded-apis?sign_id=" + one:                                            {"hooks:records"},
		"binded-apis?sign_id=" + one + "&api_name=ord":                          {"hooks:records"},
		"binded-apis?sign_id=" + one + "&api_name=chat":                         {},
		"binded-apis?sign_id=" + one + "&api_id=hooks:records":                  {"hooks:records"},
		"binded-apis?sign_id=" + one + "&api_id=hooks:chat":                     {},
		"binded-apis?sign_id=" + one + "&group_id=hooks":                        {"hooks:records"},
		"binded-apis?sign_id=" + one + "&group_id=events":                       {},
		"binded-apis?sign_id=" + one + "&env_id=other":                          {},
		"binded-apis?sign_id=" + one + "&env_id=DEFAULT_ENVIRONMENT_RELEASE_ID": {"hooks:records"},
		"binded-apis?sign_id=" + one + "&tags=a":                                {},
		"binded-apis?sign_id=" + one + "&tags=%23no_tags%23":                    {"hooks:records"},
		"binded-apis?sign_id=" + one + "&offset=1":                              {},
		"binded-signs?api_id=hooks:records":                                     {"hooks:records"},
		"binded-signs?api_id=hooks:records&sign_id=" + one:                      {"hooks:records"},
		"binded-signs?api_id=hooks:records&sign_id=" + two:                      {},
		"binded-signs?api_id=hooks:records&sign_name=on":                        {"hooks:records"},
		"binded-signs?api_id=hooks:records&sign_name=tw":                        {},
		"binded-signs?api_id=hooks:records&env_id=other":                        {},
		"binded-signs?api_id=hooks:chat":                                        {},
	} {
		s := get(path)
		if got := values(s.items("bindings"), "api_id"); !slices.Equal(got, apis) || s.body["total"] != s.body["size"] && !strings.Contains(path, "offset") {
			t.Errorf("%s: %v, want %v: %s", path, got, apis, s.raw)
		}
		if strings.HasPrefix(path, "binded-apis") && (strings.Contains(s.raw, "sign_key") || strings.Contains(s.raw, "sign_secret")) {
			t.Errorf("%s: %s", path, s.raw)
		}
	}
	for path, names := range map[string]map[string]string{
		"unbinded-apis?sign_id=" + one:                   {"hooks:chat": "", "events:prod": "two"},
		"unbinded-apis?sign_id=" + two:                   {"hooks:chat": "", "hooks:records": "one"},
		"unbinded-apis?sign_id=" + two + "&api_name=cha": {"hooks:chat": ""},
	} {
		s := get(path)
		for _, item := range s.items("apis") {
			name, _ := item["signature_name"].(string)
			if want, there := names[item["id"].(string)]; !there || want != name || item["publish_id"] != item["id"] {
				t.Errorf("%s: %v", path, item)
			}
		}
		if len(s.items("apis")) != len(names) {
			t.Errorf("%s: %s", path, s.raw)
		}
	}
	bindingRefusals(t, place, one)
}

func bindingRefusals(t *testing.T, place *place, one string) {
	t.Helper()
	for path, c := range map[string][3]string{
		"binded-apis":                               {"400", "APIG.2001", "The request parameters must be specified,parameterName:sign_id" + docs},
		"unbinded-apis":                             {"400", "APIG.2001", "The request parameters must be specified,parameterName:sign_id" + docs},
		"binded-signs":                              {"400", "APIG.2001", "The request parameters must be specified,parameterName:api_id" + docs},
		"binded-apis?sign_id=" + absent:             {"404", "APIG.3017", "Signature key " + absent + " does not exist"},
		"unbinded-apis?sign_id=" + absent:           {"404", "APIG.3017", "Signature key " + absent + " does not exist"},
		"binded-signs?api_id=hooks:none":            {"404", "APIG.3002", "API hooks:none does not exist"},
		"binded-signs?api_id=hooks:theirs":          {"404", "APIG.3002", "API hooks:theirs does not exist"},
		"binded-signs?api_id=a&api_id=b":            {"400", "APIG.2012", "Invalid parameter value,parameterName:api_id" + docs},
		"unbinded-apis?sign_id=" + one + "&limit=x": {"400", "APIG.2012", "Invalid parameter value,parameterName:limit" + docs},
	} {
		s := place.ask(t, http.MethodGet, base+"/sign-bindings/"+path, controltest.ViewerToken, "")
		if fmt.Sprint(s.status) != c[0] || s.text("error_code") != c[1] || s.text("error_msg") != c[2] {
			t.Errorf("%s: %d %s, want %v", path, s.status, s.raw, c)
		}
	}
	post := func(body string) said {
		return place.ask(t, http.MethodPost, base+"/sign-bindings", controltest.AdminToken, body)
	}
	many := `"` + strings.Join(slices.Repeat([]string{"hooks:chat"}, 101), `","`) + `"`
	for body, field := range map[string]string{`{"sign_id":"` + one + `","publish_ids":"hooks:chat"}`: "publish_ids", `{"sign_id":"` + one + `","publish_ids":[1]}`: "publish_ids",
		`{"sign_id":"` + one + `","publish_ids":["hooks:chat",""]}`: "publish_ids", `{"sign_id":"` + one + `","publish_ids":[` + many + `]}`: "publish_ids",
		`{"sign_id":1,"publish_ids":["hooks:chat"]}`: "sign_id"} {
		want(t, body, post(body), 400, "APIG.2011", "Invalid parameter value,parameterName:"+field+docs)
	}
	for body, field := range map[string]string{`{"sign_id":"` + one + `"}`: "publish_ids", `{"sign_id":"` + one + `","publish_ids":[]}`: "publish_ids",
		`{"sign_id":"` + one + `","publish_ids":null}`: "publish_ids", `{"publish_ids":["hooks:chat"]}`: "sign_id"} {
		want(t, body, post(body), 400, "APIG.2001", "The request parameters must be specified,parameterName:"+field+docs)
	}
}

// TestAPIGone: a binding of an API that is no longer there is listed, can be undone,
// and counts when the API is back.
func TestAPIGone(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	id := place.create(t, `{"name":"demo","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`).text("id")
	place.bind(t, id, "hooks:chat")
	place.setAPIs(controltest.Registry, apig.API{ID: "hooks:records", Name: "records", Kind: "hooks"})
	for _, path := range []string{"binded-apis?sign_id=" + id, "binded-signs?api_id=hooks:chat"} {
		s := place.ask(t, http.MethodGet, base+"/sign-bindings/"+path, controltest.ViewerToken, "")
		if list := s.items("bindings"); len(list) != 1 || list[0]["api_name"] != "hooks:chat" || list[0]["group_name"] != "hooks" {
			t.Errorf("%s: %s", path, s.raw)
		}
	}
	want(t, "bind", place.bind(t, id, "hooks:chat"), 404, "APIG.3002", "API hooks:chat does not exist")
	place.wantSecret(t, "hooks:chat", "signkeysignkey", "sig-secret-0123456789")
	s := place.ask(t, http.MethodGet, base+"/sign-bindings/binded-apis?sign_id="+id, controltest.ViewerToken, "")
	if d := place.ask(t, http.MethodDelete, base+"/sign-bindings/"+s.items("bindings")[0]["id"].(string), controltest.AdminToken, ""); d.status != 204 || d.raw != "" {
		t.Errorf("%d %s", d.status, d.raw)
	}
	want(t, "list", place.ask(t, http.MethodGet, base+"/sign-bindings/binded-signs?api_id=hooks:chat", controltest.ViewerToken, ""), 404, "APIG.3002", "API hooks:chat does not exist")
}
