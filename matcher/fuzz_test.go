package matcher

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/policy"
)

func seedPatterns(f *testing.F) {
	f.Helper()
	for _, p := range []string{
		"**", "*", "v*", "nginx-*", "a/**", "**/b", "**/**", "[!a]x", "[^a-z]", "[a-", "{a,b/**}", "{a", "a}",
		"{a,{b,c}d}", "{[,]}", "[{]a,b}", `\`, `\*`, "release-**", "{,a}", "{}", "", "é*", "\xff", "a{b,c}[d-f]?",
		strings.Repeat("{a,a}", 100), strings.Repeat("{", 200), strings.Repeat("*a", 200),
	} {
		f.Add(p, "library/nginx")
		f.Add(p, p)
	}
}

// FuzzPattern proves that New never panics and that what it accepts can be
// matched against anything. Where a pattern means the same to the standard
// library's path.Match, that is asked for a second opinion.
func FuzzPattern(f *testing.F) {
	seedPatterns(f)
	f.Fuzz(func(t *testing.T, pattern, name string) {
		one := []string{pattern}
		m, err := New(&policy.Policy{Scope: []policy.ScopeRule{
			{Repositories: policy.Selector{Matches: one}, Tags: policy.Selector{Matches: one}},
			{Namespaces: policy.Selector{Matches: one}, Repositories: policy.Selector{Excludes: one}, Untagged: true},
		}})
		if err != nil {
			return
		}
		m.Repository(name)
		m.Artifact(name, nil)
		if name == "" || IsSignatureTag(name) || strings.ContainsAny(pattern, "{}") ||
			strings.Contains(pattern, "**") || strings.Contains(pattern, "[!") ||
			!utf8.ValidString(name) {
			return
		}
		want, err := path.Match(pattern, name)
		if err != nil {
			return // path.Match refuses more classes
		}
		if got := (selector{matches: one}).selects(name); got != want {
			t.Errorf("%q matches %q: %t, path.Match says %t", pattern, name, got, want)
		}
	})
}

// FuzzLiteral proves that a pattern without operators selects the repository of
// its own name and no other.
func FuzzLiteral(f *testing.F) {
	seedPatterns(f)
	f.Add("library/nginx", "library/nginx/x")
	f.Add("Library/nginx", "library/nginx")
	f.Fuzz(func(t *testing.T, literal, other string) {
		if strings.ContainsAny(literal, `*?[]{}\`) || !utf8.ValidString(other) {
			return // names of registries are ASCII
		}
		m, err := New(&policy.Policy{Scope: []policy.ScopeRule{{
			Repositories: policy.Selector{Matches: []string{literal}}, Untagged: true,
		}}})
		if err != nil {
			return
		}
		if !m.Repository(literal) {
			t.Errorf("pattern %q does not select itself", literal)
		}
		if other != literal && m.Repository(other) {
			t.Errorf("pattern %q selects %q", literal, other)
		}
	})
}
