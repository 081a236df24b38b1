package swr

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealwright/sealwright/engine/policy"
)

// ErrNoWords is wrapped by errors about policies that SWR cannot say.
var ErrNoWords = errors.New("SWR has no words for it")

// Say returns the document of a policy whose key has the algorithm; the document's
// name is the policy's. It returns ErrNoWords if any of what the policy says would
// be lost.
func Say(p *policy.Policy, a policy.Algorithm) (Document, error) {
	if what := unsayable(p, a); what != "" {
		return Document{}, fmt.Errorf("policy %q: %s: %w", p.Name, what, ErrNoWords)
	}
	d := Document{Name: p.Name, Description: &p.Description, Enabled: p.IsEnabled(), Method: Method, Algorithm: string(a), Key: p.Key,
		Trigger: Trigger{Type: string(p.Trigger.Type)}}
	if p.Trigger.Cron != "" {
		d.Trigger.Settings = &Settings{Cron: p.Trigger.Cron}
	}
	for i := range p.Scope {
		rule, err := sayRule(&p.Scope[i])
		if err != nil {
			return Document{}, fmt.Errorf("policy %q: scope[%d]: %w", p.Name, i, err)
		}
		d.ScopeRules = append(d.ScopeRules, rule)
	}
	return d, nil
}

// unsayable names what SWR has no field for.
func unsayable(p *policy.Policy, a policy.Algorithm) string {
	switch {
	case !slices.Contains(Algorithms, string(a)):
		return "algorithm"
	case p.IndexMode() != policy.IndexOnly:
		return "index"
	case !slices.Equal(p.SignatureFormats(), []policy.Format{policy.FormatCosign}):
		return "formats"
	case len(p.Timestamp) > 0 || p.TransparencyLog != "":
		return "witnesses"
	case p.SignatureRepository != "":
		return "signature_repository"
	case p.Domain != "":
		return "domain"
	case p.Trigger.Reconcile != "":
		return "trigger.reconcile"
	}
	return ""
}

func sayRule(r *policy.ScopeRule) (ScopeRule, error) {
	repository, ok := saySelector(r.Repositories, RepoMatches, RepoExcludes)
	tags, tagsOK := saySelector(r.Tags, Matches, Excludes)
	if !ok || !tagsOK || !r.Namespaces.IsZero() {
		return ScopeRule{}, ErrNoWords
	}
	if r.Untagged {
		untagged := `{"untagged":true}`
		tags.Extras = &untagged
	}
	return ScopeRule{TagSelectors: []Selector{tags}, ScopeSelectors: map[string][]Selector{Repository: {repository}}, Mode: Modes[0]}, nil
}

// saySelector says a selector of one pattern. SWR has no other.
func saySelector(s policy.Selector, matches, excludes string) (Selector, bool) {
	switch {
	case len(s.Matches) == 1 && len(s.Excludes) == 0:
		return Selector{Kind: Kind, Decoration: matches, Pattern: s.Matches[0]}, true
	case len(s.Matches) == 0 && len(s.Excludes) == 1:
		return Selector{Kind: Kind, Decoration: excludes, Pattern: s.Excludes[0]}, true
	}
	return Selector{}, false
}
