package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/engine/sink/ocir"
	"github.com/sealwright/sealwright/kms"
)

// An openedSink is a sink that nothing is delivered to yet.
type openedSink struct {
	name string
	sink sink.Sink
}

// openSinks opens all sinks, as far as that does not touch what they write to.
func (d *service) openSinks(cfg *configs.Config) ([]openedSink, error) {
	var opened []openedSink
	var errs []error
	for _, c := range cfg.Sinks {
		s, err := d.openSink(cfg, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("sink %q: %w", c.Name, err))
			continue
		}
		opened = append(opened, openedSink{c.Name, s})
	}
	return opened, errors.Join(errs...)
}

func (d *service) openSink(cfg *configs.Config, c configs.Sink) (sink.Sink, error) {
	switch c.Kind {
	case configs.FileSink:
		return sink.NewFile(sink.FileOptions{Path: c.Path, MaxSize: int64(c.MaxSize) << 20, Keep: c.Keep}), nil
	case configs.WebhookSink:
		o := sink.WebhookOptions{URL: c.URL, UserAgent: "sealwright/" + version(), Sign: d.signedBy(c.Name)}
		if c.TokenFile != "" {
			o.Token = kms.PasswordFile(c.TokenFile)
		}
		var err error
		if o.Roots, err = rootsWith(c.CAFile); err != nil {
			return nil, err
		}
		return sink.NewWebhook(o), nil
	case configs.OCIRSink:
		return d.openOCIRSink(cfg, c)
	}
	return nil, fmt.Errorf("kind %q is not in this build", c.Kind)
}

// rootsWith returns the system's certificates with those of a file, nil, which
// means the system's alone, without one.
func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is a pool's default
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", file)
	}
	return roots, nil
}

// sinks are those that records are delivered to. What they count outlives a
// reload.
type sinks struct {
	journal *journal.Journal
	log     *zap.Logger

	mu      sync.Mutex
	running []*delivery
	counted map[string]sink.Counts // of those that were stopped
	images  map[imageResult]int64  // that sinks of kind ocir dealt with
}

type imageResult struct {
	sink   string
	result ocir.Result
}

type delivery struct {
	name   string
	runner *sink.Runner
}

// start delivers to these sinks from now on, and to no others.
func (s *sinks) start(list []openedSink) {
	s.abandon()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range list {
		if k, ok := o.sink.(*imageSink); ok {
			k.key.hold()
		}
		s.running = append(s.running, &delivery{o.name, sink.Start(sink.Options{Name: o.name, Sink: o.sink, Journal: s.journal,
			Log: s.log.With(zap.String("sink", o.name))})})
	}
}

// abandon stops at once. What is not delivered is in the journal.
func (s *sinks) abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.stop(ctx)
}

// stop delivers what is left as long as ctx lasts and returns when all is over.
func (s *sinks) stop(ctx context.Context) {
	s.mu.Lock()
	stopping := s.running
	s.running = nil
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, d := range stopping {
		all.Go(func() { d.runner.Stop(ctx) })
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range stopping {
		c := d.runner.Counts()
		before := s.counted[d.name]
		if s.counted == nil {
			s.counted = map[string]sink.Counts{}
		}
		s.counted[d.name] = sink.Counts{Delivered: before.Delivered + c.Delivered, Failures: before.Failures + c.Failures}
	}
}

// sinkPatience is how long a daemon that stops goes on delivering records: what
// is left is delivered after the next start.
const sinkPatience = 10 * time.Second

// finish delivers what the last artifacts left, as far as it is taken before ctx
// or the limit ends, stops, and says what was not taken.
func (s *sinks) finish(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	s.stop(ctx)
	for _, d := range running {
		left, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrapeTimeout)
		u, err := d.runner.Undelivered(left)
		cancel()
		switch {
		case err != nil:
			s.log.Warn("backlog of the sink unknown", zap.String("sink", d.name), zap.Error(err))
		case u.Entries > 0:
			s.log.Warn("records are not delivered yet, the next start goes on", zap.String("sink", d.name),
				zap.Int64("entries", u.Entries), zap.Time("oldest", u.Oldest), zap.String("last_error", d.runner.Counts().LastError))
		}
	}
}

var (
	sinkLag = prometheus.NewDesc("sealwright_sink_lag_entries",
		"Records of the chain that the sink has not taken yet.", []string{"sink"}, nil)
	sinkOldest = prometheus.NewDesc("sealwright_sink_oldest_timestamp_seconds",
		"When the oldest record became final that the sink has not taken yet.", []string{"sink"}, nil)
	sinkDelivered = prometheus.NewDesc("sealwright_sink_delivered_total",
		"Records that the sink took from this process.", []string{"sink"}, nil)
	sinkFailures = prometheus.NewDesc("sealwright_sink_failures_total",
		"Deliveries to the sink that failed and are tried again.", []string{"sink"}, nil)
	sinkImages = prometheus.NewDesc("sealwright_sink_images_total",
		"Images that a sink of kind ocir dealt with, by what became of them.", []string{"sink", "result"}, nil)
)

// image counts an image that a sink of kind ocir dealt with.
func (s *sinks) image(name string, r ocir.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images == nil {
		s.images = map[imageResult]int64{}
	}
	s.images[imageResult{name, r}]++
}

// scrapeTimeout bounds how long the journal is asked for the backlogs of sinks.
const scrapeTimeout = 5 * time.Second

// Describe implements prometheus.Collector.
func (s *sinks) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sinkLag, sinkOldest, sinkDelivered, sinkFailures, sinkImages} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *sinks) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	running, counted, images := slices.Clone(s.running), maps.Clone(s.counted), maps.Clone(s.images)
	s.mu.Unlock() // the journal is asked below, and a reload does not wait for that
	for of, n := range images {
		ch <- prometheus.MustNewConstMetric(sinkImages, prometheus.CounterValue, float64(n), of.sink, string(of.result))
	}
	// For all of them, or a scrape would take too long when the journal does not answer.
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, d := range running {
		now, before := d.runner.Counts(), counted[d.name]
		ch <- prometheus.MustNewConstMetric(sinkDelivered, prometheus.CounterValue, float64(before.Delivered+now.Delivered), d.name)
		ch <- prometheus.MustNewConstMetric(sinkFailures, prometheus.CounterValue, float64(before.Failures+now.Failures), d.name)
		u, err := d.runner.Undelivered(ctx)
		if err != nil {
			ch <- prometheus.NewInvalidMetric(sinkLag, err)
			continue
		}
		ch <- prometheus.MustNewConstMetric(sinkLag, prometheus.GaugeValue, float64(u.Entries), d.name)
		if !u.Oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(sinkOldest, prometheus.GaugeValue, float64(u.Oldest.UnixMicro())/1e6, d.name)
		}
	}
}
