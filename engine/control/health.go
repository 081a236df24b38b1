package control

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
)

// probePatience bounds one probe. That of the journal is waited for; the others
// go on beside the answer.
const (
	probePatience   = 30 * time.Second
	journalPatience = 5 * time.Second
)

// fresh is how long what was found out is good enough. A probe of a key uses it,
// which costs money and is in its store's log.
var fresh = map[engine.DependencyKind]time.Duration{
	engine.JournalDependency:  time.Second,
	engine.RegistryDependency: 30 * time.Second,
	engine.KeyDependency:      10 * time.Minute,
	engine.SinkDependency:     10 * time.Second, // costs two reads of the journal
}

// HealthOptions are what health is told of. All but Now are required.
type HealthOptions struct {
	// Dependencies returns what signing needs now, and where its records go.
	Dependencies func() []engine.Dependency
	Log          *zap.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Health finds out whether what signing needs works, and what its records go to, when it is asked and has not
// found out just now. So nobody who does not ask pays for it.
type Health struct {
	o HealthOptions

	journal sync.Mutex // one probe of it at a time; the others wait for its end

	mu     sync.Mutex
	checks map[subject]*check
}

// A subject is what a check is about.
type subject struct {
	kind engine.DependencyKind
	name string
}

// A check is what was found out last.
type check struct {
	at      time.Time // zero: nothing yet
	err     error
	running bool
}

// NewHealth returns a Health that knows nothing yet.
func NewHealth(o HealthOptions) *Health {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Health{o: o, checks: map[subject]*check{}}
}

// A HealthReport is how the daemon is.
type HealthReport struct {
	Ready  bool          `json:"ready"`
	Checks []HealthCheck `json:"checks"`
}

// A HealthCheck is what is known of one dependency.
type HealthCheck struct {
	Kind  engine.DependencyKind `json:"kind"`
	Name  string                `json:"name,omitempty"`
	State string                `json:"state"` // ok, lagging, failing, unknown
	Error string                `json:"error,omitempty"`
	// AgeSeconds is how long ago that was found out; absent while it is unknown.
	AgeSeconds *float64 `json:"age_seconds,omitempty"`
}

const (
	stateOK      = "ok"
	stateLagging = "lagging" // wrong, and may come right by itself
	stateFailing = "failing"
	stateUnknown = "unknown"
)

// live answers GET /healthz: the process does.
func (h *Health) live(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

// ready answers GET /readyz where anybody may ask: 200 if the journal can be
// written, so that pushes can be taken and signatures recorded, else 503. With
// ?strict, what was found out of every key and registry must be well, too, and no
// sink may have been down for long. It names nothing.
func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	_, strict := r.URL.Query()["strict"]
	if !h.Report(r.Context(), strict).Ready {
		say(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	say(w, http.StatusOK, "ok")
}

// readyInFull answers the same with what is known of each dependency.
func (h *Health) readyInFull(w http.ResponseWriter, r *http.Request) {
	_, strict := r.URL.Query()["strict"]
	report := h.Report(r.Context(), strict)
	status := http.StatusOK
	if !report.Ready {
		status = http.StatusServiceUnavailable
	}
	respond(w, status, report)
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the reader left: nobody to tell
}

// Report returns what is known, and finds out anew what is old. Ready is whether the
// journal can be written; if strict, all that was found out must be well, too.
func (h *Health) Report(ctx context.Context, strict bool) HealthReport {
	dependencies := h.o.Dependencies()
	h.forget(dependencies)
	out := HealthReport{Ready: true}
	for _, d := range dependencies {
		c := h.look(ctx, d)
		said := HealthCheck{Kind: d.Kind, Name: d.Name, State: stateUnknown}
		if !c.at.IsZero() {
			age := max(h.o.Now().Sub(c.at), 0).Round(time.Millisecond).Seconds()
			said.AgeSeconds, said.State = &age, stateOf(c.err)
			if c.err != nil {
				said.Error = c.err.Error()
			}
		}
		out.Checks = append(out.Checks, said)
		if said.State == stateFailing && (strict || d.Kind == engine.JournalDependency) {
			out.Ready = false
		}
	}
	return out
}

func stateOf(err error) string {
	switch {
	case err == nil:
		return stateOK
	case errors.Is(err, engine.ErrLagging):
		return stateLagging
	}
	return stateFailing
}

// forget drops what is known of dependencies that are none any more.
func (h *Health) forget(current []engine.Dependency) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keep := make(map[subject]*check, len(current))
	for _, d := range current {
		s := subject{d.Kind, d.Name}
		if keep[s] = h.checks[s]; keep[s] == nil {
			keep[s] = &check{}
		}
	}
	h.checks = keep
}

// look returns what is known of a dependency, and finds out anew if that is old:
// of the journal first, of others meanwhile.
func (h *Health) look(ctx context.Context, d engine.Dependency) check {
	if d.Kind == engine.JournalDependency {
		h.journal.Lock()
		defer h.journal.Unlock()
	}
	h.mu.Lock()
	c := h.checks[subject{d.Kind, d.Name}]
	if c == nil { // another request has seen a newer setup
		h.mu.Unlock()
		return check{}
	}
	old := c.at.IsZero() || h.o.Now().Sub(c.at) >= fresh[d.Kind]
	begin := old && !c.running
	c.running = c.running || begin
	known := *c
	h.mu.Unlock()
	switch {
	case begin && d.Kind == engine.JournalDependency:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalPatience)
		defer cancel()
		return h.probe(ctx, d, c)
	case begin:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probePatience)
		go func() {
			defer cancel()
			h.probe(ctx, d, c)
		}()
	}
	return known
}

func (h *Health) probe(ctx context.Context, d engine.Dependency, c *check) check {
	err := d.Probe(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	failing := stateOf(err) == stateFailing
	if failing != (stateOf(c.err) == stateFailing) {
		log := h.o.Log.With(zap.String("kind", string(d.Kind)), zap.String("name", d.Name))
		if failing {
			log.Warn("health: failing", zap.Error(err))
		} else {
			log.Info("health: well again")
		}
	}
	c.at, c.err, c.running = h.o.Now(), err, false
	return *c
}
