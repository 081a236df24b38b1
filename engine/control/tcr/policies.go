package tcr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy/tcr"
)

var (
	namePattern      = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._/ -]{0,126}[A-Za-z0-9])$`)
	namespacePattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	keyPattern       = regexp.MustCompile(`^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$`)
	regionPattern    = regexp.MustCompile(`^[a-z0-9-]{0,64}$`)
)

const (
	nameAllowed      = "2 to 128 letters, digits, '.', '_', '-', '/' and inner blanks, starting and ending with a letter or digit"
	namespaceAllowed = "at most 128 lower-case letters and digits, with single '.', '_', '-' between them"
	keyAllowed       = "1 to 256 printable ASCII characters: a key's name or one of its aliases"
	regionAllowed    = "at most 64 lower-case letters, digits and '-', or nothing"
	maxNamespace     = 128
	maxDomain        = 255
)

// createSignaturePolicy stores the namespace's policy, in place of the one it had.
func (a *api) createSignaturePolicy(ctx context.Context, c *call, p *params) (any, error) {
	i, err := a.instance(c, p, door.Admin)
	if err != nil {
		return nil, err
	}
	d := tcr.Document{RegistryID: i.ID, Name: p.text("Name"), NamespaceName: p.text("NamespaceName"), KmsID: p.text("KmsId"),
		KmsRegion: p.present("KmsRegion"), Domain: p.optional("Domain"), Disabled: p.flag("Disabled")}
	if err := p.end(); err != nil {
		return nil, err
	}
	if err := checkDocument(d); err != nil {
		return nil, err
	}
	document, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if c.replayed {
		return replayed(c, a.holds(ctx, c, i.Registry, d.NamespaceName, document))
	}
	return a.change(ctx, c, i.Registry+"/"+d.NamespaceName, func(ctx context.Context) error {
		key, err := a.admits(ctx, c, i.Registry, d)
		if err != nil {
			return err
		}
		p := d.Policy()
		p.Name, p.Registry, p.Key = "", i.Registry, key // the name is made of TCR's, which may have a slash
		_, err = a.Engine.PutPolicy(ctx, journal.StoredPolicy{Policy: p, Origin: journal.FromTCR, Label: d.Name, Document: document, Creator: c.caller.Name})
		return err
	})
}

// checkDocument returns what is wrong with a policy by itself.
func checkDocument(d tcr.Document) error {
	for _, f := range []struct {
		name, value, allowed string
		ok                   bool
	}{
		{"Name", d.Name, nameAllowed, namePattern.MatchString(d.Name)},
		{"NamespaceName", d.NamespaceName, namespaceAllowed, validNamespace(d.NamespaceName)},
		{"KmsId", d.KmsID, keyAllowed, keyPattern.MatchString(d.KmsID)},
		{"KmsRegion", d.KmsRegion, regionAllowed, regionPattern.MatchString(d.KmsRegion)},
		{"Domain", d.Domain, "at most 255 characters", len(d.Domain) <= maxDomain},
	} {
		if !f.ok {
			return invalid(f.name, f.value, f.allowed)
		}
	}
	p := d.Policy()
	p.Name = "unnamed"
	if faults := p.Validate(); len(faults) > 0 {
		return invalidPolicy(&engine.InvalidPolicyError{Faults: faults})
	}
	return nil
}

func validNamespace(name string) bool {
	return len(name) <= maxNamespace && namespacePattern.MatchString(name)
}

func invalid(field, value, allowed string) *apiError {
	return refusal(codeInvalid, "%s: %.64q is not allowed; allowed: %s", field, value, allowed)
}

// invalidPolicy says what is wrong with a policy, by TCR's names of the fields.
func invalidPolicy(e *engine.InvalidPolicyError) *apiError {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		switch f.Field {
		case "domain":
			f.Field = "Domain"
		case "namespace":
			f.Field = "NamespaceName"
		case "key":
			f.Field = "KmsId"
		}
		texts[i] = f.Error()
	}
	return refusal(codeInvalid, "%.500s", strings.Join(texts, "; "))
}

// admits returns the name of the policy's key, if the policy's namespace and key
// are there.
func (a *api) admits(ctx context.Context, c *call, registry string, d tcr.Document) (string, error) {
	switch _, known, err := a.policyOf(ctx, c, registry, d.NamespaceName); {
	case err != nil:
		return "", err
	case !known:
		there, err := a.hasNamespace(ctx, c, registry, d.NamespaceName)
		if err != nil {
			return "", err
		}
		if !there {
			return "", notFound("project")
		}
	}
	if !c.caller.SeesAll() && !a.Engine.MayClaim(registry, d.Domain) {
		return "", invalid("Domain", d.Domain, "none, the registry's host, or a domain that a policy of the configuration has for it")
	}
	switch key, ok := a.Engine.KeyNamed(d.KmsID); {
	case !ok || !c.caller.Uses(key.Name):
		return "", refusal("FailedOperation.DependenceError", "KmsId: there is no key of this id")
	case key.Err != nil:
		return "", refusal("FailedOperation.DependenceError", "KmsId: the key cannot be used now")
	default:
		return key.Name, nil
	}
}

// policyOf returns the namespace's policy that this API made, as the journal has it
// now; false if there is none, or none for this caller.
func (a *api) policyOf(ctx context.Context, c *call, registry, namespace string) (engine.KnownPolicy, bool, error) {
	if !c.caller.SeesNamespace(registry, namespace) {
		return engine.KnownPolicy{}, false, nil
	}
	all, err := a.policies(ctx)
	if err != nil {
		return engine.KnownPolicy{}, false, err
	}
	i := slices.IndexFunc(all, func(p engine.KnownPolicy) bool {
		return p.Policy.Registry == registry && p.Policy.Namespace == namespace
	})
	if i < 0 {
		return engine.KnownPolicy{}, false, nil
	}
	return all[i], true, nil
}

// policies returns those that this API made, also through another replica.
func (a *api) policies(ctx context.Context) ([]engine.KnownPolicy, error) {
	if err := a.Engine.Sync(ctx); err != nil {
		return nil, err
	}
	all, err := a.Engine.KnownPolicies(ctx)
	var made []engine.KnownPolicy
	for i := range all {
		if all[i].Origin == journal.FromTCR {
			made = append(made, all[i])
		}
	}
	return made, err
}

// deleteSignaturePolicy deletes the namespace's policy, if this API made it. That
// there is none is what was asked for. Its signatures stay in the registry.
func (a *api) deleteSignaturePolicy(ctx context.Context, c *call, p *params) (any, error) {
	i, err := a.instance(c, p, door.Admin)
	if err != nil {
		return nil, err
	}
	registry, namespace := i.Registry, p.text("NamespaceName")
	if err := p.end(); err != nil {
		return nil, err
	}
	if !validNamespace(namespace) {
		return nil, invalid("NamespaceName", namespace, namespaceAllowed)
	}
	if c.replayed {
		return replayed(c, a.holds(ctx, c, registry, namespace, nil))
	}
	if _, ok, err := a.policyOf(ctx, c, registry, namespace); err == nil && !ok { // none, or none that the caller may know of
		c.unseen = !c.caller.SeesNamespace(registry, namespace)
		return c.done(), nil
	}
	return a.change(ctx, c, registry+"/"+namespace, func(ctx context.Context) error {
		found, ok, err := a.policyOf(ctx, c, registry, namespace)
		if err != nil || !ok {
			return err
		}
		err = a.Engine.DeletePolicy(ctx, found.ID, func(p journal.StoredPolicy) error {
			if p.Origin != journal.FromTCR || p.Policy.Registry != registry || p.Policy.Namespace != namespace {
				return journal.ErrNotFound
			}
			return nil
		})
		if errors.Is(err, journal.ErrNotFound) {
			return nil // somebody else was faster
		}
		return err
	})
}

// holds returns nil if the namespace's policy is this document, or, for nil, if it
// has none.
func (a *api) holds(ctx context.Context, c *call, registry, namespace string, document []byte) error {
	found, ok, err := a.policyOf(ctx, c, registry, namespace)
	switch {
	case err != nil:
		return err
	case ok != (document != nil), !bytes.Equal(found.Document, document):
		return errReplayed
	}
	return nil
}

// replayed answers a change that was taken before: it is not made again, but if what
// it asks for is so, that is said. Tencent's SDKs send a request again, with the same
// signature, when its answer was lost; and two that are the same and sent within one
// second have the same signature.
func replayed(c *call, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return c.done(), nil
}
