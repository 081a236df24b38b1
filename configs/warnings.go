package configs

import (
	"crypto"
	"fmt"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// Warnings returns what is valid but may surprise, sorted by file and line.
// Allowed, where it is set, says what to do about it.
func (c *Config) Warnings() []Fault {
	warnings := Errors(slices.Clone(c.notes))
	warn := func(at place, problem, advice string) {
		warnings = append(warnings, at.fault(problem, advice))
	}
	if len(c.Policies) == 0 {
		warn(c.root, "holds no policy: nothing will be signed", "")
	}
	for i := range c.Registries {
		r, at := &c.Registries[i], c.root.item("registries", i)
		if r.Insecure && !r.loopback() {
			warn(at.in("insecure"), "sends credentials and images over plain HTTP to "+quote(r.Host), "TLS, or a loopback host")
		}
		if lacks := r.lacks(); len(lacks) > 0 {
			warn(at.in("kind"), fmt.Sprintf("auto lists %s as generic, because %s is not set", quote(r.Host), strings.Join(lacks, ", ")), "the settings of kind "+string(r.kind()))
		}
	}
	for i := range c.Policies {
		c.warnAbout(&c.Policies[i], c.policyPlace(i), warn)
	}
	return warnings.sorted()
}

// policyPlace is where policy i stands.
func (c *Config) policyPlace(i int) place {
	if i < len(c.policies) {
		return c.policies[i]
	}
	return place{path: fmt.Sprintf("policies[%d]", i)}
}

func (c *Config) warnAbout(p *policy.Policy, at place, warn func(at place, problem, advice string)) {
	if k, ok := c.Key(p.Key); ok {
		if k.Disabled && p.IsEnabled() {
			warn(at.in("key"), fmt.Sprintf("%s is disabled: nothing will be signed", quote(k.Name)), "an enabled key, or enabled: false")
		}
		if slices.Contains(p.SignatureFormats(), policy.FormatCosign) || slices.Contains(p.SignatureFormats(), policy.FormatBundle) {
			if problem, advice := cosignProblem(k.Algorithm); problem != "" {
				warn(at.in("key"), problem, advice)
			}
		}
	}
	r, ok := c.Registry(p.Registry)
	if !ok {
		return
	}
	if p.Trigger.Type == policy.EventBased {
		if problem, advice := c.eventProblem(r); problem != "" {
			warn(at.in("trigger.type"), problem, advice)
		}
	}
	if r.kind() == OCILayout && p.Domain == "" {
		warn(at.in("domain"), fmt.Sprintf("is empty: what is signed in the directory of registry %s is called %s/REPOSITORY", quote(r.Name), r.Name), "the host that the images will be pulled from")
	}
	if problem, advice := untaggedProblem(r); problem != "" {
		for j, rule := range p.Scope {
			if rule.Untagged {
				warn(at.item("scope", j).in("untagged"), problem, advice)
			}
		}
	}
}

// cosignProblem says how the cosign command will fail to verify signatures of
// this algorithm.
func cosignProblem(a policy.Algorithm) (problem, advice string) {
	switch {
	case a.Family() == policy.RSAPSS:
		return fmt.Sprintf("signs with %s, but the cosign command verifies RSA only as PKCS#1", a), "RSA_PKCS1_SHA_256, or sealwright verify in place of cosign verify"
	case a == policy.SM2SM3:
		return fmt.Sprintf("signs with %s, which the cosign command cannot verify", a), "sealwright verify, or OpenSSL with -pkeyopt distid:1234567812345678"
	case a.Hash() == crypto.SHA384:
		return fmt.Sprintf("signs with %s, which the cosign command verifies only when told so", a), "cosign verify --signature-digest-algorithm=sha384"
	case a.Hash() == crypto.SHA512:
		return fmt.Sprintf("signs with %s, which the cosign command verifies only when told so", a), "cosign verify --signature-digest-algorithm=sha512"
	}
	return "", ""
}

// untaggedProblem says why untagged artifacts of r cannot be seen.
func untaggedProblem(r *Registry) (problem, advice string) {
	const other = "a kind that lists them, or no untagged"
	blind := "untagged artifacts cannot be seen in registry " + quote(r.Name)
	if lacks := r.lacks(); len(lacks) > 0 {
		return fmt.Sprintf("%s without %s", blind, strings.Join(lacks, ", ")), fmt.Sprintf("the settings of kind %s, or no untagged", r.kind())
	}
	switch r.kind() {
	case Generic:
		return blind + ": the OCI API does not list them", other
	case Distribution, Zot:
		if r.Storage == "" {
			return blind + " without storage", "storage: DIRECTORY, or no untagged"
		}
	case Quay:
		return blind + ": Quay lists tags, and soon deletes what has none", "no untagged"
	case GitLab:
		return blind + ": GitLab lists tags, and no artifact without one", "no untagged"
	case TCR:
		return blind + ": the API of Tencent Container Registry lists tags, and no artifact without one", "no untagged"
	case Auto:
		return fmt.Sprintf("whether untagged artifacts can be seen in registry %s is not known before it is asked what it is", quote(r.Name)), "the kind that sealwright doctor shows"
	}
	return "", ""
}

// lacks are the settings without which a registry of kind auto is not listed as
// the kind that its host says it is.
func (r *Registry) lacks() []string {
	var fields []string
	for _, n := range r.needs() {
		if r.Kind == Auto && n.missing() {
			fields = append(fields, n.field)
		}
	}
	return fields
}
