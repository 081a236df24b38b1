package engine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// KeepProcessorsBusy has the engine see processors that are always busy, and room for one
// artifact then.
func (e *Engine) KeepProcessorsBusy() {
	e.way.least = 1
	e.way.nap = func(d time.Duration) { time.Sleep(d + wayLate + 1) }
}

// A crossing is a way with room for two at least, and naps that take so much too long.
type crossing struct {
	*way
	t    *testing.T
	late atomic.Int64
	stop chan struct{}

	mu      sync.Mutex
	began   []int
	leavers []func() // of those who began
}

func newCrossing(t *testing.T) *crossing {
	w := newWay()
	c := &crossing{way: &w, t: t, stop: make(chan struct{})}
	w.least = 2
	w.nap = func(d time.Duration) { time.Sleep(d + time.Duration(c.late.Load())) }
	return c
}

// come has so many artifacts of a registry enter, the first of which is number first.
func (c *crossing) come(from *Place, first, n int) {
	for i := range n {
		go func() {
			if leave := c.enter(c.t.Context(), c.stop, from); leave != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.began, c.leavers = append(c.began, first+i), append(c.leavers, leave)
			}
		}()
		synctest.Wait()
	}
}

// leaves has the first of those who began leave.
func (c *crossing) leaves() {
	c.mu.Lock()
	leave := c.leavers[0]
	c.leavers = c.leavers[1:]
	c.mu.Unlock()
	leave()
	synctest.Wait()
}

// state is what there is room for, how many are under way and how many wait.
func (c *crossing) state() (room float64, underWay, waiting int) {
	c.way.mu.Lock()
	defer c.way.mu.Unlock()
	return c.room, c.underWay, len(c.waiting)
}

func (c *crossing) want(what string, began ...int) {
	c.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.began) // who are let in at once begin in any order
	if !slices.Equal(c.began, began) {
		c.t.Errorf("%s: %d began, want %d", what, c.began, began)
	}
	c.began = nil
}

// giveFor has a caller wait for its answer for so long.
func (c *crossing) giveFor(d time.Duration) {
	done := c.give()
	time.Sleep(d)
	done()
}

// TestWay: while there are callers there is room for as many artifacts as the processors can do
// with, first come first served; otherwise for all.
func TestWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, here, there := newCrossing(t), new(Place), new(Place)
		c.come(here, 1, 6)
		c.want("nobody calls", 1, 2, 3, 4, 5, 6)
		c.give()()
		c.come(here, 7, 2)
		c.want("somebody has called")
		c.leaves()
		c.want("one of those has left who were under way", 7)
		c.come(there, 9, 2)
		c.want("there is room for one of each registry", 9)

		c.late.Store(int64(wayLate + 1))
		c.giveFor(time.Second)
		if room, _, _ := c.state(); room != 2 {
			t.Errorf("with busy processors there is room for %v, want 2", room)
		}
		for range 5 {
			c.leaves()
		}
		c.want("two are under way")
		c.leaves()
		c.want("one is, of one registry", 8)
		c.leaves()
		c.want("one is, of the other", 10)

		c.come(here, 11, 4)
		c.want("two are under way again")
		c.late.Store(int64(wayLate))
		c.giveFor(25 * (wayNap + wayLate))
		c.want("processors are free again", 11)
		c.giveFor(40 * (wayNap + wayLate))
		c.want("they still are", 12, 13)
		c.leaves()
		c.want("one has left", 14)
		room, _, waiting := c.state()
		c.giveFor(time.Second)
		if now, _, _ := c.state(); now != room || waiting != 0 {
			t.Errorf("%d wait, and room for %v became room for %v", waiting, room, now)
		}

		c.come(here, 15, 3)
		c.want("there is no room")
		time.Sleep(wayAfter + 2*(wayNap+wayLate))
		c.want("nobody calls any more", 15, 16, 17)
		for len(c.leavers) > 0 {
			c.leaves()
		}
		if _, underWay, _ := c.state(); underWay != 0 || len(c.from) != 0 {
			t.Errorf("when all have left, %d are under way, of %d registries", underWay, len(c.from))
		}
		c.give()()
		c.come(here, 18, 3)
		c.want("somebody calls again", 18, 19)
		time.Sleep(time.Second)
		c.want("and no more", 20)
	})
}

// TestWayGivenUp: who waits for room waits no longer than its context and the engine, and
// keeps nobody else's room.
func TestWayGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, here := newCrossing(t), new(Place)
		c.come(here, 1, 2)
		c.give()()
		c.come(here, 3, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if leave := c.enter(ctx, c.stop, here); leave != nil || time.Since(began) != 10*time.Millisecond {
			t.Errorf("who waits for 10ms waited %s, and began: %t", time.Since(began), leave != nil)
		}
		c.leaves()
		c.want("who waited first goes on", 1, 2, 3)
		c.come(here, 4, 1)
		close(c.stop)
		c.want("the engine stops")
		if _, underWay, waiting := c.state(); underWay != 2 || waiting != 0 {
			t.Errorf("%d are under way, %d wait, want 2 and none", underWay, waiting)
		}
		c.leaves()
		for range 20 { // one leaves as the engine stops: whichever is seen, its room is not lost
			c.stop = make(chan struct{})
			c.come(here, 0, 1)
			c.give()()
			c.come(here, 0, 1)
			close(c.stop)
			c.leaves()
			if _, underWay, waiting := c.state(); underWay != len(c.leavers) || waiting != 0 {
				t.Fatalf("%d are under way, of whom %d know; %d wait", underWay, len(c.leavers), waiting)
			}
			for len(c.leavers) > 1 {
				c.leaves()
			}
		}
		time.Sleep(time.Second) // the watch ends
	})
}
