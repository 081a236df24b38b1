package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

const problemType = "application/problem+json"

// What is wrong with requests beside what the door, the rights, the engine and the
// journal say.
var (
	errNoRoute      = errors.New("there is nothing at this path")
	errMethod       = errors.New("the method is not allowed here; allowed")
	errBody         = errors.New("this request has no body")
	errContentType  = errors.New("the Content-Type is not application/json")
	errInvalid      = errors.New("the request is not valid")
	errOthersPanic  = errors.New("another caller's request for the same ended in a panic")
	errNotFound     = errors.New("there is none that you may see")
	errNoMatch      = errors.New(`If-Match is missing: send the ETag of the policy as you know it, or * for any`)
	errMatch        = errors.New("If-Match is malformed; allowed: * or ETags")
	errReadOnly     = errors.New("the policy is not changed here")
	errDisabled     = errors.New("the policy is disabled")
	errBroken       = errors.New("the policy cannot be carried out")
	errCallerFull   = errors.New("you have as many of these under way as one caller may have; wait until one has ended")
	errFull         = errors.New("as many of these are under way as there may be; try again later")
	errNameConflict = errors.New("a policy of this name is there already; allowed: another name")
)

// A Problem says why a request was not granted (RFC 9457).
type Problem struct {
	Type      string  `json:"type" doc:"always about:blank: title and status say it" example:"about:blank"`
	Title     string  `json:"title" doc:"the status in words"`
	Status    int     `json:"status" doc:"the HTTP status"`
	Detail    string  `json:"detail" doc:"what is wrong"`
	RequestID string  `json:"request_id" doc:"the same as X-Request-Id"`
	Errors    []Fault `json:"errors,omitempty" nullable:"false" doc:"each thing that is wrong"`

	headers map[string]string
}

// A Fault is one thing that is wrong with what was sent.
type Fault struct {
	Field   string `json:"field" doc:"its place in the body, or query.NAME, path.NAME, header.NAME" example:"scope[0].tags"`
	Problem string `json:"problem" doc:"what is wrong with it"`
	Allowed string `json:"allowed,omitempty" doc:"what would be right"`
}

// A faultsError is everything that is wrong with what was sent.
type faultsError []Fault

// Error lists the faults.
func (e faultsError) Error() string {
	texts := make([]string, len(e))
	for i, f := range e {
		texts[i] = policy.Fault(f).Error()
	}
	return strings.Join(texts, "; ")
}

// GetStatus makes a Problem an error of huma's.
func (p *Problem) GetStatus() int { return p.Status }

// Error makes a Problem an error.
func (p *Problem) Error() string { return p.Detail }

// ContentType is for huma.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders is for huma.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	for name, value := range p.headers {
		h.Set(name, value)
	}
	return h
}

func (p *Problem) json() []byte {
	b, _ := json.Marshal(p) // strings and a number
	return append(b, '\n')
}

func newProblem(s session, status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: clip(detail), RequestID: s.request}
}

// statuses are those of errors; the first that matches counts.
var statuses = []struct {
	err    error
	status int
}{
	{errNoRoute, http.StatusNotFound}, {errNotFound, http.StatusNotFound}, {rights.ErrUnknown, http.StatusNotFound},
	{errMethod, http.StatusMethodNotAllowed},
	{errBody, http.StatusBadRequest}, {errMatch, http.StatusBadRequest}, {errSyntax, http.StatusBadRequest},
	{errContentType, http.StatusUnsupportedMediaType},
	{errNoMatch, http.StatusPreconditionRequired}, {journal.ErrRevision, http.StatusPreconditionFailed},
	{errReadOnly, http.StatusConflict}, {errDisabled, http.StatusConflict}, {errBroken, http.StatusConflict}, {errNameConflict, http.StatusConflict},
	{errCallerFull, http.StatusTooManyRequests},
	{errFull, http.StatusServiceUnavailable}, {rights.ErrBusy, http.StatusServiceUnavailable}, {rights.ErrSlow, http.StatusServiceUnavailable}, {engine.ErrStopping, http.StatusServiceUnavailable},
	{rights.ErrRole, http.StatusForbidden}, {rights.ErrOrigin, http.StatusForbidden}, {rights.ErrRate, http.StatusTooManyRequests},
	{door.ErrTooLarge, http.StatusRequestEntityTooLarge}, {door.ErrBusy, http.StatusTooManyRequests},
	{door.ErrNoCredentials, http.StatusUnauthorized}, {door.ErrUnknown, http.StatusUnauthorized}, {door.ErrSignature, http.StatusUnauthorized},
	{door.ErrUnsupported, http.StatusUnauthorized}, {door.ErrClock, http.StatusUnauthorized}, {door.ErrReplayed, http.StatusUnauthorized},
	{door.ErrBodyHash, http.StatusUnauthorized}, {door.ErrMalformed, http.StatusBadRequest},
}

// problem says an error to the caller. What is nobody's fault but ours is logged, and
// not said.
func (a *API) problem(s session, err error) *Problem {
	var faults faultsError
	if errors.As(err, &faults) {
		p := newProblem(s, http.StatusUnprocessableEntity, "the request is not valid; see errors")
		p.Errors = atMost(faults)
		return p
	}
	for _, known := range statuses {
		if errors.Is(err, known.err) {
			p := newProblem(s, known.status, err.Error())
			p.headers = headersFor(known.status)
			return p
		}
	}
	if !errors.Is(err, rights.ErrPanic) && !errors.Is(err, context.Canceled) { // logged before; the caller left
		a.Log.Error("request failed", zap.String("request", s.request), zap.String("caller", s.Name), zap.Error(err))
	}
	return newProblem(s, http.StatusInternalServerError, "internal error; the log of the daemon tells more under the request's id")
}

func headersFor(status int) map[string]string {
	switch status {
	case http.StatusUnauthorized:
		return map[string]string{"WWW-Authenticate": `Bearer realm="sealwright"`}
	case http.StatusTooManyRequests:
		return map[string]string{"Retry-After": "1"}
	case http.StatusServiceUnavailable:
		return map[string]string{"Retry-After": "10"}
	}
	return nil
}

// What is said of faults is bounded, as it repeats what was sent.
const (
	maxFaults = 100
	maxText   = 500
)

func atMost(all []Fault) []Fault {
	list := make([]Fault, 0, min(len(all), maxFaults))
	for _, f := range all[:min(len(all), maxFaults)] {
		list = append(list, Fault{clip(f.Field), clip(f.Problem), f.Allowed})
	}
	return list
}

func clip(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if utf8.RuneCountInString(text) <= maxText {
		return text
	}
	return string([]rune(text)[:maxText]) + "…"
}

// fromHuma says in our words what huma found wrong with a request's parameters.
func fromHuma(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(sessionOf(ctx.Context()), m.Status, m.Detail)
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, Fault{Field: e.Location, Problem: e.Message})
	}
	p.Errors = atMost(p.Errors)
	return p, nil
}

// policyFaults are those of a policy that was refused.
func policyFaults(faults []policy.Fault) faultsError {
	list := make(faultsError, len(faults))
	for i, f := range faults {
		list[i] = Fault(f)
	}
	return list
}
