package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/sealwright/sealwright/registry"
)

// A KeyState is how a key of the current setup stands.
type KeyState struct {
	Name string
	// Fingerprint and Version are of the public half; empty if the key could not
	// be opened.
	Fingerprint, Version string
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
		s := KeyState{Name: name, Err: key.Err}
		if key.Signer != nil {
			s.Fingerprint, s.Version = key.Signer.Public().Fingerprint(), key.Signer.Version()
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

// Requests returns how many requests were sent so far to each registry of the
// current setup.
func (e *Engine) Requests() map[string]registry.Counters {
	out := make(map[string]registry.Counters)
	for name, place := range e.setup.Load().places {
		out[name] = place.registry.Requests()
	}
	return out
}
