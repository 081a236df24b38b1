package tracing_test

import (
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/tracing"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestEngine: the trace of an execution tells what was done to sign an artifact.
func TestEngine(t *testing.T) {
	t.Parallel()
	c := controltest.NewCollector(t)
	tr := open(t, tracing.Options{Endpoint: c.URL, Ratio: 1})
	all := policy.Selector{Matches: []string{"**"}}
	h := controltest.New(t, controltest.Options{Tracer: tr, Policies: []policy.Policy{{Name: "nightly", Registry: controltest.Registry, Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}}})
	digest := h.Server.Push(t, "app:v1", registrytest.Image(t))
	x, err := h.Engine.Fire(t.Context(), "nightly")
	if err != nil {
		t.Fatal(err)
	}
	if x = h.Await(t, x.ID); x.Status != journal.Succeed {
		t.Fatalf("%+v", x)
	}
	registrytest.Eventually(t, time.Minute, "the execution's span is made", func() bool {
		if err := tr.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		return c.Named(t)["execution"] != nil && c.Named(t)["repository"] != nil
	})
	spans := c.Named(t)
	for name, in := range map[string]string{"walk": "execution", "repository": "execution", "artifact": "repository", "look": "artifact", "sign": "artifact", "attach": "artifact"} {
		s, parent := spans[name], spans[in]
		if s == nil || parent == nil || string(s.ParentSpanId) != string(parent.SpanId) || string(s.TraceId) != string(parent.TraceId) {
			t.Errorf("%s is not in %s: %v", name, in, s)
		}
	}
	for name, want := range map[string]string{"execution.status": "Succeed", "repository.repository": "app", "artifact.digest": digest.String(),
		"artifact.reason": "signed", "sign.key": controltest.Key, "sign.format": "cosign"} {
		if got := attributesOf(spans)[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func attributesOf(spans map[string]*tracepb.Span) map[string]string {
	all := map[string]string{}
	for name, s := range spans {
		for _, a := range s.Attributes {
			all[name+"."+a.Key] = a.Value.GetStringValue()
		}
	}
	return all
}
