package turn_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sealwright/sealwright/engine/turn"
)

// TestOneAtATime: of those who want one name, each has it alone, in the order in
// which they came, and nothing is remembered afterwards.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o turn.Order
		first, err := o.Take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		var came []int
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				done, err := o.Take(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				came = append(came, i) // the race detector would tell of two at once
				done()
			})
			synctest.Wait()
		}
		if len(came) != 0 {
			t.Errorf("%v did not wait", came)
		}
		first()
		all.Wait()
		for i, who := range came {
			if who != i {
				t.Fatalf("they came in the order %v", came)
			}
		}
		if len(came) != 20 || o.Len() != 0 {
			t.Errorf("%d came, %d names are still in use", len(came), o.Len())
		}
	})
}

func TestWaitingStopsWithItsContext(t *testing.T) {
	var o turn.Order
	done, err := o.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Take = %v, want %v", err, context.Canceled)
	}
	if other, err := o.Take(t.Context(), "b"); err != nil {
		t.Errorf("another name had to wait: %v", err)
	} else {
		other()
	}
	done()
	if o.Len() != 0 {
		t.Errorf("%d names are still in use", o.Len())
	}
}
