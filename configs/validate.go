package configs

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// A validator collects what is wrong with a configuration.
type validator struct {
	config     *Config
	faults     Errors
	undecoded  map[string]undecoded // by file
	overflowed bool                 // a file stands for too many values to go on

	registryNames, keyNames, storeNames names
}

// undecoded are the fields of one file that could not be decoded, and all
// fields around them.
type undecoded struct{ fields, around map[string]bool }

// decoded takes over the faults of a decoder and remembers their fields.
func (v *validator) decoded(d *decoder) {
	v.faults = append(v.faults, d.faults...)
	v.overflowed = v.overflowed || d.reported
	u := undecoded{map[string]bool{}, map[string]bool{}}
	for _, f := range d.faults {
		u.fields[f.Field] = true
		for path := f.Field; path != ""; path = parent(path) {
			u.around[path] = true
		}
	}
	if v.undecoded == nil {
		v.undecoded = map[string]undecoded{}
	}
	v.undecoded[d.doc.file] = u
}

// add reports a fault of a field inside p, unless that field or what is around
// or inside it could not be decoded: then the fault is only a consequence.
func (v *validator) add(p place, field, problem, allowed string) {
	if p = p.in(field); !v.consequence(p) {
		v.faults = append(v.faults, p.fault(problem, allowed))
	}
}

func (v *validator) consequence(p place) bool {
	if p.doc == nil {
		return false
	}
	u := v.undecoded[p.doc.file]
	for path := p.path; path != ""; path = parent(path) {
		if u.fields[path] {
			return true
		}
	}
	return u.fields[""] || u.around[p.path]
}

// required reports a field that is empty. It returns whether it is not.
func (v *validator) required(p place, field, value, allowed string) bool {
	if value == "" {
		v.add(p, field, "is required", allowed)
	}
	return value != ""
}

// name checks a name and that nothing else of its sort has it.
func (v *validator) name(p place, value string, seen map[string]place) {
	const field = "name"
	if !policy.ValidName(value) {
		if v.required(p, field, value, policy.NameAllowed) {
			v.add(p, field, quote(value)+" is not allowed", policy.NameAllowed)
		}
		return
	}
	v.unique(p, field, value, seen)
}

func (v *validator) unique(p place, field, value string, seen map[string]place) {
	if first, taken := seen[value]; taken {
		v.add(p, field, fmt.Sprintf("%s is already used at %s", quote(value), first), "each once")
		return
	}
	seen[value] = p.in(field)
}

// names are what may be referred to.
type names struct {
	field   string // where they are declared
	list    []string
	set     map[string]bool
	unknown bool // some could not be decoded
}

func (n *names) add(name string) {
	if name != "" && !n.set[name] {
		n.set[name] = true
		n.list = append(n.list, name)
	}
}

// declared sets the names that registries, keys and key stores go by.
func (v *validator) declared() {
	root := v.config.root
	newNames := func(field string) names {
		return names{field: field, set: map[string]bool{}, unknown: v.undecoded[root.doc.file].fields[field]}
	}
	registries, keys := newNames("registries"), newNames("keys")
	for i, r := range v.config.Registries {
		registries.add(r.Name)
		at := root.item("registries", i)
		registries.unknown = registries.unknown || r.Name == "" && v.consequence(at.in("name"))
	}
	for i, k := range v.config.Keys {
		at := root.item("keys", i)
		keys.add(k.Name)
		for _, alias := range k.Aliases {
			keys.add(alias)
		}
		keys.unknown = keys.unknown || k.Name == "" && v.consequence(at.in("name")) || v.consequence(at.in("aliases"))
	}
	stores := newNames("key_stores")
	for i, s := range v.config.KeyStores {
		stores.add(s.Name)
		stores.unknown = stores.unknown || s.Name == "" && v.consequence(root.item("key_stores", i).in("name"))
	}
	v.registryNames, v.keyNames, v.storeNames = registries, keys, stores
}

// reference checks that a registry, key or key store is declared. Where a name among the
// declarations could not be read, nothing is said.
func (v *validator) reference(p place, field, value string, to names) {
	if value == "" || to.set[value] || to.unknown {
		return
	}
	allowed := strings.Join(to.list[:min(len(to.list), 100)], ", ")
	if allowed == "" {
		allowed = "none, as long as none is declared"
	}
	v.add(p, field, fmt.Sprintf("%s is not declared under %s", quote(value), to.field), allowed)
}

// validate reports everything that is wrong with the values.
func (v *validator) validate() {
	c := v.config
	v.declared()
	v.registries()
	v.keyStores()
	v.keys()
	v.publicKeys()
	v.allPolicies()
	v.state(c.State)
	v.listen(c.Listen)
	v.tls(c.TLS)
	v.upkeep(c)
	v.tracing(c.Tracing)
	v.signatureKeys(c)
	v.instances()
	v.access()
	v.sinks()
}

func (v *validator) allPolicies() {
	seen := map[string]place{}
	for i := range v.config.Policies {
		p, at := &v.config.Policies[i], v.config.policies[i]
		for _, f := range p.Validate() {
			v.add(at, f.Field, f.Problem, f.Allowed)
		}
		if policy.ValidName(p.Name) {
			v.unique(at, "name", p.Name, seen)
		}
		v.reference(at, "registry", p.Registry, v.registryNames)
		v.reference(at, "key", p.Key, v.keyNames)
		v.formats(at, p)
		v.log(at, p)
	}
}

// log refuses a transparency log for signatures that it does not take.
func (v *validator) log(at place, p *policy.Policy) {
	k, ok := v.config.Key(p.Key)
	if !ok || p.TransparencyLog == "" {
		return
	}
	if why := k.Algorithm.Unloggable(); why != "" {
		v.add(at, "transparency_log", fmt.Sprintf("does not take the signatures of key %s (%s): %s", quote(k.Name), k.Algorithm, why),
			"no transparency_log, or another key")
	}
}

// formats refuses formats that the policy's key cannot make.
func (v *validator) formats(at place, p *policy.Policy) {
	k, ok := v.config.Key(p.Key)
	if !ok {
		return
	}
	for j, f := range p.SignatureFormats() {
		field := fmt.Sprintf("formats[%d]", j)
		if len(p.Formats) == 0 {
			field = "key"
		}
		switch why := f.Impossible(k.Algorithm); {
		case why != "":
			v.add(at, field, fmt.Sprintf("%s cannot be made with key %s (%s): %s", f, quote(k.Name), k.Algorithm, why), "another format, or another key")
		case f.IsNotation() && k.CertificateChain == "":
			v.add(at, field, fmt.Sprintf("%s needs a certificate, and key %s has no certificate_chain", f, quote(k.Name)), "another format, or a key with certificate_chain")
		}
	}
}

const stateAllowed = "a directory, or a postgres:// URL without a password"

// state never repeats a URL, which might hold a password.
func (v *validator) state(state string) {
	problem := ""
	switch u, err := url.Parse(state); {
	case state == "":
		problem = "is empty"
	case strings.HasPrefix(state, "/"):
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "":
		problem = "is neither a directory nor a postgres:// URL"
	case hasPassword(u):
		problem = "holds a password, and secrets are never written inline: use PGPASSFILE or PGPASSWORD"
	case u.Host == "" && u.Query().Get("host") == "":
		problem = "names no database host"
	}
	if problem != "" {
		v.add(v.config.root, "state", problem, stateAllowed)
	}
}

func hasPassword(u *url.URL) bool {
	_, inline := u.User.Password()
	return inline || u.Query().Has("password") || u.Query().Has("sslpassword")
}

// quote quotes a value for a message, cut to a length that fits in a line.
func quote(s string) string {
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100]) + "…"
	}
	return strconv.Quote(s)
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// validHostname reports whether host is a DNS name or an IP address.
func validHostname(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return len(host) <= 253 && hostnameRE.MatchString(host)
}
