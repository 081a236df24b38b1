package control_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/event"
)

const eventSecret = "a-secret-that-nobody-guesses"

// A gate is an event receiver with what it leads to.
type gate struct {
	*httptest.Server
	journal *journal.Journal
	metrics *control.Metrics
	logs    *observer.ObservedLogs
}

// newGate receives notifications of a distribution registry for an engine whose
// pushes nobody carries out.
func newGate(t *testing.T) *gate {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{State: filepath.Join(dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	r, err := registry.Open(registry.Config{Name: "r", Host: "registry.example.com", Kind: "generic"})
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := kms.Generate(policy.ECDSASHA256, 0)
	if err == nil {
		err = kms.WriteKeyPair(filepath.Join(dir, "k"), private, public)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := kms.Open(t.Context(), kms.Config{URI: "file:" + filepath.Join(dir, "k.key")})
	if err != nil {
		t.Fatal(err)
	}
	setup, err := engine.NewSetup([]policy.Policy{{Name: "all", Registry: "r", Key: "k", Trigger: policy.Trigger{Type: policy.EventBased},
		Scope: []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Matches: []string{"v*"}}}}}},
		map[string]*engine.Place{"r": engine.NewPlace(r, 1)}, map[string]engine.Key{"k": {Signer: key}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := event.Open(event.Config{Source: event.Distribution, Hosts: []string{"registry.example.com"},
		Secret: func() ([]byte, error) { return []byte(eventSecret), nil }})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	g := &gate{journal: j, metrics: control.NewMetrics(), logs: logs}
	g.Server = httptest.NewServer(control.Events(control.EventOptions{
		Engine: engine.New(engine.Options{Journal: j, Setup: setup}), Log: zap.New(core), Metrics: g.metrics,
		Receiver: func(name string) (*event.Receiver, bool) { return receiver, name == "r" }}))
	t.Cleanup(g.Close)
	return g
}

// notification is what distribution sends about a push.
func notification(host, tag string) string {
	return fmt.Sprintf(`{"events":[{"id":"1","timestamp":"2026-11-22T02:19:17Z","action":"push","target":{
		"mediaType":"application/vnd.oci.image.manifest.v1+json","size":402,"length":402,"repository":"app","tag":%q,
		"digest":"sha256:b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502",
		"url":"https://%s/v2/app/manifests/sha256:b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502"},
		"request":{"id":"2","addr":"10.0.0.1:5","host":%q,"method":"PUT","useragent":"docker"},"actor":{},"source":{"addr":"r:5000","instanceID":"3"}}]}`, tag, host, host)
}

// deliver sends a body and returns the answer.
func (g *gate) deliver(t *testing.T, path, secret string, body io.Reader) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func (g *gate) waiting(t *testing.T) int64 {
	t.Helper()
	n, _, err := g.journal.Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A delivery that is taken is in the journal; one that is refused leaves nothing.
func TestDeliveries(t *testing.T) {
	const host = "registry.example.com"
	for _, test := range []struct {
		name, path, secret, body string
		status                   int
		answer                   string
		result                   string
		waiting                  int64
	}{
		{"taken", "/events/r", eventSecret, notification(host, "v1"), 202, `{"new":1,"known":0,"uncovered":0,"ignored":0}`, "accepted", 1},
		{"uncovered", "/events/r", eventSecret, notification(host, "dev"), 202, `{"new":0,"known":0,"uncovered":1,"ignored":0}`, "accepted", 0},
		{"signature", "/events/r", eventSecret, notification(host, "sha256-b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502.sig"), 202, `{"new":0,"known":0,"uncovered":0,"ignored":1}`, "accepted", 0},
		{"wrong secret", "/events/r", "another", notification(host, "v1"), 401, "not authenticated", "unauthorized", 0},
		{"no secret", "/events/r", "", notification(host, "v1"), 401, "not authenticated", "unauthorized", 0},
		{"malformed", "/events/r", eventSecret, `{"events":[{]}`, 400, "malformed", "malformed", 0},
		{"empty", "/events/r", eventSecret, "", 400, "malformed", "malformed", 0},
		{"another host", "/events/r", eventSecret, notification("evil.example.com", "v1"), 403, "evil.example.com", "foreign", 0},
		{"another registry", "/events/x", eventSecret, notification(host, "v1"), 404, `no events are configured for registry \"x\"`, "unknown_registry", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(t)
			status, answer := g.deliver(t, test.path, test.secret, strings.NewReader(test.body))
			if status != test.status || !strings.Contains(answer, test.answer) {
				t.Errorf("answered %d %s, want %d with %s", status, answer, test.status, test.answer)
			}
			if n := g.waiting(t); n != test.waiting {
				t.Errorf("%d pushes wait, want %d", n, test.waiting)
			}
			name := "r"
			if test.status == 404 {
				name = ""
			}
			want := fmt.Sprintf("# HELP sealwright_event_deliveries_total Deliveries of events, by what became of them.\n# TYPE sealwright_event_deliveries_total counter\n"+
				"sealwright_event_deliveries_total{registry=%q,result=%q} 1\n", name, test.result)
			if err := testutil.CollectAndCompare(g.metrics, strings.NewReader(want), "sealwright_event_deliveries_total"); err != nil {
				t.Error(err)
			}
			if said := fmt.Sprint(g.logs.All()) + answer; strings.Contains(said, eventSecret) {
				t.Errorf("the secret is told: %s", said)
			}
		})
	}
}

// Replayed deliveries are taken and change nothing.
func TestReplayedDelivery(t *testing.T) {
	g := newGate(t)
	for i, want := range []string{`"new":1,"known":0`, `"new":0,"known":1`, `"new":0,"known":1`} {
		if status, answer := g.deliver(t, "/events/r", eventSecret, strings.NewReader(notification("registry.example.com", "v1"))); status != 202 || !strings.Contains(answer, want) {
			t.Errorf("delivery %d was answered %d %s, want %s", i, status, answer, want)
		}
	}
	if n := g.waiting(t); n != 1 {
		t.Errorf("%d pushes wait, want 1", n)
	}
}

// A body that is too large is refused, whether it says so or not, and is not kept.
func TestHugeDeliveries(t *testing.T) {
	g := newGate(t)
	const size = 64 << 20
	before := heap()
	for name, body := range map[string]io.Reader{
		"that says so": io.LimitReader(zeros{}, size),
		"in chunks":    struct{ io.Reader }{io.LimitReader(zeros{}, size)},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/events/r", body)
		if err != nil {
			t.Fatal(err)
		}
		if name == "that says so" {
			req.ContentLength = size
		}
		req.Header.Set("Authorization", "Bearer "+eventSecret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil { // the connection may be closed while we still send
			continue
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: answered %s", name, resp.Status)
		}
	}
	if grown := heap() - before; grown > 4*event.MaxBody {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if n := testutil.CollectAndCount(g.metrics, "sealwright_event_deliveries_total"); n != 1 {
		t.Errorf("%d kinds of deliveries, want only too_large", n)
	}
	if status, _ := g.deliver(t, "/events/r", eventSecret, strings.NewReader(notification("registry.example.com", "v1"))); status != 202 {
		t.Errorf("afterwards a good one is answered %d", status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Many senders at once, and some that never end, are answered each.
func TestManySenders(t *testing.T) {
	g := newGate(t)
	var hanging []net.Conn
	for range 4 { // half of the registry's turns
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /events/r HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{", eventSecret)
		hanging = append(hanging, c)
	}
	defer func() {
		for _, c := range hanging {
			_ = c.Close()
		}
	}()
	var taken atomic.Int64
	var senders sync.WaitGroup
	for i := range 200 {
		senders.Go(func() {
			if status, answer := g.deliver(t, "/events/r", eventSecret, strings.NewReader(notification("registry.example.com", fmt.Sprintf("v%d", i)))); status != 202 {
				t.Errorf("answered %d %s", status, answer)
				return
			}
			taken.Add(1)
		})
	}
	senders.Wait()
	if n := g.waiting(t); n != taken.Load() || n != 200 {
		t.Errorf("%d pushes wait, %d were taken, want 200", n, taken.Load())
	}
}

// What cannot be journaled is not taken, and the sender learns only that it should
// come again.
func TestDeliveryThatCannotBeJournaled(t *testing.T) {
	g := newGate(t)
	if err := g.journal.Close(); err != nil {
		t.Fatal(err)
	}
	status, answer := g.deliver(t, "/events/r", eventSecret, strings.NewReader(notification("registry.example.com", "v1")))
	if status != 503 || answer != `{"error":"not received; deliver it again"}` {
		t.Errorf("answered %d %s", status, answer)
	}
}

// A certificate that is renewed in its file is used without a restart, and one that
// is broken is not.
func TestListenerRenewsItsCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writePair(t, certFile, keyFile, "first", time.Unix(1_700_000_000, 0))
	l, err := control.ListenAt(t.Context(), control.ListenOptions{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Log: zap.NewNop(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	want := func(name string) {
		t.Helper()
		c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", l.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if got := c.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != name {
			t.Errorf("the certificate is %q, want %q", got, name)
		}
	}
	want("first")
	writePair(t, certFile, keyFile, "second", time.Unix(1_700_000_001, 0))
	want("second")
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("second")
	if _, err := control.ListenAt(t.Context(), control.ListenOptions{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Log: zap.NewNop()}); err == nil {
		t.Error("a listener began with a broken certificate")
	}
	if _, err := control.ListenAt(t.Context(), control.ListenOptions{Address: l.Address(), Log: zap.NewNop()}); err == nil {
		t.Error("two listeners at one address")
	}
}

func writePair(t *testing.T, certFile, keyFile, name string, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var cert bytes.Buffer
	if err := errors.Join(pem.Encode(&cert, &pem.Block{Type: "CERTIFICATE", Bytes: der}), os.WriteFile(certFile, cert.Bytes(), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600), os.Chtimes(certFile, at, at)); err != nil {
		t.Fatal(err)
	}
}
