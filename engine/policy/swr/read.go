package swr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/policy"
)

// MaxRules is how many scope rules a policy may have. SWR documents no bound.
const MaxRules = 100

const (
	maxName        = 256
	maxDescription = 1024
	maxKey         = 255
	maxExtras      = 512
)

// ExtrasAllowed says what a selector's extras may be, for error messages.
const ExtrasAllowed = `empty, {"untagged":true} or {"untagged":false}`

// Policy returns what is carried out, without name, registry and namespace, or
// everything that is wrong with the document, by its fields' names.
func (d *Document) Policy() (policy.Policy, []policy.Fault) {
	var v faults
	d.checkTexts(&v)
	if d.Method != Method {
		v.unknown("signature_method", d.Method, Method)
	}
	if !slices.Contains(Algorithms, d.Algorithm) {
		v.unknown("signature_algorithm", d.Algorithm, strings.Join(Algorithms, ", "))
	}
	d.Trigger.check(&v)
	enabled := d.Enabled
	p := policy.Policy{Enabled: &enabled, Key: d.Key,
		Trigger: policy.Trigger{Type: policy.TriggerType(d.Trigger.Type), Cron: d.Trigger.cron()}}
	if d.Description != nil {
		p.Description = *d.Description
	}
	if n := len(d.ScopeRules); n == 0 || n > MaxRules {
		v.add("scope_rules", fmt.Sprintf("has %d rules", n), fmt.Sprintf("1 to %d rules", MaxRules))
		return p, v
	}
	for i := range d.ScopeRules {
		p.Scope = append(p.Scope, d.ScopeRules[i].read(&v, fmt.Sprintf("scope_rules[%d]", i)))
	}
	return p, v
}

func (d *Document) checkTexts(v *faults) {
	if n := utf8.RuneCountInString(d.Name); n == 0 || n > maxName || strings.ContainsFunc(d.Name, notInName) {
		v.add("name", problem(d.Name), "1 to 256 letters, Chinese characters, digits, '_' and '-'")
	}
	if d.Description != nil {
		if n := utf8.RuneCountInString(*d.Description); n > maxDescription {
			v.add("description", fmt.Sprintf("has %d characters", n), "at most 1024 characters")
		}
		if strings.ContainsFunc(*d.Description, notInText) {
			v.add("description", "has control characters", "text, line breaks and tabs")
		}
	}
	if d.Key == "" || len(d.Key) > maxKey || strings.ContainsFunc(d.Key, notInText) {
		v.add("signature_key", problem(d.Key), "the name or an alias of a key, at most 255 bytes")
	}
}

// notInName reports whether a character is in no policy's name.
func notInName(r rune) bool {
	ascii := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
	return !ascii && !unicode.Is(unicode.Han, r)
}

func notInText(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
}

func (t Trigger) check(v *faults) {
	cron := t.cron()
	switch policy.TriggerType(t.Type) {
	case policy.Scheduled:
		if _, err := policy.ParseCron(cron); err != nil {
			v.add("trigger.trigger_settings.cron", err.Error(), policy.CronFields)
		}
	case policy.Manual, policy.EventBased:
		if cron != "" {
			v.add("trigger.trigger_settings.cron", "does nothing for trigger type "+t.Type, "no cron, or type scheduled")
		}
	default:
		v.unknown("trigger.type", t.Type, strings.Join(policy.TriggerTypes, ", "))
	}
}

func (r *ScopeRule) read(v *faults, field string) policy.ScopeRule {
	*v = append(*v, CheckScope(field, slices.Collect(maps.Keys(r.ScopeSelectors)), r.Mode)...)
	only := func(list []Selector, field, matches, excludes string) (policy.Selector, bool) {
		if f, ok := CheckOnly(field, len(list)); !ok {
			*v = append(*v, f)
			return policy.Selector{}, false
		}
		field += "[0]"
		s, extras, faults := list[0].Read(field, matches, excludes)
		*v = append(*v, faults...)
		if n := len(list[0].extras()); n > maxExtras {
			v.add(field+".extras", fmt.Sprintf("has %d bytes", n), ExtrasAllowed)
		}
		for _, name := range extras.Unknown {
			v.add(field+".extras", quote(name)+" is not known", ExtrasAllowed)
		}
		return s, extras.Untagged
	}
	var out policy.ScopeRule
	var untagged bool
	repository := field + ".scope_selectors." + Repository
	if out.Repositories, untagged = only(r.ScopeSelectors[Repository], repository, RepoMatches, RepoExcludes); untagged {
		v.add(repository+"[0].extras", "untagged means nothing for repositories", `empty or {"untagged":false}`)
	}
	out.Tags, out.Untagged = only(r.TagSelectors, field+".tag_selectors", Matches, Excludes)
	return out
}

// CheckScope returns what is wrong with a rule's mode and the keys of its scope
// selectors.
func CheckScope(field string, keys []string, mode string) []policy.Fault {
	var v faults
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if key != Repository {
			v.add(field+".scope_selectors."+key, "is not known", Repository)
		}
	}
	if mode != "" && !slices.Contains(Modes, mode) {
		v.unknown(field+".repo_scope_mode", mode, strings.Join(Modes, ", "))
	}
	return v
}

// CheckOnly returns what is wrong with a list of n selectors; true if nothing is.
// Several would have to hold at once, which one native selector cannot say.
func CheckOnly(field string, n int) (policy.Fault, bool) {
	return policy.Fault{Field: field, Problem: fmt.Sprintf("has %d selectors", n), Allowed: "one selector"}, n == 1
}

// Extras are what a selector's extras say.
type Extras struct {
	// Untagged is whether artifacts without a version are meant, too. That is not
	// the default.
	Untagged bool
	// Unknown are the names of others, which mean nothing here.
	Unknown []string
}

// Read reads a selector with one of the two decorations, or says all that is wrong
// with it.
func (s Selector) Read(field, matches, excludes string) (policy.Selector, Extras, []policy.Fault) {
	var v faults
	if s.Kind != Kind {
		v.unknown(field+".kind", s.Kind, Kind)
	}
	if err := policy.CheckPattern(s.Pattern); err != nil {
		v.add(field+".pattern", err.Error(), policy.PatternAllowed)
	}
	extras := readExtras(&v, field+".extras", s.extras())
	switch s.Decoration {
	case matches:
		return policy.Selector{Matches: []string{s.Pattern}}, extras, v
	case excludes:
		return policy.Selector{Excludes: []string{s.Pattern}}, extras, v
	}
	v.unknown(field+".decoration", s.Decoration, matches+", "+excludes)
	return policy.Selector{}, extras, v
}

func readExtras(v *faults, field, text string) Extras {
	if strings.TrimSpace(text) == "" {
		return Extras{}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		v.add(field, quote(text)+" is not a JSON object", ExtrasAllowed)
		return Extras{}
	}
	var extras Extras
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "untagged" {
			extras.Unknown = append(extras.Unknown, name)
		}
	}
	if value, ok := fields["untagged"]; ok && (string(value) == "null" || json.Unmarshal(value, &extras.Untagged) != nil) {
		v.add(field, "untagged is not a truth value", ExtrasAllowed)
	}
	return extras
}

type faults []policy.Fault

func (v *faults) add(field, problem, allowed string) {
	*v = append(*v, policy.Fault{Field: field, Problem: problem, Allowed: allowed})
}

func (v *faults) unknown(field, value, allowed string) {
	v.add(field, quote(value)+" is not known", allowed)
}

func problem(got string) string {
	if got == "" {
		return "is required"
	}
	return quote(got) + " is not allowed"
}

// quote shows the beginning of what a client sent.
func quote(s string) string {
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100]) + "…"
	}
	return strconv.Quote(s)
}
