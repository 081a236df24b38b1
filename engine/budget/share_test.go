package budget

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// turns queues requests in the given order while the only place is taken, and
// returns the order in which they are let through.
func turns(t *testing.T, b *Budget, lanes ...Lane) []Lane {
	t.Helper()
	if err := b.Acquire(WithLane(t.Context(), Live)); err != nil {
		t.Fatal(err)
	}
	var order []Lane
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, lane := range lanes {
		wg.Go(func() {
			if err := b.Acquire(WithLane(t.Context(), lane)); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, lane)
			mu.Unlock()
			b.Release()
		})
		synctest.Wait() // it is in the queue
	}
	b.Release()
	wg.Wait()
	return order
}

func repeat(lane Lane, n int) []Lane { return slices.Repeat([]Lane{lane}, n) }

func TestShareOfTheBacklog(t *testing.T) {
	nine := repeat(Live, backlogShare-1)
	backlog := repeat(Backlog, 1)
	for name, test := range map[string]struct{ queued, want []Lane }{
		"one in ten while both wait": {
			slices.Concat(repeat(Backlog, 5), repeat(Live, 25)),
			slices.Concat(nine, backlog, nine, backlog, repeat(Live, 7), repeat(Backlog, 3)),
		},
		"whoever came first": {
			slices.Concat(repeat(Live, 25), repeat(Backlog, 5)),
			slices.Concat(nine, backlog, nine, backlog, repeat(Live, 7), repeat(Backlog, 3)),
		},
		"too few live ones for a share": {
			slices.Concat(repeat(Backlog, 2), nine), slices.Concat(nine, repeat(Backlog, 2)),
		},
		"live alone":    {repeat(Live, 40), repeat(Live, 40)},
		"backlog alone": {repeat(Backlog, 40), repeat(Backlog, 40)},
	} {
		for limit, l := range map[string]Limits{
			"place": {RequestsPerSecond: 1e6, Concurrency: 1},
			"token": {RequestsPerSecond: 1, Concurrency: 1},
		} {
			t.Run(name+", waiting for a "+limit, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want(t, turns(t, New(l), test.queued...), test.want, "order")
				})
			})
		}
	}
}

// What was let through while no backlog request waited is no reason to let one
// pass a live one, and neither is what the backlog had for itself.
func TestShareIsNotSavedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 1})
		both := append(repeat(Backlog, 1), repeat(Live, backlogShare-1)...)
		for _, alone := range []Lane{Live, Backlog} {
			turns(t, b, repeat(alone, 3*backlogShare)...)
			want(t, turns(t, b, both...), append(repeat(Live, backlogShare-1), Backlog), "order")
		}
	})
}

// A share is not lost because the one whose turn it would be gives up.
func TestShareOfWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 1})
		if err := b.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- b.Acquire(ctx) }()
		synctest.Wait()
		var order []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range backlogShare - 1 {
			queued(WithLane(t.Context(), Live), b, "live", &order, &mu, &wg)
		}
		cancel()
		if err := <-gaveUp; err == nil {
			t.Error("let through after it gave up")
		}
		queued(t.Context(), b, "backlog", &order, &mu, &wg)
		queued(WithLane(t.Context(), Live), b, "live", &order, &mu, &wg)
		b.Release()
		wg.Wait()
		want(t, order, append(slices.Repeat([]string{"live"}, backlogShare-1), "backlog", "live"), "order")
	})
}

// A flood of live requests that never ends: the backlog goes on, at a tenth of
// the rate, and so does the flood at nine tenths.
func TestShareUnderAFlood(t *testing.T) {
	for name, l := range map[string]Limits{
		"of places": {RequestsPerSecond: 1e6, Concurrency: 4},
		"of tokens": {RequestsPerSecond: 100, Concurrency: 64},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(l)
				ctx, cancel := context.WithCancel(t.Context())
				var mu sync.Mutex
				granted := map[Lane]int{}
				var wg sync.WaitGroup
				client := func(lane Lane) {
					for b.Acquire(WithLane(ctx, lane)) == nil {
						mu.Lock()
						granted[lane]++
						mu.Unlock()
						time.Sleep(10 * time.Millisecond)
						b.Release()
					}
				}
				for range 100 {
					wg.Go(func() { client(Live) })
				}
				for range 20 {
					wg.Go(func() { client(Backlog) })
				}
				time.Sleep(100 * time.Second)
				cancel()
				wg.Wait()
				total := granted[Live] + granted[Backlog]
				if total < 9_900 {
					t.Errorf("%d requests in 100 s, want about 10,000 at least: the share costs throughput", total)
				}
				if share := float64(granted[Backlog]) / float64(total); share < 0.099 || share > 0.101 {
					t.Errorf("the backlog got %d of %d requests, want a tenth", granted[Backlog], total)
				}
			})
		})
	}
}

// Nobody waits for longer than the share says: a backlog that asks for one
// request after the other is let through after nine live ones each time.
func TestShareBoundsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{RequestsPerSecond: 1e6, Concurrency: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var mu sync.Mutex
		live := 0
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for b.Acquire(WithLane(ctx, Live)) == nil {
					mu.Lock()
					live++
					mu.Unlock()
					time.Sleep(time.Millisecond)
					b.Release()
				}
			})
		}
		for range 100 {
			synctest.Wait() // whoever was let through before has been counted
			mu.Lock()
			before := live
			mu.Unlock()
			if err := b.Acquire(ctx); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			passed := live - before
			mu.Unlock()
			if passed > backlogShare-1 {
				t.Fatalf("%d live requests went before it, want at most %d", passed, backlogShare-1)
			}
			time.Sleep(time.Millisecond)
			b.Release()
		}
		cancel()
		wg.Wait()
	})
}
