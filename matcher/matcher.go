// Package matcher decides what a policy covers: which repositories, tags and
// artifacts its scope selects. It is pure, it does no I/O, and once New has
// accepted a policy, matching cannot fail.
package matcher

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

// A Matcher is the compiled scope of one policy. It does not change and is safe
// for concurrent use. Matching is case-sensitive.
//
// Names are full repository names without the host: "library/team/nginx". With
// a policy namespace, only names below NAMESPACE/ are covered, and repository
// patterns see what follows it. Without one, they see the full name, except in
// a rule that selects namespaces: there the namespace selector sees the first
// segment ("" when there is only one) and the patterns see the rest.
type Matcher struct {
	namespace string // with a trailing '/', or ""
	rules     []rule
}

type rule struct {
	namespaces   selector // unused unless split
	split        bool     // whether namespaces sees the first segment
	repositories selector
	tags         selector
	tagged       bool // whether the rule selects tagged artifacts at all
	untagged     bool
}

// New compiles the scope of p. It fails on patterns that [policy.CheckPattern]
// refuses and on rules that select nothing; it does not look at the rest of p.
func New(p *policy.Policy) (*Matcher, error) {
	m := &Matcher{}
	if p.Namespace != "" {
		m.namespace = p.Namespace + "/"
	}
	for i, r := range p.Scope {
		compiled, err := newRule(r, p.Namespace != "")
		if err != nil {
			return nil, fmt.Errorf("compiling policy %q: scope[%d].%w", p.Name, i, err)
		}
		m.rules = append(m.rules, compiled)
	}
	return m, nil
}

func newRule(r policy.ScopeRule, namespaced bool) (rule, error) {
	if namespaced && !r.Namespaces.IsZero() {
		return rule{}, errors.New("namespaces: contradicts the policy's namespace")
	}
	if r.Repositories.IsZero() {
		return rule{}, errors.New("repositories: is required")
	}
	if r.Tags.IsZero() && !r.Untagged {
		return rule{}, errors.New("tags: is required without untagged: true")
	}
	out := rule{split: !r.Namespaces.IsZero(), tagged: !r.Tags.IsZero(), untagged: r.Untagged}
	var err error
	if out.namespaces, err = newSelector(r.Namespaces); err != nil {
		return rule{}, fmt.Errorf("namespaces.%w", err)
	}
	if out.repositories, err = newSelector(r.Repositories); err != nil {
		return rule{}, fmt.Errorf("repositories.%w", err)
	}
	if out.tags, err = newSelector(r.Tags); err != nil {
		return rule{}, fmt.Errorf("tags.%w", err)
	}
	return out, nil
}

// Repository reports whether the policy could cover any artifact of the
// repository.
func (m *Matcher) Repository(full string) bool {
	return m.any(full, func(*rule) bool { return true })
}

// Tag reports whether the policy covers what tag names in the repository: one
// rule selects both. Signature tags are never covered.
func (m *Matcher) Tag(full, tag string) bool {
	if IsSignatureTag(tag) {
		return false
	}
	return m.any(full, func(r *rule) bool { return r.tagged && r.tags.selects(tag) })
}

// Untagged reports whether the policy covers the repository's artifacts that no
// tag names.
func (m *Matcher) Untagged(full string) bool {
	return m.any(full, func(r *rule) bool { return r.untagged })
}

// Artifact reports whether the policy covers an artifact with these tags: any
// of them is covered or, when there are none, untagged artifacts are. An
// artifact that only signature tags name is a signature, not untagged.
func (m *Matcher) Artifact(full string, tags []string) bool {
	if len(tags) == 0 {
		return m.Untagged(full)
	}
	return slices.ContainsFunc(tags, func(tag string) bool { return m.Tag(full, tag) })
}

// any reports whether a rule selects the repository and satisfies ok.
func (m *Matcher) any(full string, ok func(*rule) bool) bool {
	name, below := strings.CutPrefix(full, m.namespace)
	if !below || name == "" {
		return false
	}
	for i := range m.rules {
		if r := &m.rules[i]; ok(r) && r.selectsRepository(name) {
			return true
		}
	}
	return false
}

func (r *rule) selectsRepository(name string) bool {
	if !r.split {
		return r.repositories.selects(name)
	}
	namespace, rest, found := strings.Cut(name, "/")
	if !found {
		namespace, rest = "", name
	}
	return r.namespaces.selects(namespace) && r.repositories.selects(rest)
}

var signatureTagRE = regexp.MustCompile(`^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$`)

// IsSignatureTag reports whether tag is one under which signatures,
// attestations or SBOMs (sha256-<hex>.sig, .att, .sbom) or a fallback index of
// referrers (sha256-<hex>) are stored. What such a tag names is about another
// artifact and is itself never signed.
func IsSignatureTag(tag string) bool { return signatureTagRE.MatchString(tag) }

// A selector is a policy.Selector whose patterns have been checked.
type selector struct{ matches, excludes []string }

func newSelector(s policy.Selector) (selector, error) {
	for _, list := range []struct {
		name     string
		patterns []string
	}{{"matches", s.Matches}, {"excludes", s.Excludes}} {
		for i, p := range list.patterns {
			if err := policy.CheckPattern(p); err != nil {
				return selector{}, fmt.Errorf("%s[%d]: %w", list.name, i, err)
			}
		}
	}
	return selector{slices.Clone(s.Matches), slices.Clone(s.Excludes)}, nil
}

func (s selector) selects(value string) bool {
	matched := func(pattern string) bool { return doublestar.MatchUnvalidated(pattern, value) }
	return (len(s.matches) == 0 || slices.ContainsFunc(s.matches, matched)) &&
		!slices.ContainsFunc(s.excludes, matched)
}
