package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strconv"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// maxBody is how many bytes of a body are read.
const maxBody = 1 << 20

// maxPath is how long a path may be: a policy's name, with every byte escaped, and
// what is around it.
const maxPath = 1 << 10

// byDoor finds out who sent a request by its token, signature or client certificate.
func byDoor(d *door.Door) func(*http.Request) (door.Caller, error) {
	return func(r *http.Request) (door.Caller, error) {
		caller, body, err := d.Own(r)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return caller, err
	}
}

// A session is who asks for what, and the request's id.
type session struct {
	door.Caller
	request string
	route   *route // nil if there is none
	why     *error // what an operation ended with, so that the gate knows
	begin   func() // is called when the operation's turn has come
}

type sessionKey struct{}

// enter returns a request by which its operation finds the session.
func (s session) enter(ctx context.Context, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(ctx, sessionKey{}, s))
}

// sessionOf returns the session of a request that came through the gate.
func sessionOf(ctx context.Context) session {
	s, _ := ctx.Value(sessionKey{}).(session)
	return s
}

// ServeHTTP lets in what may come in, and has it answered.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = rights.Watch(r)
	s := session{request: rand.Text(), why: new(error), begin: func() {}}
	h := w.Header()
	h.Set("X-Request-Id", s.request)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	tracked := &writer{ResponseWriter: w}
	defer a.recover(tracked, r, &s)
	if err := a.enter(tracked, r, &s); err != nil {
		a.refuse(tracked, r, s, err)
	}
}

// enter answers a request, or returns why it is not even asked for.
func (a *API) enter(w *writer, r *http.Request, s *session) error {
	found, err := a.route(w, r)
	if err != nil || found == nil {
		return err
	}
	s.route = found
	if door.TurnedAway(r) {
		return rights.ErrBusy
	}
	body, err := a.admit(r, found, s)
	if err != nil {
		return err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.Header.Del("Accept") // there is JSON, whatever is asked for
	if found.long {
		a.mux.ServeHTTP(w, s.enter(r.Context(), r))
		a.answered(r, *s, w.status, *s.why)
		return nil
	}
	kept, err := a.look(r, *s)
	if err != nil {
		return err
	}
	a.answered(r, *s, kept.status, kept.why)
	kept.send(w)
	return nil
}

// look returns the answer to a request. All who ask for the same, and see the same, get
// the same one, but for the request's id.
func (a *API) look(r *http.Request, s session) (*answer, error) {
	if r.Method != http.MethodGet {
		return a.inSlot(r.Context(), r, s)
	}
	kept, first, err := rights.Look(r.Context(), a.Turns, r.URL.RequestURI()+" "+s.Sight(), func(ctx context.Context, begin func()) (*answer, error) {
		s.begin = begin
		return a.inSlot(ctx, r, s)
	})
	switch {
	case !first && errors.Is(err, rights.ErrPanic): // which is logged for the one whose request it was
		return nil, errOthersPanic
	case err == nil && !first && kept.status >= http.StatusBadRequest:
		return a.tell(kept, s)
	}
	return kept, err
}

// tell returns a problem as it is told to somebody else who asked for the same.
func (a *API) tell(said *answer, s session) (*answer, error) {
	var p Problem
	if err := json.Unmarshal(said.body.Bytes(), &p); err != nil {
		return nil, fmt.Errorf("what another caller was told: %w", err)
	}
	if p.Status == http.StatusInternalServerError {
		a.Log.Error("request failed", zap.String("request", s.request), zap.String("caller", s.Name), zap.String("as", p.RequestID), zap.Error(said.why))
	}
	p.RequestID = s.request
	told := &answer{header: said.header, status: said.status, why: said.why}
	_, _ = told.body.Write(p.json()) // it never fails
	return told, nil
}

// inSlot has a request answered when there is a slot for it. What was sent is read by
// then, and the answer is written later: no slow caller has a slot.
func (a *API) inSlot(ctx context.Context, r *http.Request, s session) (*answer, error) {
	leave, err := a.Turns.Slot(ctx, s.Caller)
	if err != nil {
		return nil, err
	}
	defer leave()
	kept := &answer{header: http.Header{}}
	a.mux.ServeHTTP(kept, s.enter(ctx, r))
	if kept.why = *s.why; errors.Is(kept.why, rights.ErrBusy) { // which is no answer yet for who has not waited for as long
		return nil, kept.why
	}
	return kept, nil
}

// answered counts an answer, and leaves a trace of who is refused.
func (a *API) answered(r *http.Request, s session, status int, err error) {
	if err == nil && status >= http.StatusBadRequest { // huma refused it
		err = errInvalid
	}
	said := rights.Answer{API: name, Code: strconv.Itoa(cmp.Or(status, http.StatusOK)), Caller: s.Caller, Target: r.URL.EscapedPath(), RequestID: s.request, Err: err}
	if s.route != nil {
		said.Operation, said.Changes = s.route.id, s.route.changes
	}
	a.Rights.Answered(r, said)
}

// admit finds out who asks, whether he may, and whether what he sent can be read.
func (a *API) admit(r *http.Request, found *route, s *session) (body []byte, err error) {
	if s.Caller, err = a.Authenticate(r); err != nil {
		return nil, err
	}
	// A browser shows a client certificate by itself, also when another site's page has it ask.
	if err := a.origins.Check(r); err != nil {
		return nil, rights.ErrOrigin
	}
	if err := rights.Allow(s.Caller, found.role); err != nil {
		return nil, err
	}
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	return readBody(r, found.body)
}

// route returns the operation that is asked for; nil if the request is answered.
func (a *API) route(w http.ResponseWriter, r *http.Request) (*route, error) {
	// The mux would send somebody elsewhere whose path is not a clean one.
	if len(r.URL.EscapedPath()) > maxPath || path.Clean(r.URL.Path) != r.URL.Path {
		return nil, errNoRoute
	}
	_, pattern := a.mux.Handler(r)
	if found := a.routes[pattern]; found != nil {
		return found, nil
	}
	allow, known := a.allow[pattern]
	if !known {
		return nil, errNoRoute
	}
	w.Header().Set("Allow", allow)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil, nil
	}
	return nil, fmt.Errorf("%w: %s", errMethod, allow)
}

// checkQuery refuses what readers of queries do not agree about. Whether the names
// are known is for huma to say.
func checkQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return faultsError{{"query", "is malformed", "NAME=VALUE, with & between them"}}
	}
	for name, values := range query {
		if len(values) > 1 {
			return faultsError{{"query." + name, "is given more than once", "once"}}
		}
	}
	return nil
}

// readBody reads a body that is JSON, or makes sure that there is none.
func readBody(r *http.Request, wanted bool) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: reading the body: %w", door.ErrMalformed, err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("%w: at most %d bytes are read", door.ErrTooLarge, maxBody)
	case !wanted && len(body) > 0:
		return nil, errBody
	case !wanted:
		return nil, nil
	}
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return nil, errContentType
	}
	if kind, parameters, err := mime.ParseMediaType(values[0]); err != nil || kind != "application/json" || !onlyUTF8(parameters) {
		return nil, errContentType
	}
	return body, nil
}

func onlyUTF8(parameters map[string]string) bool {
	charset, given := parameters["charset"]
	return len(parameters) == 0 || len(parameters) == 1 && given && (charset == "utf-8" || charset == "UTF-8")
}

// refuse answers with what is wrong.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, s session, err error) {
	p := a.problem(s, err)
	a.answered(r, s, p.Status, err)
	for name, value := range p.headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.json()) // the reader left: nobody to tell
}

// recover answers a request whose handler panicked.
func (a *API) recover(w *writer, r *http.Request, s *session) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // it means just this
	}
	a.Log.Error("panic", zap.String("request", s.request), zap.String("method", r.Method), zap.String("path", r.URL.Path),
		zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
	if w.began {
		panic(http.ErrAbortHandler) // or half an answer would look like a whole one
	}
	a.refuse(w, r, *s, rights.ErrPanic)
}
