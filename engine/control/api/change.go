package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

type createInput struct {
	RawBody []byte `contentType:"application/json"`
}

type replaceInput struct {
	RefInput
	MatchInput
	RawBody []byte `contentType:"application/json"`
}

// A MatchInput says which revision of a policy is meant.
type MatchInput struct {
	IfMatch string `header:"If-Match" maxLength:"500" doc:"ETags: the policy is changed only if it has one of them; * for any"`
}

type changeInput struct {
	RefInput
	MatchInput
}

func (a *API) changeOperations() {
	const policies, one = "/policies", "/policies/{policy}"
	register(a, operation{id: "create-policy", method: http.MethodPost, path: policies, tag: "policies", role: door.Admin, body: true, status: http.StatusCreated,
		summary: "Create a policy", text: "409: a policy has this name already, be it one that you do not see."}, a.createPolicy)
	register(a, operation{id: "replace-policy", method: http.MethodPut, path: one, tag: "policies", role: door.Admin, body: true,
		summary: "Replace a policy", text: "Its name stays. If-Match is required."}, a.replacePolicy)
	register(a, operation{id: "delete-policy", method: http.MethodDelete, path: one, tag: "policies", role: door.Admin,
		summary: "Delete a policy", text: "Its executions and records stay. Those that vendors' APIs made may be deleted, those of files not."}, a.deletePolicy)
	register(a, operation{id: "enable-policy", method: http.MethodPost, path: one + "/enable", tag: "policies", role: door.Admin,
		summary: "Enable a policy"}, a.enable(true))
	register(a, operation{id: "disable-policy", method: http.MethodPost, path: one + "/disable", tag: "policies", role: door.Admin,
		summary: "Disable a policy", text: "What is under way stops."}, a.enable(false))
	register(a, operation{id: "fire-policy", method: http.MethodPost, path: one + "/fire", tag: "policies", role: door.Operator, status: http.StatusAccepted,
		summary: "Fire a policy", text: "Returns the execution that will carry it out: a new one, or the one that waits already."}, a.fire)
}

func (a *API) createPolicy(ctx context.Context, s session, in *createInput) (*policyOutput, error) {
	p, err := a.readPolicy(s, in.RawBody)
	if err != nil {
		return nil, err
	}
	if err := a.Engine.Sync(ctx); err != nil {
		return nil, err
	}
	var created journal.StoredPolicy
	err = a.change(ctx, s, "create-policy", p, func(ctx context.Context) (err error) {
		created, err = a.Engine.CreatePolicy(ctx, journal.StoredPolicy{Policy: p, Origin: journal.FromAPI, Label: p.Name, Creator: s.Name})
		return err
	})
	if err != nil {
		return nil, err
	}
	out := policyAnswer(a.Engine.Known(created))
	out.Location = Prefix + "/policies/" + strconv.FormatInt(created.ID, 10)
	return out, nil
}

// readPolicy reads a policy that the caller may have, as far as that can be told
// before it is stored.
func (a *API) readPolicy(s session, body []byte) (policy.Policy, error) {
	p, err := a.decodePolicy(body)
	if err != nil {
		return p, err
	}
	var faults faultsError
	if digits(p.Name) {
		faults = append(faults, Fault{"name", "is digits alone, which are an id here", "a name with another character"})
	}
	foreign := true
	registries := slices.DeleteFunc(a.Engine.Registries(), func(name string) bool { return !s.Sees(name) })
	if !slices.Contains(registries, p.Registry) {
		faults = append(faults, Fault{"registry", "is not the name of a registry", strings.Join(registries, ", ")})
	} else if !sees(s, &p) {
		faults = append(faults, Fault{"namespace", "is not one of yours", strings.Join(s.Namespaces, ", ") + ", and what is below"})
	} else if p.SignatureRepository != "" && !s.SeesNamespace(p.Registry, strings.ReplaceAll(p.SignatureRepository, "{repository}", p.Namespace+"/r")) {
		faults = append(faults, Fault{"signature_repository", "is not in a namespace of yours", strings.Join(s.Namespaces, ", ") + ", and what is below"})
	} else {
		foreign = false
	}
	if !s.SeesAll() && !a.Engine.MayClaim(p.Registry, p.Domain) {
		faults = append(faults, Fault{"domain", "is not one of the registry's", "none, the registry's host, or a domain that a policy of the configuration has for it"})
	}
	if k, ok := a.Engine.KeyNamed(p.Key); ok && s.Uses(k.Name) {
		p.Key = k.Name // an alias may be another key's by the time that it is stored
	} else {
		faults = append(faults, Fault{"key", "is not the name of a key", strings.Join(a.keyNames(s), ", ")})
	}
	switch {
	case foreign:
		return p, fmt.Errorf("%w: %w", faults, rights.ErrUnknown)
	case len(faults) > 0:
		return p, faults
	}
	return p, nil
}

func (a *API) keyNames(s session) []string {
	var names []string
	for _, k := range a.Engine.Keys() {
		if s.Uses(k.Name) {
			names = append(names, k.Name)
		}
	}
	return names
}

// change has a policy changed, with an entry in the audit log.
func (a *API) change(ctx context.Context, s session, action string, p policy.Policy, do func(context.Context) error) error {
	err := a.Rights.Change(ctx, rights.Change{Caller: s.Caller, API: name, Action: action, Target: p.Registry + "/" + p.Name, RequestID: s.request}, do)
	invalid := (*engine.InvalidPolicyError)(nil)
	switch {
	case errors.As(err, &invalid):
		return policyFaults(invalid.Faults)
	case errors.Is(err, journal.ErrQuota):
		return faultsError{{"registry", "has as many stored policies as it may have", fmt.Sprintf("at most %d for a registry: delete some", a.Engine.StoredQuota())}}
	case errors.Is(err, journal.ErrExists):
		return errNameConflict
	case errors.Is(err, journal.ErrNotFound): // deleted meanwhile
		return errNotFound
	case errors.Is(err, engine.ErrPolicy):
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}

func (a *API) replacePolicy(ctx context.Context, s session, in *replaceInput) (*policyOutput, error) {
	old, allowed, err := a.changeable(ctx, s, changeInput{in.RefInput, in.MatchInput}, func(o journal.Origin) bool { return o == journal.FromAPI })
	if err != nil {
		return nil, err
	}
	if in.IfMatch == "" {
		return nil, errNoMatch
	}
	p, err := a.readPolicy(s, in.RawBody)
	if err != nil {
		return nil, err
	}
	if p.Name != old.Policy.Name {
		return nil, faultsError{{"name", "is not changed", "the policy's name"}}
	}
	return a.update(ctx, s, "replace-policy", old, func(stored *journal.StoredPolicy) error {
		if err := allowed(*stored); err != nil {
			return err
		}
		stored.Policy = p
		return nil
	})
}

// update changes a policy, and answers with what it is then.
func (a *API) update(ctx context.Context, s session, action string, old engine.KnownPolicy, change func(*journal.StoredPolicy) error) (*policyOutput, error) {
	var changed journal.StoredPolicy
	err := a.change(ctx, s, action, old.Policy, func(ctx context.Context) (err error) {
		changed, err = a.Engine.UpdatePolicy(ctx, old.ID, change)
		return err
	})
	if err != nil {
		return nil, err
	}
	return policyAnswer(a.Engine.Known(changed)), nil
}

// changeable returns a policy that is to be changed, and what says whether that is
// allowed still when it is.
func (a *API) changeable(ctx context.Context, s session, in changeInput, origin func(journal.Origin) bool) (engine.KnownPolicy, func(journal.StoredPolicy) error, error) {
	match, err := parseMatch(in.IfMatch)
	if err != nil {
		return engine.KnownPolicy{}, nil, err
	}
	if err := a.Engine.Sync(ctx); err != nil {
		return engine.KnownPolicy{}, nil, err
	}
	known, err := a.find(ctx, s, in.Policy)
	if err != nil {
		return known, nil, err
	}
	allowed := func(p journal.StoredPolicy) error {
		switch {
		case !sees(s, &p.Policy):
			return errNotFound
		case !origin(p.Origin):
			return fmt.Errorf("%w: it is changed by %s", errReadOnly, managedBy(p.Origin))
		case !match(etag(p)):
			return fmt.Errorf("the policy %w: it has ETag %s", journal.ErrRevision, etag(p))
		}
		return nil
	}
	return known, allowed, allowed(known.StoredPolicy)
}

// parseMatch returns what says whether If-Match allows a policy with this ETag.
func parseMatch(header string) (func(etag string) bool, error) {
	if header = strings.TrimSpace(header); header == "" || header == "*" {
		return func(string) bool { return true }, nil
	}
	tags := strings.Split(header, ",")
	for i, tag := range tags {
		tags[i] = strings.TrimSpace(tag)
		strong := strings.TrimPrefix(tags[i], "W/") // a weak one is well-formed, and never matches
		if len(strong) < 2 || strong[0] != '"' || strong[len(strong)-1] != '"' || strings.Count(strong, `"`) != 2 {
			return nil, errMatch
		}
	}
	return func(etag string) bool { return slices.Contains(tags, etag) }, nil
}

func (a *API) deletePolicy(ctx context.Context, s session, in *changeInput) (*struct{}, error) {
	// A vendor's document goes with its policy: there is nothing left that is untrue.
	old, allowed, err := a.changeable(ctx, s, *in, func(o journal.Origin) bool { return o != journal.FromFile })
	if err != nil {
		return nil, err
	}
	return nil, a.change(ctx, s, "delete-policy", old.Policy, func(ctx context.Context) error { return a.Engine.DeletePolicy(ctx, old.ID, allowed) })
}

// enable enables or disables policies of this API. A vendor's document says itself
// whether its policy is enabled.
func (a *API) enable(enabled bool) func(context.Context, session, *changeInput) (*policyOutput, error) {
	action := map[bool]string{true: "enable-policy", false: "disable-policy"}[enabled]
	return func(ctx context.Context, s session, in *changeInput) (*policyOutput, error) {
		old, allowed, err := a.changeable(ctx, s, *in, func(o journal.Origin) bool { return o == journal.FromAPI })
		if err == nil && enabled && !s.Uses(old.Policy.Key) {
			err = faultsError{{"key", "is not one that you may sign with", strings.Join(a.keyNames(s), ", ")}}
		}
		if err != nil {
			return nil, err
		}
		if old.Policy.IsEnabled() == enabled {
			return policyAnswer(old), nil
		}
		return a.update(ctx, s, action, old, func(stored *journal.StoredPolicy) error {
			stored.Policy.Enabled = &enabled
			return allowed(*stored)
		})
	}
}

type executionOutput struct {
	Location string `header:"Location" doc:"of the execution"`
	Body     journal.Execution
}

func (a *API) fire(ctx context.Context, s session, in *RefInput) (*executionOutput, error) {
	p, err := a.find(ctx, s, in.Policy)
	switch {
	case err != nil:
		return nil, err
	case p.Err != nil:
		return nil, fmt.Errorf("%w: %w", errBroken, p.Err)
	case !p.Policy.IsEnabled():
		return nil, errDisabled
	}
	var x journal.Execution
	err = a.change(ctx, s, "fire-policy", p.Policy, func(ctx context.Context) (err error) {
		x, err = a.Engine.FireFor(ctx, s.request, p.Policy.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &executionOutput{Location: Prefix + "/executions/" + strconv.FormatInt(x.ID, 10), Body: x}, nil
}
