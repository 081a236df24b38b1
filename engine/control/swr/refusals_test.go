package swr

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	admin, operator, viewer, stranger = controltest.AdminToken, controltest.OperatorToken, controltest.ViewerToken, controltest.StrangerToken
	policies                          = "/namespaces/library/signature/policies"
)

// TestRoles: what each role may do, and that what another tenant has is not there.
func TestRoles(t *testing.T) {
	h := open(t, controltest.Options{Credentials: []door.Credential{
		{Name: "team", Role: door.Admin, TokenSHA256: hashOf("team-token-0123456789-0123456789"), Namespaces: []string{"team"}, Keys: []string{controltest.Key}}}})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	for _, tt := range []struct {
		method, path, body string
		viewer, operator   int
		admin              int
	}{
		{"GET", "/signature/policies", "", 200, 200, 200},
		{"GET", policies + "/1", "", 200, 200, 200},
		{"GET", policies + "/1/executions", "", 200, 200, 200},
		{"GET", "/statistics", "", 200, 200, 200},
		{"GET", "/namespaces/library", "", 200, 200, 200},
		{"POST", policies + "/1/executions", "", 403, 201, 201},
		{"POST", policies, policyJSON("b"), 403, 403, 201},
		{"PUT", policies + "/1", policyJSON("c"), 403, 403, 200},
		{"POST", "/namespaces", `{"namespace_name":"new","metadata":{"public":"false"}}`, 403, 403, 201},
		{"DELETE", "/namespaces/new", "", 403, 403, 200},
		{"DELETE", policies + "/1", "", 403, 403, 200},
	} {
		for _, c := range []struct {
			token string
			want  int
		}{{stranger, 404}, {"team-token-0123456789-0123456789", 404}, {viewer, tt.viewer}, {operator, tt.operator}, {admin, tt.admin}} {
			code := map[int]string{403: "SVCSTG.SWR.4030170", 404: "SVCSTG.SWR.4040010"}[c.want]
			if c.want == 404 && strings.HasPrefix(c.token, "team") && !strings.HasPrefix(tt.path, policies) && tt.path != "/namespaces/library" {
				continue // it sees the registry, and there only what is its own
			}
			h.ask(t, c.token, tt.method, tt.path, tt.body).want(t, c.want, code)
		}
	}
}

// TestTenants: what another tenant has answers as what nobody has, byte for byte but
// for the request's id.
func TestTenants(t *testing.T) {
	h := open(t, controltest.Options{Credentials: []door.Credential{
		{Name: "team", Role: door.Admin, TokenSHA256: hashOf("team-token-0123456789-0123456789"), Namespaces: []string{"team"}, Keys: []string{controltest.Key}}}})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	plain := func(a answer) string { return strings.ReplaceAll(a.body, a.id, "") }
	theirs := h.ask(t, "team-token-0123456789-0123456789", "GET", policies+"/1", "")
	nobodys := h.ask(t, "team-token-0123456789-0123456789", "GET", "/namespaces/team/signature/policies/99", "")
	other := h.ask(t, stranger, "GET", policies+"/1", "")
	none := h.send(t, "GET", h.at+"/v2/"+project+"/instances/none"+policies+"/1", "", http.Header{"X-Auth-Token": {stranger}})
	if plain(theirs) != plain(nobodys) || plain(other) != plain(none) || plain(theirs) != plain(other) {
		t.Errorf("answers differ:\n%s%s%s%s", theirs.body, nobodys.body, other.body, none.body)
	}
	for _, path := range []string{"/signature/policies", "/namespaces", "/statistics"} {
		if a := h.ask(t, "team-token-0123456789-0123456789", "GET", path, ""); a.status != 200 || strings.Contains(a.body, "library") || strings.Contains(a.body, `"sign_policy_count":1`) {
			t.Errorf("%s shows another tenant's: %d %s", path, a.status, a.body)
		}
	}
	// A policy of one namespace is not there under another.
	h.ask(t, admin, "GET", "/namespaces/team/signature/policies/1", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, admin, "DELETE", "/namespaces/team/signature/policies/1", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, "team-token-0123456789-0123456789", "POST", "/namespaces", `{"namespace_name":"library","metadata":{"public":"false"}}`).want(t, 403, "SVCSTG.SWR.4030170")
}

// TestProof: who does not prove to be somebody is not let in, and the SDK tells why.
func TestProof(t *testing.T) {
	h := open(t, controltest.Options{})
	request := &model.ListInstanceSignPoliciesRequest{InstanceId: controltest.Instance}
	_, err := h.sdk(t, controltest.AdminKey, "wrong").ListInstanceSignPolicies(request)
	wrong := wantRefusal(t, err, 401, "APIGW.0301")
	_, err = h.sdk(t, "AKUNKNOWN", controltest.AdminSecret).ListInstanceSignPolicies(request)
	if unknown := wantRefusal(t, err, 401, "APIGW.0301"); unknown != wrong {
		t.Errorf("a wrong secret and an unknown key differ: %q, %q", wrong, unknown)
	}
	_, err = h.sdk(t, controltest.StrangerKey, controltest.StrangerSecret).ListInstanceSignPolicies(request)
	wantRefusal(t, err, 404, "SVCSTG.SWR.4040010")

	url := h.url + "/signature/policies"
	for name, tt := range map[string]struct {
		header http.Header
		code   string
	}{
		"nothing":       {http.Header{}, "APIGW.0301"},
		"wrong token":   {http.Header{"X-Auth-Token": {"wrong"}}, "SVCSTG.SWR.4010000"},
		"empty token":   {http.Header{"X-Auth-Token": {""}}, "SVCSTG.SWR.4010000"},
		"two tokens":    {http.Header{"X-Auth-Token": {admin, admin}}, "SVCSTG.SWR.4010000"},
		"token and key": {http.Header{"X-Auth-Token": {admin}, "Authorization": {"SDK-HMAC-SHA256 Access=a, SignedHeaders=x-sdk-date, Signature=b"}}, "SVCSTG.SWR.4010000"},
		"bearer":        {http.Header{"Authorization": {"Bearer " + admin}}, "APIGW.0301"},
		"another API":   {http.Header{"Authorization": {"TC3-HMAC-SHA256 Credential=a"}}, "APIGW.0301"},
	} {
		a := h.send(t, "GET", url, "", tt.header)
		a.want(t, 401, tt.code)
		if strings.Contains(a.body, admin) {
			t.Errorf("%s: the answer has the token", name)
		}
	}
}

// TestClock: a request from another time is refused, and so is one that came before.
func TestClock(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	h := open(t, controltest.Options{Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	set := func(to time.Time) { mu.Lock(); defer mu.Unlock(); now = to }
	request := func() signedRequest {
		return signedRequest{method: "POST", path: h.path() + policies, body: policyJSON("a"), at: time.Now().Truncate(time.Second)}.plain(controltest.AdminKey, controltest.AdminSecret)
	}
	first := request()
	set(first.at.Add(-16 * time.Minute))
	h.signed(t, first).want(t, 401, "APIGW.0301")
	set(first.at.Add(16 * time.Minute))
	h.signed(t, first).want(t, 401, "APIGW.0301")
	set(first.at.Add(14 * time.Minute))
	h.signed(t, first).want(t, 201, "")
	h.ask(t, admin, "DELETE", policies+"/1", "").want(t, 200, "")
	h.signed(t, first).want(t, 401, "APIGW.0301") // else the policy would be there again
	altered := first
	altered.body = policyJSON("b")
	h.signed(t, altered).want(t, 401, "APIGW.0301")
}

// TestRate: who asks too often is told so.
func TestRate(t *testing.T) {
	h := open(t, controltest.Options{Rights: rights.Options{PerSecond: 0.001, Burst: 2}})
	for range 2 {
		h.ask(t, viewer, "GET", "/signature/policies", "").want(t, 200, "")
	}
	h.ask(t, viewer, "GET", "/signature/policies", "").want(t, 429, "APIGW.0308")
	h.ask(t, admin, "GET", "/signature/policies", "").want(t, 200, "")
}

// TestBodies: what is too large, or no policy, is refused and changes nothing.
func TestBodies(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, `{"name":"`+strings.Repeat("a", 1<<20)).want(t, 413, "APIGW.0201")
	good := policyJSON("a")
	for _, body := range []string{"", "{", "[]", "null", "1", good + good, strings.Repeat("[", 1<<18), `{"name":"a","name":"b"}`,
		strings.Replace(good, "release", "nobody", 1), strings.Replace(good, "release", controltest.RSAKey, 1),
		strings.Replace(good, "ECDSA_SHA_256", "ECDSA_SHA_384", 1), strings.Replace(good, "release", "", 1),
		strings.Replace(good, `"matches"`, `"regex"`, 1), `{"scope_rules":[` + strings.Repeat("1,", 1000) + `1]}`} {
		a := h.ask(t, admin, "POST", policies, body)
		a.want(t, 400, "SVCSTG.SWR.4000014")
		if len(a.body) > 16<<10 {
			t.Errorf("an answer of %d bytes", len(a.body))
		}
	}
	for body, field := range map[string]string{
		strings.Replace(good, "release", "nobody", 1):                                    "signature_key",
		strings.Replace(good, "ECDSA_SHA_256", "SM2DSA_SM3", 1):                          "signature_algorithm: SM2DSA_SM3 is not that of the key; allowed: ECDSA_SHA_256",
		strings.Replace(good, `"pattern":"**"`, `"pattern":"**","extras":"untagged"`, 1): "scope_rules[0].tag_selectors[0].extras",
	} {
		if a := h.ask(t, admin, "POST", policies, body); !strings.Contains(a.body, field) {
			t.Errorf("the answer does not name %s: %s", field, a.body)
		}
	}
	if list, err := h.Engine.KnownPolicies(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("stored: %+v, %v", list, err)
	}
	for _, length := range []int64{controltest.HugeSize, -1} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", h.url+policies, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", admin)
		req.ContentLength = length
		resp, text := controltest.SendHuge(t, req)
		answer{resp.StatusCode, resp.Header.Get("X-Request-Id"), string(text)}.want(t, 413, "APIGW.0201")
	}
}

// TestPages: SWR wants whole pages, of at most a hundred.
func TestPages(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	for _, list := range []string{"/signature/policies", policies + "/1/executions", "/namespaces"} {
		for _, query := range []string{"limit=101", "limit=0", "limit=-1", "limit=x", "limit=", "limit=1e1", "limit=%2B10", "limit=010", "offset=-10", "offset=3&limit=2", "offset=5",
			"offset=10000000", "limit=99999999999999999999", "limit=1&limit=2", "offset=0&offset=0", "limit=1;offset=2", "limit=%zz", "limit=1%00"} {
			h.ask(t, viewer, "GET", list+"?"+query, "").want(t, 400, "SVCSTG.SWR.4000014")
		}
		for _, query := range []string{"", "limit=100", "offset=0", "offset=20", "offset=4&limit=2", "unknown=1&unknown=2", "offset=1000000&limit=1"} {
			h.ask(t, viewer, "GET", list+"?"+query, "").want(t, 200, "")
		}
	}
	for _, id := range []string{"0", "-1", "x", "01", "1.0", "99999999999999999999", "+1"} {
		h.ask(t, viewer, "GET", policies+"/"+id, "").want(t, 400, "SVCSTG.SWR.4000014")
	}
	h.ask(t, viewer, "GET", policies+"/2147483648", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, operator, "POST", policies+"/1/executions", "").want(t, 201, "")
	h.Await(t, 1)
	h.ask(t, viewer, "GET", policies+"/1/executions/1/tasks?limit=101", "").want(t, 400, "SVCSTG.SWR.4000014")
	h.ask(t, viewer, "GET", policies+"/1/executions/1/tasks/1/subtasks?status=Done", "").want(t, 400, "SVCSTG.SWR.4000014")
	h.ask(t, viewer, "GET", policies+"/1/executions/1/tasks/1/subtasks", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, viewer, "GET", policies+"/1/executions/2/tasks", "").want(t, 404, "SVCSTG.SWR.4040010")
}

// TestPaths: a path leads where it says, or nowhere.
func TestPaths(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	for _, path := range []string{"", "/", "/signature", "/signature/policies/", "//signature/policies", "/signature//policies", "/./signature/policies",
		"/namespaces/../signature/policies", "/namespaces/%2e%2e/signature/policies", "/namespaces/library/signature/policies/1/", "/signature%2Fpolicies",
		"/namespaces/a%00b/signature/policies/1", "/namespaces/library/repositories/artifacts", "/" + strings.Repeat("a", 4096), "/namespaces/a%0Ab",
		"/namespaces/library/repositories/a/%2e%2e/artifacts", "/namespaces/library/repositories/a//b/artifacts", "/registries"} {
		h.ask(t, admin, "GET", path, "").want(t, 404, "APIGW.0101")
	}
	for _, method := range []string{"PATCH", "OPTIONS", "POST", "TRACE"} {
		h.ask(t, admin, method, "/signature/policies", "").want(t, 404, "APIGW.0101")
	}
	for _, path := range []string{"/namespaces/Library", "/namespaces/a%2Fb", "/namespaces/a%252Fb", "/namespaces/" + strings.Repeat("a", 65), "/namespaces/library/repositories/A/artifacts",
		"/namespaces/library/repositories/a%25252Fb/artifacts", "/namespaces/library/repositories/a%252F..%252Fb/artifacts", "/namespaces/library/repositories/a/artifacts/" + strings.Repeat("a", 129) + "/accessories",
		"/namespaces/library/repositories/" + strings.Repeat("a/", 150) + "a/artifacts", "/namespaces/library/repositories/a/artifacts/sha256:12/accessories"} {
		h.ask(t, admin, "GET", path, "").want(t, 400, "SVCSTG.SWR.4000014")
	}
	other := h.at + "/v2/another-project/instances/" + controltest.Registry + "/signature/policies"
	h.send(t, "GET", other, "", http.Header{"X-Auth-Token": {viewer}}).want(t, 200, "")
	h.send(t, "GET", h.at+"/v3/p/instances/i/signature/policies", "", http.Header{"X-Auth-Token": {viewer}}).want(t, 404, "APIGW.0101")
}

// TestAtOnce: of creates of the same policy one succeeds, and what is changed while
// it is deleted is gone.
func TestAtOnce(t *testing.T) {
	h := open(t, controltest.Options{})
	results := at(8, func() int { return h.ask(t, admin, "POST", policies, policyJSON("a")).status })
	if results[201] != 1 || results[409] != 7 {
		t.Errorf("creating the same: %v", results)
	}
	results = at(8, func() int { return h.ask(t, admin, "PUT", policies+"/1", policyJSON("b")).status })
	if results[200] != 8 {
		t.Errorf("updating: %v", results)
	}
	var once sync.Once
	results = at(8, func() int {
		method, body := "PUT", policyJSON("c")
		once.Do(func() { method, body = "DELETE", "" })
		return h.ask(t, admin, method, policies+"/1", body).status
	})
	if results[200]+results[404] != 8 || results[200] == 0 {
		t.Errorf("updating and deleting: %v", results)
	}
	h.ask(t, admin, "GET", policies+"/1", "").want(t, 404, "SVCSTG.SWR.4040010")
}

// at does something n times at once, and counts what comes of it.
func at(n int, do func() int) map[int]int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[int]int{}
	for range n {
		wg.Go(func() {
			status := do()
			mu.Lock()
			defer mu.Unlock()
			results[status]++
		})
	}
	wg.Wait()
	return results
}

// TestAudit: each change is in the audit log, with who asked for it and what came of
// it, under the id that the answer has; reads are not.
func TestAudit(t *testing.T) {
	h := open(t, controltest.Options{})
	ids := map[string]string{}
	for _, tt := range []struct{ action, token, method, path, body string }{
		{"CreateInstanceSignPolicy", admin, "POST", policies, policyJSON("a")},
		{"", viewer, "GET", policies + "/1", ""},
		{"UpdateInstanceSignPolicy", admin, "PUT", policies + "/1", policyJSON("b")},
		{"ExecuteInstanceSignPolicy", operator, "POST", policies + "/1/executions", ""},
		{"DeleteInstanceSignPolicy", admin, "DELETE", policies + "/1", ""},
		{"CreateInstanceNamespace", admin, "POST", "/namespaces", `{"namespace_name":"new","metadata":{"public":"false"}}`},
		{"DeleteInstanceNamespace", admin, "DELETE", "/namespaces/new", ""},
	} {
		a := h.ask(t, tt.token, tt.method, tt.path, tt.body)
		if a.status > 299 {
			t.Fatalf("%s: %d %s", tt.action, a.status, a.body)
		}
		if tt.action != "" {
			ids[a.id] = tt.action
		}
	}
	entries, err := h.Journal.AuditEntries(t.Context(), journal.AuditFilter{API: "swr"})
	if err != nil || len(entries) != len(ids) {
		t.Fatalf("%d entries, %v: %+v", len(entries), err, entries)
	}
	for _, e := range entries {
		if ids[e.RequestID] != e.Action || e.Outcome != "done" || !strings.HasPrefix(e.Target, "prod/") || e.Caller == "" {
			t.Errorf("entry: %+v, want %s", e, ids[e.RequestID])
		}
	}
}

// TestKeysOfTenants: a tenant's policies sign with its own keys; others are not there.
func TestKeysOfTenants(t *testing.T) {
	const token = "team-token-0123456789-0123456789"
	h := open(t, controltest.Options{Credentials: []door.Credential{{Name: "team", Role: door.Admin, TokenSHA256: hashOf(token), Namespaces: []string{"team"}}}})
	body := func(key string) string {
		return `{"name": "p", "enabled": true, "signature_method": "KMS", "signature_algorithm": "ECDSA_SHA_256", "signature_key": "` + key + `", "trigger": {"type": "manual"},
			"scope_rules": [{"tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "**"}],
			"scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]}, "repo_scope_mode": "regular"}]}`
	}
	theirs := h.ask(t, token, http.MethodPost, "/namespaces/team/signature/policies", body(controltest.Key))
	nobodys := h.ask(t, token, http.MethodPost, "/namespaces/team/signature/policies", body("nobodys"))
	theirs.want(t, http.StatusBadRequest, "SVCSTG.SWR.4000014")
	nobodys.want(t, http.StatusBadRequest, "SVCSTG.SWR.4000014")
}
