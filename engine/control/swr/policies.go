package swr

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/policy/swr"
)

// A known policy is one that can be said in SWR's words.
type known struct {
	engine.KnownPolicy
	document swr.Document
}

// A policyDetail is a policy as SWR shows it.
type policyDetail struct {
	ID            int64           `json:"id"`
	Name          string          `json:"name"`
	Description   string          `json:"description"`
	NamespaceID   int32           `json:"namespace_id"`
	NamespaceName string          `json:"namespace_name"`
	Trigger       swr.Trigger     `json:"trigger"`
	Creator       string          `json:"creator"`
	Enabled       bool            `json:"enabled"`
	ScopeRules    []swr.ScopeRule `json:"scope_rules"`
	CreatedAt     string          `json:"created_at,omitempty"`
	UpdatedAt     string          `json:"updated_at,omitempty"`
	Algorithm     string          `json:"signature_algorithm"`
	Key           string          `json:"signature_key"`
	Method        string          `json:"signature_method"`
}

func (k *known) detail() policyDetail {
	d := policyDetail{ID: k.ID, Name: k.document.Name, NamespaceID: namespaceID(k.Policy.Registry, k.Policy.Namespace),
		NamespaceName: k.Policy.Namespace, Trigger: k.document.Trigger, Creator: k.Creator, Enabled: k.document.Enabled,
		ScopeRules: k.document.ScopeRules, CreatedAt: stamp(k.CreatedAt), UpdatedAt: stamp(k.UpdatedAt),
		Algorithm: k.document.Algorithm, Key: k.document.Key, Method: k.document.Method}
	if k.document.Description != nil {
		d.Description = *k.document.Description
	}
	if k.Origin == journal.FromFile {
		d.Creator = "configuration"
	}
	return d
}

// policies returns the policies of the call's registry that the caller sees, by id,
// as all replicas know them.
func (a *API) policies(ctx context.Context, c *call) ([]known, error) {
	if err := a.Engine.Sync(ctx); err != nil {
		return nil, err
	}
	all, err := a.Engine.KnownPolicies(ctx)
	if err != nil {
		return nil, err
	}
	var list []known
	for i := range all {
		if !sees(c, &all[i].Policy) {
			continue
		}
		document, ok, err := a.say(&all[i])
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, known{all[i], document})
		}
	}
	return list, nil
}

func sees(c *call, p *policy.Policy) bool {
	return p.Registry == c.registry && validNamespace(p.Namespace) && c.caller.SeesNamespace(c.registry, p.Namespace)
}

// say returns a policy in SWR's words; false if there are none for it.
func (a *API) say(p *engine.KnownPolicy) (d swr.Document, ok bool, err error) {
	if p.Origin == journal.FromSWR {
		if err := json.Unmarshal(p.Document, &d); err != nil {
			return d, false, fmt.Errorf("document of policy %d: %w", p.ID, err)
		}
		return d, true, nil
	}
	key, _ := a.Engine.KeyNamed(p.Policy.Key)
	if key.Public == nil {
		return d, false, nil // its algorithm is not known
	}
	if d, err = swr.Say(&p.Policy, key.Public.Algorithm()); errors.Is(err, swr.ErrNoWords) {
		return d, false, nil
	}
	d.Name = cmp.Or(p.Label, d.Name)
	return d, err == nil, err
}

// policy returns the one that the path names.
func (a *API) policy(ctx context.Context, c *call) (known, error) {
	id, err := c.pathID("policy_id")
	if err != nil {
		return known{}, err
	}
	if err := a.Engine.Sync(ctx); err != nil {
		return known{}, err
	}
	p, err := a.Engine.KnownPolicy(ctx, id)
	switch {
	case errors.Is(err, journal.ErrNotFound), err == nil && (!sees(c, &p.Policy) || p.Policy.Namespace != c.namespace):
		return known{}, rights.ErrUnknown
	case err != nil:
		return known{}, err
	}
	document, ok, err := a.say(&p)
	if err == nil && !ok {
		err = rights.ErrUnknown
	}
	return known{p, document}, err
}

func (a *API) listPolicies(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := a.policies(ctx, c)
	if err != nil {
		return nil, err
	}
	details := []policyDetail{}
	for _, k := range paged(list, offset, limit) {
		details = append(details, k.detail())
	}
	return struct {
		Policies []policyDetail `json:"policies"`
		Total    int            `json:"total"`
	}{details, len(list)}, nil
}

func (a *API) showPolicy(ctx context.Context, c *call) (any, error) {
	k, err := a.policy(ctx, c)
	if err != nil {
		return nil, err
	}
	return k.detail(), nil
}

// An identified answer names what was made.
type identified struct {
	ID int64 `json:"id"`
}

func (a *API) createPolicy(ctx context.Context, c *call) (any, error) {
	p, err := a.parse(c)
	if err != nil {
		return nil, err
	}
	list, err := a.policies(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := free(list, &p, 0); err != nil {
		return nil, err
	}
	var created journal.StoredPolicy
	err = a.change(ctx, c, c.namespace+"/signature/policies/"+p.Label, func(ctx context.Context) error {
		created, err = a.Engine.CreatePolicy(ctx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return identified{created.ID}, nil
}

// free returns a conflict if another policy of the namespace has the name. Of those
// that are created here, the journal sees to it once more.
func free(list []known, p *journal.StoredPolicy, id int64) error {
	if slices.ContainsFunc(list, func(k known) bool {
		return k.ID != id && k.Policy.Namespace == p.Policy.Namespace && k.document.Name == p.Label
	}) {
		return journal.ErrExists
	}
	return nil
}

// parse reads the policy that a caller sent.
func (a *API) parse(c *call) (journal.StoredPolicy, error) {
	document, faults := swr.Parse(c.body)
	var p policy.Policy
	if len(faults) == 0 {
		p, faults = document.Policy()
	}
	if len(faults) > 0 {
		return journal.StoredPolicy{}, faulty(faults)
	}
	key, err := a.key(c, &document)
	if err != nil {
		return journal.StoredPolicy{}, err
	}
	kept, err := json.Marshal(document)
	if err != nil {
		return journal.StoredPolicy{}, err
	}
	p.Registry, p.Namespace, p.Key = c.registry, c.namespace, key
	return journal.StoredPolicy{Policy: p, Origin: journal.FromSWR, Label: document.Name, Document: kept, Creator: c.caller.Name}, nil
}

// key returns the name of the key that a policy signs with. The algorithm that the
// policy names must be the key's.
func (a *API) key(c *call, d *swr.Document) (string, error) {
	key, ok := a.Engine.KeyNamed(d.Key)
	switch {
	case !ok || !c.caller.Uses(key.Name):
		return "", invalid("signature_key", problem(d.Key), "the name or an alias of a key of this daemon")
	case key.Public == nil:
		return "", &failure{status: http.StatusInternalServerError, code: codeInternal, text: "The key cannot be opened at the moment. Try again later."}
	case string(key.Public.Algorithm()) != d.Algorithm:
		return "", invalid("signature_algorithm", d.Algorithm+" is not that of the key", string(key.Public.Algorithm()))
	}
	return key.Name, nil
}

func (a *API) updatePolicy(ctx context.Context, c *call) (any, error) {
	old, err := a.own(ctx, c)
	if err != nil {
		return nil, err
	}
	p, err := a.parse(c)
	if err != nil {
		return nil, err
	}
	list, err := a.policies(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := free(list, &p, old.ID); err != nil {
		return nil, err
	}
	return nil, a.change(ctx, c, target(c, old.ID), func(ctx context.Context) error {
		_, err := a.Engine.UpdatePolicy(ctx, old.ID, func(now *journal.StoredPolicy) error {
			if !same(now, &old) {
				return journal.ErrNotFound
			}
			now.Policy, now.Label, now.Document = p.Policy, p.Label, p.Document
			return nil
		})
		return err
	})
}

func (a *API) deletePolicy(ctx context.Context, c *call) (any, error) {
	old, err := a.own(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, a.change(ctx, c, target(c, old.ID), func(ctx context.Context) error {
		return a.Engine.DeletePolicy(ctx, old.ID, func(now journal.StoredPolicy) error {
			if !same(&now, &old) {
				return journal.ErrNotFound
			}
			return nil
		})
	})
}

// same reports whether a stored policy is still the one that was found.
func same(now *journal.StoredPolicy, old *known) bool {
	return now.Origin == old.Origin && now.Policy.Registry == old.Policy.Registry && now.Policy.Namespace == old.Policy.Namespace
}

func target(c *call, id int64) string {
	return fmt.Sprintf("%s/signature/policies/%d", c.namespace, id)
}

// own returns the policy that the path names if it is managed here.
func (a *API) own(ctx context.Context, c *call) (known, error) {
	k, err := a.policy(ctx, c)
	if err != nil {
		return k, err
	}
	where := ""
	switch k.Origin {
	case journal.FromSWR:
		return k, nil
	case journal.FromFile:
		where = fmt.Sprintf("in the daemon's configuration file, as policy %q", k.Policy.Name)
	case journal.FromTCR:
		where = "through Tencent TCR's API"
	default:
		where = fmt.Sprintf("through Sealwright's own API, as policy %q", k.Policy.Name)
	}
	return k, forbidden("The policy is not managed here, but " + where + ". Change it there.")
}
