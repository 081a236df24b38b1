package rights

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// maxRefusals is how many refused changes of a caller are written into the audit
	// log at once; then one a minute. Who may change nothing could fill it otherwise.
	maxRefusals = 60
	// maxWarnings is how many refusals of one sort are logged at once, and warnEvery
	// how often then: strangers could fill the log otherwise.
	maxWarnings = 10
	warnEvery   = 10 * time.Second
	// maxTarget is how many bytes of a target are written down.
	maxTarget = 256
)

// An Answer is what a request to an API came to.
type Answer struct {
	API string
	// Operation is one that the API has. Empty: the request asked for none of these.
	Operation string
	// Code is the HTTP status, or the vendor's code where that is always the same.
	Code string
	// Caller is the zero Caller if who asks is not known.
	Caller door.Caller
	// Changes is whether the operation may change something, and Target what.
	Changes   bool
	Target    string
	RequestID string
	// Err is why the answer is no success. It is nil if it is one.
	Err error
}

// The reasons of refusals that are of what the caller may, not of who it is.
const (
	byRole  = "role"
	byPlace = "not_found"
)

// reasons are why callers are refused, in one word.
var reasons = []struct { //nolint:gochecknoglobals // a table
	err    error
	reason string
}{
	{door.ErrNoCredentials, "no_credentials"}, {door.ErrMalformed, "malformed"}, {door.ErrUnsupported, "unsupported"},
	{door.ErrUnknown, "unknown_credential"}, {door.ErrSignature, "wrong_signature"}, {door.ErrClock, "clock"},
	{door.ErrReplayed, "replayed"}, {door.ErrBusy, "busy"}, {door.ErrTooLarge, "too_large"}, {door.ErrBodyHash, "body_hash"},
	{ErrRate, "rate"}, {ErrBusy, "busy"}, {ErrOrigin, "origin"}, {ErrRole, byRole}, {ErrUnknown, byPlace},
}

// reasonOf returns why a caller was refused; nothing if it was not, but could not be
// served.
func reasonOf(err error) string {
	for _, known := range reasons {
		if errors.Is(err, known.err) {
			return known.reason
		}
	}
	return ""
}

// Answered counts an answer that is about to be given, whatever the API. That of a
// caller who was refused is also logged, not too often; and a change that a known
// caller may not make is written into the audit log. Changes that were refused while
// they were made are there already: see Change. Nil Rights take no notice.
func (r *Rights) Answered(req *http.Request, a Answer) {
	if r == nil {
		return
	}
	a.Operation = cmp.Or(a.Operation, "other")
	if r.options.Answered != nil {
		r.options.Answered(a.API, a.Operation, a.Code)
	}
	reason := reasonOf(a.Err)
	if reason == "" || reason == byPlace && (!a.Changes || a.Caller.SeesAll()) { // who sees all, or just looks, only missed
		return
	}
	if a.Caller.Name == "" {
		a.Caller = door.CallerOf(a.Err)
	}
	r.warn(req.RemoteAddr, a, reason)
	if a.Changes && a.Caller.Name != "" && (reason == byRole || reason == byPlace) {
		r.auditRefusal(req.Context(), a, reason)
	}
}

// A warning is about one API and reason.
type warning struct {
	budget  *rate.Limiter
	leftOut int
}

func (r *Rights) warn(from string, a Answer, reason string) {
	leftOut, say := r.mayWarn([2]string{a.API, reason})
	if !say {
		return
	}
	fields := []zap.Field{zap.String("api", a.API), zap.String("operation", a.Operation), zap.String("reason", reason),
		zap.String("from", from), zap.String("request", a.RequestID)}
	if a.Caller.Name != "" {
		fields = append(fields, zap.String("caller", a.Caller.Name))
	}
	if leftOut > 0 {
		fields = append(fields, zap.Int("left_out", leftOut))
	}
	r.options.Log.Warn("caller refused", fields...)
}

// mayWarn returns how many warnings of this sort were left out since the last one, if
// it is time for one.
func (r *Rights) mayWarn(sort [2]string) (leftOut int, say bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.warnings[sort]
	if w == nil {
		w = &warning{budget: rate.NewLimiter(rate.Every(warnEvery), maxWarnings)}
		r.warnings[sort] = w
	}
	if !w.budget.AllowN(r.options.Clock(), 1) {
		w.leftOut++
		return 0, false
	}
	leftOut, w.leftOut = w.leftOut, 0
	return leftOut, true
}

// auditRefusal writes down what a caller wanted to change and may not. Nothing was
// changed, so nothing depends on that it is written.
func (r *Rights) auditRefusal(ctx context.Context, a Answer, reason string) {
	if !r.budget(a.Caller).refusals.AllowN(r.options.Clock(), 1) {
		return
	}
	_, err := r.options.Journal.Audit(context.WithoutCancel(ctx), journal.AuditEntry{Caller: a.Caller.Name, API: a.API, Action: a.Operation,
		Target: Clip(a.Target), RequestID: a.RequestID, Outcome: "refused: " + reason})
	if err != nil {
		r.options.Log.Error("audit log: a refusal was not written", zap.String("caller", a.Caller.Name), zap.String("api", a.API),
			zap.String("action", a.Operation), zap.String("request", a.RequestID), zap.Error(err))
	}
}

// Clip makes a text of what a caller sent fit to be kept.
func Clip(text string) string {
	if len(text) > maxTarget {
		text = text[:maxTarget] + "…"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}
