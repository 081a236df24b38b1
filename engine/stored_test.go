package engine_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

func storable(name string) journal.StoredPolicy {
	return journal.StoredPolicy{Policy: everything(name), Origin: journal.FromAPI, Label: name, Creator: "ops"}
}

// TestStoredPolicySigns: a policy that came through an API is fired and signs, and
// is gone when it is deleted.
func TestStoredPolicySigns(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("from file")}, nil)
	p, err := h.CreatePolicy(t.Context(), storable("from api"))
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, h.await(h.fire("from api").ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	wantOneSignatureEach(t, s, []v1.Hash{digest})

	if _, err := h.UpdatePolicy(t.Context(), p.ID, func(p *journal.StoredPolicy) error {
		no := false
		p.Policy.Enabled = &no
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Fire(t.Context(), "from api"); !errors.Is(err, engine.ErrPolicy) {
		t.Errorf("firing it disabled: %v", err)
	}
	if err := h.DeletePolicy(t.Context(), p.ID, func(journal.StoredPolicy) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if list := h.Policies(); len(list) != 1 || list[0].Name != "from file" {
		t.Errorf("policies: %+v", list)
	}
}

// TestKnownPolicies: all have ids that stay, and say whose they are.
func TestKnownPolicies(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	h := build(t, s, []policy.Policy{everything("from file")}, nil)
	p, err := h.CreatePolicy(t.Context(), storable("from api"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		all, err := h.KnownPolicies(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatalf("%+v, %v", all, err)
		}
		if a := all[0]; a.Origin != journal.FromAPI || a.ID != p.ID || a.Err != nil {
			t.Errorf("%+v", a)
		}
		f := all[1]
		if f.Origin != journal.FromFile || f.ID <= p.ID || f.Policy.Name != "from file" {
			t.Errorf("%+v", f)
		}
		byID, err := h.KnownPolicy(t.Context(), f.ID)
		if named, nameErr := h.KnownPolicyNamed(t.Context(), "from file"); err != nil || nameErr != nil || !reflect.DeepEqual(byID, f) || !reflect.DeepEqual(named, f) {
			t.Errorf("by id %+v, %v; by name %+v, %v", byID, err, named, nameErr)
		}
		h.replace(newSetup(t, s, everything("from file")))
	}
	if _, err := h.KnownPolicy(t.Context(), p.ID+7); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a policy that is not there: %v", err)
	}
	if _, err := h.KnownPolicyNamed(t.Context(), "from nowhere"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a policy that is not there: %v", err)
	}
}

// TestSilentRegistries: an event_based policy of a registry that tells of no pushes is
// stored, can be fired, and is warned of once as it is stored, and when its registry
// falls silent.
func TestSilentRegistries(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	core, logs := observer.New(zapcore.WarnLevel)
	h := build(t, s, nil, func(o *engine.Options) {
		o.Log, o.Setup.Silent = zap.New(core), map[string]string{"test": "no events"}
	})
	told := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range logs.TakeAll() {
			if e.Message == "stored policy that no event fires" {
				got = append(got, fmt.Sprint(e.ContextMap()["policy"], ": ", e.ContextMap()["problem"]))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	pushed := storable("pushed")
	pushed.Policy.Trigger = policy.Trigger{Type: policy.EventBased}
	p, err := h.CreatePolicy(t.Context(), pushed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreatePolicy(t.Context(), storable("by hand")); err != nil {
		t.Fatal(err)
	}
	told("pushed: no events")
	all, err := h.KnownPolicies(t.Context())
	if err != nil || len(all) != 2 || all[0].Warning != "no events" || all[1].Warning != "" || all[0].Err != nil || h.Known(p).Warning != "no events" {
		t.Errorf("%+v, %v", all, err)
	}
	wantCounts(t, h.await(h.fire("pushed").ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	h.replace(newSetup(t, s))
	if h.Known(p).Warning != "" {
		t.Error("warned of a registry that tells")
	}
	told()
	silent := newSetup(t, s)
	silent.Silent = map[string]string{"test": "no events any more"}
	h.replace(silent)
	told("pushed: no events any more")
}

// TestStoredPolicyRefused: nothing is stored that could not be carried out, and all
// that is wrong is said.
func TestStoredPolicyRefused(t *testing.T) {
	t.Parallel()
	h := build(t, registrytest.Distribution(t), []policy.Policy{everything("from file")}, nil)
	for what, c := range map[string]struct {
		change func(*policy.Policy)
		want   string
	}{
		"registry": {func(p *policy.Policy) { p.Registry = "other" }, "other"},
		"key":      {func(p *policy.Policy) { p.Key = "other" }, "other"},
		"pattern":  {func(p *policy.Policy) { p.Scope[0].Tags = matches("[") }, "scope[0].tags.matches[0]"},
		"two":      {func(p *policy.Policy) { p.Scope[0].Tags, p.Index = matches("["), "all" }, "index"},
		"drift":    {func(p *policy.Policy) { p.Name = "drift/x" }, "name"},
		"large": {func(p *policy.Policy) {
			for i := range 2000 {
				p.Scope[0].Tags.Matches = append(p.Scope[0].Tags.Matches, fmt.Sprintf("v%d.*", i))
			}
		}, "bytes as JSON"},
		"witness": {func(p *policy.Policy) {
			p.Formats = []policy.Format{policy.FormatBundle}
			p.Timestamp = policy.Timestamps{{URL: "http://tsa.example", CA: "/etc/passwd"}}
		}, "timestamp"},
	} {
		p := storable("new")
		c.change(&p.Policy)
		_, err := h.CreatePolicy(t.Context(), p)
		if invalid := (*engine.InvalidPolicyError)(nil); !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := h.CreatePolicy(t.Context(), storable("from file")); !errors.Is(err, journal.ErrExists) {
		t.Errorf("the name of a file's policy: %v", err)
	}
	if n, err := h.journal.PoliciesRevision(t.Context()); n != 0 || err != nil {
		t.Errorf("revision %d, %v", n, err)
	}
}

// TestFrequentStored: what is stored is due so often and no more often. What was stored
// before goes on, and can be changed but for another such schedule.
func TestFrequentStored(t *testing.T) {
	t.Parallel()
	h := build(t, registrytest.Distribution(t), []policy.Policy{everything("from file")}, nil)
	frequent := func(cron string) journal.StoredPolicy {
		p := storable("new")
		p.Policy.Trigger = policy.Trigger{Type: policy.Scheduled, Cron: cron}
		return p
	}
	refused := func(what string, err error) {
		t.Helper()
		if invalid := (*engine.InvalidPolicyError)(nil); !errors.As(err, &invalid) || invalid.Faults[0].Field != "trigger.cron" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := h.CreatePolicy(t.Context(), frequent("*/59 * * * * *"))
	refused("created", err)
	put := frequent("* * * * * *")
	put.Origin = journal.FromTCR
	_, err = h.PutPolicy(t.Context(), put)
	refused("put", err)
	old, err := h.journal.CreatePolicy(t.Context(), frequent("* 0 0 1 1 *"), journal.PolicyBounds{Quota: 9})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if known, err := h.KnownPolicy(t.Context(), old.ID); err != nil || known.Err != nil {
		t.Errorf("stored before: %+v, %v", known, err)
	}
	change := func(change func(*policy.Policy)) error {
		_, err := h.UpdatePolicy(t.Context(), old.ID, func(p *journal.StoredPolicy) error { change(&p.Policy); return nil })
		return err
	}
	if err := change(func(p *policy.Policy) { p.Description = "still there" }); err != nil {
		t.Error(err)
	}
	refused("changed", change(func(p *policy.Policy) { p.Trigger.Cron = "* 0 0 2 1 *" }))
	setup := newSetup(t, h.server, everything("from file"))
	setup.Upkeep.MinInterval = time.Second
	h.replace(setup)
	if err := change(func(p *policy.Policy) { p.Trigger.Cron = "* 0 0 2 1 *" }); err != nil {
		t.Errorf("where the configuration allows it: %v", err)
	}
}

// TestReplaceWithStored: a new configuration keeps the stored policies; one that
// has the name of such a policy is refused; what it cannot carry out is said.
func TestReplaceWithStored(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	h := build(t, s, []policy.Policy{everything("from file")}, nil)
	p, err := h.CreatePolicy(t.Context(), storable("mine"))
	if err != nil {
		t.Fatal(err)
	}
	h.replace(newSetup(t, s, everything("mine")))
	if known, err := h.KnownPolicy(t.Context(), p.ID); err != nil || !errors.Is(known.Err, engine.ErrNameTaken) || len(h.Policies()) != 1 {
		t.Fatalf("a configuration with the same name: %+v, %v", known, err)
	}
	if named, err := h.KnownPolicyNamed(t.Context(), "mine"); err != nil || named.Origin != journal.FromFile || named.ID != 0 {
		t.Errorf("the one that has the name: %+v, %v", named, err)
	}
	h.replace(newSetup(t, s, everything("from file")))
	if len(h.Policies()) != 2 {
		t.Fatalf("policies: %+v", h.Policies())
	}
	other, err := engine.NewSetup(nil, map[string]*engine.Place{"other": engine.NewPlace(open(t, s, nil), 8)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.replace(other)
	if known, err := h.KnownPolicy(t.Context(), p.ID); err != nil || known.Err == nil || len(h.Policies()) != 0 {
		t.Errorf("without its registry: %+v, %v", known, err)
	}
	h.replace(newSetup(t, s))
	if known, err := h.KnownPolicy(t.Context(), p.ID); err != nil || known.Err != nil || len(h.Policies()) != 1 {
		t.Errorf("with its registry again: %+v, %v", known, err)
	}
}

// TestSyncOfReplicas: what one replica stores, changes and deletes another takes
// over, and at its start too.
func TestSyncOfReplicas(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	h := build(t, s, nil, nil)
	p, err := h.CreatePolicy(t.Context(), storable("mine"))
	if err != nil {
		t.Fatal(err)
	}
	replica := engine.New(engine.Options{Journal: h.journal, Setup: newSetup(t, s)})
	sync := func(want int) {
		t.Helper()
		if err := replica.Sync(t.Context()); err != nil || len(replica.Policies()) != want {
			t.Fatalf("%+v, %v, want %d policies", replica.Policies(), err, want)
		}
	}
	sync(1)
	if _, err := h.UpdatePolicy(t.Context(), p.ID, func(p *journal.StoredPolicy) error { p.Policy.Domain = "example.com"; return nil }); err != nil {
		t.Fatal(err)
	}
	sync(1)
	if got := replica.Policies()[0].Domain; got != "example.com" {
		t.Errorf("domain %q", got)
	}
	if err := h.DeletePolicy(t.Context(), p.ID, func(journal.StoredPolicy) error { return nil }); err != nil {
		t.Fatal(err)
	}
	sync(0)
	// One of them that a file takes the place of keeps no other from being carried out.
	clash := engine.New(engine.Options{Journal: h.journal, Setup: newSetup(t, s, everything("again"))})
	for _, name := range []string{"again", "other"} {
		if _, err := h.CreatePolicy(t.Context(), storable(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := clash.Sync(t.Context()); err != nil || len(clash.Policies()) != 2 {
		t.Errorf("%+v, %v", clash.Policies(), err)
	}
}

// TestKeyAliasInStoredPolicy: a vendor's id of a key is as good as its name.
func TestKeyAliasInStoredPolicy(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	h := build(t, s, nil, nil)
	setup, err := engine.NewSetup(nil, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
		map[string]engine.Key{"key": {Signer: newKey(t), Aliases: []string{"4c5cc6ea"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.replace(setup)
	p := storable("mine")
	p.Policy.Key = "4c5cc6ea"
	if got, err := h.CreatePolicy(t.Context(), p); err != nil || got.Policy.Key != "key" {
		t.Errorf("%+v, %v", got.Policy, err)
	}
}

// TestNamed: registries and keys are found by their names, keys also by others.
func TestNamed(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	h := build(t, s, nil, nil)
	if r, ok := h.Registry("test"); !ok || r.Host() != s.Host {
		t.Error("registry test is not found")
	}
	if _, ok := h.Registry("other"); ok {
		t.Error("a registry that is not there is found")
	}
	if k, ok := h.KeyNamed("key"); !ok || k.Public == nil || k.Fingerprint != h.key.Public().Fingerprint() {
		t.Errorf("%+v", k)
	}
	if _, ok := h.KeyNamed("other"); ok {
		t.Error("a key that is not there is found")
	}
}
