package engine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
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
	leavers map[int]func() // of those who are under way
}

func newCrossing(t *testing.T) *crossing {
	w := newWay()
	c := &crossing{way: &w, t: t, stop: make(chan struct{}), leavers: map[int]func(){}}
	w.least = 2
	w.nap = func(d time.Duration) { time.Sleep(d + time.Duration(c.late.Load())) }
	return c
}

// come has so many artifacts of a track enter, the first of which is number first.
func (c *crossing) come(on track, first, n int) {
	for i := range n {
		go func() {
			if leave := c.enter(c.t.Context(), c.stop, on); leave != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.began = append(c.began, first+i)
				c.leavers[first+i] = leave
			}
		}()
		synctest.Wait()
	}
}

// leave has those who are under way leave, one by one.
func (c *crossing) leave(who ...int) {
	for _, n := range who {
		c.mu.Lock()
		leave := c.leavers[n]
		delete(c.leavers, n)
		c.mu.Unlock()
		leave()
		synctest.Wait()
	}
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

// TestWay: while there are callers there is room for as many artifacts as the processors can
// cope with, first come first served; otherwise for all.
func TestWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, here, there := newCrossing(t), track{new(Place), journal.Live}, track{new(Place), journal.Live}
		c.come(here, 1, 6)
		c.want("nobody calls", 1, 2, 3, 4, 5, 6)
		c.give()()
		c.come(here, 7, 2)
		c.want("somebody has called")
		c.leave(1)
		c.want("one of those has left who were under way", 7)
		c.come(there, 9, 2)
		c.want("there is room for one of each registry", 9)

		c.late.Store(int64(wayLate + 1))
		c.giveFor(time.Second)
		if room, _, _ := c.state(); room != 2 {
			t.Errorf("with busy processors there is room for %v, want 2", room)
		}
		c.leave(2, 3, 4, 5, 6)
		c.want("two are under way")
		c.leave(7)
		c.want("one is, of one registry", 8)
		c.leave(9)
		c.want("one is, of the other", 10)

		c.come(here, 11, 4)
		c.want("two are under way again")
		c.late.Store(int64(wayLate))
		c.giveFor(25 * (wayNap + wayLate))
		c.want("processors are free again", 11)
		c.giveFor(40 * (wayNap + wayLate))
		c.want("they still are", 12, 13)
		c.leave(8)
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
		c.leave(10, 11, 12, 13, 14, 15, 16, 17)
		if _, underWay, _ := c.state(); underWay != 0 || len(c.of) != 0 {
			t.Errorf("when all have left, %d are under way, on %d tracks", underWay, len(c.of))
		}
		c.give()()
		c.come(here, 18, 3)
		c.want("somebody calls again", 18, 19)
		time.Sleep(time.Second)
		c.want("and no more", 20)
	})
}

// TestWayOfLanes: who fired a policy by hand does not wait for the backlog, nor the backlog
// for ever.
func TestWayOfLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := new(Place)
		c, live, backlog := newCrossing(t), track{place, journal.Live}, track{place, journal.Backlog}
		c.late.Store(int64(wayLate + 1))
		done := c.give()
		c.come(backlog, 1, 4)
		c.want("there is room for two", 1, 2)
		c.come(live, 11, 4)
		c.want("and for one of each lane", 11)
		c.leave(1)
		c.want("two are under way")
		c.leave(2)
		c.want("one by hand is, and none of the backlog", 3, 12)
		c.leave(11, 12)
		c.want("one of the backlog is", 13)
		c.leave(3)
		c.want("one by hand is, and none of the backlog", 4, 14)
		c.come(backlog, 5, 2)
		c.come(live, 15, 1)
		c.leave(13, 4)
		c.want("who waited for less long, but by hand, and one of the backlog", 5, 15)
		done()
		time.Sleep(time.Second)
		c.want("nobody calls any more", 6)
	})
}

// TestAdmit: who is let in by its registry and has no room leaves its place there when it
// gives up, and it is not the registry that was slow.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		e.KeepProcessorsBusy()
		done := e.GiveWay()
		place := NewPlace(nil, 3)
		of := func(lane journal.Lane) *run {
			return &run{engine: e, policy: bound{place: place}, execution: journal.Execution{Lane: lane}}
		}
		wantTaken := func(what string, lane journal.Lane, taken, underWay int) {
			t.Helper()
			if now, _ := e.RunArtifacts(); now != underWay || len(place.slots[lane]) != taken {
				t.Errorf("%s: %d under way and %d places taken, want %d and %d", what, now, len(place.slots[lane]), underWay, taken)
			}
		}
		first, ok := of(journal.Live).admit(t.Context())
		if !ok {
			t.Fatal("the first was not admitted")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := of(journal.Live)
		if _, ok := second.admit(ctx); ok || !second.heldUp {
			t.Errorf("admitted: %t, held up: %t, want that it was held up", ok, second.heldUp)
		}
		wantTaken("one is under way", journal.Live, 1, 1)
		var leave []func()
		for range 3 {
			release, ok := of(journal.Pushes).admit(t.Context())
			if !ok {
				t.Fatal("what was pushed was not admitted")
			}
			leave = append(leave, release)
		}
		pushed := of(journal.Pushes)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := pushed.admit(ctx); ok || pushed.heldUp {
			t.Errorf("admitted: %t, held up: %t, want that the registry was busy", ok, pushed.heldUp)
		}
		wantTaken("what was pushed takes no room", journal.Pushes, 3, 1)
		for _, release := range append(leave, first) {
			release()
		}
		wantTaken("all have left", journal.Live, 0, 0)
		wantTaken("all have left", journal.Pushes, 0, 0)
		done()
		time.Sleep(time.Second) // the watch ends
	})
}

// TestWayGivenUp: who waits for room waits no longer than its context and the engine, and
// keeps nobody else's room.
func TestWayGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, here := newCrossing(t), track{new(Place), journal.Live}
		c.come(here, 1, 2)
		c.give()()
		c.come(here, 3, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if leave := c.enter(ctx, c.stop, here); leave != nil || time.Since(began) != 10*time.Millisecond {
			t.Errorf("who waits for 10ms waited %s, and began: %t", time.Since(began), leave != nil)
		}
		c.leave(1)
		c.want("who waited first goes on", 1, 2, 3)
		c.come(here, 4, 1)
		close(c.stop)
		c.want("the engine stops")
		if _, underWay, waiting := c.state(); underWay != 2 || waiting != 0 {
			t.Errorf("%d are under way, %d wait, want 2 and none", underWay, waiting)
		}
		c.leave(2)
		for range 20 { // one leaves as the engine stops: whichever is seen, its room is not lost
			c.stop = make(chan struct{})
			c.come(here, 4, 1)
			c.give()()
			c.come(here, 5, 1)
			close(c.stop)
			c.leave(4)
			_, underWay, waiting := c.state()
			if underWay != len(c.leavers) || waiting != 0 {
				t.Fatalf("%d are under way, of whom %d know; %d wait", underWay, len(c.leavers), waiting)
			}
			if underWay == 2 {
				c.leave(5)
			}
		}
		time.Sleep(time.Second) // the watch ends
	})
}
