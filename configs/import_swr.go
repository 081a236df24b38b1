package configs

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/policy/swr"
)

// ImportSWR turns signature policies of Huawei SWR into a policy file: one
// policy as it is created or shown, or a list of them, {"policies": [...],
// "total": N}. The notes say what was lost or has to be completed. When anything
// cannot be taken over as it was meant, the error is Errors.
func ImportSWR(r io.Reader) (file []byte, notes []Fault, err error) {
	raw, err := readJSON(r)
	if err != nil {
		return nil, nil, err
	}
	m := &importer{}
	var form struct {
		Policies json.RawMessage `json:"policies"`
	}
	if json.Unmarshal(raw, &form) != nil || form.Policies == nil {
		m.swrPolicy(raw, "")
		return m.finish("Huawei SWR")
	}
	var list struct {
		Policies []json.RawMessage `json:"policies"`
		Total    int               `json:"total"`
	}
	if m.object(raw, "", &list, "policies", "total") {
		for i, p := range list.Policies {
			m.swrPolicy(p, fmt.Sprintf("policies[%d]", i))
		}
		if list.Total > len(list.Policies) {
			m.note("total", fmt.Sprintf("says %d policies, but %d are here: the other pages are missing", list.Total, len(list.Policies)))
		}
	}
	return m.finish("Huawei SWR")
}

type swrPolicy struct {
	ID        int    `json:"id"`
	Name      string `json:"name"`
	Text      string `json:"description"`
	Namespace string `json:"namespace_name"`
	Enabled   *bool  `json:"enabled"`
	Trigger   struct {
		Type     string `json:"type"`
		Settings struct {
			Cron string `json:"cron"`
		} `json:"trigger_settings"`
	} `json:"trigger"`
	Rules     []json.RawMessage `json:"scope_rules"`
	Method    string            `json:"signature_method"`
	Algorithm string            `json:"signature_algorithm"`
	Key       string            `json:"signature_key"`
}

func (m *importer) swrPolicy(raw json.RawMessage, field string) {
	var s swrPolicy
	before := len(m.faults)
	if !m.object(raw, field, &s, "id", "name", "description", "namespace_id", "namespace_name", "trigger", "creator", "enabled",
		"scope_rules", "created_at", "updated_at", "signature_algorithm", "signature_key", "signature_method") {
		return
	}
	p := policy.Policy{
		Description: s.Text, Registry: toComplete, Namespace: s.Namespace, Key: s.Key,
		Trigger: policy.Trigger{Type: policy.TriggerType(s.Trigger.Type), Cron: s.Trigger.Settings.Cron},
	}
	enabled := s.Enabled != nil && *s.Enabled
	if s.Enabled == nil {
		m.note(joinField(field, "enabled"), "is missing; the policy is disabled")
	}
	comments := []string{"Complete the registry."}
	complete := func(value *string, what, from string) {
		if *value == "" {
			*value, enabled = toComplete, false
			m.note(joinField(field, from), "is missing; the policy is disabled until its "+what+" is completed")
			comments = append(comments, "Complete the "+what+", then set enabled to true.")
		}
	}
	complete(&p.Namespace, "namespace", "namespace_name")
	complete(&p.Key, "key", "signature_key")
	comments = append(comments, m.swrAlgorithm(field, &s)...)
	p.Enabled = spelt(enabled)
	m.note(joinField(field, "registry"), "the instance is not in this JSON; name the registry")
	for i, rule := range s.Rules {
		p.Scope = append(p.Scope, m.swrRule(rule, joinField(field, fmt.Sprintf("scope_rules[%d]", i))))
	}
	p.Name = m.name(joinField(field, "name"), s.Name, fmt.Sprintf("swr-%d", s.ID))
	if len(m.faults) == before { // else Validate would repeat them in other words
		m.add(field, p, comments...)
	}
}

// swrAlgorithm checks how the vendor signs and says how to declare the key.
func (m *importer) swrAlgorithm(field string, s *swrPolicy) []string {
	if s.Method != "" && s.Method != swr.Method {
		m.fault(joinField(field, "signature_method"), quote(s.Method)+" is not known", swr.Method)
	}
	switch {
	case s.Algorithm == "":
		m.note(joinField(field, "signature_algorithm"), "is missing; declare the key with the algorithm that is wanted")
		return nil
	case !slices.Contains(swr.Algorithms, s.Algorithm):
		m.fault(joinField(field, "signature_algorithm"), quote(s.Algorithm)+" is not known", join(swr.Algorithms))
		return nil
	}
	return []string{"Declare the key with algorithm " + s.Algorithm + "."}
}

func (m *importer) swrRule(raw json.RawMessage, field string) policy.ScopeRule {
	var rule struct {
		Tags  []json.RawMessage            `json:"tag_selectors"`
		Scope map[string][]json.RawMessage `json:"scope_selectors"`
		Mode  string                       `json:"repo_scope_mode"`
	}
	if !m.object(raw, field, &rule, "tag_selectors", "scope_selectors", "repo_scope_mode") {
		return policy.ScopeRule{}
	}
	m.swrFaults(swr.CheckScope(field, slices.Collect(maps.Keys(rule.Scope)), rule.Mode)...)
	var out policy.ScopeRule
	out.Repositories, _ = m.swrOnly(rule.Scope[swr.Repository], joinField(field, "scope_selectors."+swr.Repository), swr.RepoMatches, swr.RepoExcludes)
	out.Tags, out.Untagged = m.swrOnly(rule.Tags, joinField(field, "tag_selectors"), swr.Matches, swr.Excludes)
	return out
}

// swrOnly reads a list of selectors, of which there must be one.
func (m *importer) swrOnly(list []json.RawMessage, field, matches, excludes string) (policy.Selector, bool) {
	if f, ok := swr.CheckOnly(field, len(list)); !ok {
		m.swrFaults(f)
		return policy.Selector{}, false
	}
	field += "[0]"
	var s swr.Selector
	if !m.object(list[0], field, &s, "kind", "decoration", "pattern", "extras") {
		return policy.Selector{}, false
	}
	selector, extras, faults := s.Read(field, matches, excludes)
	m.swrFaults(faults...)
	m.notePattern(joinField(field, "pattern"), s.Pattern)
	for _, name := range extras.Unknown {
		m.note(joinField(field, "extras"), quote(name)+" is unknown and was ignored")
	}
	return selector, extras.Untagged
}

func (m *importer) swrFaults(faults ...policy.Fault) {
	for _, f := range faults {
		m.fault(f.Field, f.Problem, f.Allowed)
	}
}

var (
	belowRE  = regexp.MustCompile(`[^/{,]/\*\*(?:$|[,}])`)
	negateRE = regexp.MustCompile(`\[!`)
)

// notePattern tells where a pattern means something else than in Harbor, from
// which SWR's selectors come: there doublestar v1 is used, here v4.
func (m *importer) notePattern(field, pattern string) {
	if belowRE.MatchString(pattern) {
		m.note(field, quote(pattern)+" also matches what stands before /**, without anything below it")
	}
	if negateRE.MatchString(pattern) {
		m.note(field, quote(pattern)+" matches what is not in [!...], and not the character '!'")
	}
}
