package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
)

// A KeyState is how a key of the current setup stands.
type KeyState struct {
	Name string
	// Fingerprint and Version are of the public half; empty if the key could not
	// be opened.
	Fingerprint, Version string
	// Public is the public half; nil if the key could not be opened.
	Public *kms.PublicKey
	// Aliases are the key's other names.
	Aliases []string
	// Err is why the key cannot be used, nil if it was opened.
	Err error
	// Expires is when the first certificate of the key's chain expires; the zero
	// time if it has none.
	Expires time.Time
}

// Keys returns how the keys of the current setup stand, by name.
func (e *Engine) Keys() []KeyState {
	setup := e.setup.Load()
	states := make([]KeyState, 0, len(setup.keys))
	for _, name := range slices.Sorted(maps.Keys(setup.keys)) {
		key := setup.keys[name]
		s := KeyState{Name: name, Err: key.Err, Aliases: slices.Clone(key.Aliases)}
		if key.Signer != nil {
			s.Public, s.Version = key.Signer.Public(), key.Signer.Version()
			s.Fingerprint = s.Public.Fingerprint()
		}
		for _, c := range key.Certificates {
			if s.Expires.IsZero() || c.NotAfter.Before(s.Expires) {
				s.Expires = c.NotAfter
			}
		}
		states = append(states, s)
	}
	return states
}

// KeyNamed returns how the key with that name or alias stands; false if there is
// none.
func (e *Engine) KeyNamed(name string) (KeyState, bool) {
	name, ok := e.setup.Load().keyName(name)
	if !ok {
		return KeyState{}, false
	}
	for _, k := range e.Keys() {
		if k.Name == name {
			return k, true
		}
	}
	return KeyState{}, false // replaced meanwhile
}

// Registries returns the names of the registries of the current setup.
func (e *Engine) Registries() []string {
	return slices.Sorted(maps.Keys(e.setup.Load().places))
}

// Registry returns the opened registry of that name; false if there is none.
func (e *Engine) Registry(name string) (registry.Registry, bool) {
	place, ok := e.setup.Load().places[name]
	if !ok {
		return nil, false
	}
	return place.registry, true
}

// Budgets returns how the budget of each registry of the current setup stands, but
// for those in directories, which have none.
func (e *Engine) Budgets() map[string]budget.State {
	out := make(map[string]budget.State)
	for name, place := range e.setup.Load().places {
		if b, ok := place.registry.(registry.Budgeted); ok {
			out[name] = b.Budget()
		}
	}
	return out
}

// Depth returns how much work there is in each lane, of all replicas.
func (e *Engine) Depth(ctx context.Context) ([]journal.LaneDepth, error) { return e.journal.Depth(ctx) }

// Requests returns how many requests were sent so far to each registry of the
// current setup.
func (e *Engine) Requests() map[string]registry.Counters {
	out := make(map[string]registry.Counters)
	for name, place := range e.setup.Load().places {
		out[name] = place.registry.Requests()
	}
	return out
}
