package kms_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// A cloud is a loopback server of a cloud's key store that a test can spoil.
type cloud struct {
	signOp string // what the server calls signing
	// start returns how to reach a fresh server with a fresh P-256 key.
	start func(t *testing.T) cloudServer
	// throttle and fail answer as the cloud does to too many requests and when
	// it is out of order.
	throttle, fail func(w http.ResponseWriter)
	// serial is set where start changes the environment.
	serial bool
}

type cloudServer struct {
	store     kms.StoreConfig
	uri       string
	intercept func(func(op string, w http.ResponseWriter, r *http.Request) bool)
}

// cloudLimits are limits that no test reaches.
var cloudLimits = budget.Limits{RequestsPerSecond: 1e5, Concurrency: 64}

func newCloudStore(t testing.TB, cfg kms.StoreConfig) *kms.Store {
	t.Helper()
	if cfg.Limits == (budget.Limits{}) {
		cfg.Limits = cloudLimits
	}
	store, err := kms.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// A cloudFault spoils an answer.
type cloudFault func(w http.ResponseWriter, r *http.Request)

func cloudHang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func cloudDrop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func cloudRaw(status int, body string) cloudFault {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func cloudTruncated(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	cloudRaw(http.StatusOK, `{"`)(w, r)
}

func cloudRedirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
}

// testFaults spoils the first times answers to signing and looks what comes
// of one signature that has limit time.
func (c cloud) testFaults(t *testing.T) {
	always := int64(1 << 30)
	tests := []struct {
		name    string
		fault   cloudFault
		times   int64
		timeout time.Duration // of one attempt
		limit   time.Duration
		want    error // nil: it is signed in the end
		outcome string
	}{
		{"throttled", func(w http.ResponseWriter, _ *http.Request) { c.throttle(w) }, 2, 0, time.Minute, nil, "throttled"},
		{"throttled for ever", func(w http.ResponseWriter, _ *http.Request) { c.throttle(w) }, always, 0, time.Second, kms.ErrThrottled, "throttled"},
		{"a short outage", func(w http.ResponseWriter, _ *http.Request) { c.fail(w) }, 2, 0, time.Minute, nil, "unavailable"},
		{"a long outage", func(w http.ResponseWriter, _ *http.Request) { c.fail(w) }, always, 0, time.Second, kms.ErrUnavailable, "unavailable"},
		{"a dropped connection", cloudDrop, 1, 0, time.Minute, nil, "unavailable"},
		{"dropped connections", cloudDrop, always, 0, time.Second, kms.ErrUnavailable, "unavailable"},
		{"one hangs", cloudHang, 1, 100 * time.Millisecond, time.Minute, nil, "unavailable"},
		{"all hang", cloudHang, always, 0, 300 * time.Millisecond, context.DeadlineExceeded, ""},
		{"not JSON", cloudRaw(http.StatusOK, "<html>welcome to the hotel</html>"), always, 0, time.Second, kms.ErrUnavailable, "unavailable"},
		{"a proxy's error", cloudRaw(http.StatusBadGateway, "<html>bad gateway</html>"), always, 0, time.Second, kms.ErrUnavailable, "unavailable"},
		{"truncated", cloudTruncated, 1, 0, time.Minute, nil, "unavailable"},
		{"too large", cloudRaw(http.StatusOK, `{"a":"`+strings.Repeat("x", 2<<20)+`"}`), always, 0, time.Second, kms.ErrUnavailable, "unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !c.serial {
				t.Parallel()
			}
			server := c.start(t)
			server.store.Timeout = tt.timeout
			store := newCloudStore(t, server.store)
			s := openConfig(t, kms.Config{URI: server.uri, Store: store, Algorithm: policy.ECDSASHA256})
			var spoilt atomic.Int64
			server.intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
				if op != c.signOp || spoilt.Add(1) > tt.times {
					return false
				}
				tt.fault(w, r)
				return true
			})
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			_, err := s.Sign(ctx, []byte("message"))
			if !errors.Is(err, tt.want) {
				t.Errorf("signing returned %v, want %v", err, tt.want)
			}
			if errors.Is(tt.want, context.DeadlineExceeded) {
				return // the signer did not wait for the attempt to be counted
			}
			requests := store.Requests()
			if n := requests[kms.Request{Operation: "sign", Outcome: tt.outcome}]; n == 0 || n > tt.times {
				t.Errorf("%d attempts %s, want 1 to %d: %v", n, tt.outcome, tt.times, requests)
			}
			// The library inside must not try again by itself.
			var counted int64
			for request, n := range requests {
				if request.Operation == "sign" {
					counted += n
				}
			}
			if sent := spoilt.Load(); sent != counted {
				t.Errorf("%d requests were sent, %d were counted", sent, counted)
			}
		})
	}
	t.Run("redirected", func(t *testing.T) {
		server := c.start(t)
		s := openConfig(t, kms.Config{URI: server.uri, Store: newCloudStore(t, server.store)})
		server.intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
			cloudRedirect(w, r)
			return true
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Sign(ctx, []byte("message")); err == nil {
			t.Error("a redirect was taken for a signature")
		}
	})
	t.Run("while opening", c.testOpening)
}

// testOpening has each request that opening a key makes be throttled once.
func (c cloud) testOpening(t *testing.T) {
	server := c.start(t)
	seen := map[string]bool{} // requests of one opening follow each other
	server.intercept(func(op string, w http.ResponseWriter, _ *http.Request) bool {
		if seen[op] {
			return false
		}
		seen[op] = true
		c.throttle(w)
		return true
	})
	store := newCloudStore(t, server.store)
	openConfig(t, kms.Config{URI: server.uri, Store: store})
	var throttled int
	for request, n := range store.Requests() {
		if request.Outcome == "throttled" {
			throttled += int(n)
		}
	}
	if throttled != len(seen) || throttled == 0 {
		t.Errorf("%d requests were throttled, %d noticed", len(seen), throttled)
	}
}

// wantCloudError fails unless err is kind and says each of words.
func wantCloudError(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want %v", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

// wantCloudSignature fails unless s signs, and with the key behind public.
func wantCloudSignature(t *testing.T, s kms.Signer, public *kms.PublicKey) {
	t.Helper()
	message := []byte("message")
	signature, err := s.Sign(t.Context(), message)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	if err := public.Verify(message, signature); err != nil {
		t.Error(err)
	}
}

// cloudRefusesURIs are refused by every cloud, each with what is allowed.
func cloudRefusesURIs(t *testing.T, store *kms.Store, uris []string) {
	for _, uri := range uris {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: store})
		if err == nil {
			t.Errorf("%s was taken for a key", uri)
			continue
		}
		if len(uri) > len("gcpkms://projects/") && strings.Contains(err.Error(), uri) {
			t.Errorf("the error repeats the URI: %v", err)
		}
	}
	if sent := store.Requests(); len(sent) != 0 {
		t.Errorf("requests were made: %v", sent)
	}
}

// cloudRecorder is a transport that keeps the hosts it was sent to.
type cloudRecorder struct {
	base  http.RoundTripper
	hosts *bytes.Buffer
}

func (tt cloudRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	fmt.Fprintln(tt.hosts, r.URL.Host, r.Header.Get("X-Amz-Target"))
	return tt.base.RoundTrip(r)
}

// contextFor returns a context with a deadline.
func contextFor(t *testing.T, limit string) (context.Context, context.CancelFunc) {
	t.Helper()
	d, err := time.ParseDuration(limit)
	if err != nil {
		t.Fatal(err)
	}
	return context.WithTimeout(t.Context(), d)
}

// newTrusting returns a transport that trusts the PEM certificate.
func newTrusting(t *testing.T, ca []byte) http.RoundTripper {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}
