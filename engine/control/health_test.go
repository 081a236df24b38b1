package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A patient is what a Health looks after in tests.
type patient struct {
	mu   sync.Mutex
	sick map[string]error
	ran  map[string]int
	list []engine.Dependency
	now  time.Time
}

func newPatient(names ...string) *patient {
	p := &patient{sick: map[string]error{}, ran: map[string]int{}, now: time.Now()}
	for _, name := range names {
		kind, of, _ := strings.Cut(name, "/")
		p.list = append(p.list, engine.Dependency{Kind: engine.DependencyKind(kind), Name: of, Probe: func(context.Context) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ran[name]++
			return p.sick[name]
		}})
	}
	return p
}

func (p *patient) set(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick[name] = err
}

func (p *patient) probes(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ran[name]
}

func (p *patient) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *patient) wait(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *patient) dependencies() []engine.Dependency {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list
}

// network returns what anybody may ask.
func (p *patient) network(log *zap.Logger) http.Handler {
	return control.Network(control.NetworkOptions{Events: http.NotFoundHandler(), Log: zap.NewNop(), Door: &door.Door{},
		Health: control.NewHealth(control.HealthOptions{Dependencies: p.dependencies, Log: log, Now: p.clock})})
}

func get(h http.Handler, path string) (status int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func wantAnswer(t *testing.T, h http.Handler, path string, status int, body string) {
	t.Helper()
	if code, said := get(h, path); code != status || said != body {
		t.Errorf("%s: %d %q, want %d %q", path, code, said, status, body)
	}
}

// TestReady: the journal decides; with ?strict, keys and registries do, too. The
// network is told no name and no error.
func TestReady(t *testing.T) {
	p := newPatient("journal/", "key/release", "registry/prod")
	core, logged := observer.New(zap.InfoLevel)
	h := p.network(zap.New(core))
	wantAnswer(t, h, "/healthz", http.StatusOK, "ok")
	wantAnswer(t, h, "/readyz", http.StatusOK, "ok")
	registrytest.Eventually(t, time.Minute, "all are looked at", func() bool { return p.probes("key/release") == 1 && p.probes("registry/prod") == 1 })
	if p.probes("journal/") != 1 {
		t.Errorf("the journal was written %d times", p.probes("journal/"))
	}
	for range 50 {
		wantAnswer(t, h, "/readyz?strict", http.StatusOK, "ok")
	}
	for _, name := range []string{"journal/", "key/release", "registry/prod"} {
		if n := p.probes(name); n != 1 {
			t.Errorf("%s was looked at %d times within its time", name, n)
		}
	}

	p.set("registry/prod", errors.New("no route to registry.example.com"))
	p.wait(31 * time.Second)
	get(h, "/readyz")
	registrytest.Eventually(t, time.Minute, "the registry's fault is known", func() bool { code, _ := get(h, "/readyz?strict"); return code == http.StatusServiceUnavailable })
	wantAnswer(t, h, "/readyz?strict", http.StatusServiceUnavailable, "not ready")
	wantAnswer(t, h, "/readyz", http.StatusOK, "ok")
	if n := p.probes("key/release"); n != 1 {
		t.Errorf("the key was used %d times in half a minute", n)
	}
	if n := logged.FilterMessage("health: failing").Len(); n != 1 {
		t.Errorf("logged %d times", n)
	}

	p.set("journal/", errors.New("disk full"))
	p.wait(2 * time.Second)
	wantAnswer(t, h, "/readyz", http.StatusServiceUnavailable, "not ready")
	wantAnswer(t, h, "/healthz", http.StatusOK, "ok")
	p.set("journal/", nil)
	p.set("registry/prod", nil)
	p.wait(31 * time.Second)
	wantAnswer(t, h, "/readyz", http.StatusOK, "ok")
	registrytest.Eventually(t, time.Minute, "all is well again", func() bool { code, _ := get(h, "/readyz?strict"); return code == http.StatusOK })
	if n := logged.FilterMessage("health: well again").Len(); n != 2 {
		t.Errorf("logged %d times that it is well", n)
	}
	wantAnswer(t, h, "/nothing", http.StatusNotFound, "404 page not found")
}

// TestReadyOfSinks: a sink that lags is shown, and one that is down for long counts with
// ?strict alone.
func TestReadyOfSinks(t *testing.T) {
	p := newPatient("journal/", "sink/siem")
	core, logged := observer.New(zap.InfoLevel)
	health := control.NewHealth(control.HealthOptions{Dependencies: p.dependencies, Log: zap.New(core), Now: p.clock})
	shows := func(state string, err error, ready bool) {
		t.Helper()
		p.set("sink/siem", err)
		p.wait(11 * time.Second)
		var report control.HealthReport
		registrytest.Eventually(t, time.Minute, "the sink is "+state, func() bool {
			report = health.Report(t.Context(), true)
			return report.Checks[1].State == state
		})
		sink := report.Checks[1]
		if report.Ready != ready || !health.Report(t.Context(), false).Ready || sink.Kind != engine.SinkDependency || sink.Name != "siem" || sink.AgeSeconds == nil ||
			(sink.Error == "") != (err == nil) || err != nil && sink.Error != err.Error() {
			t.Errorf("ready: %t, %+v, of which is known %v", report.Ready, sink, err)
		}
	}
	shows("ok", nil, true)
	shows("lagging", fmt.Errorf("%w: answered 503", engine.ErrLagging), true)
	if n := logged.Len(); n != 0 {
		t.Errorf("a lag was logged: %v", logged.All())
	}
	shows("failing", errors.New("answered 503"), false)
	shows("lagging", fmt.Errorf("%w: catching up", engine.ErrLagging), true)
	shows("ok", nil, true)
	if failing, well := logged.FilterMessage("health: failing").Len(), logged.FilterMessage("health: well again").Len(); failing != 1 || well != 1 {
		t.Errorf("logged %d times that it fails, %d times that it is well", failing, well)
	}
}

// TestReadyWaitsForNobody: a registry that does not answer keeps no answer
// waiting, and is asked once at a time; many that ask at once write once.
func TestReadyWaitsForNobody(t *testing.T) {
	p := newPatient("journal/")
	var asked atomic.Int64
	answer := make(chan struct{})
	defer close(answer)
	p.list = append(p.list, engine.Dependency{Kind: engine.RegistryDependency, Name: "slow", Probe: func(context.Context) error {
		asked.Add(1)
		<-answer
		return nil
	}})
	h := p.network(zap.NewNop())
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { wantAnswer(t, h, "/readyz?strict", http.StatusOK, "ok") })
	}
	all.Wait()
	if n := p.probes("journal/"); n != 1 {
		t.Errorf("the journal was written %d times", n)
	}
	registrytest.Eventually(t, time.Minute, "it is asked", func() bool { return asked.Load() == 1 })
	p.wait(time.Hour)
	wantAnswer(t, h, "/readyz", http.StatusOK, "ok")
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
}

// TestHealthFollowsTheConfiguration: what is no dependency any more is forgotten.
func TestHealthFollowsTheConfiguration(t *testing.T) {
	p := newPatient("journal/", "registry/old")
	p.set("registry/old", errors.New("gone"))
	h := p.network(zap.NewNop())
	get(h, "/readyz")
	registrytest.Eventually(t, time.Minute, "its fault is known", func() bool { code, _ := get(h, "/readyz?strict"); return code == http.StatusServiceUnavailable })
	p.mu.Lock()
	p.list = p.list[:1]
	p.mu.Unlock()
	wantAnswer(t, h, "/readyz?strict", http.StatusOK, "ok")
}

// TestHealthInFull: the daemon's own user is told what is wrong and how old that
// is.
func TestHealthInFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	s := listen(t, path)
	defer func() { _ = s.Close(context.Background(), path) }()
	client := onSocket(path)
	defer client.CloseIdleConnections()
	type report struct {
		Ready  bool
		Checks []struct {
			Kind, Name, State, Error string
			AgeSeconds               *float64 `json:"age_seconds"`
		}
	}
	var said report
	ask := func(query string) int {
		resp, err := client.Get("http://control/readyz" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		said = report{}
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	known := func() map[string]string {
		states := map[string]string{}
		for _, c := range said.Checks {
			states[strings.TrimSuffix(c.Kind+" "+c.Name, " ")] = c.State
			if (c.State == "unknown") != (c.AgeSeconds == nil) || (c.State == "failing") != (c.Error != "") {
				t.Errorf("%+v", c)
			}
		}
		return states
	}
	if code := ask(""); code != http.StatusOK || !said.Ready || known()["journal"] != "ok" {
		t.Errorf("%d %+v", code, said)
	}
	registrytest.Eventually(t, time.Minute, "keys are looked at", func() bool {
		ask("")
		return known()["key k"] == "ok" && known()["key lost"] == "failing"
	})
	if code := ask("?strict"); code != http.StatusServiceUnavailable || said.Ready {
		t.Errorf("strict: %d %+v", code, said)
	}
}
