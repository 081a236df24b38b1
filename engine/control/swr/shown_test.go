package swr

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// written is a policy of the configuration that SWR can say.
func written(name string, change func(*policy.Policy)) policy.Policy {
	p := policy.Policy{Name: name, Description: "from a file", Registry: controltest.Registry, Namespace: "library", Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.EventBased},
		Scope:   []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Excludes: []string{"*-rc*"}}, Untagged: true}}}
	change(&p)
	return p
}

// listed returns the names of the policies that the SDK lists, in order.
func (h *house) listed(t *testing.T) []string {
	t.Helper()
	list := must[model.ListInstanceSignPoliciesResponse](t)(h.admin(t).ListInstanceSignPolicies(&model.ListInstanceSignPoliciesRequest{
		InstanceId: controltest.Instance, Limit: pointer(int32(100)), Offset: pointer(int32(0))}))
	var names []string
	for _, p := range *list.Policies {
		names = append(names, *p.Name)
	}
	if int(*list.Total) != len(names) {
		t.Errorf("total %d of %q", *list.Total, names)
	}
	return names
}

// TestOthersPolicies: what SWR can say of other policies is shown, what it cannot is
// not, and neither is changed here.
func TestOthersPolicies(t *testing.T) {
	h := open(t, controltest.Options{Policies: []policy.Policy{
		written("a file's", func(*policy.Policy) {}),
		written("bundle", func(p *policy.Policy) { p.Formats = []policy.Format{policy.FormatBundle} }),
		written("children", func(p *policy.Policy) { p.Index = policy.IndexChildren }),
		written("domain", func(p *policy.Policy) { p.Domain = "images.example.com" }),
		written("rsa", func(p *policy.Policy) { p.Key = controltest.RSAKey }),
		written("everywhere", func(p *policy.Policy) { p.Namespace = "" }),
		written("deeper", func(p *policy.Policy) { p.Namespace = "library/team" }),
		written("elsewhere", func(p *policy.Policy) { p.Registry = controltest.Other }),
		written("two", func(p *policy.Policy) { p.Scope[0].Repositories.Matches = []string{"a", "b"} }),
	}})
	for origin, label := range map[journal.Origin]string{journal.FromTCR: "library signing", journal.FromAPI: "an API's"} {
		p := written("", func(*policy.Policy) {})
		p.Name = ""
		if _, err := h.Engine.CreatePolicy(t.Context(), journal.StoredPolicy{Policy: p, Origin: origin, Label: label, Creator: "somebody"}); err != nil {
			t.Fatal(err)
		}
	}
	h.ask(t, admin, "POST", policies, policyJSON("own")).want(t, 201, "")
	names := h.listed(t)
	if len(names) != 4 || names[3] != "own" {
		t.Fatalf("listed: %q", names)
	}
	known, err := h.Engine.KnownPolicies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range known {
		id := "/" + jsonOf(t, p.ID)
		shown := h.ask(t, viewer, "GET", policies+id, "")
		if p.Policy.Name != "a file's" && p.Origin == journal.FromFile {
			shown.want(t, 404, "SVCSTG.SWR.4040010")
			h.ask(t, admin, "DELETE", policies+id, "").want(t, 404, "SVCSTG.SWR.4040010")
			continue
		}
		shown.want(t, 200, "")
		if p.Origin == journal.FromSWR {
			continue
		}
		var d policyDetail
		if err := json.Unmarshal([]byte(shown.body), &d); err != nil || d.Name != p.Label || d.Key != controltest.Key || d.Algorithm != "ECDSA_SHA_256" ||
			*d.ScopeRules[0].TagSelectors[0].Extras != `{"untagged":true}` || d.ScopeRules[0].TagSelectors[0].Decoration != "excludes" || d.Trigger.Type != "event_based" {
			t.Errorf("shown: %s, %v", shown.body, err)
		}
		where := map[journal.Origin]string{journal.FromFile: "configuration file", journal.FromTCR: "Tencent TCR's API", journal.FromAPI: "Sealwright's own API"}[p.Origin]
		for method, body := range map[string]string{"PUT": policyJSON("x"), "DELETE": ""} {
			a := h.ask(t, admin, method, policies+id, body)
			a.want(t, 403, "SVCSTG.SWR.4030170")
			if !strings.Contains(a.body, where) {
				t.Errorf("the answer does not say %q: %s", where, a.body)
			}
		}
		h.ask(t, operator, "POST", policies+id+"/executions", "").want(t, 201, "")
	}
	// A name is one policy's in its namespace, whoever manages it.
	create(t, h.admin(t), "team", "aaa")
	h.ask(t, admin, "POST", policies, policyJSON("own")).want(t, 409, "SVCSTG.SWR.4090006")
	create(t, h.admin(t), "library", "aaa")
	h.ask(t, admin, "PUT", policies+"/"+jsonOf(t, h.idOf(t, "own")), policyJSON("aaa")).want(t, 409, "SVCSTG.SWR.4090006")
}

// TestNameOfAFile: a policy cannot be created with the name of one that a file has
// in the namespace.
func TestNameOfAFile(t *testing.T) {
	h := open(t, controltest.Options{Policies: []policy.Policy{written("own", func(*policy.Policy) {})}})
	h.ask(t, admin, "POST", policies, policyJSON("own")).want(t, 409, "SVCSTG.SWR.4090006")
	h.ask(t, admin, "POST", "/namespaces/team/signature/policies", policyJSON("own")).want(t, 201, "")
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// idOf returns the id of the policy of that name.
func (h *house) idOf(t *testing.T, name string) int64 {
	t.Helper()
	known, err := h.Engine.KnownPolicies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range known {
		if p.Label == name {
			return p.ID
		}
	}
	t.Fatalf("no policy %q in %+v", name, known)
	return 0
}

// key makes a key of the algorithm that the configuration has under no other name.
func key(t *testing.T, a policy.Algorithm, aliases ...string) engine.Key {
	t.Helper()
	private, public, err := kms.Generate(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "key")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key", Algorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Key{Signer: s, Aliases: aliases}
}

// replaceKeys gives the engine another configuration: the same registry, other keys.
func (h *house) replaceKeys(t *testing.T, keys map[string]engine.Key, policies ...policy.Policy) {
	t.Helper()
	r, ok := h.Engine.Registry(controltest.Registry)
	if !ok {
		t.Fatal("no registry")
	}
	setup, err := engine.NewSetup(policies, map[string]*engine.Place{controltest.Registry: engine.NewPlace(r, 8)}, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Engine.Replace(setup)
}

// TestKeys: each of SWR's algorithms signs; a policy whose key has gone is still
// shown, and says that it cannot be executed.
func TestKeys(t *testing.T) {
	h := open(t, controltest.Options{})
	h.replaceKeys(t, map[string]engine.Key{"p384": key(t, policy.ECDSASHA384, "alias/p384"), "sm2": key(t, policy.SM2SM3), "closed": {Err: kms.ErrUnavailable}})
	for i, k := range [][2]string{{"alias/p384", "ECDSA_SHA_384"}, {"sm2", "SM2DSA_SM3"}} {
		body := strings.NewReplacer("release", k[0], "ECDSA_SHA_256", k[1]).Replace(policyJSON("p" + jsonOf(t, i)))
		h.ask(t, admin, "POST", policies, body).want(t, 201, "")
		shown := h.ask(t, viewer, "GET", policies+"/"+jsonOf(t, h.idOf(t, "p"+jsonOf(t, i))), "")
		if !strings.Contains(shown.body, `"signature_key":"`+k[0]+`"`) || !strings.Contains(shown.body, k[1]) {
			t.Errorf("shown: %s", shown.body)
		}
	}
	h.ask(t, admin, "POST", policies, strings.Replace(policyJSON("x"), "release", "closed", 1)).want(t, 500, "SVCSTG.SWR.5000001")
	h.replaceKeys(t, nil)
	if names := h.listed(t); len(names) != 2 {
		t.Errorf("listed: %q", names)
	}
	h.ask(t, operator, "POST", policies+"/"+jsonOf(t, h.idOf(t, "p0"))+"/executions", "").want(t, 409, "SVCSTG.SWR.4090006")
}

// TestDisabled: a disabled policy is not executed by hand.
func TestDisabled(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, strings.Replace(policyJSON("a"), "true", "false", 1)).want(t, 201, "")
	h.ask(t, operator, "POST", policies+"/1/executions", "").want(t, 409, "SVCSTG.SWR.4090006")
	if list, err := h.Journal.Executions(t.Context(), journal.ExecutionFilter{}); err != nil || len(list) > 0 {
		t.Errorf("executions: %+v, %v", list, err)
	}
}

// TestQuota: there are only so many policies.
func TestQuota(t *testing.T) {
	h := open(t, controltest.Options{StoredQuota: 1})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	h.ask(t, admin, "POST", policies, policyJSON("b")).want(t, 403, "SVCSTG.SWR.4030170")
	stats := must[model.ListInstanceStatisticsResponse](t)(h.admin(t).ListInstanceStatistics(&model.ListInstanceStatisticsRequest{InstanceId: controltest.Instance}))
	if *stats.SignPolicyQuota != 1 || *stats.SignPolicyCount != 1 {
		t.Errorf("statistics: %+v", stats)
	}
}

// TestFrequentPolicies: a schedule that is due too often is refused, in SWR's words.
func TestFrequentPolicies(t *testing.T) {
	h := open(t, controltest.Options{})
	scheduled := func(cron string) string {
		return strings.Replace(policyJSON("a"), `"type":"manual"`, `"type":"scheduled","trigger_settings":{"cron":"`+cron+`"}`, 1)
	}
	refused := func(method, path string) {
		t.Helper()
		a := h.ask(t, admin, method, path, scheduled("*/30 * * * * *"))
		a.want(t, 400, "SVCSTG.SWR.4000014")
		if !strings.Contains(a.body, "trigger.trigger_settings.cron") || !strings.Contains(a.body, "at least 1m0s") {
			t.Errorf("%s: %s", method, a.body)
		}
	}
	refused("POST", policies)
	h.ask(t, admin, "POST", policies, scheduled("30 * * * * *")).want(t, 201, "")
	refused("PUT", policies+"/1")
}

// TestPredecessor: a policy has no executions of one that had its name before.
func TestPredecessor(t *testing.T) {
	h := open(t, controltest.Options{})
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	h.ask(t, operator, "POST", policies+"/1/executions", "").want(t, 201, "")
	h.Await(t, 1)
	h.ask(t, admin, "DELETE", policies+"/1", "").want(t, 200, "")
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	id := "/" + jsonOf(t, h.idOf(t, "a"))
	if a := h.ask(t, viewer, "GET", policies+id+"/executions", ""); !strings.Contains(a.body, `"total":0`) || !strings.Contains(a.body, `"executions":[]`) {
		t.Errorf("executions: %s", a.body)
	}
	h.ask(t, viewer, "GET", policies+id+"/executions/1/tasks", "").want(t, 404, "SVCSTG.SWR.4040010")
}

// TestMoved: a policy of the configuration that was given another namespace does not
// show there what it did in the one before.
func TestMoved(t *testing.T) {
	h := open(t, controltest.Options{Policies: []policy.Policy{written("moved", func(*policy.Policy) {})}})
	h.Server.Push(t, "library/app:v1", registrytest.Image(t))
	h.ask(t, operator, "POST", policies+"/1/executions", "").want(t, 201, "")
	h.Await(t, 1)
	if a := h.ask(t, viewer, "GET", policies+"/1/executions/1/tasks", ""); !strings.Contains(a.body, `"repository":"app"`) {
		t.Fatalf("tasks: %s", a.body)
	}
	h.ask(t, viewer, "GET", policies+"/1/executions/1/tasks/1/subtasks", "").want(t, 200, "")
	h.replaceKeys(t, map[string]engine.Key{controltest.Key: key(t, policy.ECDSASHA256)}, written("moved", func(p *policy.Policy) { p.Namespace = "team" }))
	team := "/namespaces/team/signature/policies/1/executions/1/tasks"
	if a := h.ask(t, viewer, "GET", team, ""); a.status != 200 || !strings.Contains(a.body, `"total":0`) || strings.Contains(a.body, "app") {
		t.Errorf("tasks: %d %s", a.status, a.body)
	}
	h.ask(t, viewer, "GET", team+"/1/subtasks", "").want(t, 404, "SVCSTG.SWR.4040010")
}
