package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
)

// A Dependency is what signing needs, the journal, a key, a registry, or what records
// of it go to, a sink.
type Dependency struct {
	Kind DependencyKind
	Name string // "" for the journal
	// Probe finds out whether it works: whether the journal can be written, the
	// key signs what means nothing, the registry answers at all, the sink takes
	// what it is given. It wraps ErrLagging while nobody need do anything about it.
	Probe func(context.Context) error
}

// ErrLagging is what is wrong with a dependency that may come right by itself.
var ErrLagging = errors.New("lagging")

// A DependencyKind is the sort of a Dependency.
type DependencyKind string

// The kinds.
const (
	JournalDependency  DependencyKind = "journal"
	KeyDependency      DependencyKind = "key"
	RegistryDependency DependencyKind = "registry"
	SinkDependency     DependencyKind = "sink"
)

// Dependencies returns those of the current setup: the journal first, then the
// keys and the registries by name.
func (e *Engine) Dependencies() []Dependency {
	setup := e.setup.Load()
	list := []Dependency{{Kind: JournalDependency, Probe: e.journal.Ping}}
	for _, name := range slices.Sorted(maps.Keys(setup.keys)) {
		list = append(list, Dependency{Kind: KeyDependency, Name: name, Probe: func(ctx context.Context) error { return e.probeKey(ctx, name) }})
	}
	for _, name := range slices.Sorted(maps.Keys(setup.places)) {
		list = append(list, Dependency{Kind: RegistryDependency, Name: name, Probe: func(ctx context.Context) error { return e.probeRegistry(ctx, name) }})
	}
	return list
}

func (e *Engine) probeKey(ctx context.Context, name string) error {
	setup, err := e.use()
	if err != nil {
		return err
	}
	defer setup.release()
	key, ok := setup.keys[name]
	switch {
	case !ok:
		return fmt.Errorf("%w: no key is named %q any more", ErrPolicy, name)
	case key.Err != nil:
		return key.Err
	}
	return kms.Canary(ctx, key.Signer)
}

func (e *Engine) probeRegistry(ctx context.Context, name string) error {
	setup, err := e.use()
	if err != nil {
		return err
	}
	defer setup.release()
	place, ok := setup.places[name]
	if !ok {
		return fmt.Errorf("%w: no registry is named %q any more", ErrPolicy, name)
	}
	return place.registry.Reach(budget.WithLane(ctx, budget.Live))
}
