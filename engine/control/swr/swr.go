// Package swr answers the API of Huawei Cloud SWR Enterprise Edition that signature
// policies are managed with: policies, what their executions did, the signatures
// that images have, and as much of namespaces and artifacts as its clients need for
// that. It follows SWR's API Reference and huaweicloud-sdk-go-v3.
//
// A policy that is created here is stored in the journal, and carried out as any
// other. Policies from elsewhere are shown where SWR has words for all that they
// say, and cannot be changed here.
package swr

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// patience is how long a registry may take to answer what one request asks of it. The
// vendor's SDK waits for two minutes.
const patience = 75 * time.Second

// api is this API's name in the audit log.
const api = "swr"

// Options are what the API works with. All are required.
type Options struct {
	Engine  *engine.Engine
	Journal *journal.Journal
	Door    *door.Door
	Rights  *rights.Rights
	Log     *zap.Logger
}

// An API serves everything below /v2/{project_id}/instances/. It must get requests
// as they were sent: their signatures cover the path.
type API struct {
	Options
	routes   []route
	limits   limits
	listings chan struct{} // held by who lists the artifacts of a repository
}

// limits are what a request may cost.
type limits struct {
	artifacts int           // that are listed of one repository
	countTime time.Duration // how long an answer waits for numbers that it can do without
}

// New returns the API.
func New(o Options) *API {
	return &API{Options: o, routes: routes(), listings: make(chan struct{}, maxListings),
		limits: limits{artifacts: maxArtifacts, countTime: countTime}}
}

// A call is one request.
type call struct {
	id        string // of the request
	operation *operation
	caller    door.Caller
	registry  string
	namespace string
	path      map[string]string // what stands in the path, by the name that SWR has for it
	query     url.Values
	body      []byte
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = rights.Watch(r)
	c := &call{id: requestID()}
	w.Header().Set("X-Request-Id", c.id)
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			a.Log.Error("panic", zap.String("request", c.id), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			a.answered(c, r, http.StatusInternalServerError, rights.ErrPanic)
			write(w, http.StatusInternalServerError, internal().body(c.id))
		}
	}()
	answer, err := a.serve(c, r)
	if err != nil {
		f := failureOf(err)
		if f.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) { // the caller left
			a.Log.Error("request failed", zap.String("request", c.id), zap.String("caller", c.caller.Name), zap.Error(err))
		}
		a.answered(c, r, f.status, err)
		write(w, f.status, f.body(c.id))
		return
	}
	a.answered(c, r, c.operation.status, nil)
	write(w, c.operation.status, answer)
}

// answered counts an answer, and leaves a trace of who is refused.
func (a *API) answered(c *call, r *http.Request, status int, err error) {
	said := rights.Answer{API: api, Code: strconv.Itoa(status), Caller: c.caller, Target: r.URL.EscapedPath(), RequestID: c.id, Err: err}
	if c.operation != nil {
		said.Operation, said.Changes = c.operation.name, c.operation.role > door.Viewer
	}
	a.Rights.Answered(r, said)
}

// serve does what is asked for, and returns the answer; nil is an empty one.
func (a *API) serve(c *call, r *http.Request) (any, error) {
	if err := a.route(c, r); err != nil {
		return nil, err
	}
	if err := a.enter(c, r); err != nil {
		return nil, err
	}
	if err := a.place(c); err != nil {
		return nil, err
	}
	if err := rights.Allow(c.caller, c.operation.role); err != nil {
		return nil, err
	}
	var err error
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, invalid("query", "is not one", "")
	}
	if c.operation.asks {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		return c.operation.run(a, ctx, c)
	}
	run := func(ctx context.Context) (any, error) { return c.operation.run(a, ctx, c) }
	turns := a.Rights.Turns()
	if r.Method != http.MethodGet {
		return rights.InTurn(r.Context(), turns, c.caller, true, run)
	}
	answer, _, err := rights.Look(r.Context(), turns, r.URL.RequestURI()+" "+c.registry+" "+c.caller.Sight(), func(ctx context.Context, begin func()) (json.RawMessage, error) {
		answer, err := rights.InTurn(ctx, turns, c.caller, false, func(ctx context.Context) (any, error) { begin(); return run(ctx) })
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	})
	return answer, err
}

// enter finds out who calls.
func (a *API) enter(c *call, r *http.Request) (err error) {
	if len(r.Header["X-Auth-Token"]) > 0 {
		if c.caller, c.body, err = a.Door.Token(r); err != nil {
			return refused{err: err, token: true}
		}
		return nil
	}
	if c.caller, c.body, err = a.Door.SDKHMAC(r); err != nil {
		return refused{err: err}
	}
	return nil
}

// place finds the registry, and sees to it that the caller sees what the path names.
func (a *API) place(c *call) (err error) {
	if c.registry, err = a.Rights.Registry(c.caller, c.path["instance_id"]); err != nil {
		return err
	}
	namespace, there := c.path["namespace_name"]
	if !there {
		return nil
	}
	if !validNamespace(namespace) {
		return invalid("namespace_name", problem(namespace), namespaceAllowed)
	}
	c.namespace = namespace
	if name, there := c.path["repository_name"]; there {
		if !validRepository(name) {
			return invalid("repository_name", problem(name), repositoryAllowed)
		}
		namespace += "/" + name
	}
	if !c.caller.SeesNamespace(c.registry, namespace) {
		return rights.ErrUnknown
	}
	return nil
}

// change lets do change something, and keeps the audit log of it.
func (a *API) change(ctx context.Context, c *call, target string, do func(context.Context) error) error {
	return a.Rights.Change(ctx, rights.Change{Caller: c.caller, API: api, Action: c.operation.name,
		Target: fmt.Sprintf("%s/%s", c.registry, target), RequestID: c.id}, do)
}

func requestID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// write writes an answer; nobody is left to be told if that fails.
func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Cache-Control", "no-store")
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if text, ok := body.(json.RawMessage); ok {
		_, _ = w.Write(text)
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}
