package apig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// name is what the audit log calls this API.
const name = "apig"

// maxKeys is how many signature keys an instance has at most, as the vendor has it.
const maxKeys = 200

// An API is a place that requests are sent to, or received at, and that a signature
// key can be bound to. The vendor's clients see it as an API that is published in the
// environment RELEASE; the id of its publication is its own.
type API struct {
	// ID is unique among those of all registries, such as sink:NAME or
	// events:REGISTRY.
	ID   string
	Name string
	// Kind is shown as the API's group.
	Kind string
	// Refused is why no signature key can be bound to it. Empty if one can.
	Refused string
}

// Everywhere is the instance of what belongs to no registry, for callers who see all of
// them.
const Everywhere = "sinks"

// Options are what the API works with. All but Seal are required.
type Options struct {
	Journal *journal.Journal
	Door    *door.Door
	Rights  *rights.Rights
	Log     *zap.Logger
	// Seal encrypts secrets. Keys has the same. Nil: there are no signature keys, and
	// every caller is told so.
	Seal *Seal
	// APIs returns those of a registry, or with "" those of no registry. It is asked for
	// each request.
	APIs func(registry string) []API
}

// New returns the handler of /v2/{project_id}/apigw/instances/{instance_id}/signs and
// …/sign-bindings. It routes by the path as it was sent, and so must what stands
// before it.
func New(o Options) http.Handler { return &handler{o} }

type handler struct{ o Options }

// An answer is what goes back. A nil body is none.
type answer struct {
	status int
	body   any
}

// A call is a request of somebody who may make it.
type call struct {
	operation                   operation
	caller                      door.Caller
	instance, registry, request string
	id                          string // in the path, if the operation has one
	query                       url.Values
	body                        []byte
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = rights.Watch(r)
	c := &call{request: randomHex()}
	w.Header().Set("X-Request-Id", c.request)
	defer func() {
		if p := recover(); p != nil {
			h.panicked(w, r, c, p)
		}
	}()
	a, err := h.serve(r, c)
	if err != nil {
		a = h.refuse(r, c.request, err)
	}
	h.answered(c, r, a.status, err)
	write(w, a)
}

// answered counts an answer, and leaves a trace of who is refused.
func (h *handler) answered(c *call, r *http.Request, status int, err error) {
	h.o.Rights.Answered(r, rights.Answer{API: name, Operation: c.operation.name, Code: strconv.Itoa(status), Caller: c.caller,
		Changes: c.operation.role > door.Viewer, Target: r.URL.EscapedPath(), RequestID: c.request, Err: err})
}

// serve checks in this order: the route, who asks, what it may see, what it may do.
func (h *handler) serve(r *http.Request, c *call) (_ answer, err error) {
	to, ok := route(r)
	if !ok {
		return answer{}, noRoute()
	}
	c.operation, c.instance, c.id = to.operation, to.instance, to.id
	if c.caller, c.body, err = h.enter(r); err != nil {
		return answer{}, err
	}
	if h.o.Seal == nil {
		return answer{}, notHere()
	}
	c.registry, err = h.o.Rights.Registry(c.caller, c.instance)
	if err != nil && (c.instance != Everywhere || !c.caller.SeesAll()) {
		return answer{}, fmt.Errorf("%w: %w", noInstance(c.instance), err)
	}
	if !c.caller.SeesNamespace(c.registry, "") {
		return answer{}, fmt.Errorf("%w: %w", forbidden("signature keys are for those who see all namespaces of the instance"), rights.ErrUnknown)
	}
	if err := rights.Allow(c.caller, to.role); err != nil {
		return answer{}, fmt.Errorf("%w: %w", forbidden(err.Error()), err)
	}
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return answer{}, invalidQuery("query", "the query is not one")
	}
	a, err := rights.InTurn(r.Context(), h.o.Rights.Turns(), c.caller, r.Method != http.MethodGet, func(ctx context.Context) (answer, error) {
		return to.run(h, ctx, *c)
	})
	if errors.Is(err, rights.ErrBusy) || errors.Is(err, rights.ErrSlow) {
		err = fmt.Errorf("%w: %w", throttled(), err)
	}
	return a, err
}

// enter finds out who asks: by token if there is one, else by signature.
func (h *handler) enter(r *http.Request) (door.Caller, []byte, error) {
	_, token := r.Header["X-Auth-Token"]
	enter := h.o.Door.SDKHMAC
	if token {
		enter = h.o.Door.Token
	}
	caller, body, err := enter(r)
	if err != nil {
		return door.Caller{}, nil, fmt.Errorf("%w: %w", fromDoor(err, token), err)
	}
	return caller, body, nil
}

// change changes something, with the audit log around it. What is refused is logged
// as it is answered.
func (h *handler) change(ctx context.Context, c call, action, target string, do func(context.Context) error) error {
	return h.o.Rights.Change(ctx, rights.Change{Caller: c.caller, API: name, Action: action, Target: c.registry + "/" + target, RequestID: c.request}, do)
}

// refuse makes an error an answer. What is our fault is logged, and not told.
func (h *handler) refuse(r *http.Request, request string, err error) answer {
	p := (*problem)(nil)
	if !errors.As(err, &p) {
		p = internal()
	}
	if p.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) { // the caller left
		h.o.Log.Error("apig request failed", zap.String("request", request), zap.String("method", r.Method), zap.Error(err))
	}
	said := *p
	said.Request = request
	return answer{said.status, said}
}

func (h *handler) panicked(w http.ResponseWriter, r *http.Request, c *call, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	h.o.Log.Error("apig request panicked", zap.String("request", c.request), zap.String("method", r.Method),
		zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
	said := internal()
	said.Request = c.request
	h.answered(c, r, said.status, rights.ErrPanic)
	write(w, answer{said.status, said})
}

func write(w http.ResponseWriter, a answer) {
	w.Header().Set("Cache-Control", "no-store")
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	raw, err := json.Marshal(a.body)
	if err != nil { // numbers and text always encode
		a.status, raw = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(a.status)
	_, _ = w.Write(raw) // the reader left: nobody to tell
}
