package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	storeRequests = prometheus.NewDesc("sealwright_key_store_requests_total",
		"Calls to the key store, by operation and outcome.", []string{"store", "operation", "outcome"}, nil)
	storeBudget = prometheus.NewDesc("sealwright_key_store_budget_requests_per_second",
		"What the key store may be asked: as configured, and as its throttling left it now.", []string{"store", "rate"}, nil)
	witnessRequests = prometheus.NewDesc("sealwright_witness_requests_total",
		"Requests sent to a timestamp authority or transparency log; status is 0 when there was no answer.", []string{"url", "method", "status"}, nil)
)

// Describe implements prometheus.Collector.
func (o *opener) Describe(ch chan<- *prometheus.Desc) {
	ch <- storeRequests
	ch <- storeBudget
	ch <- witnessRequests
}

// Collect implements prometheus.Collector: what is known of the servers that the
// engine does not see.
func (o *opener) Collect(ch chan<- prometheus.Metric) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.stores {
		if s.store == nil {
			continue
		}
		b := s.store.Budget()
		ch <- prometheus.MustNewConstMetric(storeBudget, prometheus.GaugeValue, b.Configured, s.config.Name, "configured")
		ch <- prometheus.MustNewConstMetric(storeBudget, prometheus.GaugeValue, b.Current, s.config.Name, "current")
		for r, n := range s.store.Requests() {
			ch <- prometheus.MustNewConstMetric(storeRequests, prometheus.CounterValue, float64(n), s.config.Name, r.Operation, r.Outcome)
		}
	}
	for url, transport := range o.transports {
		for r, n := range transport.Requests() {
			ch <- prometheus.MustNewConstMetric(witnessRequests, prometheus.CounterValue, float64(n), url, r.Method, strconv.Itoa(r.Status))
		}
	}
}
