package main

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/kms"
)

// certificates knows when those expire that connections are made with: keys' chains
// are the engine's.
type certificates struct {
	mu        sync.Mutex
	listening *control.Listener    // nil: none
	callers   map[string]time.Time // by the name in access, of those that may enter
}

var (
	tlsExpiry = prometheus.NewDesc("sealwright_tls_certificate_expiry_timestamp_seconds",
		"When the first certificate expires of those that listen shows, in Unix time.", nil, nil)
	callerExpiry = prometheus.NewDesc("sealwright_access_certificate_expiry_timestamp_seconds",
		"When the certificate of a caller expires, in Unix time.", []string{"caller"}, nil)
)

// Describe implements prometheus.Collector.
func (c *certificates) Describe(ch chan<- *prometheus.Desc) {
	ch <- tlsExpiry
	ch <- callerExpiry
}

// Collect implements prometheus.Collector.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.listening.CertificateExpires(); !at.IsZero() {
		ch <- prometheus.MustNewConstMetric(tlsExpiry, prometheus.GaugeValue, float64(at.Unix()))
	}
	for name, at := range c.callers {
		ch <- prometheus.MustNewConstMetric(callerExpiry, prometheus.GaugeValue, float64(at.Unix()), name)
	}
}

func (c *certificates) listen(l *control.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening = l
}

func (c *certificates) admit(callers map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callers = callers
}

// connections looks at the certificates that connections are made with.
func (d *doctor) connections() {
	if file := d.config.TLS.CertFile; file != "" {
		d.connection("tls", file, "clients refuse it")
	}
	for _, a := range d.config.Access {
		if a.CertificateFile != "" {
			d.connection("access "+a.Name, a.CertificateFile, "the caller is refused")
		}
	}
}

func (d *doctor) connection(subject, file, expired string) {
	chain, err := kms.ReadCertificates(file)
	if err != nil {
		d.add(subject, "certificate", broken, err.Error(), "the daemon does not start")
		return
	}
	found := fmt.Sprintf("%s, expires %s", chain[0].Subject, chain[0].NotAfter.UTC().Format(time.DateOnly))
	switch left := timeLeft(chain, time.Now()); {
	case left < 0:
		d.add(subject, "certificate", broken, found, expired)
	case left < expirySoon:
		d.add(subject, "certificate", warning, found, fmt.Sprintf("%d days left in its chain", int(left.Hours()/24)))
	default:
		d.add(subject, "certificate", fine, found, "")
	}
}

// expirySoon is how long before a certificate expires that is a warning.
const expirySoon = 30 * 24 * time.Hour

// timeLeft returns how long the first certificate of a chain is valid yet.
func timeLeft(chain []*x509.Certificate, now time.Time) time.Duration {
	left := chain[0].NotAfter.Sub(now)
	for _, c := range chain {
		left = min(left, c.NotAfter.Sub(now))
	}
	return left
}
