package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/event"
)

// Metrics counts what is not found out when it is asked for. It is a collector; its
// methods may be called on nil, and then count nothing.
type Metrics struct {
	deliveries, pushes, lost *prometheus.CounterVec
	fired, ended             *prometheus.CounterVec
	artifacts, signatures    *prometheus.CounterVec
	answers                  *prometheus.CounterVec
	pushToSigned             prometheus.Histogram
	keyUses                  *prometheus.HistogramVec
}

// NewMetrics returns Metrics with nothing counted.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Metrics{
		deliveries: counter("sealwright_event_deliveries_total", "Deliveries of events, by what became of them.", "registry", "result"),
		pushes: counter("sealwright_events_total",
			"Events by what became of them: new, known and uncovered count pushes, once for each policy; the rest were no push of an artifact.", "registry", "result"),
		lost: counter("sealwright_signatures_lost_total",
			"Artifacts whose signatures were verified before and are not in the registry any more, each time that is found.", "policy"),
		fired: counter("sealwright_policy_firings_total",
			"Firings of policies, by what became of them: created an execution, joined one that waits (coalesced), or were fired before (duplicate).",
			"policy", "trigger", "result"),
		ended: counter("sealwright_executions_total", "Executions that this process ended, by how they ended.", "policy", "trigger", "status", "reason"),
		artifacts: counter("sealwright_artifacts_total",
			"Artifacts that were looked at under a policy (subtasks), by what became of them.", "policy", "key", "format", "result", "reason"),
		signatures: counter("sealwright_signatures_total",
			"Signatures that were tried: result signed means read back and verified.", "policy", "key", "format", "result", "reason"),
		answers: counter("sealwright_api_requests_total",
			"Answers of APIs, by operation and by code: the HTTP status, or Tencent's code, as TCR's status is always the same.", "api", "operation", "code"),
		keyUses: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sealwright_key_use_seconds",
			Help:    "Time of each use of a key, refused ones included.",
			Buckets: []float64{.0001, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"key", "result"}),
		pushToSigned: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sealwright_push_to_signed_seconds",
			Help:    "Time from a push, by the event's own clock, until the artifact was signed, read back and verified.",
			Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 21600, 86400}}),
	}
}

// PushToSigned notes how long after its push an artifact was signed.
func (m *Metrics) PushToSigned(took time.Duration) { m.pushToSigned.Observe(took.Seconds()) }

// Lost counts an artifact of a policy whose signature was lost.
func (m *Metrics) Lost(policy string) { m.lost.WithLabelValues(policy).Inc() }

// Fired counts a firing.
func (m *Metrics) Fired(f journal.Firing, result journal.FireResult) {
	m.fired.WithLabelValues(f.Policy, string(f.Trigger), string(result)).Inc()
}

// Ended counts an execution that ended.
func (m *Metrics) Ended(x journal.Execution) {
	m.ended.WithLabelValues(x.Policy, string(x.Trigger), string(x.Status), x.Reason).Inc()
}

// Answered counts an answer of an API.
func (m *Metrics) Answered(api, operation, code string) {
	m.answers.WithLabelValues(api, operation, code).Inc()
}

// KeyUsed notes a use of a key.
func (m *Metrics) KeyUsed(key string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.keyUses.WithLabelValues(key, result).Observe(took.Seconds())
}

// Outcome counts what became of an artifact.
func (m *Metrics) Outcome(o engine.Outcome) {
	formats := make([]string, len(o.Formats))
	for i, f := range o.Formats {
		formats[i] = string(f)
	}
	m.artifacts.WithLabelValues(o.Policy, o.Key, strings.Join(formats, ","), string(o.Status), o.Reason).Inc()
	for _, r := range o.Records {
		m.signatures.WithLabelValues(r.Policy, r.Key, string(r.Format), string(r.State), r.Reason).Inc()
	}
}

func (m *Metrics) delivered(registry, result string) {
	if m != nil {
		m.deliveries.WithLabelValues(registry, result).Inc()
	}
}

func (m *Metrics) pushed(registry string, r engine.Receipt, d event.Delivery) {
	if m == nil {
		return
	}
	for result, n := range map[string]int{"new": r.New, "known": r.Known, "uncovered": r.Uncovered} {
		m.pushes.WithLabelValues(registry, result).Add(float64(n))
	}
	for reason, n := range d.Ignored {
		m.pushes.WithLabelValues(registry, string(reason)).Add(float64(n))
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.deliveries, m.pushes, m.lost, m.fired, m.ended, m.artifacts, m.signatures, m.answers, m.keyUses, m.pushToSigned}
}

// metrics returns the handler of Prometheus metrics: those of the engine, the
// process, and more. What cannot be told is left out and logged: the rest is wanted most
// when something is broken.
func metrics(e *engine.Engine, more []prometheus.Collector, log *zap.Logger) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(engineMetrics{e}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(more...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: scrapeLog{log}})
}

// scrapeLog logs what a scrape could not be told.
type scrapeLog struct{ *zap.Logger }

// Println implements [promhttp.Logger].
func (l scrapeLog) Println(said ...any) {
	l.Warn("metrics left out", zap.String("error", fmt.Sprint(said...)))
}

var (
	keyUsable = prometheus.NewDesc("sealwright_key_usable",
		"1 if the key could be opened, 0 if its store did not give it.", []string{"key", "fingerprint", "version"}, nil)
	certificateExpiry = prometheus.NewDesc("sealwright_certificate_expiry_timestamp_seconds",
		"When the first certificate of the key's chain expires, in Unix time.", []string{"key"}, nil)
	registryRequests = prometheus.NewDesc("sealwright_registry_requests_total",
		"Requests sent to the registry, its token server and its storage; status is \"error\" when there was no answer.",
		[]string{"registry", "method", "status"}, nil)
	budgetRate = prometheus.NewDesc("sealwright_registry_budget_requests_per_second",
		"What the registry may be asked: as configured, and as its throttling left it now.", []string{"registry", "rate"}, nil)
	budgetUnderWay = prometheus.NewDesc("sealwright_registry_budget_requests_under_way",
		"Requests to the registry that were sent and not answered yet.", []string{"registry"}, nil)
	budgetWaiting = prometheus.NewDesc("sealwright_registry_budget_requests_waiting",
		"Requests to the registry that wait for their turn.", []string{"registry", "lane"}, nil)
	laneRepositories = prometheus.NewDesc("sealwright_lane_repositories",
		"Repositories that wait for a worker, or that one is at, of all replicas.", []string{"lane", "state"}, nil)
	laneOldest = prometheus.NewDesc("sealwright_lane_oldest_timestamp_seconds",
		"When the first of the repositories that wait came, in Unix time; absent if none waits.", []string{"lane"}, nil)
	runArtifacts = prometheus.NewDesc("sealwright_run_artifacts",
		"Artifacts of runs that are under way, or that give way to callers of the APIs.", []string{"state"}, nil)
	journalReadable = prometheus.NewDesc("sealwright_journal_readable",
		"1 if the state could be read for this scrape, 0 if not: what it knows of is absent then.", nil, nil)
	inboxPushes = prometheus.NewDesc("sealwright_inbox_pushes",
		"Pushes that were received and are not dealt with yet.", nil, nil)
	inboxOldest = prometheus.NewDesc("sealwright_inbox_oldest_timestamp_seconds",
		"When the oldest of them was received, in Unix time; absent if there is none.", nil, nil)
)

// inboxPatience bounds how long a scrape waits for the journal.
const inboxPatience = 5 * time.Second

// engineMetrics asks the engine when it is asked, so that nothing is counted
// twice and a reload needs no bookkeeping.
type engineMetrics struct{ engine *engine.Engine }

// Describe implements prometheus.Collector.
func (m engineMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- keyUsable
	ch <- certificateExpiry
	ch <- registryRequests
	ch <- budgetRate
	ch <- budgetUnderWay
	ch <- budgetWaiting
	ch <- laneRepositories
	ch <- laneOldest
	ch <- runArtifacts
	ch <- journalReadable
	ch <- inboxPushes
	ch <- inboxOldest
}

// Collect implements prometheus.Collector.
func (m engineMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, k := range m.engine.Keys() {
		usable := 1.0
		if k.Err != nil {
			usable = 0
		}
		ch <- prometheus.MustNewConstMetric(keyUsable, prometheus.GaugeValue, usable, k.Name, k.Fingerprint, k.Version)
		if !k.Expires.IsZero() {
			ch <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(k.Expires.Unix()), k.Name)
		}
	}
	m.journal(ch)
	underWay, givingWay := m.engine.RunArtifacts()
	gauge(ch, runArtifacts, float64(underWay), "under_way")
	gauge(ch, runArtifacts, float64(givingWay), "giving_way")
	for name, b := range m.engine.Budgets() {
		gauge(ch, budgetRate, b.Configured, name, "configured")
		gauge(ch, budgetRate, b.Current, name, "current")
		gauge(ch, budgetUnderWay, float64(b.UnderWay), name)
		gauge(ch, budgetWaiting, float64(b.Waiting[budget.Live]), name, "live")
		gauge(ch, budgetWaiting, float64(b.Waiting[budget.Backlog]), name, "backlog")
	}
	for name, counters := range m.engine.Requests() {
		for request, n := range counters {
			ch <- prometheus.MustNewConstMetric(registryRequests, prometheus.CounterValue, float64(n), name, request.Method, request.Status)
		}
	}
}

// journal tells what the journal knows of, and whether it can be read.
func (m engineMetrics) journal(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), inboxPatience)
	defer cancel()
	inboxErr, lanesErr := m.inbox(ctx, ch), m.lanes(ctx, ch)
	readable := 1.0
	if err := errors.Join(inboxErr, lanesErr); err != nil {
		ch <- prometheus.NewInvalidMetric(inboxPushes, err)
		readable = 0
	}
	gauge(ch, journalReadable, readable)
}

// inbox tells what was received and is not dealt with.
func (m engineMetrics) inbox(ctx context.Context, ch chan<- prometheus.Metric) error {
	n, oldest, err := m.engine.Waiting(ctx)
	if err != nil {
		return err
	}
	gauge(ch, inboxPushes, float64(n))
	if n > 0 {
		gauge(ch, inboxOldest, float64(oldest.Unix()))
	}
	return nil
}

// lanes tells how much work there is.
func (m engineMetrics) lanes(ctx context.Context, ch chan<- prometheus.Metric) error {
	depths, err := m.engine.Depth(ctx)
	if err != nil {
		return err
	}
	for _, d := range depths {
		gauge(ch, laneRepositories, float64(d.Waiting), string(d.Lane), "waiting")
		gauge(ch, laneRepositories, float64(d.Working), string(d.Lane), "working")
		if !d.Oldest.IsZero() {
			gauge(ch, laneOldest, float64(d.Oldest.Unix()), string(d.Lane))
		}
	}
	return nil
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}
