package engine_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestDoubtVerifiesEverythingAndRestoresWhatIsLost(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 3)
	h, _, lost := remembering(t, s, everything("p"))
	h.fire("p")
	loses(s, "app", digests[1])
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 3})
	if err := h.Doubt(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 2, engine.ReasonRestored: 1})
	if lost.Load() != 1 || h.key.uses.Load() != 4 {
		t.Errorf("%d signatures lost, %d key uses; want 1 and 4", lost.Load(), h.key.uses.Load())
	}
	wantOneSignatureEach(t, s, digests)
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 3})
}

// A drift scan looks at what is remembered, and at nothing else.
func TestDriftScan(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 2)
	h, _, lost := remembering(t, s, everything("p"))
	wantCounts(t, h.fire("drift/p"), journal.Succeed, nil)
	h.fire("p")
	unsigned := s.Push(t, "app:new", registrytest.Image(t))
	s.Push(t, "other:v1", registrytest.Image(t))
	loses(s, "app", digests[0])
	x := h.fire("drift/p")
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonRestored: 1, engine.ReasonAlreadySigned: 1})
	if x.Tasks != 1 {
		t.Errorf("%d repositories were scanned, want the one with memories", x.Tasks)
	}
	if lost.Load() != 1 {
		t.Errorf("%d signatures lost, want 1", lost.Load())
	}
	if n := s.Signatures(t, "app", unsigned); n != 0 {
		t.Error("a drift scan signed something new")
	}
	records, err := h.journal.Records(t.Context(), journal.RecordFilter{Policy: "p"})
	if err != nil || len(records) != 3 {
		t.Errorf("%d records of the policy, %v, want 3", len(records), err)
	}
}

// A drift scan says of what it cannot see that it could not.
func TestDriftScanOfWhatCannotBeSeen(t *testing.T) {
	s := registrytest.Memory(t)
	pushSome(t, s, 2)
	h, _, _ := remembering(t, s, everything("p"))
	h.fire("p")
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Path != "/v2/app/manifests/v1" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	wantCounts(t, h.fire("drift/p"), journal.Failed, map[string]int64{engine.ReasonAlreadySigned: 1, engine.ReasonForbidden: 1})
}

// Without a memory there is nothing to scan.
func TestDriftScanWithoutMemory(t *testing.T) {
	h := build(t, registrytest.Memory(t), []policy.Policy{everything("p")}, nil)
	if _, err := h.Fire(t.Context(), "drift/p"); !errors.Is(err, engine.ErrPolicy) || !strings.Contains(err.Error(), "remember is 0") {
		t.Errorf("fired: %v", err)
	}
}

// To doubt what a key has signed waits for the key.
func TestDoubtWaitsForTheKey(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 1)
	key := engine.Key{Signer: lasting{newKey(t)}}
	h := withKeys(t, s, map[string]engine.Key{"key": key}, everything("p"))
	h.setup.Upkeep.Remember = time.Hour
	h.fire("p")
	replace := func(k engine.Key) {
		setup, err := engine.NewSetup([]policy.Policy{everything("p")}, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
			map[string]engine.Key{"key": k}, nil)
		if err != nil {
			t.Fatal(err)
		}
		setup.Upkeep.Remember = time.Hour
		h.replace(setup)
	}
	replace(engine.Key{Err: kms.ErrUnavailable})
	if err := h.Doubt(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	loses(s, "app", digests...)
	replace(key)
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonRestored: 1})
	s.Reset()
	h.fire("p")
	if looks(s) != 0 {
		t.Error("it is doubted for ever")
	}
}
