// Package api is Sealwright's own HTTP API, /api/v1: policies, what became of them,
// and what they work with. Its OpenAPI document is generated from the code and kept
// in docs/apis/openapi.json.
package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// Prefix is where the API is: it serves nothing else.
const Prefix = "/api/v1"

// name is what the audit log calls this API.
const name = "api"

// Options are what the API works with. Those without another word are required.
type Options struct {
	Engine  *engine.Engine
	Journal *journal.Journal
	Rights  *rights.Rights
	Health  *control.Health
	Log     *zap.Logger
	// Door knows callers by their tokens, signatures and client certificates. It is not
	// required with Authenticate.
	Door *door.Door
	// Authenticate says who sent a request, or returns an error of package door or
	// rights. The body that it leaves is the one that is used. Nil: by the Door's Own.
	Authenticate func(*http.Request) (door.Caller, error)
	// Kind returns the kind of a registry, as the configuration has it. Nil: kinds
	// are not told.
	Kind func(registry string) string
	// Turns are what its requests take. Nil: those of the Rights.
	Turns *rights.Turns
	// Poll is how often a stream of events looks for news. Default 1 second.
	Poll time.Duration
	// Heartbeat is how long a stream is silent at most. Default 15 seconds.
	Heartbeat time.Duration
}

// An API answers requests below Prefix.
type API struct {
	Options
	origins http.CrossOriginProtection
	mux     *http.ServeMux
	routes  map[string]*route // by the mux's pattern
	allow   map[string]string // methods by path, for what is answered otherwise
	huma    huma.API

	drain   sync.Once
	drained chan struct{}
	streams *places
	surveys *places
}

// A route is what is known of an operation before it is asked.
type route struct {
	id      string // of the operation
	role    door.Role
	body    bool // it wants one
	long    bool // it waits for more than the journal
	changes bool
}

// New returns an API.
func New(o Options) *API {
	if o.Authenticate == nil {
		o.Authenticate = byDoor(o.Door)
	}
	if o.Turns == nil {
		o.Turns = o.Rights.Turns()
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 15 * time.Second
	}
	a := &API{Options: o, mux: http.NewServeMux(), routes: map[string]*route{}, allow: map[string]string{},
		drained: make(chan struct{}), streams: newPlaces(maxStreams, maxStreamsOfCaller), surveys: newPlaces(maxSurveys, maxSurveysOfCaller)}
	a.huma = newHuma(a.mux)
	a.policyOperations()
	a.changeOperations()
	a.surveyOperations()
	a.executionOperations()
	a.eventOperations()
	a.recordOperations()
	a.stateOperations()
	a.document()
	return a
}

// Drain ends streams and surveys, which would keep a server from shutting down, and
// begins no more. Other requests are answered still.
func (a *API) Drain() { a.drain.Do(func() { close(a.drained) }) }

// until returns a context that also ends when the API is drained.
func (a *API) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-a.drained:
			cancel(engine.ErrStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// isDrained reports whether Drain was called.
func (a *API) isDrained() bool {
	select {
	case <-a.drained:
		return true
	default:
		return false
	}
}

// A places has room for some at once, and for fewer of one caller.
type places struct {
	all, each int

	mu    sync.Mutex
	taken map[string]int
	total int
}

func newPlaces(all, each int) *places {
	return &places{all: all, each: each, taken: map[string]int{}}
}

// take returns how to leave again, or what is full.
func (p *places) take(caller string) (leave func(), full error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken[caller] >= p.each:
		return nil, errCallerFull
	case p.total >= p.all:
		return nil, errFull
	}
	p.taken[caller]++
	p.total++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.total--
		if p.taken[caller]--; p.taken[caller] == 0 {
			delete(p.taken, caller)
		}
	}, nil
}
