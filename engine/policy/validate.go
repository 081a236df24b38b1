package policy

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Fault is one thing that is wrong with a policy.
type Fault struct {
	// Field is the path of the value inside the policy, as written in a file:
	// "scope[0].tags.matches[1]". It may name a field that is missing.
	Field string
	// Problem says what is wrong, as a predicate: "is required".
	Problem string
	// Allowed says what would be right; empty when Problem says it.
	Allowed string
}

// Error returns the fault in one line.
func (f Fault) Error() string {
	text := f.Problem
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if f.Allowed != "" {
		text += "; allowed: " + f.Allowed
	}
	return text
}

var (
	nameRE      = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,126}[A-Za-z0-9])?$`)
	namespaceRE = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	domainRE    = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$`)
)

// NameAllowed says what a policy, registry or key may be called.
const NameAllowed = "1 to 128 letters, digits, '.', '_', '-' and inner blanks, starting and ending with a letter or digit"

// ValidName reports whether s may name a policy, a registry or a key.
func ValidName(s string) bool { return nameRE.MatchString(s) }

// NamespaceAllowed says what a namespace may be.
const NamespaceAllowed = "a repository name prefix without leading or trailing '/': lower-case letters, digits, single '.', '_', '-' and '/' between them"

// ValidNamespace reports whether s may be a namespace.
func ValidNamespace(s string) bool { return namespaceRE.MatchString(s) }

// Validate returns everything that is wrong with the policy by itself, in the
// order of its fields; whether its registry and key exist is the configuration's
// to say. Nil means the policy is valid.
func (p *Policy) Validate() []Fault {
	var v faults
	if !ValidName(p.Name) {
		v.add("name", problem(p.Name), NameAllowed)
	}
	if n := utf8.RuneCountInString(p.Description); n > 1024 {
		v.add("description", fmt.Sprintf("has %d characters", n), "at most 1024 characters")
	}
	if p.Registry == "" {
		v.add("registry", "is required", "the name of a registry")
	}
	if p.Namespace != "" && !ValidNamespace(p.Namespace) {
		v.add("namespace", problem(p.Namespace), NamespaceAllowed)
	}
	p.Trigger.validate(&v)
	if len(p.Scope) == 0 {
		v.add("scope", "is required", "at least one scope rule")
	}
	for i, r := range p.Scope {
		r.validate(&v, fmt.Sprintf("scope[%d]", i), p.Namespace != "")
	}
	if p.Index != "" && !slices.Contains(IndexModes, string(p.Index)) {
		v.add("index", problem(string(p.Index)), strings.Join(IndexModes, ", "))
	}
	if p.Key == "" {
		v.add("key", "is required", "the name of a key")
	}
	for i, f := range p.Formats {
		field := fmt.Sprintf("formats[%d]", i)
		if !slices.Contains(Formats, string(f)) {
			v.add(field, problem(string(f)), strings.Join(Formats, ", "))
		} else if slices.Contains(p.Formats[:i], f) {
			v.add(field, fmt.Sprintf("repeats %q", f), "each format once")
		}
	}
	p.witnesses(&v)
	p.signatureRepository(&v)
	if p.Domain != "" && !domainRE.MatchString(p.Domain) {
		v.add("domain", problem(p.Domain), "HOST or HOST:PORT")
	}
	return v
}

// witnesses checks who attests signatures.
func (p *Policy) witnesses(v *faults) {
	carries := func(f Format) bool { return f == FormatBundle || f.IsNotation() }
	if len(p.Timestamp) > 0 && !slices.ContainsFunc(p.SignatureFormats(), carries) {
		v.add("timestamp", "does nothing for the policy's formats", "no timestamp, or one of formats bundle, notation-jws, notation-cose")
	}
	for i, a := range p.Timestamp {
		field := fmt.Sprintf("timestamp[%d]", i)
		checkURL(v, field+".url", a.URL, "is required")
		if a.CA == "" {
			v.add(field+".ca", "is required", "the path of a PEM file with the authority's root certificates")
		}
	}
	if p.TransparencyLog != "" {
		checkURL(v, "transparency_log", p.TransparencyLog, "")
		if !slices.Contains(p.SignatureFormats(), FormatBundle) {
			v.add("transparency_log", "does nothing for the policy's formats", "no transparency_log, or format bundle")
		}
	} else if p.TransparencyLogKey != "" {
		v.add("transparency_log_key", "does nothing without transparency_log", "no transparency_log_key, or transparency_log")
	}
}

// checkURL never repeats the URL, which might hold a password.
func checkURL(v *faults, field, value, missing string) {
	const allowed = "an http:// or https:// URL without user, query and fragment"
	u, err := url.Parse(value)
	switch {
	case value == "":
		v.add(field, missing, allowed)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		v.add(field, "is not the URL of a server", allowed)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.add(field, "has more than host and path", allowed)
	}
}

func (p *Policy) signatureRepository(v *faults) {
	if p.SignatureRepository == "" {
		return
	}
	if !slices.Contains(p.SignatureFormats(), FormatCosign) {
		v.add("signature_repository", "does nothing for the policy's formats", "no signature_repository, or format cosign")
	}
	if !namespaceRE.MatchString(strings.ReplaceAll(p.SignatureRepository, "{repository}", "r")) {
		v.add("signature_repository", problem(p.SignatureRepository), "the name of a repository, in which {repository} stands for the image's")
	}
}

func (t Trigger) validate(v *faults) {
	switch t.Type {
	case Scheduled:
		if _, err := ParseCron(t.Cron); err != nil {
			v.add("trigger.cron", err.Error(), CronFields)
		}
	case Manual, EventBased:
		if t.Cron != "" {
			allowed := "no cron, or type: scheduled"
			if t.Type == EventBased {
				allowed += ", or reconcile in place of cron"
			}
			v.add("trigger.cron", fmt.Sprintf("does nothing for trigger type %s", t.Type), allowed)
		}
	default:
		v.add("trigger.type", problem(string(t.Type)), strings.Join(TriggerTypes, ", "))
		return
	}
	if t.Reconcile == "" {
		return
	}
	if t.Type != EventBased {
		v.add("trigger.reconcile", fmt.Sprintf("does nothing for trigger type %s", t.Type), "no reconcile, or type: event_based")
	} else if _, err := ParseCron(t.Reconcile); err != nil {
		v.add("trigger.reconcile", err.Error(), CronFields)
	}
}

func (r ScopeRule) validate(v *faults, field string, namespaced bool) {
	if namespaced && !r.Namespaces.IsZero() {
		v.add(field+".namespaces", "contradicts the policy's namespace", "one of the two")
	}
	r.Namespaces.validate(v, field+".namespaces")
	if r.Repositories.IsZero() {
		v.add(field+".repositories", "is required", `a pattern ("**" for all) or {matches: [...], excludes: [...]}`)
	}
	r.Repositories.validate(v, field+".repositories")
	if r.Tags.IsZero() && !r.Untagged {
		v.add(field+".tags", "is required without untagged: true", `a pattern ("**" for all) or {matches: [...], excludes: [...]}`)
	}
	r.Tags.validate(v, field+".tags")
}

func (s Selector) validate(v *faults, field string) {
	check := func(list string, patterns []string) {
		for i, p := range patterns {
			if err := CheckPattern(p); err != nil {
				v.add(field+"."+list+"["+strconv.Itoa(i)+"]", err.Error(), PatternAllowed)
			}
		}
	}
	check("matches", s.Matches)
	check("excludes", s.Excludes)
}

func problem(got string) string {
	if got == "" {
		return "is required"
	}
	return fmt.Sprintf("%q is not allowed", got)
}

type faults []Fault

func (v *faults) add(field, problem, allowed string) {
	*v = append(*v, Fault{Field: field, Problem: problem, Allowed: allowed})
}
