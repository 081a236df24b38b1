package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/policy"
)

// book is a tick book in memory.
type book struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (b *book) LastTick(_ context.Context, name, _ string) (time.Time, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.last[name]
	return t, ok, nil
}

func (b *book) ForgetTick(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.last, name)
	return nil
}

func (b *book) SetFirstTick(_ context.Context, name, _ string, t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.last[name]; !ok {
		b.last[name] = t
	}
	return nil
}

func (b *book) advance(name string, t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[name] = t
}

func scheduled(name, cron string) schedule { return schedule{name: name, cron: cron} }

// startScheduler runs a scheduler in the calling synctest bubble and returns the
// ticks it fires.
func startScheduler(t *testing.T, b *book, fail func() error, schedules ...schedule) func() []string {
	t.Helper()
	var mu sync.Mutex
	var fired []string
	s := &scheduler{ticks: b, now: time.Now, log: zap.NewNop(),
		fire: func(_ context.Context, p schedule, tick time.Time) error {
			if fail != nil {
				if err := fail(); err != nil {
					return err
				}
			}
			b.advance(p.name, tick)
			mu.Lock()
			defer mu.Unlock()
			fired = append(fired, p.name+" "+tick.Format("15:04:05"))
			return nil
		}}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		s.run(ctx, func() []schedule { return schedules }, nil)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), fired...)
	}
}

func TestSchedulerFiresEachTickOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A bubble's clock starts at midnight UTC, 2000-01-01.
		fired := startScheduler(t, &book{last: map[string]time.Time{}}, nil,
			scheduled("often", "*/20 * * * * *"), scheduled("hourly", "0 0 * * * *"))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		want(t, fired(), "often 00:00:20", "often 00:00:40", "often 00:01:00")
	})
}

func TestSchedulerOwesNoPastToANewPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := startScheduler(t, &book{last: map[string]time.Time{}}, nil, scheduled("daily", "0 0 12 * * *"))
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, fired())
	})
}

func TestSchedulerCatchesUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := time.Now().Add(-49*time.Hour - 30*time.Minute)
		b := &book{last: map[string]time.Time{"hourly": down, "each-second": down.AddDate(-5, 0, 0)}}
		fired := startScheduler(t, b, nil, scheduled("hourly", "0 15 * * * *"))
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, fired(), "hourly 23:15:00")
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		want(t, fired(), "hourly 23:15:00", "hourly 00:15:00")
	})
}

func TestSchedulerKeepsADueTickWhenFiringFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		fail := func() error {
			if !up.Load() {
				return errors.New("journal is read-only")
			}
			return nil
		}
		b := &book{last: map[string]time.Time{"p": time.Now().Add(-time.Minute)}}
		fired := startScheduler(t, b, fail, scheduled("p", "30 * * * * *"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want(t, fired())
		up.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, fired(), "p 23:59:30")
	})
}

func TestSchedulerLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{last: map[string]time.Time{"manual": time.Now().Add(-time.Hour)}}
		fired := startScheduler(t, b, nil, scheduled("manual", ""))
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, fired())
		if len(b.last) != 0 {
			t.Error("the tick of what has no schedule any more is not forgotten")
		}
	})
}

func TestSchedules(t *testing.T) {
	off := false
	p := func(name string, trigger policy.Trigger, enabled *bool) bound {
		return bound{Policy: policy.Policy{Name: name, Trigger: trigger, Enabled: enabled}}
	}
	daily := "0 0 2 * * *"
	e := New(Options{Setup: &Setup{Upkeep: Upkeep{Remember: time.Hour, DriftScan: "0 0 3 * * 0"}, policies: []bound{
		p("scheduled", policy.Trigger{Type: policy.Scheduled, Cron: daily}, nil),
		p("events", policy.Trigger{Type: policy.EventBased}, nil),
		p("reconciled", policy.Trigger{Type: policy.EventBased, Reconcile: daily}, nil),
		p("manual", policy.Trigger{Type: policy.Manual}, nil),
		p("disabled", policy.Trigger{Type: policy.Scheduled, Cron: daily}, &off),
	}}})
	wanted := map[schedule]bool{
		{"scheduled", daily}: true, {"events", ""}: true, {"reconciled", daily}: true, {"manual", ""}: true, {"disabled", ""}: true,
		{"drift/scheduled", "0 0 3 * * 0"}: true, {"drift/events", "0 0 3 * * 0"}: true, {"drift/reconciled", "0 0 3 * * 0"}: true,
		{"drift/manual", "0 0 3 * * 0"}: true, {"drift/disabled", ""}: true,
	}
	for _, s := range e.schedules() {
		if !wanted[s] {
			t.Errorf("schedule %+v", s)
		}
		delete(wanted, s)
	}
	if len(wanted) > 0 {
		t.Errorf("no schedules %v", wanted)
	}
	e.setup.Load().Upkeep.Remember = 0
	for _, s := range e.schedules() {
		if strings.HasPrefix(s.name, driftPrefix) && s.cron != "" {
			t.Errorf("%s is scheduled, but nothing is remembered", s.name)
		}
	}
}

func TestLatestTick(t *testing.T) {
	at := func(s string) time.Time {
		tm, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	for _, tt := range []struct{ cron, after, now, want string }{
		{"* * * * * *", "2010-01-01 00:00:00", "2026-11-23 10:00:00", "2026-11-23 10:00:00"},
		{"0 0 2 * * *", "2026-11-20 02:00:00", "2026-11-23 01:59:59", "2026-11-22 02:00:00"},
		{"0 0 2 * * *", "2026-11-22 02:00:00", "2026-11-23 01:59:59", ""},
		{"0 0 0 29 2 *", "2020-02-28 00:00:00", "2026-11-23 00:00:00", "2024-02-29 00:00:00"},
		{"0 0 2 * * *", "2026-11-24 02:00:00", "2026-11-23 10:00:00", ""}, // the clock was set back
	} {
		s, err := policy.ParseCron(tt.cron)
		if err != nil {
			t.Fatal(err)
		}
		var wanted time.Time
		if tt.want != "" {
			wanted = at(tt.want)
		}
		if got := latestTick(s, at(tt.after), at(tt.now)); !got.Equal(wanted) {
			t.Errorf("latestTick(%s, %s, %s) = %s, want %q", tt.cron, tt.after, tt.now, got, tt.want)
		}
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("fired %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("fired %v, want %v", got, want)
		}
	}
}
