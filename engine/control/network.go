package control

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
)

// NetworkOptions are what is served where others reach it. All but Collectors are
// required.
type NetworkOptions struct {
	// Events takes deliveries of events, which prove themselves who sends.
	Events http.Handler
	Health *Health
	Engine *engine.Engine
	// Collectors are metrics besides those of the engine and the process.
	Collectors []prometheus.Collector
	// Door knows who may ask for metrics.
	Door *door.Door
}

// Network returns the handler of what is served at a network address: events, how
// the daemon is, and for those who may see all registries its metrics.
func Network(o NetworkOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", o.Events)
	mux.HandleFunc("GET /healthz", o.Health.live)
	mux.HandleFunc("GET /readyz", o.Health.ready)
	mux.Handle("GET /metrics", guarded(o.Door, door.Viewer, metrics(o.Engine, o.Collectors)))
	return mux
}

// guarded lets in who proves to have the role, at every registry.
func guarded(d *door.Door, role door.Role, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _, err := d.Own(r)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sealwright"`)
			say(w, http.StatusUnauthorized, "not authenticated")
		case caller.Role < role, !caller.SeesAll():
			say(w, http.StatusForbidden, "not permitted")
		default:
			inner.ServeHTTP(w, r)
		}
	})
}
