// Package oci answers clients of Oracle Artifacts about container image signatures:
// requests to /20160918/container as the SDKs, the CLI and Terraform send them. Only the
// SDK for Go was run against it.
//
// A signature that is uploaded is believed only after it was verified: it is of the
// image that it says, which is in the registry, and by the key that it says, which is
// one of ours or registered here. It is kept in the journal, not in the registry.
//
// Images and repositories can be listed and looked up, so that a client finds their
// ids. What the registry does not tell is left out.
//
// A compartment is a registry: its id is that of an instance, or the registry's name.
// The root compartment is the caller's tenancy, which the caller's key id begins with;
// its subtree is all registries that the caller sees.
package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms"
)

// Prefix is what the paths begin with that this API has.
const Prefix = "/20160918/"

// patience is how long a registry may take to answer what one request asks of it.
const patience = 45 * time.Second

// Keys knows the public keys of versions that do not sign here: former versions of our
// keys, and keys that others sign with.
type Keys interface {
	// PublicKey returns the public key of a version of a key, or an error that wraps
	// ErrNoKey if it knows none. It does no I/O and may be called by many goroutines.
	PublicKey(keyID, versionID string) (*kms.PublicKey, error)
}

// ErrNoKey is for an id and version by which no public key is known.
var ErrNoKey = errors.New("no such version of a key")

// Options are what the API works with. All but Keys and Signatures are required.
type Options struct {
	Engine  *engine.Engine
	Journal *journal.Journal
	Door    *door.Door
	Rights  *rights.Rights
	// Keys knows more keys than the engine. Nil: none.
	Keys Keys
	// Signatures is how many are kept of images of one registry. Default 100,000.
	Signatures int
	Log        *zap.Logger
}

// maxSignatures is how many signatures of images of one registry are kept. Each has
// 13 KB at most, and counting them takes milliseconds.
const maxSignatures = 100_000

type handler struct {
	Options
	kept sync.Map // ids of repositories that the journal has
}

// New returns the API. It is to be served at Prefix, and nothing that cleans or
// rewrites paths may stand before it.
func New(o Options) http.Handler {
	if o.Signatures <= 0 {
		o.Signatures = maxSignatures
	}
	return &handler{Options: o}
}

// A call is one request by a known caller.
type call struct {
	operation operation
	caller    door.Caller
	tenancy   string // of the caller's key id, if it is one of Oracle's
	user      string // likewise, else the caller's name
	id        string // in the path
	header    http.Header
	query     query
	body      []byte
	requestID string
}

// An answer is what a call came to. A nil body is none.
type answer struct {
	status   int // default 200
	body     any
	etag     string
	nextPage string
}

// An operation is what may be asked for.
type operation struct {
	name    string // Oracle's; empty for what there is not
	changes bool
	asks    bool // a registry, and not the journal alone
	run     func(*handler, context.Context, *call) (answer, error)
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = rights.Watch(r)
	id := requestID(r)
	c := &call{requestID: id}
	log := h.Log.With(zap.String("request", id))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		log.Error("oracle artifacts: panic", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		h.answered(c, r, http.StatusInternalServerError, rights.ErrPanic)
		respond(w, id, failed(internal()))
	}()
	a, err := h.serve(r, c)
	if err != nil {
		f := faultOf(err)
		if (f == nil || f.status >= http.StatusInternalServerError) && !errors.Is(err, context.Canceled) { // the caller left
			log.Error("oracle artifacts: request failed", zap.String("method", r.Method), zap.Error(err))
		}
		if f == nil {
			f = internal()
		}
		a = failed(f)
	}
	h.answered(c, r, cmp.Or(a.status, http.StatusOK), err)
	respond(w, id, a)
}

// answered counts an answer, and leaves a trace of who is refused.
func (h *handler) answered(c *call, r *http.Request, status int, err error) {
	h.Rights.Answered(r, rights.Answer{API: api, Operation: c.operation.name, Code: strconv.Itoa(status), Caller: c.caller, Changes: c.operation.changes,
		Target: r.URL.EscapedPath(), RequestID: c.requestID, Err: err})
}

func internal() *fault {
	return &fault{http.StatusInternalServerError, "InternalServerError", "Internal server error."}
}

// serve routes a request, finds out who sent it and does what it asks for.
func (h *handler) serve(r *http.Request, c *call) (_ answer, err error) {
	if c.operation, c.id, err = route(r.Method, r.URL.Path); err != nil {
		return answer{}, err
	}
	if c.caller, c.body, err = h.Door.OCI(r); err != nil {
		return answer{}, fmt.Errorf("%w: %w", doorFault(err), err)
	}
	c.user, c.header = c.caller.Name, r.Header
	c.parseKeyID(r.Header.Get("Authorization"))
	if c.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if c.operation.asks {
		return c.operation.run(h, ctx, c)
	}
	return rights.InTurn(ctx, h.Rights.Turns(), c.caller, c.operation.changes, func(ctx context.Context) (answer, error) {
		return c.operation.run(h, ctx, c)
	})
}

// routes are the operations, by path below /container/ and method. {id} is any one
// segment.
var routes = map[string]map[string]operation{ //nolint:gochecknoglobals // never changed
	"imageSignatures": {
		http.MethodGet:  {name: "ListContainerImageSignatures", run: (*handler).listSignatures},
		http.MethodPost: {name: "CreateContainerImageSignature", changes: true, asks: true, run: (*handler).createSignature},
	},
	"imageSignatures/{id}": {
		http.MethodGet:    {name: "GetContainerImageSignature", run: (*handler).getSignature},
		http.MethodPut:    {name: "UpdateContainerImageSignature", changes: true, run: (*handler).updateSignature},
		http.MethodDelete: {name: "DeleteContainerImageSignature", changes: true, run: (*handler).deleteSignature},
	},
	"images":                          {http.MethodGet: {name: "ListContainerImages", asks: true, run: (*handler).listImages}},
	"images/{id}":                     {http.MethodGet: {name: "GetContainerImage", asks: true, run: (*handler).getImage}},
	"images/actions/lookupImageByUri": {http.MethodPost: {name: "LookupContainerImageByUri", asks: true, run: (*handler).lookupImage}},
	"repositories":                    {http.MethodGet: {name: "ListContainerRepositories", asks: true, run: (*handler).listRepositories}},
	"repositories/{id}":               {http.MethodGet: {name: "GetContainerRepository", asks: true, run: (*handler).getRepository}},
	"configuration":                   {http.MethodGet: {name: "GetContainerConfiguration", run: (*handler).getConfiguration}},
}

func route(method, path string) (operation, string, error) {
	rest, ok := strings.CutPrefix(path, Prefix+"container/")
	if !ok {
		return operation{}, "", notFound()
	}
	id, methods := "", routes[rest]
	if methods == nil {
		kind, unique, _ := strings.Cut(rest, "/")
		if id = unique; id == "" || strings.Contains(id, "/") {
			return operation{}, "", notFound()
		}
		methods = routes[kind+"/{id}"]
	}
	if methods == nil {
		return operation{}, "", notFound()
	}
	do, ok := methods[method]
	if !ok {
		return do, "", &fault{http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not one of this resource."}
	}
	return do, id, nil
}

var keyIDRE = regexp.MustCompile(`keyId="([^"/]+)/([^"/]+)/[^"/]+"`)

// parseKeyID reads what the key id says about the caller, whose signature was verified.
func (c *call) parseKeyID(authorization string) {
	if m := keyIDRE.FindStringSubmatch(authorization); m != nil {
		c.tenancy, c.user = m[1], m[2]
	}
}

var callerIDRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// requestID is the caller's own id, if that is one, and a fresh one, as Oracle has it.
func requestID(r *http.Request) string {
	fresh := strings.ToUpper(newETag())
	if said := r.Header.Get("opc-request-id"); callerIDRE.MatchString(said) {
		return said + "/" + fresh
	}
	return fresh
}

func failed(f *fault) answer {
	return answer{status: f.status, body: struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{f.code, f.message}}
}

func respond(w http.ResponseWriter, id string, a answer) {
	w.Header().Set("opc-request-id", id)
	w.Header().Set("Cache-Control", "no-store")
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
	}
	if a.nextPage != "" {
		w.Header().Set("opc-next-page", a.nextPage)
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	text, err := json.Marshal(a.body)
	if err != nil {
		panic(fmt.Errorf("writing an answer: %w", err)) // its types can all be written
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // who does not read it is gone
}
