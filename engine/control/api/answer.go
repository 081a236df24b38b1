package api

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"
)

// slotPatience is how long a request waits for a slot.
const slotPatience = 20 * time.Second

// newSlots returns the slots of requests that are worked on at once: two for each
// processor. All others sleep. Go has no priorities: each step of the engine's waits
// behind the requests that are ready to go on. With fewer slots a processor does
// nothing for requests whenever the one that has its slot is not on it, and then
// readers wait in line although there is time for them.
func newSlots() chan struct{} { return make(chan struct{}, 2*runtime.GOMAXPROCS(0)) }

// A place is a slot that a request has, or has not yet.
type place struct {
	slots chan struct{}
	taken bool
}

// take waits for a slot if the request has none.
func (p *place) take(ctx context.Context) error {
	if p.taken {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, slotPatience)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		p.taken = true
		return nil
	case <-patience.Done():
		return cmp.Or(ctx.Err(), errBusy)
	}
}

func (p *place) leave() {
	if p.taken {
		<-p.slots
		p.taken = false
	}
}

// An answer is kept until it is whole, so that nobody who reads slowly has a slot.
// What there is to answer is bounded by the size of pages.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (a *answer) send(w http.ResponseWriter) {
	status := cmp.Or(a.status, http.StatusOK)
	if status != http.StatusNoContent {
		a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.body.Bytes()) // the reader left: nobody to tell
}

// A writer knows whether the answer has begun, and with which status.
type writer struct {
	http.ResponseWriter
	began  bool
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	w.began, w.status = true, cmp.Or(w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(b []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
