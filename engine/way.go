package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// wayAfter is for how long runs give way when the last caller has its answer: the next
	// one may be on its way.
	wayAfter = 100 * time.Millisecond
	// wayNap is how long the watch sleeps, and wayLate by how much more it sleeps if there
	// is more work than the processors can cope with; a step of an answer waits for as long
	// then, and an answer has many.
	wayNap  = 5 * time.Millisecond
	wayLate = 5 * time.Millisecond
	// wayShrink is what a nap that is late makes of the room, in times, and wayGrow what one
	// that is not adds to it while somebody waits, in artifacts: as TCP finds out how much a
	// network can carry. Where one nap in N is late, there comes to be room for about N/5.
	wayShrink = 0.75
	wayGrow   = 0.05
)

// A way is where the artifacts of runs pass that are under way. Callers who wait for an
// answer want the same processors, for which Go has no priorities: each of their steps
// waits for a step of whatever is under way, and of that there is always more. So while
// there are callers there is only so much room, as much as the processors can cope with.
type way struct {
	nap   func(time.Duration) // time.Sleep
	least float64             // there is always room for so many: two for each processor, as one may wait for the registry

	mu       sync.Mutex
	callers  int       // who wait for an answer
	answered time.Time // when the last of them was
	watched  bool      // as there are callers, or were just now; otherwise there is room for all
	room     float64   // how many artifacts may be under way
	underWay int
	of       map[track]int // how many of them are of which track
	waiting  []*passer     // those of the backlog last; otherwise in the order in which they came
}

// A track is one lane of a registry.
type track struct {
	place *Place
	lane  journal.Lane
}

// A passer is an artifact that waits until there is room.
type passer struct {
	track
	goOn chan struct{} // closed when it is under way
}

func newWay() way {
	return way{nap: time.Sleep, least: float64(2 * runtime.GOMAXPROCS(0)), of: map[track]int{}}
}

// enter waits until there is room for an artifact of a track, and returns what is to be
// called when it is done; nil if ctx or stop ends first.
func (w *way) enter(ctx context.Context, stop <-chan struct{}, on track) (leave func()) {
	p := &passer{track: on, goOn: make(chan struct{})}
	w.mu.Lock()
	w.queue(p)
	w.letIn()
	w.mu.Unlock()
	leave = func() { w.leave(on) }
	select {
	case <-p.goOn:
		return leave
	case <-stop:
	case <-ctx.Done():
	}
	w.mu.Lock()
	i := slices.Index(w.waiting, p)
	if i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
	w.mu.Unlock()
	if i < 0 { // it was let in just now
		leave()
	}
	return nil
}

// queue has p wait behind those of its lane: the backlog keeps nobody waiting who fired a
// policy by hand.
func (w *way) queue(p *passer) {
	i := len(w.waiting)
	if p.lane != journal.Backlog {
		if first := slices.IndexFunc(w.waiting, func(other *passer) bool { return other.lane == journal.Backlog }); first >= 0 {
			i = first
		}
	}
	w.waiting = slices.Insert(w.waiting, i, p)
}

func (w *way) leave(on track) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay--
	if w.of[on]--; w.of[on] == 0 {
		delete(w.of, on)
	}
	w.letIn()
}

// letIn lets those in for whom there is room. There always is for one of each track: a
// registry that hangs stops no other, and no lane the other.
func (w *way) letIn() {
	var still []*passer
	for _, p := range w.waiting {
		if w.watched && float64(w.underWay+1) > w.room && w.of[p.track] > 0 {
			still = append(still, p)
			continue
		}
		w.underWay++
		w.of[p.track]++
		close(p.goOn)
	}
	w.waiting = still
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

// watch has as many artifacts under way as the processors can cope with, until there have
// been no callers for a while.
func (w *way) watch() {
	for {
		began := time.Now()
		w.nap(wayNap)
		if !w.look(time.Since(began) - wayNap) {
			return
		}
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
// for each processor, and for one of each lane of a registry, at least. What was pushed is
// not held up.
func (e *Engine) GiveWay() (done func()) { return e.way.give() }

// RunArtifacts returns how many artifacts of runs are under way, and how many wait for room
// as they give way.
func (e *Engine) RunArtifacts() (underWay, givingWay int) {
	e.way.mu.Lock()
	defer e.way.mu.Unlock()
	return e.way.underWay, len(e.way.waiting)
}
