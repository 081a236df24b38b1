package control

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// NetworkOptions are what is served where others reach it. All but Collectors and APIs
// are required.
type NetworkOptions struct {
	// Events takes deliveries of events, which prove themselves who sends.
	Events http.Handler
	Health *Health
	Engine *engine.Engine
	Log    *zap.Logger
	// Collectors are metrics besides those of the engine and the process.
	Collectors []prometheus.Collector
	// Door knows who may ask for metrics.
	Door *door.Door
	// APIs prove themselves who asks.
	APIs APIs
	// Rights are told who asks for metrics. Nil: nobody is.
	Rights *rights.Rights
}

// APIs are those that callers have. One that is nil is not there.
type APIs struct {
	Own  http.Handler // /api/v1/
	SWR  http.Handler // Huawei SWR: /v2/PROJECT/instances/
	APIG http.Handler // APIG signature keys: /v2/PROJECT/apigw/
	TCR  http.Handler // Tencent TCR: /
	OCI  http.Handler // Oracle Artifacts: /20160918/
}

// find returns the API that a path belongs to, as it was sent: what is to be verified
// must not be cleaned before.
func (a APIs) find(path string) http.Handler {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "":
		if rest == "" {
			return a.TCR
		}
	case "api":
		return a.Own
	case "20160918":
		return a.OCI
	case "v2":
		_, rest, _ = strings.Cut(rest, "/") // behind the project
		switch kind, _, _ := strings.Cut(rest, "/"); kind {
		case "instances":
			return a.SWR
		case "apigw":
			return a.APIG
		}
	}
	return nil
}

// Network returns the handler of what is served at a network address: events, APIs,
// how the daemon is, and for those who may see everything its metrics.
func Network(o NetworkOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", o.Events)
	mux.HandleFunc("GET /healthz", o.Health.live)
	mux.HandleFunc("GET /readyz", o.Health.ready)
	mux.Handle("GET /metrics", o.guarded(metrics(o.Engine, o.Collectors, o.Log)))
	other := identified(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if door.TurnedAway(r) {
			say(w, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api := o.APIs.find(r.URL.EscapedPath()); api != nil {
			api.ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// guarded lets in who proves to be a viewer of everything there is.
func (o NetworkOptions) guarded(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _, err := o.Door.Own(r)
		status := http.StatusOK
		switch {
		case err != nil:
			status = http.StatusUnauthorized
		case caller.Role < door.Viewer, !caller.SeesAll():
			status, err = http.StatusForbidden, rights.ErrRole
		}
		o.Rights.Answered(r, rights.Answer{API: "metrics", Operation: "metrics", Code: strconv.Itoa(status), Caller: caller, RequestID: requestIDOf(w), Err: err})
		switch status {
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sealwright"`)
			say(w, status, "not authenticated")
		case http.StatusForbidden:
			say(w, status, "not permitted")
		default:
			inner.ServeHTTP(w, r)
		}
	})
}
