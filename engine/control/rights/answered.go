package rights

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// maxUnmade is how many changes of a caller that were not even begun are written into
	// the audit log at once, of those it may not make and of the others; then one a
	// minute. Who may change nothing could fill it otherwise.
	maxUnmade = 60
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

type noteKey struct{}

// Watch returns a request of which Answered will know whether Change was asked to make
// what it asks for. It is to be called before anything else is done with the request.
func Watch(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), noteKey{}, new(atomic.Bool)))
}

// note notes that Change was asked on behalf of a watched request.
func note(ctx context.Context) {
	if noted, watched := ctx.Value(noteKey{}).(*atomic.Bool); watched {
		noted.Store(true)
	}
}

func isNoted(ctx context.Context) bool {
	noted, watched := ctx.Value(noteKey{}).(*atomic.Bool)
	return watched && noted.Load()
}

// Answered counts an answer that is about to be given to a watched request, whatever the
// API. That of a caller who was refused is also logged, not too often. What a known
// caller wanted to change is written into the audit log, unless Change did that. Nil
// Rights take no notice.
func (r *Rights) Answered(req *http.Request, a Answer) {
	if r == nil {
		return
	}
	a.Operation = cmp.Or(a.Operation, "other")
	if r.options.Answered != nil {
		r.options.Answered(a.API, a.Operation, a.Code)
	}
	if a.Caller.Name == "" {
		a.Caller = door.CallerOf(a.Err)
	}
	reason := reasonOf(a.Err)
	if reason != "" && (reason != byPlace || a.Changes && !a.Caller.SeesAll()) { // who sees all, or just looks, only missed
		r.warn(req.RemoteAddr, a, reason)
	}
	if a.Changes && a.Caller.Name != "" && !isNoted(req.Context()) {
		r.auditUnmade(req.Context(), a, reason)
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

// A share is how much of a caller's changes that were not begun is written down.
type share struct {
	budget  *rate.Limiter
	leftOut atomic.Int64
}

func newShare() *share { return &share{budget: rate.NewLimiter(rate.Every(time.Minute), maxUnmade)} }

// auditUnmade writes down what a caller wanted to change, and was not begun. Nothing was
// changed, so nothing depends on that it is written. What was left out since the last
// time has an entry, too: how many, not what.
func (r *Rights) auditUnmade(ctx context.Context, a Answer, reason string) {
	b := r.budget(a.Caller)
	s, outcome := b.invalid, notDone
	switch {
	case reason != "":
		outcome = "refused: " + reason
	case a.Err == nil:
		outcome = "nothing to change"
	}
	if reason == byRole || reason == byPlace {
		s = b.forbidden
	}
	if !s.budget.AllowN(r.options.Clock(), 1) {
		s.leftOut.Add(1)
		return
	}
	leftOut := s.leftOut.Swap(0)
	if leftOut > 0 { // through any API
		e := journal.AuditEntry{Caller: a.Caller.Name, Action: "other", RequestID: a.RequestID, Outcome: fmt.Sprintf("left out: %d", leftOut)}
		if _, err := r.options.Journal.Audit(context.WithoutCancel(ctx), e); err != nil {
			s.leftOut.Add(leftOut)
		}
	}
	_, err := r.options.Journal.Audit(context.WithoutCancel(ctx), journal.AuditEntry{Caller: a.Caller.Name, API: a.API, Action: a.Operation,
		Target: Clip(a.Target), RequestID: a.RequestID, Outcome: outcome})
	if err != nil {
		s.leftOut.Add(1)
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
