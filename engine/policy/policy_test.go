package policy

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valid returns a policy with nothing wrong and every field set.
func valid() *Policy {
	enabled := true
	return &Policy{
		Name: "library releases", Description: "every release image", Enabled: &enabled,
		Registry: "prod", Namespace: "library",
		Trigger: Trigger{Type: Scheduled, Cron: "0 0 2 * * *"},
		Scope: []ScopeRule{{
			Repositories: Selector{Matches: []string{"**"}, Excludes: []string{"test/**"}},
			Tags:         Selector{Matches: []string{"v*"}},
			Untagged:     true,
		}},
		Index: IndexBoth, Key: "release", Formats: []Format{FormatCosign, FormatBundle}, Domain: "registry.example.com:5000",
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Policy)
	}{
		{"everything set", func(*Policy) {}},
		{"the least", func(p *Policy) {
			*p = Policy{Name: "a", Registry: "r", Key: "k", Trigger: Trigger{Type: Manual}, Scope: []ScopeRule{{Repositories: Selector{Matches: []string{"**"}}, Untagged: true}}}
		}},
		{"event based", func(p *Policy) { p.Trigger = Trigger{Type: EventBased} }},
		{"event based, reconciled", func(p *Policy) { p.Trigger = Trigger{Type: EventBased, Reconcile: "0 0 4 * * *"} }},
		{"nested namespace", func(p *Policy) { p.Namespace = "a/b-c/d__e.f" }},
		{"rule namespaces", func(p *Policy) {
			p.Namespace = ""
			p.Scope[0].Namespaces = Selector{Excludes: []string{"tmp-*"}}
		}},
		{"longest name", func(p *Policy) { p.Name = strings.Repeat("n", 128) }},
		{"longest description", func(p *Policy) { p.Description = strings.Repeat("é", 1024) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := valid()
			tt.edit(p)
			if faults := p.Validate(); faults != nil {
				t.Errorf("refused: %v", faults)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Policy)
		want string // the beginning of the only fault
	}{
		{"no name", func(p *Policy) { p.Name = "" }, "name: is required; allowed: 1 to 128 letters"},
		{"name with a slash", func(p *Policy) { p.Name = "a/b" }, `name: "a/b" is not allowed; allowed: `},
		{"name too long", func(p *Policy) { p.Name = strings.Repeat("n", 129) }, `name: "nnn`},
		{"name with an outer blank", func(p *Policy) { p.Name = "a " }, `name: "a " is not allowed`},
		{"description too long", func(p *Policy) { p.Description = strings.Repeat("é", 1025) }, "description: has 1025 characters; allowed: at most 1024"},
		{"no registry", func(p *Policy) { p.Registry = "" }, "registry: is required; allowed: the name of a registry"},
		{"upper-case namespace", func(p *Policy) { p.Namespace = "Library" }, `namespace: "Library" is not allowed; allowed: a repository name prefix`},
		{"namespace with a trailing slash", func(p *Policy) { p.Namespace = "library/" }, `namespace: "library/" is not allowed`},
		{"no trigger type", func(p *Policy) { p.Trigger = Trigger{} }, "trigger.type: is required; allowed: manual, scheduled, event_based"},
		{"unknown trigger type", func(p *Policy) { p.Trigger = Trigger{Type: "cron"} }, `trigger.type: "cron" is not allowed; allowed: manual,`},
		{"no cron", func(p *Policy) { p.Trigger.Cron = "" }, "trigger.cron: is required for a scheduled trigger; allowed: six fields in UTC"},
		{"cron of a manual trigger", func(p *Policy) { p.Trigger.Type = Manual }, "trigger.cron: does nothing for trigger type manual; allowed: no cron"},
		{"cron of an event trigger", func(p *Policy) { p.Trigger.Type = EventBased }, "trigger.cron: does nothing for trigger type event_based"},
		{"reconcile of a schedule", func(p *Policy) { p.Trigger.Reconcile = "0 0 4 * * *" }, "trigger.reconcile: does nothing for trigger type scheduled; allowed: no reconcile"},
		{"reconcile of five fields", func(p *Policy) { p.Trigger = Trigger{Type: EventBased, Reconcile: "0 4 * * *"} }, "trigger.reconcile: has 5 of six fields"},
		{"no scope", func(p *Policy) { p.Scope = nil }, "scope: is required; allowed: at least one scope rule"},
		{"two namespaces", func(p *Policy) { p.Scope[0].Namespaces = Selector{Matches: []string{"a"}} }, "scope[0].namespaces: contradicts the policy's namespace; allowed: one of the two"},
		{"no repositories", func(p *Policy) { p.Scope[0].Repositories = Selector{} }, `scope[0].repositories: is required; allowed: a pattern`},
		{"neither tags nor untagged", func(p *Policy) { p.Scope[0].Tags, p.Scope[0].Untagged = Selector{}, false }, "scope[0].tags: is required without untagged: true; allowed: a pattern"},
		{"bad match", func(p *Policy) { p.Scope[0].Tags.Matches = []string{"a", "{b"} }, `scope[0].tags.matches[1]: "{b" is malformed; allowed: a doublestar pattern`},
		{"bad exclude", func(p *Policy) { p.Scope[0].Repositories.Excludes = []string{""} }, `scope[0].repositories.excludes[0]: is empty; allowed: a doublestar pattern`},
		{"second rule", func(p *Policy) {
			p.Scope = append(p.Scope, ScopeRule{Repositories: Selector{Matches: []string{"["}}, Untagged: true})
		}, `scope[1].repositories.matches[0]: "[" is malformed`},
		{"unknown index mode", func(p *Policy) { p.Index = "all" }, `index: "all" is not allowed; allowed: index, children, both`},
		{"no key", func(p *Policy) { p.Key = "" }, "key: is required; allowed: the name of a key"},
		{"unknown format", func(p *Policy) { p.Formats[1] = "notation" }, `formats[1]: "notation" is not allowed; allowed: cosign, bundle, notation-jws, notation-cose`},
		{"format twice", func(p *Policy) { p.Formats[1] = FormatCosign }, `formats[1]: repeats "cosign"; allowed: each format once`},
		{"domain with a scheme", func(p *Policy) { p.Domain = "https://a" }, `domain: "https://a" is not allowed; allowed: HOST or HOST:PORT`},
		{"domain with a path", func(p *Policy) { p.Domain = "a/b" }, `domain: "a/b" is not allowed`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := valid()
			tt.edit(p)
			faults := p.Validate()
			if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), tt.want) {
				t.Errorf("faults %q, want only one, beginning %q", faults, tt.want)
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	var got []string
	for _, f := range (&Policy{}).Validate() {
		got = append(got, f.Field)
	}
	if diff := cmp.Diff([]string{"name", "registry", "trigger.type", "scope", "key"}, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	var p Policy
	if !p.IsEnabled() || p.IndexMode() != IndexOnly || !cmp.Equal(p.SignatureFormats(), []Format{FormatCosign}) || p.WantsUntagged() {
		t.Errorf("defaults: enabled %t, index %q, formats %q, untagged %t", p.IsEnabled(), p.IndexMode(), p.SignatureFormats(), p.WantsUntagged())
	}
	off := false
	p = Policy{Enabled: &off, Index: IndexBoth, Formats: []Format{FormatBundle}, Scope: []ScopeRule{{}, {Untagged: true}}}
	if p.IsEnabled() || p.IndexMode() != IndexBoth || !cmp.Equal(p.SignatureFormats(), []Format{FormatBundle}) || !p.WantsUntagged() {
		t.Errorf("what is set is not returned: %+v", p)
	}
}

func TestPolicyJSON(t *testing.T) {
	text, err := json.Marshal(valid())
	if err != nil {
		t.Fatal(err)
	}
	var again Policy
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(valid(), &again); diff != "" {
		t.Errorf("after JSON %s (-want +got):\n%s", text, diff)
	}
}

func TestVersion(t *testing.T) {
	base := valid()
	base.Formats = nil
	version := base.Version()
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(version) {
		t.Errorf("Version = %q, want 16 hexadecimal digits", version)
	}
	// Journals and records keep versions: they must not change between builds.
	if want := "349605aa1d4a7677"; version != want {
		t.Errorf("Version = %q, want %q as ever", version, want)
	}
	for _, tt := range []struct {
		name string
		edit func(*Policy)
		same bool
	}{
		{"name", func(p *Policy) { p.Name = "other" }, true},
		{"description", func(p *Policy) { p.Description = "other" }, true},
		{"enabled", func(p *Policy) { p.Enabled = new(bool) }, true},
		{"trigger", func(p *Policy) { p.Trigger = Trigger{Type: Manual} }, true},
		{"default format spelt out", func(p *Policy) { p.Formats = []Format{FormatCosign} }, true},
		{"registry", func(p *Policy) { p.Registry = "other" }, false},
		{"namespace", func(p *Policy) { p.Namespace = "other" }, false},
		{"repositories", func(p *Policy) { p.Scope[0].Repositories.Excludes = nil }, false},
		{"tags", func(p *Policy) { p.Scope[0].Tags.Matches[0] = "x*" }, false},
		{"untagged", func(p *Policy) { p.Scope[0].Untagged = false }, false},
		{"another rule", func(p *Policy) { p.Scope = append(p.Scope, p.Scope[0]) }, false},
		{"index", func(p *Policy) { p.Index = IndexOnly }, false},
		{"key", func(p *Policy) { p.Key = "other" }, false},
		{"formats", func(p *Policy) { p.Formats = []Format{FormatBundle} }, false},
		{"domain", func(p *Policy) { p.Domain = "" }, false},
		{"timestamp", func(p *Policy) { p.Timestamp = Timestamps{{URL: "https://tsa.example.com", CA: "/ca.pem"}} }, false},
		{"transparency log", func(p *Policy) { p.TransparencyLog = "https://rekor.example.com" }, false},
		{"transparency log's key", func(p *Policy) { p.TransparencyLogKey = "/rekor.pub" }, false},
	} {
		p := valid()
		p.Formats = nil
		tt.edit(p)
		if same := p.Version() == version; same != tt.same {
			t.Errorf("%s: the same version %t, want %t", tt.name, same, tt.same)
		}
	}
}
