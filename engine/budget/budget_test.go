package budget

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetNeverExceedsTheRate(t *testing.T) {
	for _, rate := range []float64{0.2, 1, 7, 50, 333} {
		synctest.Test(t, func(t *testing.T) {
			b := New(Limits{RequestsPerSecond: rate, Concurrency: 1000})
			start := time.Now()
			for n := 1; n <= 200; n++ {
				if err := b.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.Release()
				elapsed := time.Since(start).Seconds()
				if allowed := b.burst + rate*elapsed + 1e-6; float64(n) > allowed {
					t.Fatalf("rate %v: %d requests after %vs, allowed %v", rate, n, elapsed, allowed)
				}
			}
			// And it is used up: no slower than asked for.
			if least, took := (200-b.burst)/rate, time.Since(start).Seconds(); took > least*1.01+0.001 {
				t.Errorf("rate %v: 200 requests took %vs, want %vs", rate, took, least)
			}
		})
	}
}

func TestBudgetIdleTimeEarnsOnlyTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 100, Concurrency: 1000})
		time.Sleep(time.Hour)
		start := time.Now()
		for range 110 {
			if err := b.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want(t, time.Since(start).Round(time.Millisecond), time.Second, "time for a burst of 10 and 100 more")
	})
}

func TestBudgetCapsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 3})
		var under, most int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := b.Acquire(t.Context()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				under++
				most = max(most, under)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				under--
				mu.Unlock()
				b.Release()
			})
		}
		start := time.Now()
		wg.Wait()
		want(t, most, 3, "most requests under way")
		want(t, time.Since(start).Round(time.Second), 17*time.Second, "time for 50 requests by threes")
	})
}

// queued starts a goroutine that waits in the budget and tells when it may go.
func queued(ctx context.Context, b *Budget, name string, order *[]string, mu *sync.Mutex, wg *sync.WaitGroup) {
	wg.Go(func() {
		if b.Acquire(ctx) != nil {
			return
		}
		mu.Lock()
		*order = append(*order, name)
		mu.Unlock()
		b.Release()
	})
	synctest.Wait()
}

func TestBudgetLiveGoesBeforeBacklog(t *testing.T) {
	limits := map[string]Limits{
		"waiting for a place": {RequestsPerSecond: 1e6, Concurrency: 1},
		"waiting for a token": {RequestsPerSecond: 1, Concurrency: 10},
	}
	for name, l := range limits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(l)
				if err := b.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				var order []string
				var mu sync.Mutex
				var wg sync.WaitGroup
				live := WithLane(t.Context(), Live)
				queued(t.Context(), b, "backlog 1", &order, &mu, &wg)
				queued(WithLane(t.Context(), Backlog), b, "backlog 2", &order, &mu, &wg)
				queued(live, b, "live 1", &order, &mu, &wg)
				queued(live, b, "live 2", &order, &mu, &wg)
				b.Release()
				wg.Wait()
				want(t, order, []string{"live 1", "live 2", "backlog 1", "backlog 2"}, "order")
			})
		})
	}
}

func TestBudgetGivesUpWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 1})
		if err := b.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		b.Release()
		if err := b.Acquire(t.Context()); err != nil { // nobody holds the place
			t.Error(err)
		}
	})
}

// Many goroutines that give up while they are let through must not take
// places with them.
func TestBudgetLosesNoPlaces(t *testing.T) {
	b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 4})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			if b.Acquire(ctx) == nil {
				b.Release()
			}
		})
	}
	wg.Wait()
	want(t, b.free, 4, "free places")
	want(t, b.queues[Backlog].Len(), 0, "waiters left behind")
}

func TestBudgetHalvesOnceAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 100, Concurrency: 100})
		sent := time.Now()
		time.Sleep(time.Millisecond)
		for range 30 { // all of one wave
			b.Throttled(sent, 0)
		}
		want(t, b.Rate(), 50, "rate after one wave")
		time.Sleep(time.Second)
		want(t, math.Round(b.Rate()), 55, "rate a second later")
		time.Sleep(8 * time.Second)
		want(t, math.Round(b.Rate()), 95, "rate nine seconds later")
		time.Sleep(time.Hour)
		want(t, b.Rate(), 100, "rate an hour later")
		for range 20 { // wave after wave
			b.Throttled(time.Now(), 0)
			time.Sleep(time.Millisecond)
		}
		if got := b.Rate(); got < minRate || got > 2*minRate {
			t.Errorf("rate %v, want just above the floor of %v", got, minRate)
		}
	})
}

func TestBudgetFloorIsNotAboveTheConfiguredRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 0.1, Concurrency: 1})
		b.Throttled(time.Now(), 0)
		want(t, b.Rate(), 0.1, "rate")
	})
}

func TestBudgetPausesForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 100, Concurrency: 100})
		start := time.Now()
		b.Throttled(start, 30*time.Second)
		b.Throttled(start, 5*time.Second) // the longer pause counts
		var times []time.Duration
		for range 3 {
			if err := b.Acquire(WithLane(t.Context(), Live)); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(start).Round(10*time.Millisecond))
		}
		want(t, slices.Min(times), 30*time.Second+20*time.Millisecond, "first request: the pause, then one token at half the rate")
		want(t, math.Round(b.Rate()), 50, "a pause is no time to recover in")
	})
}

func TestBudgetRefusesThoseWhoCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 0.01, Concurrency: 1})
		if err := b.Acquire(t.Context()); err != nil { // the only token
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		waiting := make(chan error, 1)
		go func() { waiting <- b.Acquire(ctx) }()
		synctest.Wait()
		start := time.Now()
		b.Throttled(start, time.Minute)
		if err := <-waiting; !errors.Is(err, ErrPaused) {
			t.Errorf("who waited: got %v, want ErrPaused", err)
		}
		if err := b.Acquire(ctx); !errors.Is(err, ErrPaused) {
			t.Errorf("who comes later: got %v, want ErrPaused", err)
		}
		want(t, time.Since(start), 0, "time until they knew")
	})
}

func want[T any](t *testing.T, got, want T, what string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
