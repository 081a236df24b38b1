package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// A PolicyState is a policy and what is known of it.
type PolicyState struct {
	ID        int64          `json:"id"`
	Name      string         `json:"name"`
	Label     string         `json:"label,omitempty" doc:"what the vendor's clients call it, if that is not its name"`
	Origin    journal.Origin `json:"origin" doc:"who says what it is"`
	ManagedBy string         `json:"managed_by" doc:"where it is changed, in words"`
	ReadOnly  bool           `json:"read_only" doc:"it cannot be replaced here, nor enabled or disabled"`
	Deletable bool           `json:"deletable" doc:"it can be deleted here"`
	Enabled   bool           `json:"enabled"`
	Revision  int64          `json:"revision,omitempty" doc:"its ETag without quotes; absent for policies of files"`
	Creator   string         `json:"creator,omitempty" doc:"the caller who created it"`
	CreatedAt time.Time      `json:"created_at,omitzero"`
	UpdatedAt time.Time      `json:"updated_at,omitzero"`
	Problem   string         `json:"problem,omitempty" doc:"why it cannot be carried out"`
	Warning   string         `json:"warning,omitempty" doc:"why it does less than it says: no event will fire it, though it can be fired"`
	Policy    policy.Policy  `json:"policy"`
}

func stateOf(p engine.KnownPolicy) PolicyState {
	s := PolicyState{ID: p.ID, Name: p.Policy.Name, Origin: p.Origin, ManagedBy: managedBy(p.Origin), ReadOnly: p.Origin != journal.FromAPI,
		Deletable: p.Origin != journal.FromFile, Enabled: p.Policy.IsEnabled(), Revision: p.Revision, Creator: p.Creator,
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, Warning: p.Warning, Policy: p.Policy}
	if p.Label != s.Name {
		s.Label = p.Label
	}
	if p.Err != nil {
		s.Problem = p.Err.Error()
	}
	return s
}

func managedBy(o journal.Origin) string {
	switch o {
	case journal.FromFile:
		return "the configuration files"
	case journal.FromAPI:
		return "this API"
	case journal.FromSWR:
		return "the API of Huawei SWR"
	case journal.FromTCR:
		return "the API of Tencent TCR"
	}
	return "the API " + string(o)
}

// A RefInput says which policy is meant.
type RefInput struct {
	Policy string `path:"policy" maxLength:"128" doc:"the policy's id or name; digits alone are an id" example:"library-releases"`
}

type policyOutput struct {
	ETag     string `header:"ETag" doc:"the revision, for If-Match"`
	Location string `header:"Location" doc:"of what was created"`
	Body     PolicyState
}

func policyAnswer(p engine.KnownPolicy) *policyOutput {
	return &policyOutput{ETag: etag(p.StoredPolicy), Body: stateOf(p)}
}

func etag(p journal.StoredPolicy) string {
	if p.Revision == 0 {
		return ""
	}
	return strconv.Quote(strconv.FormatInt(p.Revision, 10))
}

type policiesInput struct {
	PageInput
	Registry string         `query:"registry" maxLength:"128" doc:"only those of this registry"`
	Origin   journal.Origin `query:"origin" doc:"only those of this origin"`
}

func (a *API) policyOperations() {
	register(a, operation{id: "list-policies", method: http.MethodGet, path: "/policies", tag: "policies", role: door.Viewer,
		summary: "List policies", text: "Those that are stored, and those of the configuration, by id."}, a.listPolicies)
	register(a, operation{id: "get-policy", method: http.MethodGet, path: "/policies/{policy}", tag: "policies", role: door.Viewer,
		summary: "Get a policy"}, func(ctx context.Context, s session, in *RefInput) (*policyOutput, error) {
		p, err := a.find(ctx, s, in.Policy)
		if err != nil {
			return nil, err
		}
		return policyAnswer(p), nil
	})
}

func (a *API) listPolicies(ctx context.Context, s session, in *policiesInput) (*pageOutput[PolicyState], error) {
	all, err := a.Engine.KnownPolicies(ctx)
	if err != nil {
		return nil, err
	}
	begin, _ := slices.BinarySearchFunc(all, in.after()+1, func(p engine.KnownPolicy, id int64) int { return cmp.Compare(p.ID, id) })
	var list []PolicyState
	for i := begin; i < len(all) && len(list) <= in.Limit; i++ {
		p := &all[i]
		if sees(s, &p.Policy) && (in.Registry == "" || p.Policy.Registry == in.Registry) && (in.Origin == "" || p.Origin == in.Origin) {
			list = append(list, stateOf(*p))
		}
	}
	return paged(list, in.Limit, func(p *PolicyState) int64 { return p.ID }), nil
}

func sees(s session, p *policy.Policy) bool { return s.SeesNamespace(p.Registry, p.Namespace) }

// find returns the policy that is called so, if the caller sees it.
func (a *API) find(ctx context.Context, s session, ref string) (engine.KnownPolicy, error) {
	for range 2 {
		p, err := a.known(ctx, ref)
		if err == nil && sees(s, &p.Policy) {
			return p, nil
		}
		if err != nil && !errors.Is(err, journal.ErrNotFound) {
			return engine.KnownPolicy{}, err
		}
		if err := a.Engine.Sync(ctx); err != nil { // another replica may have it already
			return engine.KnownPolicy{}, err
		}
	}
	return engine.KnownPolicy{}, rights.ErrUnknown
}

func (a *API) known(ctx context.Context, ref string) (engine.KnownPolicy, error) {
	if !digits(ref) {
		return a.Engine.KnownPolicyNamed(ctx, ref)
	}
	id, err := strconv.ParseInt(ref, 10, 64)
	if err != nil || strconv.FormatInt(id, 10) != ref {
		return engine.KnownPolicy{}, journal.ErrNotFound
	}
	return a.Engine.KnownPolicy(ctx, id)
}

// digits reports whether a reference is an id, not a name.
func digits(ref string) bool { return strings.Trim(ref, "0123456789") == "" }

// view returns what the caller may see of the journal.
func (a *API) view(ctx context.Context, s session) (journal.View, error) {
	v := journal.View{Registries: s.Registries, Namespaces: s.Namespaces}
	if len(v.Namespaces) == 0 {
		return v, nil
	}
	all, err := a.Engine.KnownPolicies(ctx)
	for i := range all {
		if p := &all[i].Policy; sees(s, p) {
			v.Policies = append(v.Policies, p.Name, engine.DriftName(p.Name))
		}
	}
	return v, err
}
