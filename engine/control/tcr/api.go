// Package tcr serves the part of Tencent Container Registry's API that concerns
// image signatures: version 2019-09-24 of Tencent Cloud API 3.0, POST / with the
// action in X-TC-Action. Every answer has status 200 and says itself what it is.
//
// A namespace is what stands before the first slash of a repository's name. It has
// at most one signature policy of this API, which signs what is pushed from then on;
// what is there already is signed tag by tag, by hand.
package tcr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

const (
	version = "2019-09-24"
	// service is what requests are signed for, and this API's name in the audit log.
	service = "tcr"
	// bodyPatience bounds how long a body may take.
	bodyPatience = 30 * time.Second
	// unreadPatience bounds how long one is waited for that is not read.
	unreadPatience = time.Second
	// patience bounds an action, listings of the registry included. Tencent's SDKs wait
	// for a minute: after that, nobody is told why.
	patience = 45 * time.Second
)

// Options are what the API works with. All are required. The door is asked for
// [Limiter.Admit] by whoever makes it.
type Options struct {
	Engine *engine.Engine
	Door   *door.Door
	Rights *rights.Rights
	Log    *zap.Logger
}

type api struct{ Options }

// New returns the handler of the API.
func New(o Options) http.Handler { return &api{o} }

// Handles reports whether a request is for this API rather than for something else
// at the same address: it names an action, or is signed as Tencent's are.
func Handles(r *http.Request) bool {
	if r.URL.Path != "/" {
		return false
	}
	query, _ := url.ParseQuery(r.URL.RawQuery)
	return len(r.Header.Values("X-TC-Action")) > 0 || query.Has("Action") ||
		strings.HasPrefix(r.Header.Get("Authorization"), "TC3-HMAC-SHA256") ||
		r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// An action is one operation.
type action struct {
	asks bool // a registry, and not the journal alone
	// run reads its parameters, all of them, and returns the answer.
	run func(a *api, ctx context.Context, c *call, p *params) (any, error)
}

func actionOf(name string) (action, bool) {
	switch name {
	case "CreateSignaturePolicy":
		return action{asks: true, run: (*api).createSignaturePolicy}, true
	case "DeleteSignaturePolicy":
		return action{run: (*api).deleteSignaturePolicy}, true
	case "CreateSignature":
		return action{asks: true, run: (*api).createSignature}, true
	case "DescribeNamespaces":
		return action{asks: true, run: (*api).describeNamespaces}, true
	case "DescribeImages":
		return action{asks: true, run: (*api).describeImages}, true
	case "DescribeInstances":
		return action{run: (*api).describeInstances}, true
	}
	return action{}, false
}

// isAction reports whether there is an action of that name.
func isAction(name string) bool {
	_, known := actionOf(name)
	return known
}

// A call is one request of a caller who has proven who it is.
type call struct {
	id     string
	action string // empty if there is none of that name
	target string // what is asked for, once it was read
	caller door.Caller
	// replayed: the signature was seen before. No change that it asks for is carried
	// out. A read is answered: a client that changes something and looks at it with
	// the same parameters, in the same second, sends the same signature twice.
	replayed bool
	// unseen: the answer is a success, and there is nothing that the caller may change.
	unseen bool
}

// An answer is what every success says.
type answer struct {
	RequestID string `json:"RequestId"`
}

func (c *call) done() answer { return answer{c.id} }

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = rights.Watch(r)
	c := &call{id: newRequestID()}
	if name := r.Header.Get("X-TC-Action"); isAction(name) {
		c.action = name
	}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			a.Log.Error("panic in an API call", zap.String("request", c.id), zap.String("action", c.action), zap.Any("panic", p), zap.Stack("stack"))
			a.answered(c, r, errInternal.code, rights.ErrPanic)
			refuse(w, c.id, errInternal)
		}
	}()
	// Where there is no connection there is nobody to be slow.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience))
	said, err := a.serve(w, r, c)
	if err != nil {
		e := a.told(c, err)
		a.answered(c, r, e.code, err)
		refuse(w, c.id, e)
		return
	}
	a.answered(c, r, "200", nil)
	respond(w, said)
}

// answered counts an answer, and leaves a trace of who is refused.
func (a *api) answered(c *call, r *http.Request, code string, err error) {
	if c.unseen {
		err = rights.ErrUnknown
	}
	a.Rights.Answered(r, rights.Answer{API: service, Operation: c.action, Code: code, Caller: c.caller, Changes: isAction(c.action) && !strings.HasPrefix(c.action, "Describe"),
		Target: c.target, RequestID: c.id, Err: err})
}

func (a *api) serve(w http.ResponseWriter, r *http.Request, c *call) (any, error) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return nil, refusal("UnsupportedProtocol", "The method %.16q is not supported, use POST.", r.Method)
	}
	body, err := a.enter(r, c)
	if err != nil {
		// It may not have been read.
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadPatience))
		return nil, err
	}
	do, err := route(r)
	if err != nil {
		return nil, err
	}
	p, err := parseParams(body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if do.asks {
		return do.run(a, ctx, c, p)
	}
	return rights.InTurn(ctx, a.Rights.Turns(), c.caller, !strings.HasPrefix(c.action, "Describe"), func(ctx context.Context) (any, error) {
		return do.run(a, ctx, c, p)
	})
}

// enter finds out who sent the request, and returns its body.
func (a *api) enter(r *http.Request, c *call) ([]byte, error) {
	caller, body, err := a.Door.TC3(r, service)
	if replay := (*door.ReplayedError)(nil); errors.As(err, &replay) {
		c.caller, c.replayed = replay.Caller, true
		return replay.Body, nil
	}
	c.caller = caller
	return body, err
}

// route returns the action of a request whose sender is known.
func route(r *http.Request) (do action, err error) {
	if r.Method != http.MethodPost {
		return do, refusal("UnsupportedProtocol", "GET is not supported, use POST with a JSON body.")
	}
	if r.Header.Get("X-TC-Token") != "" {
		return do, refusal("AuthFailure.TokenFailure", "Temporary credentials are not supported.")
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return do, refusal("InvalidParameter", "The Content-Type %.64q is not supported, use application/json.", kind)
	}
	name := r.Header.Get("X-TC-Action")
	switch do, ok := actionOf(name); {
	case name == "":
		return do, missing("Action")
	case r.Header.Get("X-TC-Version") == "":
		return do, missing("Version")
	case len(r.Header.Values("X-TC-Version")) > 1 || r.Header.Get("X-TC-Version") != version:
		return do, refusal("NoSuchVersion", "The API version does not exist, want %s.", version)
	case !ok:
		return do, refusal("InvalidAction", "The action %.64q is not valid.", name)
	default:
		return do, nil
	}
}

// instance reads which registry a request is about, and checks that the caller
// sees it and has the role.
func (a *api) instance(c *call, p *params, role door.Role) (rights.Instance, error) {
	i := rights.Instance{ID: p.text("RegistryId")}
	if p.err != nil {
		return i, p.err
	}
	namespace, _ := p.left["NamespaceName"].(string) // which is not looked at yet
	c.target = i.ID + "/" + namespace
	var err error
	if i.Registry, err = a.Rights.Registry(c.caller, i.ID); err != nil {
		return i, fmt.Errorf("%w: %w", notFound("registry"), err)
	}
	return i, a.allow(c, role)
}

func (a *api) allow(c *call, role door.Role) error {
	if err := rights.Allow(c.caller, role); err != nil {
		told := refusal("AuthFailure.UnauthorizedOperation", "You are not authorized to perform tcr:%s, which needs the role %s.", c.action, role)
		return fmt.Errorf("%w: %w", told, err)
	}
	return nil
}

// change lets do change something, and answers.
func (a *api) change(ctx context.Context, c *call, target string, do func(context.Context) error) (any, error) {
	err := a.Rights.Change(ctx, rights.Change{Caller: c.caller, API: service, Action: c.action, Target: target, RequestID: c.id}, do)
	if err != nil {
		return nil, err
	}
	return c.done(), nil
}

// respond writes an answer as Tencent's are.
func respond(w http.ResponseWriter, said any) {
	raw, err := json.Marshal(struct{ Response any }{said})
	if err != nil { // text, numbers and lists of them always encode
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(raw) // the caller left: nobody to tell
}
