package configs

import (
	"regexp"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// sinksInstance is no registry's: APIG's API has the signature keys of sinks there.
const sinksInstance = "sinks"

var (
	accessKeyRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	ociKeyIDRE  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}/[A-Za-z0-9._-]{1,255}/[0-9a-f]{2}(?::[0-9a-f]{2}){15}$`)
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
		if x.ID == sinksInstance {
			v.add(at, "id", quote(x.ID)+" is what signature keys of sinks are managed under", "another id")
		}
		if x.ID != x.Registry && v.registryNames.set[x.ID] {
			v.add(at, "id", quote(x.ID)+" is the name of another registry", "an id that no registry has as its name")
		}
	}
	if len(v.config.Instances) > 0 && v.config.Listen == "" {
		v.add(v.config.root, "instances", "does nothing without listen", "no instances, or listen: HOST:PORT")
	}
}

func (v *validator) access() {
	names, keys := map[string]place{}, map[string]place{}
	for i := range v.config.Access {
		a, at := &v.config.Access[i], v.config.root.item("access", i)
		v.name(at, a.Name, names)
		if a.Name == "local" {
			v.add(at, "name", "is what the audit log calls the user of the control socket", "another name")
		}
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
		for j, name := range a.Keys {
			v.required(at.item("keys", j), "", name, "the name of a key")
			v.reference(at.item("keys", j), "", name, v.keyNames)
		}
		for j, name := range a.Namespaces {
			if !policy.ValidNamespace(name) {
				v.add(at.item("namespaces", j), "", quote(name)+" is not allowed", policy.NamespaceAllowed)
			}
		}
	}
	if len(v.config.Access) > 0 && v.config.Listen == "" {
		v.add(v.config.root, "access", "does nothing without listen", "no access, or listen: HOST:PORT")
	}
}

// credential checks that a is one whole credential.
func (v *validator) credential(at place, a *Access) {
	const allowed = "one of: access_key and secret_key_file; oci_key_id and public_key_file; certificate_file; token_file; token_sha256"
	var given []string
	for _, c := range []struct{ name, value string }{
		{"access_key", a.AccessKey}, {"secret_key_file", a.SecretKeyFile},
		{"oci_key_id", a.OCIKeyID}, {"public_key_file", a.PublicKeyFile}, {"certificate_file", a.CertificateFile},
		{"token_file", a.TokenFile}, {"token_sha256", a.TokenSHA256},
	} {
		if c.value != "" {
			given = append(given, c.name)
		}
	}
	switch list := strings.Join(given, " and "); list {
	case "token_file":
	case "token_sha256":
		if !pinRE.MatchString(a.TokenSHA256) {
			v.add(at, "token_sha256", "is not a SHA-256", "64 lower-case hexadecimal digits")
		}
	case "certificate_file":
		if v.config.TLS == (TLS{}) {
			v.add(at, "certificate_file", "does nothing without tls", "another credential, or tls")
		}
	case "access_key and secret_key_file":
		if !accessKeyRE.MatchString(a.AccessKey) {
			v.add(at, "access_key", quote(a.AccessKey)+" is not allowed", "1 to 128 letters, digits, '.', '_' and '-'")
		}
	case "oci_key_id and public_key_file":
		if !ociKeyIDRE.MatchString(a.OCIKeyID) {
			v.add(at, "oci_key_id", quote(a.OCIKeyID)+" is not allowed", "TENANCY/USER/FINGERPRINT, the fingerprint as 16 pairs of hexadecimal digits with ':' between them")
		}
	case "":
		v.add(at, "", "has no credential", allowed)
	default:
		v.add(at, "", "has "+list+", which is not one credential", allowed)
	}
}
