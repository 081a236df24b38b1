package controltest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Collector takes traces that are sent by OTLP over HTTP to URL.
type Collector struct {
	URL string

	mu            sync.Mutex
	spans         []*tracepb.Span
	authorization string
}

// NewCollector starts a collector, which ends with the test.
func NewCollector(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		sent, err := readTraces(r)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.authorization = r.Header.Get("Authorization")
		for _, rs := range sent.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				c.spans = append(c.spans, ss.GetSpans()...)
			}
		}
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

func readTraces(r *http.Request) (*coltrace.ExportTraceServiceRequest, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	sent := &coltrace.ExportTraceServiceRequest{}
	return sent, proto.Unmarshal(body, sent)
}

// Spans returns the spans that came.
func (c *Collector) Spans() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Authorization returns what the last spans were sent with.
func (c *Collector) Authorization() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.authorization
}

// Named returns the spans that came, by name; each has come once.
func (c *Collector) Named(t testing.TB) map[string]*tracepb.Span {
	t.Helper()
	all := map[string]*tracepb.Span{}
	for _, s := range c.Spans() {
		if all[s.GetName()] != nil {
			t.Errorf("%s came twice", s.GetName())
		}
		all[s.GetName()] = s
	}
	return all
}
