package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// A KnownPolicy is a policy of the configuration or of the journal.
type KnownPolicy struct {
	journal.StoredPolicy
	// Err is why it cannot be carried out, nil if it can.
	Err error
	// Warning is why it does less than it says, though it can be carried out: an
	// event_based policy of a registry that tells of no pushes. Empty if it does not.
	Warning string
}

// Known returns a stored policy that was just checked, with what is known of it.
func (e *Engine) Known(p journal.StoredPolicy) KnownPolicy {
	return KnownPolicy{StoredPolicy: p, Warning: e.setup.Load().warning(&p.Policy)}
}

// warning returns KnownPolicy.Warning of a policy.
func (s *Setup) warning(p *policy.Policy) string {
	if p.Trigger.Type != policy.EventBased {
		return ""
	}
	return s.Silent[p.Registry]
}

// knownPolicies are all policies of a setup, until it or what is stored changes.
type knownPolicies struct {
	setup  *Setup
	stored *storedPolicies

	list   []KnownPolicy  // by id
	named  map[string]int // where they are; the configuration's, if there are two
	withID map[int64]int
}

// KnownPolicies returns all policies by id. One of the configuration whose name a
// stored one has too has no id, which is 0. The list is everybody's: do not change it.
func (e *Engine) KnownPolicies(ctx context.Context) ([]KnownPolicy, error) {
	k, err := e.knownNow(ctx)
	if err != nil {
		return nil, err
	}
	return k.list, nil
}

// KnownPolicy returns the policy of that id, or journal.ErrNotFound.
func (e *Engine) KnownPolicy(ctx context.Context, id int64) (KnownPolicy, error) {
	k, err := e.knownNow(ctx)
	if err != nil {
		return KnownPolicy{}, err
	}
	if i, ok := k.withID[id]; ok {
		return k.list[i], nil
	}
	return KnownPolicy{}, fmt.Errorf("policy %d: %w", id, journal.ErrNotFound)
}

// KnownPolicyNamed returns the policy of that name, the configuration's if there are
// two, or journal.ErrNotFound.
func (e *Engine) KnownPolicyNamed(ctx context.Context, name string) (KnownPolicy, error) {
	k, err := e.knownNow(ctx)
	if err != nil {
		return KnownPolicy{}, err
	}
	if i, ok := k.named[name]; ok {
		return k.list[i], nil
	}
	return KnownPolicy{}, fmt.Errorf("policy %q: %w", name, journal.ErrNotFound)
}

func (e *Engine) knownNow(ctx context.Context) (*knownPolicies, error) {
	setup := e.setup.Load()
	stored := setup.stored.Load()
	if k := e.known.Load(); k != nil && k.setup == setup && k.stored == stored {
		return k, nil
	}
	names := make([]string, len(setup.policies))
	for i := range setup.policies {
		names[i] = setup.policies[i].Name
	}
	ids, err := e.journal.FilePolicyIDs(ctx, names)
	if err != nil {
		return nil, err
	}
	k := newKnownPolicies(setup, stored, ids)
	e.known.Store(k)
	return k, nil
}

func newKnownPolicies(setup *Setup, stored *storedPolicies, ids map[string]int64) *knownPolicies {
	k := &knownPolicies{setup: setup, stored: stored, named: map[string]int{}, withID: map[int64]int{}}
	taken := map[int64]bool{}
	if stored != nil {
		for _, p := range stored.list {
			taken[p.ID] = true
			k.list = append(k.list, KnownPolicy{StoredPolicy: p, Err: stored.broken[p.Policy.Name], Warning: setup.warning(&p.Policy)})
		}
	}
	for i := range setup.policies {
		b := &setup.policies[i]
		id := ids[b.Name]
		if taken[id] {
			id = 0 // of the same name: the id is the stored one's, so that it can be deleted
		}
		k.list = append(k.list, KnownPolicy{StoredPolicy: journal.StoredPolicy{ID: id, Policy: b.Policy, Origin: journal.FromFile, Label: b.Name}, Warning: setup.warning(&b.Policy)})
	}
	slices.SortStableFunc(k.list, func(x, y KnownPolicy) int { return cmp.Compare(x.ID, y.ID) })
	for i := range k.list {
		p := &k.list[i]
		if p.ID != 0 {
			k.withID[p.ID] = i
		}
		if _, have := k.named[p.Policy.Name]; !have || p.Origin == journal.FromFile {
			k.named[p.Policy.Name] = i
		}
	}
	return k
}
