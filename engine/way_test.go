package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestGiveWay: an artifact waits for callers who wait, but not for long, and for nobody
// when there is nobody or the engine stops.
func TestGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		took := func(ctx context.Context) time.Duration {
			began := time.Now()
			e.way.give(ctx, e.stopping)
			return time.Since(began)
		}
		if d := took(t.Context()); d != 0 {
			t.Errorf("for nobody it waits %s", d)
		}
		first, second := e.GiveWay(), e.GiveWay()
		time.AfterFunc(7*time.Millisecond, first)
		time.AfterFunc(17*time.Millisecond, second)
		if d := took(t.Context()); d < 17*time.Millisecond || d > 17*time.Millisecond+wayStep {
			t.Errorf("for two callers it waits %s, want 17ms", d)
		}
		done := e.GiveWay()
		if d := took(t.Context()); d != maxWay {
			t.Errorf("for a caller who goes on waiting it waits %s, want %s", d, maxWay)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Millisecond)
		defer cancel()
		if d := took(ctx); d != 12*time.Millisecond {
			t.Errorf("until its context ends it waits %s", d)
		}
		close(e.stopping)
		if d := took(t.Context()); d != 0 {
			t.Errorf("when the engine stops it waits %s", d)
		}
		done()
	})
}
