package api

import (
	"errors"
	"testing"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// TestMovedMeanwhile: a policy that was moved out of the caller's sight, or changed,
// after it was looked up is not changed.
func TestMovedMeanwhile(t *testing.T) {
	t.Parallel()
	all := policy.Selector{Matches: []string{"**"}}
	p := policy.Policy{Name: "p", Registry: controltest.Registry, Namespace: "team", Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
	h := controltest.New(t, controltest.Options{})
	stored, err := h.Engine.CreatePolicy(t.Context(), journal.StoredPolicy{Policy: p, Origin: journal.FromAPI, Label: "p"})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Engine: h.Engine, Journal: h.Journal, Rights: h.Rights, Door: h.Door, Log: zap.NewNop()})
	s := session{Caller: door.Caller{Name: "tenant", Role: door.Admin, Namespaces: []string{"team"}}}
	in := changeInput{RefInput{"p"}, MatchInput{etag(stored)}}
	_, allowed, err := a.changeable(t.Context(), s, in, func(o journal.Origin) bool { return o == journal.FromAPI })
	if err != nil || allowed(stored) != nil {
		t.Fatal(err, allowed(stored))
	}
	moved, changed, vendors := stored, stored, stored
	moved.Policy.Namespace = "library"
	changed.Revision++
	vendors.Origin = journal.FromSWR
	for _, c := range []struct {
		p    journal.StoredPolicy
		want error
	}{{moved, errNotFound}, {changed, journal.ErrRevision}, {vendors, errReadOnly}} {
		if err := allowed(c.p); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.p, err, c.want)
		}
	}
}
