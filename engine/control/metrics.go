package control

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sealwright/sealwright/engine"
)

// metrics returns the handler of Prometheus metrics: those of the engine, the
// process, and more.
func metrics(e *engine.Engine, more []prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(engineMetrics{e}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(more...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

var (
	keyUsable = prometheus.NewDesc("sealwright_key_usable",
		"1 if the key could be opened, 0 if its store did not give it.", []string{"key", "fingerprint", "version"}, nil)
	certificateExpiry = prometheus.NewDesc("sealwright_certificate_expiry_timestamp_seconds",
		"When the first certificate of the key's chain expires, in Unix time.", []string{"key"}, nil)
	registryRequests = prometheus.NewDesc("sealwright_registry_requests_total",
		"Requests sent to the registry, its token server and its storage; status is \"error\" when there was no answer.",
		[]string{"registry", "method", "status"}, nil)
)

// engineMetrics asks the engine when it is asked, so that nothing is counted
// twice and a reload needs no bookkeeping.
type engineMetrics struct{ engine *engine.Engine }

// Describe implements prometheus.Collector.
func (m engineMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- keyUsable
	ch <- certificateExpiry
	ch <- registryRequests
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
	for name, counters := range m.engine.Requests() {
		for request, n := range counters {
			ch <- prometheus.MustNewConstMetric(registryRequests, prometheus.CounterValue, float64(n), name, request.Method, request.Status)
		}
	}
}
