package rights_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// outcomes are those of the audit log, the oldest first.
func outcomes(t *testing.T, j *journal.Journal) []string {
	t.Helper()
	entries, err := j.AuditEntries(t.Context(), journal.AuditFilter{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range slices.Backward(entries) {
		list = append(list, fmt.Sprintf("%s %s %s %s %s %s", e.Caller, e.API, e.Action, e.Target, e.RequestID, e.Outcome))
		if e.Outcome != "" && e.FinishedAt.IsZero() {
			t.Errorf("has no end: %+v", e)
		}
	}
	return list
}

// TestAnswered: each answer is counted; who was refused is logged; and a change that a
// known caller may not make is in the audit log.
func TestAnswered(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	var counted []string
	r, j := newRights(t, rights.Options{Log: zap.New(core), Answered: func(api, operation, code string) { counted = append(counted, api+" "+operation+" "+code) }})
	ci, admin := door.Caller{Name: "ci", Role: door.Viewer, Registries: []string{"prod"}}, door.Caller{Name: "admin", Role: door.Admin}
	answer := func(code string, c door.Caller, err error) {
		req := httptest.NewRequest(http.MethodPost, "/x", nil)
		req.RemoteAddr = "192.0.2.7:4711"
		r.Answered(req, rights.Answer{API: "swr", Operation: "Delete", Code: code, Caller: c, Changes: true, Target: "prod/\x00" + strings.Repeat("x", 300), RequestID: "r" + code, Err: err})
	}
	answer("200", admin, nil)
	answer("401", door.Caller{}, fmt.Errorf("no: %w", door.ErrSignature))
	answer("402", door.Caller{}, &door.ReplayedError{Caller: ci})
	answer("429", door.Caller{}, &door.RefusedError{Caller: ci, Why: rights.ErrRate})
	answer("403", ci, rights.Allow(ci, door.Admin))
	answer("404", ci, rights.ErrUnknown)
	answer("410", admin, rights.ErrUnknown) // who sees everything only missed
	answer("500", ci, errors.New("broken"))
	r.Answered(httptest.NewRequest(http.MethodGet, "/y", nil), rights.Answer{API: "swr", Code: "404", Caller: ci, Err: rights.ErrUnknown}) // a look

	if d := cmp.Diff([]string{"swr Delete 200", "swr Delete 401", "swr Delete 402", "swr Delete 429", "swr Delete 403", "swr Delete 404", "swr Delete 410", "swr Delete 500", "swr other 404"}, counted); d != "" {
		t.Error(d)
	}
	var said []string
	for _, l := range logs.All() {
		f := l.ContextMap()
		said = append(said, fmt.Sprint(l.Level, " ", l.Message, " ", f["api"], " ", f["operation"], " ", f["reason"], " ", f["caller"], " ", f["from"], " ", f["request"]))
	}
	if d := cmp.Diff([]string{
		"warn caller refused swr Delete wrong_signature <nil> 192.0.2.7:4711 r401",
		"warn caller refused swr Delete replayed ci 192.0.2.7:4711 r402",
		"warn caller refused swr Delete rate ci 192.0.2.7:4711 r429",
		"warn caller refused swr Delete role ci 192.0.2.7:4711 r403",
		"warn caller refused swr Delete not_found ci 192.0.2.7:4711 r404",
	}, said); d != "" {
		t.Error(d)
	}
	target := "prod/\uFFFD" + strings.Repeat("x", 250) + "…"
	entry := func(caller, request, outcome string) string {
		return caller + " swr Delete " + target + " " + request + " " + outcome
	}
	if d := cmp.Diff([]string{entry("admin", "r200", "nothing to change"), entry("ci", "r402", "refused: replayed"), entry("ci", "r429", "refused: rate"),
		entry("ci", "r403", "refused: role"), entry("ci", "r404", "refused: not_found"), entry("admin", "r410", "refused: not_found"), entry("ci", "r500", "not done")},
		outcomes(t, j)); d != "" {
		t.Error(d)
	}
}

// TestRefusalsAreBounded: nobody fills the log or the audit log with what he may not do,
// or keeps the refusals of others out of them.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	now := time.Now()
	r, j := newRights(t, rights.Options{Log: zap.New(core), Clock: func() time.Time { return now }})
	refuse := func(n int, name string, err error) {
		for range n {
			r.Answered(httptest.NewRequest(http.MethodPost, "/x", nil), rights.Answer{API: "swr", Operation: "Delete", Code: "403", Changes: true,
				Caller: door.Caller{Name: name, Role: door.Viewer}, Err: err})
		}
	}
	count := func(what string, warnings, rows int) {
		t.Helper()
		if n := logs.Len(); n != warnings {
			t.Errorf("%s: %d warnings, want %d", what, n, warnings)
		}
		if n := len(outcomes(t, j)); n != rows {
			t.Errorf("%s: %d entries, want %d", what, n, rows)
		}
	}
	refuse(100, "a", rights.ErrRole)
	count("a flood", 10, 60)
	refuse(1, "b", rights.ErrRole)
	count("another caller", 10, 61)
	refuse(1, "c", door.ErrReplayed)
	count("another reason", 11, 62)
	refuse(1, "a", errors.New("invalid"))
	count("a refusal that is no matter of rights", 11, 63)
	r.Replace(nil, nil) // the configuration is read anew: nothing is forgotten
	now = now.Add(time.Minute)
	refuse(3, "a", rights.ErrRole)
	count("a minute later", 14, 65)
	if d := cmp.Diff([]string{"a  other   left out: 40", "a swr Delete   refused: role"}, outcomes(t, j)[63:]); d != "" {
		t.Error(d)
	}
	if left := logs.All()[11].ContextMap()["left_out"]; left != int64(91) {
		t.Errorf("left out %v", left)
	}
}

// TestWhoLeft: a change whose caller leaves before it is written down is written down as
// answered, and once only.
func TestWhoLeft(t *testing.T) {
	t.Parallel()
	r, j := newRights(t, rights.Options{})
	change := rights.Change{Caller: door.Caller{Name: "ci", Role: door.Admin}, API: "swr", Action: "Delete", Target: "prod/n", RequestID: "r1"}
	ask := func(ctx context.Context) {
		t.Helper()
		req := rights.Watch(httptest.NewRequest(http.MethodDelete, "/x", nil).WithContext(ctx))
		err := r.Change(req.Context(), change, func(context.Context) error { return nil })
		r.Answered(req, rights.Answer{API: "swr", Operation: "Delete", Code: "500", Caller: change.Caller, Changes: true, Target: "/x", RequestID: "r1", Err: err})
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask(gone)
	ask(t.Context())
	if d := cmp.Diff([]string{"ci swr Delete /x r1 not done", "ci swr Delete prod/n r1 done"}, outcomes(t, j)); d != "" {
		t.Error(d)
	}
}
