package rights

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
)

// TestTurns: so many have their turn, others wait for one of them or until they have waited
// for too long; and what gives way is told of all who wait or have it.
func TestTurns(t *testing.T) {
	none := func(context.Context) (int, error) { return 1, nil }
	for name, wait := range map[string]func(*Turns, context.Context, door.Caller) error{
		"slots": func(turns *Turns, ctx context.Context, c door.Caller) error {
			leave, err := turns.Slot(ctx, c)
			if err == nil {
				leave()
			}
			return err
		},
		"turns": func(turns *Turns, ctx context.Context, c door.Caller) error {
			_, err := InTurn(ctx, turns, c, false, none)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now, times atomic.Int64
				turns := NewTurns(2, 2, func() func() { now.Add(1); times.Add(1); return func() { now.Add(-1) } })
				leave := make(chan struct{})
				for range 2 {
					go func() {
						done, err := turns.Slot(t.Context(), door.Caller{})
						if err != nil {
							t.Error(err)
							return
						}
						defer done()
						_, err = InTurn(t.Context(), turns, door.Caller{}, true, func(context.Context) (int, error) { <-leave; return 1, nil })
						if err != nil {
							t.Error(err)
						}
					}()
				}
				synctest.Wait()
				const slotsAndTurns = 4
				if now.Load() != slotsAndTurns {
					t.Errorf("something gives way to %d, want %d", now.Load(), slotsAndTurns)
				}
				began := time.Now()
				if err := wait(turns, t.Context(), door.Caller{}); !errors.Is(err, ErrBusy) || time.Since(began) != turnPatience || now.Load() != slotsAndTurns || times.Load() != slotsAndTurns+1 {
					t.Errorf("%v after %s, want %v after %s; something gave way %d times, and to %d still", err, time.Since(began), ErrBusy, turnPatience, times.Load(), now.Load())
				}
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				if err := wait(turns, gone, door.Caller{}); !errors.Is(err, context.Canceled) {
					t.Errorf("who is gone: %v", err)
				}
				time.AfterFunc(time.Second, func() {
					if now.Load() != slotsAndTurns+1 {
						t.Errorf("something gives way to %d, want %d", now.Load(), slotsAndTurns+1)
					}
					close(leave)
				})
				began = time.Now()
				if err := wait(turns, t.Context(), door.Caller{}); err != nil || time.Since(began) != time.Second {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				synctest.Wait()
				before := times.Load()
				for i := range int64(5) { // all have left
					if err := wait(turns, t.Context(), door.Caller{}); err != nil || now.Load() != 0 || times.Load() != before+i+1 {
						t.Errorf("%v; something gave way %d times, and to %d still", err, times.Load(), now.Load())
					}
				}
			})
		})
	}
}

// TestTurnTime: a read ends that takes too long; a change does not.
func TestTurnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(0, 1, nil)
		began := time.Now()
		_, err := InTurn(t.Context(), turns, door.Caller{}, false, func(ctx context.Context) (int, error) { <-ctx.Done(); return 1, ctx.Err() })
		if took := time.Since(began); !errors.Is(err, ErrSlow) || took != turnTime {
			t.Errorf("a read has %s, want %s: %v", took, turnTime, err)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = InTurn(gone, turns, door.Caller{}, false, func(ctx context.Context) (int, error) { <-ctx.Done(); return 1, ctx.Err() })
		if errors.Is(err, ErrSlow) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whose own time is up: %v", err)
		}
		_, err = InTurn(t.Context(), turns, door.Caller{}, true, func(ctx context.Context) (int, error) {
			if _, limited := ctx.Deadline(); limited {
				t.Error("a change has a deadline")
			}
			return 1, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
