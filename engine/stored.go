package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/signature"
)

// storedPolicies are those of the journal, bound to one setup.
type storedPolicies struct {
	revision int64
	list     []journal.StoredPolicy
	bound    []bound          // those that can be carried out
	broken   map[string]error // why the others cannot, by name

	ids, revisions []int64 // of what is bound
}

// storedQuota is how many policies may be stored for one registry: SWR's quota.
const storedQuota = 10_000

// ErrNameTaken is why a stored policy is not carried out whose name one of the
// configuration has.
var ErrNameTaken = errors.New("a policy of the configuration has this name, and is carried out in its place; delete one of the two")

// An InvalidPolicyError says everything that is wrong with a policy that was to be
// stored.
type InvalidPolicyError struct{ Faults []policy.Fault }

// Error lists the faults.
func (e *InvalidPolicyError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.Error()
	}
	return strings.Join(texts, "; ")
}

// store binds stored policies to the setup. One that cannot be carried out keeps none
// of the others from it.
func (s *Setup) store(p *storedPolicies) {
	if p == nil {
		return
	}
	was := map[int64]int{} // where those that are bound to this setup are, by id
	before := s.stored.Load()
	if before != nil {
		for i, id := range before.ids {
			was[id] = i
		}
	}
	files := map[string]bool{}
	for i := range s.policies {
		files[s.policies[i].Name] = true
	}
	next := &storedPolicies{revision: p.revision, list: p.list, broken: map[string]error{}}
	for i := range p.list {
		stored := &p.list[i]
		at, known := was[stored.ID]
		switch {
		case files[stored.Policy.Name]: // whoever writes files decides
			next.broken[stored.Policy.Name] = ErrNameTaken
		case known && before.revisions[at] == stored.Revision:
			next.add(stored, before.bound[at])
		default:
			b, err := s.bindStored(stored.Policy)
			if err != nil {
				next.broken[stored.Policy.Name] = err
				continue
			}
			next.add(stored, b)
		}
	}
	s.stored.Store(next)
}

func (p *storedPolicies) add(stored *journal.StoredPolicy, b bound) {
	p.ids, p.revisions, p.bound = append(p.ids, stored.ID), append(p.revisions, stored.Revision), append(p.bound, b)
}

// bindStored binds a policy that no file has. Its witnesses are those of a policy
// that has the same ones in the configuration: an API's caller must not make the
// daemon read files or call servers.
func (s *Setup) bindStored(p policy.Policy) (bound, error) {
	if len(p.Timestamp) == 0 && p.TransparencyLog == "" {
		return s.bind(p, signature.Witnesses{})
	}
	for i := range s.policies {
		b := &s.policies[i]
		if reflect.DeepEqual(b.Timestamp, p.Timestamp) && b.TransparencyLog == p.TransparencyLog && b.TransparencyLogKey == p.TransparencyLogKey {
			return s.bind(p, b.witnesses)
		}
	}
	return bound{}, errors.New("timestamp and transparency_log: no policy of the configuration has the same")
}

// Sync takes over what was stored, changed or deleted by whichever replica. It
// costs one small read if nothing was.
func (e *Engine) Sync(ctx context.Context) error {
	revision, err := e.journal.PoliciesRevision(ctx)
	if err != nil {
		return err
	}
	if now := e.setup.Load().stored.Load(); now != nil && now.revision == revision {
		return nil
	}
	e.storing.Lock()
	defer e.storing.Unlock()
	list, revision, err := e.journal.StoredPolicies(ctx)
	if err != nil {
		return err
	}
	setup := e.setup.Load()
	was := setup.stored.Load()
	if was != nil && was.revision >= revision {
		return nil
	}
	setup.store(&storedPolicies{revision: revision, list: list})
	e.tellBroken(was, setup.stored.Load())
	e.tellSilent(was, setup, setup)
	e.noteChange()
	return nil
}

// tellBroken logs which stored policies cannot be carried out any more.
func (e *Engine) tellBroken(was, now *storedPolicies) {
	for name, err := range now.broken {
		if was != nil && was.broken[name] != nil {
			continue
		}
		e.log.Error("stored policy cannot be carried out", zap.String("policy", name), zap.Error(err))
	}
}

// tellSilent logs which stored policies no event will fire, as far as that is news.
func (e *Engine) tellSilent(was *storedPolicies, before, setup *Setup) {
	told := map[[2]int64]bool{} // ids and revisions
	if was != nil {
		for i := range was.list {
			p := &was.list[i]
			told[[2]int64{p.ID, p.Revision}] = before.warning(&p.Policy) != ""
		}
	}
	now := setup.stored.Load()
	for i := range now.list {
		p := &now.list[i]
		why := setup.warning(&p.Policy)
		if why == "" || told[[2]int64{p.ID, p.Revision}] || now.broken[p.Policy.Name] != nil {
			continue
		}
		e.log.Warn("stored policy that no event fires", zap.String("policy", p.Policy.Name), zap.String("origin", string(p.Origin)), zap.String("problem", why))
	}
}

// SyncEvery calls Sync at intervals until ctx ends, for what other replicas store.
func (e *Engine) SyncEvery(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.Sync(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("stored policies not taken over, will try again", zap.Error(err))
		}
	}
}

// CreatePolicy stores a policy, see [journal.Journal.CreatePolicy], and takes it
// over. What is wrong with it is an *InvalidPolicyError; journal.ErrQuota, that its
// registry has as many as there may be.
func (e *Engine) CreatePolicy(ctx context.Context, p journal.StoredPolicy) (journal.StoredPolicy, error) {
	if err := e.checkStored(&p, ""); err != nil {
		return p, err
	}
	p, err := e.journal.CreatePolicy(ctx, p, e.policyBounds())
	if err == nil {
		e.takeOver(ctx)
	}
	return p, err
}

// PutPolicy stores a policy in place of the one of its origin, registry and
// namespace, or creates it, and takes it over.
func (e *Engine) PutPolicy(ctx context.Context, p journal.StoredPolicy) (journal.StoredPolicy, error) {
	if err := e.checkStored(&p, ""); err != nil {
		return p, err
	}
	p, err := e.journal.PutPolicy(ctx, p, e.policyBounds())
	if err == nil {
		e.takeOver(ctx)
	}
	return p, err
}

// UpdatePolicy changes a stored policy, see [journal.Journal.UpdatePolicy], and
// takes it over. What is wrong with it then is an *InvalidPolicyError.
func (e *Engine) UpdatePolicy(ctx context.Context, id int64, change func(*journal.StoredPolicy) error) (journal.StoredPolicy, error) {
	p, err := e.journal.UpdatePolicy(ctx, id, e.policyBounds(), func(p *journal.StoredPolicy) error {
		schedule := p.Policy.Trigger.Schedule()
		if err := change(p); err != nil {
			return err
		}
		return e.checkStored(p, schedule)
	})
	if err == nil {
		e.takeOver(ctx)
	}
	return p, err
}

// DeletePolicy deletes a stored policy unless refuse returns an error, and forgets
// it. Its history stays.
func (e *Engine) DeletePolicy(ctx context.Context, id int64, refuse func(journal.StoredPolicy) error) error {
	err := e.journal.DeletePolicy(ctx, id, refuse)
	if err == nil {
		e.takeOver(ctx)
	}
	return err
}

// takeOver takes over what was just stored. If it fails, that is done later.
func (e *Engine) takeOver(ctx context.Context) {
	if err := e.Sync(context.WithoutCancel(ctx)); err != nil {
		e.log.Warn("stored policies not taken over, will try again", zap.Error(err))
	}
}

// StoredQuota returns how many policies may be stored for one registry.
func (e *Engine) StoredQuota() int { return e.opts.StoredQuota }

func (e *Engine) policyBounds() journal.PolicyBounds {
	setup := e.setup.Load()
	names := make([]string, len(setup.policies))
	for i := range setup.policies {
		names[i] = setup.policies[i].Name
	}
	return journal.PolicyBounds{Reserved: names, Quota: e.opts.StoredQuota}
}

// checkStored returns what is wrong with a policy that is to be stored, and writes
// the key's name in place of an alias. A schedule that it has already may stay.
func (e *Engine) checkStored(p *journal.StoredPolicy, schedule string) error {
	setup := e.setup.Load()
	if name, ok := setup.keyName(p.Policy.Key); ok {
		p.Policy.Key = name
	}
	named := p.Policy
	if named.Name == "" {
		named.Name = "unnamed" // it gets its name when it is stored
	}
	faults := append(named.Validate(), tooLarge(&named)...)
	if now := named.Trigger.Schedule(); now != schedule {
		faults = append(faults, tooOften(&named, cmp.Or(setup.Upkeep.MinInterval, minInterval))...)
	}
	if len(faults) == 0 {
		if _, err := setup.bindStored(named); err != nil {
			faults = append(faults, policy.Fault{Problem: err.Error()})
		}
	}
	if len(p.Document) > 0 && !json.Valid(p.Document) {
		return errors.New("the document is not JSON")
	}
	if len(faults) > 0 {
		return &InvalidPolicyError{Faults: faults}
	}
	return nil
}

// maxStoredBody is how large a stored policy may be as JSON, in bytes: all of them are
// kept in memory, and read whenever one is changed.
const maxStoredBody = 16 << 10

func tooLarge(p *policy.Policy) []policy.Fault {
	body, err := json.Marshal(p)
	if err == nil && len(body) <= maxStoredBody {
		return nil
	}
	return []policy.Fault{{Problem: fmt.Sprintf("has %d bytes as JSON", len(body)), Allowed: fmt.Sprintf("at most %d, for a policy that is stored; files may hold larger ones", maxStoredBody)}}
}

// minInterval is how far apart the ticks of a stored policy are, if the setup does not
// say: each of them may cost a walk over the registry.
const minInterval = time.Minute

// tooOften returns that a policy is due more often than stored ones may. A schedule
// that is none is not its to report.
func tooOften(p *policy.Policy, least time.Duration) []policy.Fault {
	s, err := policy.ParseCron(p.Trigger.Schedule())
	if err != nil {
		return nil
	}
	gap, ok := s.Closer(least)
	if !ok {
		return nil
	}
	field := "trigger.cron"
	if p.Trigger.Type == policy.EventBased {
		field = "trigger.reconcile"
	}
	return []policy.Fault{{Field: field, Problem: fmt.Sprintf("fires %s after it fired", gap),
		Allowed: fmt.Sprintf("at least %s from one tick to the next, for a policy that is stored (min_schedule_interval); those of files may fire more often", least)}}
}

// MayClaim reports whether a policy of a registry may sign under a domain, if whoever
// makes it sees that registry alone: its own host, or a domain that a policy of the
// configuration claims for it.
func (e *Engine) MayClaim(registry, domain string) bool {
	setup := e.setup.Load()
	if place, ok := setup.places[registry]; domain == "" || ok && place.registry.Host() == domain {
		return true
	}
	return slices.ContainsFunc(setup.policies, func(b bound) bool { return b.Registry == registry && b.Domain == domain })
}

// keyName returns the name of the key with that name or alias.
func (s *Setup) keyName(name string) (string, bool) {
	if _, ok := s.keys[name]; ok {
		return name, true
	}
	for n, k := range s.keys {
		if slices.Contains(k.Aliases, name) {
			return n, true
		}
	}
	return "", false
}
