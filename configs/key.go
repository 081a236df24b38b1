package configs

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

var (
	aliasRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$`)
	pinRE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	envRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	schemeRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:(?://)?`)
)

const idAllowed = "1 to 255 letters, digits, '.', '_', ':', '/' and '-', starting with a letter or digit"

func (v *validator) keys() {
	seen := map[string]place{} // names and aliases alike
	for i := range v.config.Keys {
		k, at := &v.config.Keys[i], v.config.root.item("keys", i)
		v.name(at, "name", k.Name, seen)
		for j, alias := range k.Aliases {
			if v.id(at.item("aliases", j), alias) {
				v.unique(at.item("aliases", j), "", alias, seen)
			}
		}
		v.uri(at, "uri", k.URI)
		for _, id := range slices.Sorted(maps.Keys(k.Versions)) {
			if v.id(at.in("versions").in(id), id) {
				v.uri(at.in("versions"), id, k.Versions[id])
			}
		}
		if k.Algorithm != "" && !k.Algorithm.Valid() {
			v.add(at, "algorithm", quote(string(k.Algorithm))+" is not allowed", strings.Join(policy.Algorithms, ", "))
		}
		if k.PublicKeySHA256 != "" && !pinRE.MatchString(k.PublicKeySHA256) {
			v.add(at, "public_key_sha256", quote(k.PublicKeySHA256)+" is not a SHA-256", "64 lower-case hexadecimal digits, or empty")
		}
		v.password(at, k)
	}
}

func (v *validator) id(at place, id string) bool {
	if !aliasRE.MatchString(id) {
		v.add(at, "", quote(id)+" is not allowed", idAllowed)
		return false
	}
	return true
}

// uri does not repeat the whole URI, part of which may be a secret.
func (v *validator) uri(at place, field, uri string) {
	if !v.required(at, field, uri, join(schemesInBuild())+"/PATH") {
		return
	}
	scheme := schemeRE.FindString(uri)
	if path, ok := strings.CutPrefix(uri, "file:"); ok {
		switch {
		case path == "":
			v.add(at, field, "names no file", "file:/PATH")
		case strings.HasPrefix(path, "//"):
			v.add(at, field, "names a host", "file:/PATH")
		}
		return
	}
	known := slices.ContainsFunc(schemes(), func(s string) bool { return strings.HasPrefix(uri, s) })
	switch {
	case known:
		v.add(at, field, quote(scheme)+" "+notInBuild, join(schemesInBuild()))
	case scheme == "":
		v.add(at, field, "has no scheme", join(schemes()))
	default:
		v.add(at, field, quote(scheme)+" is not a key store", join(schemes()))
	}
}

func (v *validator) password(at place, k *Key) {
	if k.PasswordFile != "" && k.PasswordEnv != "" {
		v.add(at, "password_env", "contradicts password_file", "one of the two")
	}
	if k.PasswordEnv != "" && !envRE.MatchString(k.PasswordEnv) {
		v.add(at, "password_env", quote(k.PasswordEnv)+" is not the name of an environment variable", "letters, digits and '_'")
	}
}

// File returns the path of a key in a file, "" for others.
func (k *Key) File() string { return filePath(k.URI) }

func filePath(uri string) string {
	path, ok := strings.CutPrefix(uri, "file:")
	if !ok {
		return ""
	}
	return path
}
