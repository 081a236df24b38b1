package journaltest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	wantTick(t, j, hourly, tick(3))
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

func wantTick(t *testing.T, j *journal.Journal, schedule string, want time.Time) {
	t.Helper()
	got, known, err := j.LastTick(t.Context(), "p", schedule)
	must(t, err)
	if known == want.IsZero() || !got.Equal(want) {
		t.Fatalf("last tick of schedule %q: %v, known: %v; want %v", schedule, got, known, want)
	}
}

func testFirstTick(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	wantTick(t, j, hourly, time.Time{})
	must(t, j.SetFirstTick(ctx, "p", hourly, tick(5)), j.SetFirstTick(ctx, "p", hourly, tick(9)))
	wantTick(t, j, hourly, tick(5))
	fire(t, j, scheduled(5), journal.Duplicate)
	fire(t, j, scheduled(6), journal.Created)
	wantTick(t, j, hourly, tick(6))

	must(t, j.ForgetTick(ctx, "p"), j.ForgetTick(ctx, "unknown"))
	wantTick(t, j, hourly, time.Time{})
	wantTick(t, j, "", time.Time{})
	fire(t, j, manual(), journal.Created) // has no tick
	wantTick(t, j, hourly, time.Time{})
	wantTick(t, j, "", time.Time{})
	must(t, j.SetFirstTick(ctx, "p", hourly, tick(1)))
	wantTick(t, j, hourly, tick(1))
}

// testSchedules: a tick says nothing of another schedule.
func testSchedules(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	must(t, j.SetFirstTick(ctx, "p", hourly, tick(5)))
	wantTick(t, j, "@daily", time.Time{})
	must(t, j.SetFirstTick(ctx, "p", "@daily", tick(3)))
	wantTick(t, j, "@daily", tick(3))
	wantTick(t, j, hourly, time.Time{})
	fire(t, j, scheduled(6), journal.Created)
	wantTick(t, j, hourly, tick(6))
	wantTick(t, j, "@daily", time.Time{})
	must(t, j.SetFirstTick(ctx, "p", "@daily", tick(7)))
	fire(t, j, scheduled(7), journal.Duplicate)
	wantTick(t, j, "@daily", tick(7))
	fire(t, j, manual(), journal.Created)
	wantTick(t, j, "@daily", tick(7))
}

// testClockSetBack: what was fired while the clock was ahead does not silence
// the policy until then.
func testClockSetBack(t *testing.T, j *journal.Journal) {
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Second)
	ahead, soon := now.Add(48*time.Hour), now.Add(30*time.Second)
	e := fire(t, j, scheduledAt(ahead), journal.Created)
	if again := fire(t, j, scheduledAt(ahead), journal.Duplicate); again.ID != e.ID {
		t.Fatalf("the same tick again: execution %d, want %d", again.ID, e.ID)
	}
	wantTick(t, j, hourly, time.Time{})
	waiting := fire(t, j, scheduledAt(now), journal.Created)
	wantTick(t, j, hourly, now)
	for _, n := range []time.Duration{0, -time.Hour} { // the last tick is to be believed again
		if again := fire(t, j, scheduledAt(now.Add(n)), journal.Duplicate); n == 0 && again.ID != waiting.ID {
			t.Fatalf("the same tick again: execution %d, want %d", again.ID, waiting.ID)
		}
	}
	wantTick(t, j, hourly, now)

	// Another replica's clock may be a little ahead.
	fire(t, j, scheduledAt(soon), journal.Coalesced)
	wantTick(t, j, hourly, soon)
	fire(t, j, scheduledAt(now.Add(time.Second)), journal.Duplicate)
	must(t, j.SetFirstTick(ctx, "p", hourly, now))
	wantTick(t, j, hourly, soon)

	fire(t, j, scheduledAt(ahead.Add(time.Hour)), journal.Coalesced)
	must(t, j.SetFirstTick(ctx, "p", hourly, now))
	wantTick(t, j, hourly, now)
	fire(t, j, scheduledAt(now.Add(2*time.Second)), journal.Coalesced)
}

// testClockComesBy: a tick that was fired too early, while the clock was ahead,
// passes when its time has come.
func testClockComesBy(t *testing.T, j *journal.Journal) {
	early := time.Now().UTC().Truncate(time.Second).Add(2 * time.Minute)
	e := fire(t, j, scheduledAt(early), journal.Created)
	fire(t, j, scheduledAt(early.Add(-time.Hour)), journal.Created)
	if again := fire(t, j, scheduledAt(early), journal.Duplicate); again.ID != e.ID {
		t.Fatalf("execution %d, want %d", again.ID, e.ID)
	}
	fire(t, j, scheduledAt(early.Add(-time.Hour)), journal.Duplicate)
	fire(t, j, scheduledAt(early.Add(time.Second)), journal.Coalesced)

	f := scheduled(5)
	f.Policy = "other"
	fire(t, j, f, journal.Created)
	must(t, j.ForgetTick(t.Context(), f.Policy), j.SetFirstTick(t.Context(), f.Policy, hourly, tick(1)))
	fire(t, j, f, journal.Duplicate)
	if last, _, err := j.LastTick(t.Context(), f.Policy, hourly); err != nil || !last.Equal(tick(5)) {
		t.Fatalf("last tick %v, %v; want %v", last, err, tick(5))
	}
}
