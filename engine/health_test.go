package engine_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// Whether journal, keys and registries work is found out by using them.
func TestDependencies(t *testing.T) {
	s := registrytest.Memory(t)
	h := build(t, s, []policy.Policy{everything("p")}, nil)
	probe := func(kind engine.DependencyKind, name string, patience time.Duration) error {
		t.Helper()
		for _, d := range h.Dependencies() {
			if d.Kind == kind && d.Name == name {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				return d.Probe(ctx)
			}
		}
		t.Fatalf("no %s %q", kind, name)
		return nil
	}
	well := func(kind engine.DependencyKind, name string) {
		t.Helper()
		if err := probe(kind, name, time.Minute); err != nil {
			t.Errorf("%s %s: %v", kind, name, err)
		}
	}
	well(engine.JournalDependency, "")
	well(engine.KeyDependency, "key")
	well(engine.RegistryDependency, "test")
	if n := h.key.uses.Load(); n != 1 {
		t.Errorf("%d key uses, want 1", n)
	}
	h.key.fail = func() error { return kms.ErrUnavailable }
	if err := probe(engine.KeyDependency, "key", time.Second); err == nil {
		t.Error("a key that does not sign is well")
	}
	s.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	})
	if err := probe(engine.RegistryDependency, "test", time.Second); err == nil {
		t.Error("a registry that does not answer is well")
	}
	list := h.Dependencies()
	h.replace(newSetup(t, s, everything("p")))
	for _, d := range list { // of the old setup, by the new one's
		if d.Kind == engine.KeyDependency {
			if err := d.Probe(t.Context()); err != nil {
				t.Errorf("the new key: %v", err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Kind != engine.JournalDependency {
			if err := d.Probe(t.Context()); err == nil {
				t.Errorf("%s %s is well after the end", d.Kind, d.Name)
			}
		}
	}
}
