package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// An operation is what can be asked for: how it is found, what it is for, and who may.
type operation struct {
	id, method, path string
	summary, text    string
	tag              string
	role             door.Role
	body             bool
	long             bool // it waits for more than the journal, and takes its turns itself
	status           int  // of success; default 200
	edit             func(*huma.Operation)
}

// register adds an operation. do gets what huma has read and checked; an error that
// is no Problem becomes one.
func register[I, O any](a *API, o operation, do func(ctx context.Context, s session, in *I) (*O, error)) {
	a.routes[o.method+" "+Prefix+o.path] = &route{id: o.id, role: o.role, body: o.body, long: o.long,
		changes: o.method != http.MethodGet && o.role > door.Viewer}
	op := huma.Operation{OperationID: o.id, Method: o.method, Path: Prefix + o.path, Summary: o.summary,
		Description: strings.TrimSpace(o.text + "\n\nRole: " + o.role.String() + "."), Tags: []string{o.tag}, DefaultStatus: o.status,
		MaxBodyBytes: maxBody + 1, SkipValidateBody: true, // the gate has read it, and it is read more strictly than huma does
		Responses: map[string]*huma.Response{"default": {Description: "why not", Content: map[string]*huma.MediaType{
			problemType: {Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")}}}}}
	if o.edit != nil {
		o.edit(&op)
	}
	if o.body {
		defer a.documentBody(o)
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		s := sessionOf(ctx)
		run := func(ctx context.Context) (*O, error) { s.begin(); return do(ctx, s, in) }
		var out *O
		var err error
		if o.long {
			out, err = run(ctx)
		} else {
			out, err = rights.InTurn(ctx, a.Turns, s.Caller, o.method != http.MethodGet, run)
		}
		if err == nil {
			return out, nil
		}
		*s.why = err
		if p := (*Problem)(nil); errors.As(err, &p) {
			return nil, p
		}
		return nil, a.problem(s, err)
	})
}

// documentBody says what is in a body, which huma takes for bytes.
func (a *API) documentBody(o operation) {
	doc := a.huma.OpenAPI()
	op := doc.Paths[Prefix+o.path].Post
	if o.method == http.MethodPut {
		op = doc.Paths[Prefix+o.path].Put
	}
	op.RequestBody = &huma.RequestBody{Required: true, Description: "a policy as in configuration files",
		Content: map[string]*huma.MediaType{"application/json": {Schema: doc.Components.Schemas.Schema(policyType, true, "")}}}
}

// document closes the list of operations: it says what is allowed at each path, and
// serves what huma has gathered.
func (a *API) document() {
	const path = "/openapi.json"
	pattern := http.MethodGet + " " + Prefix + path
	a.routes[pattern] = &route{id: "get-openapi", role: door.Viewer}
	a.allowed()
	doc := a.huma.OpenAPI()
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(doc.Components.Schemas.Map(), name) // huma's own, which nobody gets
	}
	for name, schema := range doc.Components.Schemas.Map() {
		if !slices.Contains([]string{"Policy", "ScopeRule", "Trigger", "TimestampAuthority"}, name) {
			schema.AdditionalProperties = nil // what is answered may become more
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err) // it does not depend on anything
	}
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text) // the reader left: nobody to tell
	})
}

// allowed answers methods that a path does not have.
func (a *API) allowed() {
	methods := map[string][]string{}
	for pattern := range a.routes {
		method, path, _ := strings.Cut(pattern, " ")
		methods[path] = append(methods[path], method)
		if method == http.MethodGet {
			methods[path] = append(methods[path], http.MethodHead)
		}
	}
	for path, list := range methods {
		list = append(list, http.MethodOptions)
		slices.Sort(list)
		a.allow[path] = strings.Join(list, ", ")
		a.mux.Handle(path, http.NotFoundHandler()) // never called
	}
}

// A PageInput says which page of a list is wanted.
type PageInput struct {
	Cursor string `query:"cursor" pattern:"^[0-9]{1,18}$" doc:"next of the page before; without it the first page"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"how many at most"`
}

// after returns the cursor.
func (p *PageInput) after() int64 {
	n, _ := strconv.ParseInt(p.Cursor, 10, 64) // its pattern was checked; empty is 0
	return n
}

// A page is a part of a list.
type page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"the cursor of the next page; absent on the last one"`
}

type pageOutput[T any] struct{ Body page[T] }

// paged makes a page of what was read with a limit of one more than was asked for.
func paged[T any](items []T, limit int, id func(*T) int64) *pageOutput[T] {
	out := &pageOutput[T]{Body: page[T]{Items: items}}
	if len(items) > limit {
		out.Body.Items = items[:limit]
		out.Body.Next = strconv.FormatInt(id(&items[limit-1]), 10)
	}
	if out.Body.Items == nil {
		out.Body.Items = []T{}
	}
	return out
}
