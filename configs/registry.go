package configs

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var hostnameRE = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// layoutPrefix is how the host of a registry of kind oci-layout begins.
const layoutPrefix = "oci-layout:"

// Layout returns the directory of a registry of kind oci-layout, "" for others.
func (r *Registry) Layout() string {
	path, ok := strings.CutPrefix(r.Host, layoutPrefix)
	if !ok {
		return ""
	}
	return path
}

// loopback reports whether the host is this machine.
func (r *Registry) loopback() bool {
	host, _ := splitHost(r.Host)
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// splitHost splits HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. The port is empty
// when there is none.
func splitHost(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), ""
	}
	return s, ""
}

// canonicalHost returns the host as one spelling of it.
func (r *Registry) canonicalHost() string {
	if path := r.Layout(); path != "" {
		return layoutPrefix + filepath.Clean(path)
	}
	host, port := splitHost(strings.ToLower(r.Host))
	if port == "" {
		port = "443"
		if r.Insecure {
			port = "80"
		}
	}
	return net.JoinHostPort(host, port)
}

func (v *validator) registries() {
	seen, hosts := map[string]place{}, map[string]place{}
	for i := range v.config.Registries {
		r, at := &v.config.Registries[i], v.config.root.item("registries", i)
		v.name(at, r.Name, seen)
		if problem, allowed := wordProblem(r.Kind, kinds(), kinds()); problem != "" {
			v.add(at, "kind", problem, allowed)
		}
		v.host(at, r)
		if r.Host != "" {
			// Budgets, claims and "signed once" are kept by registry.
			v.unique(at, "host", r.canonicalHost(), hosts)
		}
		v.storage(at, r)
		v.auth(at.in("auth"), r.Auth)
		v.cloud(at, r)
		v.limits(at.in("limits"), r.Limits)
		if r.kind() == OCILayout {
			v.layoutOnly(at, r)
		} else {
			v.events(at.in("events"), r)
		}
	}
}

func (v *validator) host(at place, r *Registry) {
	const allowed = "HOST or HOST:PORT, or oci-layout:/DIRECTORY with kind oci-layout"
	path, layout := strings.CutPrefix(r.Host, layoutPrefix)
	switch {
	case !v.required(at, "host", r.Host, allowed):
	case layout && !filepath.IsAbs(path):
		v.add(at, "host", quote(r.Host)+" is not an absolute path", allowed)
	case layout && r.kind() != OCILayout && slices.Contains(kinds(), r.Kind):
		v.add(at, "kind", fmt.Sprintf("is %s, but the host is a directory", r.Kind), string(OCILayout))
	case layout:
	case r.Kind == OCILayout:
		v.add(at, "host", quote(r.Host)+" is not a directory, but kind is oci-layout", "oci-layout:/DIRECTORY")
	case strings.Contains(r.Host, "://"):
		v.add(at, "host", quote(r.Host)+" has a scheme; plain HTTP is chosen by insecure: true", allowed)
	case strings.Contains(r.Host, "/"):
		v.add(at, "host", quote(r.Host)+" has a path; a namespace belongs in the policy", allowed)
	case !validHost(r.Host):
		v.add(at, "host", quote(r.Host)+" is not a host", allowed)
	}
}

func validHost(s string) bool {
	host, port := splitHost(s)
	if strings.Contains(host, ":") != strings.HasPrefix(s, "[") {
		return false // an IPv6 address needs its brackets, and nothing else has them
	}
	withPort := s != host && s != "["+host+"]"
	return validHostname(host) && (!withPort || validPort(port))
}

func (v *validator) storage(at place, r *Registry) {
	if r.Storage != "" && r.Kind != Distribution && r.Kind != Zot {
		v.add(at, "storage", fmt.Sprintf("does nothing for kind %s", r.Kind), "no storage, or kind: distribution or zot")
	}
}

func (v *validator) auth(at place, a Auth) {
	if a.DockerConfig != "" && (a.Username != "" || a.PasswordFile != "") {
		v.add(at, "", "names both docker_config and a user", "docker_config, or username and password_file")
		return
	}
	if a.Username != "" {
		v.required(at, "password_file", a.PasswordFile, "the path of a file with the password of username")
	}
	if a.PasswordFile != "" {
		v.required(at, "username", a.Username, "the name of the user whose password is in password_file")
	}
	if strings.Contains(a.Username, ":") {
		v.add(at, "username", "holds a colon", "a name without ':'")
	}
}

func (v *validator) limits(at place, l Limits) {
	if l.RequestsPerSecond < 0.1 || l.RequestsPerSecond > 10_000 {
		v.add(at, "requests_per_second", fmt.Sprintf("is %v", l.RequestsPerSecond), "0.1 to 10000")
	}
	if l.Concurrency < 1 || l.Concurrency > 512 {
		v.add(at, "concurrency", fmt.Sprintf("is %d", l.Concurrency), "1 to 512")
	}
}

// layoutOnly refuses what does nothing for a directory.
func (v *validator) layoutOnly(at place, r *Registry) {
	const problem = "does nothing for kind oci-layout"
	if r.Insecure {
		v.add(at, "insecure", problem, "false")
	}
	if r.Auth != (Auth{}) {
		v.add(at, "auth", problem, "no auth")
	}
	if at.in("limits").given() {
		v.add(at, "limits", problem, "no limits")
	}
	if !r.Events.IsZero() {
		v.add(at, "events", "nobody sends for kind oci-layout", "no events")
	}
}
