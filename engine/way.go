package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// wayAfter is for how long runs give way when the last caller has its answer: the next
	// one may be on its way.
	wayAfter = 100 * time.Millisecond
	// wayNap is how long the watch sleeps, and wayLate by how much more it sleeps only if
	// the processors are busy: then there is less room, and otherwise more. Both are of the
	// size of what an answer may wait for, so that many such waits are 100 ms.
	wayNap  = 5 * time.Millisecond
	wayLate = 5 * time.Millisecond
	// wayShrink and wayGrow are what a nap that is late and one that is not make of the room,
	// in times and in artifacts. Where one nap in N is late, it comes to be for about N/5.
	wayShrink = 0.75
	wayGrow   = 0.05
)

// A way is where the artifacts of runs pass that are under way. Callers who wait for an
// answer want the same processors, for which Go has no priorities: each of their steps
// waits for a step of whatever is under way, and of that there is always more. So while
// there are callers there is only so much room, as much as the processors can do with.
type way struct {
	nap   func(time.Duration) // time.Sleep; it takes longer when there is more work than processors
	least float64             // there is always room for so many: two for each processor, as one may wait for the registry

	mu       sync.Mutex
	callers  int       // who wait for an answer
	answered time.Time // when the last of them was
	watched  bool      // as there are callers, or were just now; otherwise there is room for all
	room     float64   // how many artifacts may be under way
	underWay int
	from     map[*Place]int // how many of them are of which registry
	waiting  []*passer      // in the order in which they came
}

// A passer is an artifact that waits until there is room.
type passer struct {
	from *Place
	goOn chan struct{} // closed when it is under way
}

func newWay() way {
	return way{nap: time.Sleep, least: float64(2 * runtime.GOMAXPROCS(0)), from: map[*Place]int{}}
}

// enter waits until there is room for an artifact of a registry, and returns what is to be
// called when it is done; nil if ctx or stop ends first.
func (w *way) enter(ctx context.Context, stop <-chan struct{}, from *Place) (leave func()) {
	p := &passer{from: from, goOn: make(chan struct{})}
	w.mu.Lock()
	w.waiting = append(w.waiting, p)
	w.letIn()
	w.mu.Unlock()
	leave = func() { w.leave(from) }
	select {
	case <-p.goOn:
		return leave
	case <-stop:
	case <-ctx.Done():
	}
	w.mu.Lock()
	before := len(w.waiting)
	w.waiting = slices.DeleteFunc(w.waiting, func(other *passer) bool { return other == p })
	in := len(w.waiting) == before
	w.mu.Unlock()
	if in { // just now
		leave()
	}
	return nil
}

func (w *way) leave(from *Place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay--
	if w.from[from]--; w.from[from] == 0 {
		delete(w.from, from)
	}
	w.letIn()
}

// letIn lets those in for whom there is room. There always is for one of each registry:
// one that hangs keeps no other waiting.
func (w *way) letIn() {
	w.waiting = slices.DeleteFunc(w.waiting, func(p *passer) bool {
		if w.watched && float64(w.underWay+1) > w.room && w.from[p.from] > 0 {
			return false
		}
		w.underWay++
		w.from[p.from]++
		close(p.goOn)
		return true
	})
}

// give has a watch kept until a while after done is called.
func (w *way) give() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers++
	if !w.watched {
		w.watched = true
		w.room = max(float64(w.underWay), w.least)
		go w.watch()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.callers--
		w.answered = time.Now()
	}
}

// watch has as many artifacts under way as the processors can do with, until there have been
// no callers for a while.
func (w *way) watch() {
	for watched := true; watched; {
		began := time.Now()
		w.nap(wayNap)
		watched = w.look(time.Since(began) - wayNap)
	}
}

// look makes room, or less of it, after a nap that was so much too long. It reports whether
// the watch goes on.
func (w *way) look(late time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched = w.callers > 0 || time.Since(w.answered) < wayAfter
	switch {
	case late > wayLate:
		w.room = max(w.room*wayShrink, w.least)
	case len(w.waiting) > 0: // otherwise more room would tell nothing about the processors
		w.room += wayGrow
	}
	w.letIn()
	return w.watched
}

// GiveWay has fewer artifacts of runs under way if the processors are busy, until a tenth of
// a second after done is called: somebody waits for an answer. There is room for two of them
// for each processor, and for one of each registry, at least. What was pushed is not held up.
func (e *Engine) GiveWay() (done func()) { return e.way.give() }
