package control_test

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestWorkMetrics: what was done is counted, once, and what is to be done is told.
func TestWorkMetrics(t *testing.T) {
	m := control.NewMetrics()
	all := policy.Selector{Matches: []string{"**"}}
	p := policy.Policy{Name: "nightly", Registry: controltest.Registry, Key: controltest.Key, Trigger: policy.Trigger{Type: policy.Manual},
		Formats: []policy.Format{policy.FormatCosign, policy.FormatBundle}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
	h := controltest.New(t, controltest.Options{Policies: []policy.Policy{p}, Metrics: m})
	h.Server.Push(t, "app:v1", registrytest.Image(t))
	for range 2 {
		x, err := h.Engine.Fire(t.Context(), "nightly")
		if err != nil {
			t.Fatal(err)
		}
		if x = h.Await(t, x.ID); x.Status != journal.Succeed {
			t.Fatalf("%+v", x)
		}
	}
	m.KeyUsed(controltest.Key, 0, io.ErrUnexpectedEOF)
	health := control.NewHealth(control.HealthOptions{Dependencies: func() []engine.Dependency { return nil }, Log: zap.NewNop()})
	socket := filepath.Join(t.TempDir(), "s")
	s, err := control.Listen(t.Context(), socket, control.Options{Engine: h.Engine, Journal: h.Journal, Health: health, Log: zap.NewNop(),
		Collectors: []prometheus.Collector{m}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(t.Context(), socket); err != nil {
			t.Error(err)
		}
	}()
	lines := strings.Split(scrape(t, socket), "\n")
	for _, want := range []string{
		`sealwright_policy_firings_total{policy="nightly",result="created",trigger="manual"} 2`,
		`sealwright_executions_total{policy="nightly",reason="",status="Succeed",trigger="manual"} 2`,
		`sealwright_artifacts_total{format="cosign,bundle",key="release",policy="nightly",reason="signed",result="Succeed"} 1`,
		`sealwright_artifacts_total{format="cosign,bundle",key="release",policy="nightly",reason="already_signed",result="Succeed"} 1`,
		`sealwright_signatures_total{format="cosign",key="release",policy="nightly",reason="signed",result="signed"} 1`,
		`sealwright_signatures_total{format="bundle",key="release",policy="nightly",reason="signed",result="signed"} 1`,
		`sealwright_key_use_seconds_count{key="release",result="ok"} 2`,
		`sealwright_key_use_seconds_count{key="release",result="failed"} 1`,
		`sealwright_lane_repositories{lane="live",state="waiting"} 0`,
		`sealwright_lane_repositories{lane="backlog",state="working"} 0`,
		`sealwright_run_artifacts{state="under_way"} 0`,
		`sealwright_run_artifacts{state="giving_way"} 0`,
		`sealwright_registry_budget_requests_per_second{rate="configured",registry="prod"} 5000`,
		`sealwright_registry_budget_requests_per_second{rate="current",registry="prod"} 5000`,
		`sealwright_registry_budget_requests_under_way{registry="prod"} 0`,
		`sealwright_registry_budget_requests_waiting{lane="live",registry="prod"} 0`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "sealwright_") }), "\n"))
	}
}

// TestMetricsOfABrokenJournal: when the journal cannot be read, that is told, and
// everything that others know of.
func TestMetricsOfABrokenJournal(t *testing.T) {
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	m := control.NewMetrics()
	m.Lost("nightly")
	setup, err := engine.NewSetup(nil, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	health := control.NewHealth(control.HealthOptions{Dependencies: func() []engine.Dependency { return nil }, Log: zap.NewNop()})
	socket := filepath.Join(t.TempDir(), "s")
	s, err := control.Listen(t.Context(), socket, control.Options{Engine: engine.New(engine.Options{Journal: j, Setup: setup}), Journal: j, Health: health,
		Log: zap.New(core), Collectors: []prometheus.Collector{m}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background(), socket) }()
	if text := scrape(t, socket); !strings.Contains(text, "sealwright_journal_readable 1\n") || !strings.Contains(text, "sealwright_inbox_pushes 0\n") {
		t.Errorf("before: %s", text)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text := scrape(t, socket)
	for want, there := range map[string]bool{"sealwright_journal_readable 0\n": true, `sealwright_signatures_lost_total{policy="nightly"} 1`: true,
		"go_goroutines ": true, "sealwright_inbox_pushes 0": false} {
		if strings.Contains(text, want) != there {
			t.Errorf("%q is there: %t, want %t", want, !there, there)
		}
	}
	if logs.FilterMessage("metrics left out").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

func scrape(t *testing.T, socket string) string {
	t.Helper()
	resp, err := onSocket(socket).Get("http://control/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(body)
}
