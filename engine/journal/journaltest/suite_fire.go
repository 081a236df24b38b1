package journaltest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
)

func testFireOnce(t *testing.T, j *journal.Journal) {
	const goroutines, ticks = 8, 50
	var created, duplicates atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range ticks {
				_, r, err := j.Fire(t.Context(), scheduled(1))
				switch {
				case err != nil:
					t.Error(err)
				case r == journal.Created:
					created.Add(1)
				case r == journal.Duplicate:
					duplicates.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 || duplicates.Load() != goroutines*ticks-1 {
		t.Fatalf("%d created, %d duplicates; want 1 and %d", created.Load(), duplicates.Load(), goroutines*ticks-1)
	}
}

func testCoalesce(t *testing.T, j *journal.Journal) {
	active := fire(t, j, scheduled(1), journal.Created)
	waiting := fire(t, j, scheduled(2), journal.Created)
	if active.Status != journal.Pending || waiting.Status != journal.Initialized {
		t.Fatalf("first %s, second %s; want Pending and Initialized", active.Status, waiting.Status)
	}
	f := scheduled(3)
	f.PolicyVersion = "v2"
	if e := fire(t, j, f, journal.Coalesced); e.ID != waiting.ID || e.PolicyVersion != "v2" {
		t.Fatalf("tick 3 joined execution %d of version %s; want %d of v2", e.ID, e.PolicyVersion, waiting.ID)
	}
	for n, want := range map[int]int64{3: waiting.ID, 2: waiting.ID, 1: active.ID} {
		if e := fire(t, j, scheduled(n), journal.Duplicate); e.ID != want {
			t.Errorf("tick %d again: execution %d, want %d", n, e.ID, want)
		}
	}
	got, ok, err := j.LastTick(t.Context(), "p")
	must(t, err)
	if !ok || !got.Equal(tick(3)) {
		t.Fatalf("last tick %v, %v; want %v", got, ok, tick(3))
	}
	other := scheduled(1)
	other.Policy = "other"
	if e := fire(t, j, other, journal.Created); e.Status != journal.Pending {
		t.Fatalf("another policy's execution is %s", e.Status)
	}
}

func testHandOver(t *testing.T, j *journal.Journal) {
	first := fire(t, j, scheduled(1), journal.Created)
	second := fire(t, j, scheduled(2), journal.Created)
	walked := make(chan int64, 2)
	work(t, j, journal.Handlers{Walk: walkNothing(j, walked)}, journal.JobOptions{})
	if a, b := receive(t, walked), receive(t, walked); a != first.ID || b != second.ID {
		t.Fatalf("walked %d, then %d; want %d, then %d", a, b, first.ID, second.ID)
	}
	for _, e := range []journal.Execution{first, second} {
		e.Status = journal.Succeed
		wantExecution(t, j, e)
	}
}

func testJoinUpgrades(t *testing.T, j *journal.Journal) {
	fire(t, j, scheduled(1), journal.Created)
	fire(t, j, scheduled(2), journal.Created)
	if e := fire(t, j, manual(), journal.Coalesced); e.Lane != journal.Live {
		t.Fatalf("lane %s after a live firing joined", e.Lane)
	}
	if e := fire(t, j, scheduled(3), journal.Coalesced); e.Lane != journal.Live {
		t.Fatalf("lane %s after a backlog firing joined", e.Lane)
	}
}

func testFirstTick(t *testing.T, j *journal.Journal) {
	if _, ok, err := j.LastTick(t.Context(), "p"); ok || err != nil {
		t.Fatalf("last tick of an unknown policy: %v, %v", ok, err)
	}
	must(t, j.SetFirstTick(t.Context(), "p", tick(5)), j.SetFirstTick(t.Context(), "p", tick(9)))
	got, ok, err := j.LastTick(t.Context(), "p")
	must(t, err)
	if !ok || !got.Equal(tick(5)) {
		t.Fatalf("last tick %v, %v; want %v", got, ok, tick(5))
	}
	fire(t, j, scheduled(5), journal.Duplicate)
	fire(t, j, scheduled(6), journal.Created)

	fire(t, j, journal.Firing{Policy: "by hand", Lane: journal.Live}, journal.Created)
	if _, ok, err := j.LastTick(t.Context(), "by hand"); ok || err != nil {
		t.Fatalf("last tick after a firing by hand: %v, %v", ok, err)
	}
	must(t, j.SetFirstTick(t.Context(), "by hand", tick(1)))
	if _, ok, err := j.LastTick(t.Context(), "by hand"); !ok || err != nil {
		t.Fatalf("first tick not recorded: %v", err)
	}
}
