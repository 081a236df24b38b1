package configs

import (
	"strings"
)

func (v *validator) instances() {
	seen := map[string]place{}
	for i, x := range v.config.Instances {
		at := v.config.root.item("instances", i)
		if v.required(at, "id", x.ID, idAllowed) && v.id(at.in("id"), x.ID) {
			v.unique(at, "id", x.ID, seen)
		}
		v.required(at, "registry", x.Registry, "the name of a registry")
		v.reference(at, "registry", x.Registry, v.registryNames)
	}
	if len(v.config.Instances) > 0 {
		v.add(v.config.root, "instances", notInBuild, "no instances")
	}
}

func (v *validator) access() {
	names, keys := map[string]place{}, map[string]place{}
	for i := range v.config.Access {
		a, at := &v.config.Access[i], v.config.root.item("access", i)
		v.name(at, a.Name, names)
		if problem, allowed := wordProblem(a.Role, roles(), roles()); problem != "" {
			v.add(at, "role", problem, allowed)
		}
		v.credential(at, a)
		if a.AccessKey != "" {
			v.unique(at, "access_key", a.AccessKey, keys)
		}
		if a.OCIKeyID != "" {
			v.unique(at, "oci_key_id", a.OCIKeyID, keys)
		}
		for j, name := range a.Registries {
			v.required(at.item("registries", j), "", name, "the name of a registry")
			v.reference(at.item("registries", j), "", name, v.registryNames)
		}
	}
	if len(v.config.Access) > 0 && v.config.Listen == "" {
		v.add(v.config.root, "access", "does nothing without listen", "no access, or listen: HOST:PORT")
	}
}

// credential checks that a is one whole credential.
func (v *validator) credential(at place, a *Access) {
	const allowed = "one of: access_key and secret_key_file; oci_key_id and public_key_file; token_file"
	var given []string
	for _, c := range []struct{ name, value string }{
		{"access_key", a.AccessKey}, {"secret_key_file", a.SecretKeyFile},
		{"oci_key_id", a.OCIKeyID}, {"public_key_file", a.PublicKeyFile}, {"token_file", a.TokenFile},
	} {
		if c.value != "" {
			given = append(given, c.name)
		}
	}
	switch list := strings.Join(given, " and "); list {
	case "token_file":
	case "access_key and secret_key_file", "oci_key_id and public_key_file":
		v.add(at, given[0], notInBuild, "token_file")
	case "":
		v.add(at, "", "has no credential", allowed)
	default:
		v.add(at, "", "has "+list+", which is not one credential", allowed)
	}
}
