package rights

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: so many have their turn, others wait for one of them or until they have waited
// for too long, and what gives way is told while they do.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, times atomic.Int64
		r := New(Options{Slots: 2, GiveWay: func() func() { now.Add(1); times.Add(1); return func() { now.Add(-1) } }})
		take := func(ctx context.Context) (func(), error) { return r.Slot(ctx) }
		first, err1 := take(t.Context())
		second, err2 := take(t.Context())
		if err1 != nil || err2 != nil || times.Load() != 0 {
			t.Fatalf("%v, %v; something gave way %d times", err1, err2, times.Load())
		}
		time.AfterFunc(time.Second, func() {
			if now.Load() != 1 {
				t.Errorf("something gives way to %d", now.Load())
			}
			first()
		})
		began := time.Now()
		third, err := take(t.Context())
		if err != nil || time.Since(began) != time.Second || now.Load() != 0 || times.Load() != 1 {
			t.Errorf("%v after %s; something gave way %d times, and to %d still", err, time.Since(began), times.Load(), now.Load())
		}
		began = time.Now()
		if _, err := take(t.Context()); !errors.Is(err, ErrBusy) || time.Since(began) != turnPatience || now.Load() != 0 {
			t.Errorf("%v after %s, want %v after %s", err, time.Since(began), ErrBusy, turnPatience)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := take(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("who is gone: %v", err)
		}
		second()
		third()
	})
}

// TestTurnTime: a read ends that takes too long; a change does not.
func TestTurnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{})
		for range 2 * maxTurns { // each is left
			read, leave, err := r.Turn(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			<-read.Done()
			if took := time.Since(began); took != TurnTime {
				t.Errorf("a read has %s, want %s", took, TurnTime)
			}
			leave()
			change, leave, err := r.Turn(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			if _, limited := change.Deadline(); limited {
				t.Error("a change has a deadline")
			}
			leave()
		}
	})
}
