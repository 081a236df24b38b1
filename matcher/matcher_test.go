package matcher

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
)

// A verdict says what a policy must do with one artifact.
type verdict struct {
	repository string
	tags       []string
	covered    bool
}

func covers(repository string, tags ...string) verdict { return verdict{repository, tags, true} }
func leaves(repository string, tags ...string) verdict { return verdict{repository, tags, false} }

func matches(patterns ...string) policy.Selector  { return policy.Selector{Matches: patterns} }
func excludes(patterns ...string) policy.Selector { return policy.Selector{Excludes: patterns} }

var all = matches("**")

func scope(rules ...policy.ScopeRule) *policy.Policy { return &policy.Policy{Name: "p", Scope: rules} }

func below(namespace string, rules ...policy.ScopeRule) *policy.Policy {
	return &policy.Policy{Name: "p", Namespace: namespace, Scope: rules}
}

func check(t *testing.T, p *policy.Policy, verdicts ...verdict) {
	t.Helper()
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if got := m.Artifact(v.repository, v.tags); got != v.covered {
			t.Errorf("%s%v: covered %t, want %t", v.repository, v.tags, got, v.covered)
		}
		if v.covered && !m.Repository(v.repository) {
			t.Errorf("%s%v is covered, but Repository says nothing in %s is", v.repository, v.tags, v.repository)
		}
	}
}

// TestHarborTable is Harbor's own table for its doublestar selector, with one
// difference: whatever the decoration, untagged artifacts are covered exactly
// when the rule says so. (Harbor's default covers them except under excludes,
// and its excludes ignores untagged=true.)
func TestHarborTable(t *testing.T) {
	const harbor, redis, special = "library/harbor", "retention/redis", "library/special"
	inNamespaces := func(s policy.Selector) policy.ScopeRule {
		return policy.ScopeRule{Namespaces: s, Repositories: all, Tags: all, Untagged: true}
	}
	// Harbor's repository patterns do not see the project: that is a rule
	// with namespaces.
	inRepositories := func(s policy.Selector) policy.ScopeRule {
		return policy.ScopeRule{Namespaces: all, Repositories: s, Tags: all, Untagged: true}
	}
	for _, tt := range []struct {
		name                                 string
		rule                                 policy.ScopeRule
		harbor, redis40, redis41, specialToo bool
	}{
		{"matches {latest,4.*} untagged=false", policy.ScopeRule{Repositories: all, Tags: matches("{latest,4.*}")}, true, true, true, false},
		{"matches 4.* untagged=false", policy.ScopeRule{Repositories: all, Tags: matches("4.*")}, false, true, true, false},
		{"matches 4.* untagged=true", policy.ScopeRule{Repositories: all, Tags: matches("4.*"), Untagged: true}, false, true, true, true},
		{"excludes {latest,4.*} untagged=true", policy.ScopeRule{Repositories: all, Tags: excludes("{latest,4.*}"), Untagged: true}, false, false, false, true},
		{"excludes {latest,4.*} by default", policy.ScopeRule{Repositories: all, Tags: excludes("{latest,4.*}")}, false, false, false, false},
		{"excludes 4.* untagged=true", policy.ScopeRule{Repositories: all, Tags: excludes("4.*"), Untagged: true}, true, false, false, true},
		{"repoMatches {redis}", inRepositories(matches("{redis}")), false, true, true, false},
		{"repoMatches har*", inRepositories(matches("har*")), true, false, false, false},
		{"repoExcludes {redis}", inRepositories(excludes("{redis}")), true, false, false, true},
		{"repoExcludes har*", inRepositories(excludes("har*")), false, true, true, true},
		{"nsMatches {library}", inNamespaces(matches("{library}")), true, false, false, true},
		{"nsExcludes {library}", inNamespaces(excludes("{library}")), false, true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, scope(tt.rule),
				verdict{harbor, []string{"latest"}, tt.harbor},
				verdict{redis, []string{"4.0"}, tt.redis40},
				verdict{redis, []string{"4.1"}, tt.redis41},
				verdict{special, nil, tt.specialToo},
			)
		})
	}
}

// TestPatterns pins what patterns mean. The rows marked with a version are
// where doublestar v4, which is used here, and v1.3.4, which Harbor pins,
// disagree; a pattern brought over from there may mean something else.
func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"nginx", "nginx", true},
		{"nginx", "Nginx", false},
		{"nginx", "nginx2", false},
		{"nginx-*", "nginx-1", true},
		{"nginx-*", "nginx-", true},
		{"nginx-*", "a/nginx-1", false},
		{"nginx-*", "nginx-1/a", false},
		{"**/nginx-*", "nginx-1", true},
		{"**/nginx-*", "a/b/nginx-1", true},
		{"*", ".hidden", true},
		{"*", "a/b", false},
		{"**", "a/b/c", true},
		{"release-**", "release-1", true},
		{"release-**", "release-1/x", false},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"{repo}", "repo", true},
		{"{repo1,repo2}", "repo2", true},
		{"{a, b}", "b", false}, // a blank is a character like any other
		{"{a, b}", " b", true},
		{"v[0-9].*", "v1.2", true},
		{"v[0-9].*", "vx.2", false},
		{"[^a]x", "bx", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{"!a", "b", false}, // no negation
		{"a|b", "a", false},
		{"^a$", "a", false}, // not a regular expression
		{"1.10", "1x10", false},

		{"a/**", "a", true},       // v1: false
		{"a/**", "a/b", true},     // both
		{"[!a]x", "bx", true},     // v1: false, '!' is a character there
		{"[!a]x", "!x", true},     // both, for different reasons
		{"[!a]x", "ax", false},    // v1: true
		{"{a,b/**}", "b", true},   // v1: false
		{"{a,b/**}", "", false},   // v1: error
		{"**/**", "", false},      // v1: true
		{"**/**", "a", true},      // both
		{"[!a]b", "/b", true},     // a class matches '/' as well
		{"a/[!b]c", "a//c", true}, // the same
	} {
		s, err := newSelector(matches(tt.pattern))
		if err != nil {
			t.Errorf("%q is refused: %v", tt.pattern, err)
			continue
		}
		if got := s.selects(tt.value); got != tt.want {
			t.Errorf("%q matches %q: %t, want %t", tt.pattern, tt.value, got, tt.want)
		}
	}
}

func TestNamespace(t *testing.T) {
	rule := policy.ScopeRule{Repositories: matches("nginx*"), Tags: all}
	check(t, below("library", rule),
		covers("library/nginx", "1"),
		covers("library/nginx-2", "1"),
		leaves("library/team/nginx", "1"),
		leaves("library", "1"),
		leaves("library/", "1"),
		leaves("library2/nginx", "1"),
		leaves("Library/nginx", "1"),
		leaves("nginx", "1"),
		leaves("x/library/nginx", "1"),
	)
	check(t, below("library/team", rule),
		covers("library/team/nginx", "1"),
		leaves("library/nginx", "1"),
	)
}

func TestFullNames(t *testing.T) {
	check(t, scope(policy.ScopeRule{Repositories: matches("library/*"), Tags: all}),
		covers("library/nginx", "1"),
		leaves("library/team/nginx", "1"),
		leaves("nginx", "1"),
		leaves("", "1"),
	)
	check(t, scope(policy.ScopeRule{Repositories: all, Tags: all}),
		covers("nginx", "1"),
		covers("a/b/c/d", "1"),
	)
}

func TestRuleNamespaces(t *testing.T) {
	check(t, scope(policy.ScopeRule{Namespaces: matches("team-*"), Repositories: matches("nginx"), Tags: all}),
		covers("team-a/nginx", "1"),
		leaves("team-a/x/nginx", "1"),
		leaves("other/nginx", "1"),
		leaves("nginx", "1"),
	)
	check(t, scope(policy.ScopeRule{Namespaces: matches("**"), Repositories: matches("x/nginx"), Tags: all}),
		covers("team/x/nginx", "1"),
		leaves("x/nginx", "1"),
	)
	check(t, scope(policy.ScopeRule{Namespaces: excludes("?*"), Repositories: matches("nginx"), Tags: all}),
		covers("nginx", "1"), // the namespace of a one-segment name is ""
		leaves("team/nginx", "1"),
	)
}

func TestMatchesAndExcludes(t *testing.T) {
	check(t, scope(policy.ScopeRule{
		Repositories: policy.Selector{Matches: []string{"library/**", "tools/*"}, Excludes: []string{"**/test-*"}},
		Tags:         policy.Selector{Matches: []string{"v*", "latest"}, Excludes: []string{"*-rc*", "*-dev"}},
	}),
		covers("library/nginx", "v1"),
		covers("tools/go", "latest"),
		covers("library/nginx", "v1-rc1", "v1"), // one selected tag is enough
		leaves("library/nginx", "v1-rc1"),
		leaves("library/nginx", "v1-rc1", "v2-dev"),
		leaves("library/nginx", "1.0"),
		leaves("library/test-nginx", "v1"),
		leaves("other/nginx", "v1"),
		leaves("library/nginx"),
	)
}

// TestRulesAreORed also proves that a rule's selectors are not mixed with
// another's.
func TestRulesAreORed(t *testing.T) {
	check(t, scope(
		policy.ScopeRule{Repositories: matches("a"), Tags: matches("v*")},
		policy.ScopeRule{Repositories: matches("b"), Tags: matches("latest")},
		policy.ScopeRule{Repositories: matches("c"), Untagged: true},
	),
		covers("a", "v1"),
		covers("b", "latest"),
		covers("c"),
		leaves("a", "latest"),
		leaves("b", "v1"),
		leaves("a"),
		leaves("b"),
		leaves("c", "v1"),
		leaves("d", "v1", "latest"),
	)
}

func TestUntagged(t *testing.T) {
	m, err := New(scope(policy.ScopeRule{Repositories: matches("a"), Untagged: true}))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Repository("a") || m.Repository("b") {
		t.Error("want repository a, and only it")
	}
	if !m.Untagged("a") || m.Untagged("b") {
		t.Error("want untagged artifacts of a, and only of it")
	}
	if m.Tag("a", "v1") {
		t.Error("a rule without tags selects a tagged artifact")
	}
}

func TestSignatureTagsAreNeverCovered(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	own := []string{"sha256-" + hex, "sha256-" + hex + ".sig", "sha256-" + hex + ".att", "sha256-" + hex + ".sbom"}
	others := []string{
		"latest", "", "sha256-" + hex[1:], "sha256-" + hex + "0", "sha256-" + strings.ToUpper(hex), "sha512-" + hex,
		"sha256-" + hex + ".sigs", "sha256-" + hex + ".txt", "xsha256-" + hex + ".sig", "sha256-" + hex + ".sig\n", "sha256:" + hex,
	}
	for _, tag := range own {
		if !IsSignatureTag(tag) {
			t.Errorf("%q is not seen as a signature tag", tag)
		}
		check(t, scope(policy.ScopeRule{Repositories: all, Tags: all, Untagged: true}),
			leaves("a", tag),
			covers("a", tag, "v1"),
		)
		check(t, scope(policy.ScopeRule{Repositories: all, Tags: matches(tag)}), leaves("a", tag))
	}
	for _, tag := range others {
		if IsSignatureTag(tag) {
			t.Errorf("%q is seen as a signature tag", tag)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	bad := matches("ok", "{a")
	for _, tt := range []struct {
		policy *policy.Policy
		want   string
	}{
		{scope(policy.ScopeRule{Repositories: bad, Tags: all}), `compiling policy "p": scope[0].repositories.matches[1]: "{a" is malformed`},
		{scope(policy.ScopeRule{Repositories: all, Tags: excludes("[")}), `compiling policy "p": scope[0].tags.excludes[0]: "[" is malformed`},
		{scope(policy.ScopeRule{Namespaces: matches(""), Repositories: all, Tags: all}), `compiling policy "p": scope[0].namespaces.matches[0]: is empty`},
		{scope(policy.ScopeRule{Repositories: all, Tags: all}, policy.ScopeRule{Repositories: all}), `compiling policy "p": scope[1].tags: is required without untagged: true`},
		{scope(policy.ScopeRule{Tags: all}), `compiling policy "p": scope[0].repositories: is required`},
		{below("library", policy.ScopeRule{Namespaces: all, Repositories: all, Tags: all}), `compiling policy "p": scope[0].namespaces: contradicts the policy's namespace`},
	} {
		m, err := New(tt.policy)
		if err == nil || err.Error() != tt.want {
			t.Errorf("New = %v, %v; want the error %q", m, err, tt.want)
		}
	}
}

// TestLaterChangesDoNotCount proves that a compiled matcher does not follow
// the policy it came from, which may be edited and reloaded.
func TestLaterChangesDoNotCount(t *testing.T) {
	p := scope(policy.ScopeRule{Repositories: matches("a"), Tags: all})
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Scope[0].Repositories.Matches[0] = "[" // would not even be valid
	if !m.Artifact("a", []string{"1"}) {
		t.Error("the matcher changed with its policy")
	}
}

func BenchmarkTenThousandNames(b *testing.B) {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("team-%d/service-%d/image", i%100, i)
	}
	for _, bb := range []struct {
		name   string
		policy *policy.Policy
	}{
		{"all", scope(policy.ScopeRule{Repositories: all, Tags: all})},
		{"namespace", below("team-7", policy.ScopeRule{Repositories: matches("**/image"), Tags: all})},
		{"braces", scope(policy.ScopeRule{Repositories: matches("team-{1,2,3,4,5}*/**/{image,chart}"), Tags: all})},
		{"rules", scope(
			policy.ScopeRule{Repositories: policy.Selector{Matches: []string{"a/**", "b/**"}, Excludes: []string{"**/test-*"}}, Tags: all},
			policy.ScopeRule{Namespaces: matches("team-9*"), Repositories: matches("**/image"), Tags: all},
		)},
	} {
		m, err := New(bb.policy)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, name := range names {
					m.Tag(name, "v1.2.3")
				}
			}
		})
	}
}
