package engine_test

import (
	"testing"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestImmutableTagCostsOneUse of the key for each image: what the registry has
// refused is not signed again in vain.
func TestImmutableTagCostsOneUse(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	r := rotate(t, s, policy.FormatCosign)
	s.Intercept(immutable)
	for range 3 {
		x := r.fire("app")
		wantCounts(t, x, journal.Failed, map[string]int64{engine.ReasonImmutable: 2})
		if detail := r.subtasks(x.ID)[digests[0].String()].Detail; detail == "" {
			t.Error("it does not say why")
		}
	}
	if n := r.old.uses.Load(); n != 2 {
		t.Errorf("%d uses of the key for 2 images, want 2", n)
	}
}

// TestImmutableTagOfOneFormat: the others make it good, the first time and when
// they have to be made again.
func TestImmutableTagOfOneFormat(t *testing.T) {
	s := registrytest.Distribution(t)
	d := pushSome(t, s, 1)[0]
	r := rotate(t, s, policy.FormatCosign, policy.FormatBundle)
	s.Intercept(immutable)
	wantCounts(t, r.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	wantCounts(t, r.fire("app"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 1})
	st := open(t, s, nil)
	bundles, err := registry.NewReferrers(st).List(t.Context(), "app", d, func(string) bool { return true })
	if err != nil || len(bundles) != 1 {
		t.Fatal(bundles, err)
	}
	remove(t, st, "app", bundles[0].Digest)
	wantCounts(t, r.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	if n := r.old.uses.Load(); n != 3 {
		t.Errorf("%d uses of the key, want 3: one for the refusal, two for bundles", n)
	}
	records, err := r.journal.Records(t.Context(), journal.RecordFilter{Digest: d.String()})
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]int{}
	for _, rec := range records {
		said[string(rec.Format)+" "+rec.Reason]++
	}
	if said["cosign immutable_tag"] != 1 || said["bundle signed"] != 2 || len(records) != 3 {
		t.Errorf("records: %v", said)
	}
}
