package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/tracing"
)

func open(t *testing.T, o tracing.Options) *tracing.Tracer {
	t.Helper()
	tr, err := tracing.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func shut(t *testing.T, tr *tracing.Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

func execution(id int64) journal.Execution {
	begin := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	return journal.Execution{ID: id, Policy: "nightly", Registry: "prod", Trigger: policy.Scheduled, Status: journal.Failed,
		Reason: "artifacts_failed", CreatedAt: begin, FinishedAt: begin.Add(time.Minute)}
}

// TestOneTrace: what two processes did of an execution, and the execution itself, are
// one trace, though neither knows of the other.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	c := controltest.NewCollector(t)
	o := tracing.Options{Endpoint: c.URL, Ratio: 1, Version: "1.2.3", Token: func() (string, error) { return "sesame", nil }}
	x := execution(7)
	secret := errors.New("password of registry is hunter2")
	for _, name := range []string{"one", "two"} {
		tr := open(t, o)
		ctx, repository := tr.Start(tr.Within(t.Context(), x), "repository "+name, "repository", "app")
		_, artifact := tr.Start(ctx, "artifact "+name)
		artifact.End(secret, "reason", "registry_unavailable")
		repository.End(nil)
		if name == "two" {
			tr.Executed(x)
		}
		shut(t, tr)
	}
	all := c.Named(t)
	root := all["execution"]
	if len(all) != 5 || root == nil {
		t.Fatalf("%d spans: %v", len(all), all)
	}
	for name, s := range all {
		if !bytes.Equal(s.TraceId, root.TraceId) {
			t.Errorf("%s is in another trace", name)
		}
		if strings.Contains(s.String(), "hunter2") {
			t.Errorf("%s tells a secret: %s", name, s)
		}
	}
	for _, name := range []string{"one", "two"} {
		if r, a := all["repository "+name], all["artifact "+name]; !bytes.Equal(r.ParentSpanId, root.SpanId) || !bytes.Equal(a.ParentSpanId, r.SpanId) ||
			a.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || r.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: %v below %v", name, a, r)
		}
	}
	if len(root.ParentSpanId) != 0 || root.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR ||
		root.StartTimeUnixNano != uint64(x.CreatedAt.UnixNano()) || root.EndTimeUnixNano != uint64(x.FinishedAt.UnixNano()) {
		t.Errorf("the execution: %v", root)
	}
	if c.Authorization() != "Bearer sesame" {
		t.Errorf("sent with %q", c.Authorization())
	}
}

// TestRatio: all of an execution is traced, or nothing; so that of many it is that
// share.
func TestRatio(t *testing.T) {
	t.Parallel()
	c := controltest.NewCollector(t)
	tr := open(t, tracing.Options{Endpoint: c.URL, Ratio: 0.25})
	const executions = 400
	for id := range int64(executions) {
		x := execution(id)
		_, s := tr.Start(tr.Within(t.Context(), x), "repository")
		s.End(nil)
		tr.Executed(x)
	}
	shut(t, tr)
	traces := map[string]int{}
	for _, s := range c.Spans() {
		traces[string(s.TraceId)]++
	}
	if n := len(traces); n < executions/8 || n > executions/2 {
		t.Errorf("%d of %d executions were traced", n, executions)
	}
	for id, n := range traces {
		if n != 2 {
			t.Errorf("trace %x has %d spans", id, n)
		}
	}
}

// TestOff: nothing is traced by nobody, nor outside of executions.
func TestOff(t *testing.T) {
	t.Parallel()
	var off *tracing.Tracer
	ctx, s := off.Start(off.Within(t.Context(), execution(1)), "x")
	s.End(errors.New("x"))
	off.Executed(execution(1))
	if err := off.Close(ctx); err != nil || ctx != t.Context() {
		t.Error(err)
	}
	c := controltest.NewCollector(t)
	tr := open(t, tracing.Options{Endpoint: c.URL, Ratio: 1})
	_, s = tr.Start(t.Context(), "x")
	s.End(nil)
	shut(t, tr)
	if len(c.Spans()) != 0 {
		t.Errorf("%v", c.Spans())
	}
	none := errors.New("no such file")
	if _, err := tracing.New(t.Context(), tracing.Options{Endpoint: c.URL, Token: func() (string, error) { return "", none }}); !errors.Is(err, none) {
		t.Error(err)
	}
}

// TestCollectorIsGone: that nobody takes the spans costs no more than the wait at the
// end.
func TestCollectorIsGone(t *testing.T) {
	t.Parallel()
	tr := open(t, tracing.Options{Endpoint: "http://127.0.0.1:1", Ratio: 1})
	for id := range int64(10000) {
		tr.Executed(execution(id))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
