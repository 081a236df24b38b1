package swr

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

// example is the request that "Listing Signature Policies" shows, with a schedule.
const example = `{"name": "aaa", "description": "d", "enabled": true, "signature_method": "KMS", "signature_algorithm": "ECDSA_SHA_256",
	"signature_key": "key-123456", "trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 0 2 * * *"}},
	"scope_rules": [{"tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "**", "extras": "{\"untagged\":true}"}],
		"scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoExcludes", "pattern": "{repo}"}]}, "repo_scope_mode": "selection"}]}`

func TestRead(t *testing.T) {
	d, faults := Parse([]byte(example))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	p, faults := d.Policy()
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	enabled := true
	want := policy.Policy{Description: "d", Enabled: &enabled, Key: "key-123456",
		Trigger: policy.Trigger{Type: policy.Scheduled, Cron: "0 0 2 * * *"},
		Scope:   []policy.ScopeRule{{Repositories: policy.Selector{Excludes: []string{"{repo}"}}, Tags: policy.Selector{Matches: []string{"**"}}, Untagged: true}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var sent, kept any
	text, err := json.Marshal(d)
	if err := errors.Join(err, json.Unmarshal([]byte(example), &sent), json.Unmarshal(text, &kept)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, kept); diff != "" {
		t.Errorf("what was sent is not what is kept (-sent +kept):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	long := strings.Repeat("a", 513)
	for _, tt := range []struct{ name, old, replacement, want string }{
		{"no JSON", example, `{"name":`, "the body is not JSON"},
		{"nothing", example, " ", "the body is empty"},
		{"trailing data", example, example + "{}", "the body is not JSON"},
		{"a list", example, "[]", "the body is a JSON list"},
		{"null", example, "null", "the body is a JSON null"},
		{"not UTF-8", "aaa", "a\xff", "the body is not UTF-8"},
		{"twice", `"enabled": true`, `"enabled": true, "enabled": false`, `the body has the name "enabled" twice`},
		{"twice, escaped", `"kind"`, `"k\u0069nd": "regex", "kind"`, `the body has the name "kind" twice`},
		{"deep", `"enabled": true`, `"enabled": true, "x": ` + strings.Repeat("[", 32) + strings.Repeat("]", 32), "nested more than 32 levels deep"},
		{"other case", `"name"`, `"Name"`, "name: is required; allowed: a string"},
		{"null name", `"aaa"`, `null`, "name: is required"},
		{"number", `"aaa"`, `1`, "name: is a JSON number; allowed: a string"},
		{"truth", `"enabled": true`, `"enabled": "true"`, "enabled: is a JSON string; allowed: true or false"},
		{"no enabled", `"enabled": true,`, ``, "enabled: is required"},
		{"trigger", `{"type": "scheduled", "trigger_settings": {"cron": "0 0 2 * * *"}}`, `"manual"`, "trigger: is a JSON string; allowed: an object"},
		{"rules", `"scope_rules": [{`, `"scope_rules": ["x", {`, "scope_rules[0]: is a JSON string; allowed: an object"},
		{"no rules", `"scope_rules"`, `"rules"`, "scope_rules: is required"},
		{"many rules", `"scope_rules": [`, `"scope_rules": [` + strings.Repeat(example[strings.Index(example, `{"tag_sel`):len(example)-2]+",", 100), "scope_rules: has 101 rules; allowed: 1 to 100 rules"},
		{"name", "aaa", "a b", `name: "a b" is not allowed`},
		{"long name", "aaa", strings.Repeat("名", 257), "name: "},
		{"description", `"d"`, `"` + strings.Repeat("d", 1025) + `"`, "description: has 1025 characters; allowed: at most 1024 characters"},
		{"control", `"d"`, `"\u0000"`, "description: has control characters"},
		{"method", `"KMS"`, `"cosign"`, `signature_method: "cosign" is not known; allowed: KMS`},
		{"algorithm", "ECDSA_SHA_256", "RSA_PSS_SHA_256", `signature_algorithm: "RSA_PSS_SHA_256" is not known; allowed: ECDSA_SHA_256, ECDSA_SHA_384, SM2DSA_SM3`},
		{"key", "key-123456", "", "signature_key: is required"},
		{"trigger type", `"scheduled"`, `"daily"`, `trigger.type: "daily" is not known; allowed: manual, scheduled, event_based`},
		{"no cron", `, "trigger_settings": {"cron": "0 0 2 * * *"}`, ``, "trigger.trigger_settings.cron: is required for a scheduled trigger"},
		{"five fields", "0 0 2 * * *", "0 2 * * *", "trigger.trigger_settings.cron: has 5 of six fields"},
		{"zone", "0 0 2 * * *", "TZ=UTC 0 2 * * *", "trigger.trigger_settings.cron: must not name a time zone"},
		{"cron for nothing", `"scheduled"`, `"event_based"`, "trigger.trigger_settings.cron: does nothing for trigger type event_based"},
		{"mode", "selection", "all", `scope_rules[0].repo_scope_mode: "all" is not known; allowed: regular, selection`},
		{"scope", `"repository"`, `"project"`, "scope_rules[0].scope_selectors.repository: is required"},
		{"further scope", `"scope_selectors": {`, `"scope_selectors": {"project": [], `, "scope_rules[0].scope_selectors.project: is not known; allowed: repository"},
		{"two selectors", `"tag_selectors": [`, `"tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "*"}, `, "scope_rules[0].tag_selectors: has 2 selectors; allowed: one selector"},
		{"kind", "doublestar", "regex", `scope_rules[0].tag_selectors[0].kind: "regex" is not known; allowed: doublestar`},
		{"decoration", "repoExcludes", "matches", `scope_rules[0].scope_selectors.repository[0].decoration: "matches" is not known; allowed: repoMatches, repoExcludes`},
		{"pattern", "{repo}", "{repo", `scope_rules[0].scope_selectors.repository[0].pattern: "{repo" is malformed`},
		{"long pattern", "{repo}", long, "scope_rules[0].scope_selectors.repository[0].pattern: has 513 characters"},
		{"extras", `{\"untagged\":true}`, `untagged`, `scope_rules[0].tag_selectors[0].extras: "untagged" is not a JSON object; allowed: ` + ExtrasAllowed},
		{"untagged", `{\"untagged\":true}`, `{\"untagged\":1}`, `scope_rules[0].tag_selectors[0].extras: untagged is not a truth value`},
		{"unknown extras", `{\"untagged\":true}`, `{\"signed\":true}`, `scope_rules[0].tag_selectors[0].extras: "signed" is not known`},
		{"long extras", `{\"untagged\":true}`, strings.Repeat(" ", 513), `scope_rules[0].tag_selectors[0].extras: has 513 bytes`},
		{"untagged repositories", `"{repo}"`, `"{repo}", "extras": "{\"untagged\":true}"`, `scope_rules[0].scope_selectors.repository[0].extras: untagged means nothing for repositories`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(example, tt.old) {
				t.Fatalf("no %q to replace", tt.old)
			}
			d, faults := Parse([]byte(strings.Replace(example, tt.old, tt.replacement, 1)))
			if len(faults) == 0 {
				_, faults = d.Policy()
			}
			if !slices.ContainsFunc(faults, func(f policy.Fault) bool {
				return strings.HasPrefix(f.Error(), tt.want) || strings.Contains(f.Problem, tt.want)
			}) {
				t.Errorf("got %q, want %q", faults, tt.want)
			}
		})
	}
}

func TestAccepts(t *testing.T) {
	for _, tt := range []struct{ name, old, replacement string }{
		{"Chinese name", "aaa", "发布_1-a"},
		{"unknown fields", `"enabled"`, `"priority": 1, "ENABLED": 2, "enabled"`},
		{"no mode", `, "repo_scope_mode": "selection"`, ``},
		{"null mode", `"selection"`, `null`},
		{"no description", `"description": "d",`, ``},
		{"by hand", `"scheduled", "trigger_settings": {"cron": "0 0 2 * * *"}`, `"manual", "trigger_settings": {"cron": ""}`},
		{"by events", `"scheduled", "trigger_settings": {"cron": "0 0 2 * * *"}`, `"event_based", "trigger_settings": null`},
		{"no extras", `, "extras": "{\"untagged\":true}"`, ``},
		{"null extras", `"{\"untagged\":true}"`, `null`},
		{"SM2", "ECDSA_SHA_256", "SM2DSA_SM3"},
	} {
		d, faults := Parse([]byte(strings.Replace(example, tt.old, tt.replacement, 1)))
		if len(faults) == 0 {
			_, faults = d.Policy()
		}
		if len(faults) > 0 {
			t.Errorf("%s: %v", tt.name, faults)
		}
	}
}

func native(change func(*policy.Policy)) *policy.Policy {
	p := policy.Policy{Name: "from file", Description: "d", Registry: "prod", Namespace: "library", Key: "release", Trigger: policy.Trigger{Type: policy.Manual},
		Scope: []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Excludes: []string{"*-rc*"}}, Untagged: true}}}
	change(&p)
	return &p
}

// TestSay: what SWR's words say of a policy is the policy.
func TestSay(t *testing.T) {
	for _, p := range []*policy.Policy{
		native(func(*policy.Policy) {}),
		native(func(p *policy.Policy) { no := false; p.Enabled = &no }),
		native(func(p *policy.Policy) { p.Trigger = policy.Trigger{Type: policy.Scheduled, Cron: "0 0 2 * * *"} }),
		native(func(p *policy.Policy) { p.Formats, p.Index = []policy.Format{policy.FormatCosign}, policy.IndexOnly }),
	} {
		d, err := Say(p, policy.ECDSASHA384)
		if err != nil {
			t.Fatal(err)
		}
		d.Name = "a" // SWR's own names have no blanks
		back, faults := d.Policy()
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		back.Registry, back.Namespace, back.Name = p.Registry, p.Namespace, p.Name
		if back.Version() != p.Version() || back.Trigger != p.Trigger || back.IsEnabled() != p.IsEnabled() || back.Description != p.Description {
			t.Errorf("%+v\nis said as\n%+v", p, back)
		}
	}
}

func TestCannotSay(t *testing.T) {
	one := func(s ...string) policy.Selector { return policy.Selector{Matches: s} }
	for name, change := range map[string]func(*policy.Policy){
		"children":   func(p *policy.Policy) { p.Index = policy.IndexChildren },
		"bundle":     func(p *policy.Policy) { p.Formats = []policy.Format{policy.FormatBundle} },
		"both":       func(p *policy.Policy) { p.Formats = []policy.Format{policy.FormatCosign, policy.FormatBundle} },
		"timestamp":  func(p *policy.Policy) { p.Timestamp = policy.Timestamps{{URL: "https://a", CA: "a"}} },
		"log":        func(p *policy.Policy) { p.TransparencyLog = "https://a" },
		"elsewhere":  func(p *policy.Policy) { p.SignatureRepository = "s" },
		"domain":     func(p *policy.Policy) { p.Domain = "a" },
		"reconcile":  func(p *policy.Policy) { p.Trigger = policy.Trigger{Type: policy.EventBased, Reconcile: "0 0 2 * * *"} },
		"patterns":   func(p *policy.Policy) { p.Scope[0].Repositories = one("a", "b") },
		"both ways":  func(p *policy.Policy) { p.Scope[0].Tags.Matches = []string{"*"} },
		"no tags":    func(p *policy.Policy) { p.Scope[0].Tags = policy.Selector{} },
		"namespaces": func(p *policy.Policy) { p.Scope[0].Namespaces = one("a") },
	} {
		if d, err := Say(native(change), policy.ECDSASHA256); !errors.Is(err, ErrNoWords) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	for _, a := range []policy.Algorithm{policy.RSAPSSSHA256, ""} {
		if _, err := Say(native(func(*policy.Policy) {}), a); !errors.Is(err, ErrNoWords) {
			t.Errorf("algorithm %q: %v", a, err)
		}
	}
}

// FuzzParse: what is read is a valid policy, and what is kept of it says the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"name":"a","enabled":false,"trigger":{"type":"manual"},"scope_rules":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, faults := Parse(data)
		if len(faults) > 0 {
			return
		}
		p, faults := d.Policy()
		if len(faults) > 0 {
			return
		}
		p.Name, p.Registry, p.Namespace = "a", "prod", "library"
		if faults := p.Validate(); len(faults) > 0 {
			t.Fatalf("taken, but not valid: %v", faults)
		}
		kept, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, faults := Parse(kept)
		if len(faults) > 0 || !reflect.DeepEqual(d, again) {
			t.Fatalf("kept as %s: %v", kept, faults)
		}
		if _, err := Say(&p, policy.Algorithm(d.Algorithm)); err != nil {
			t.Fatal(err)
		}
	})
}
