package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const pushSecret = "a-secret-of-distribution"

// pushHouse is a house whose registry tells of pushes. The address at which the
// daemon is to listen is known before either is there.
func pushHouse(t *testing.T) (h *house, listen string) {
	t.Helper()
	listen = freeAddress(t)
	h = &house{t: t, dir: t.TempDir(), env: append(os.Environ(), "GORACE=atexit_sleep_ms=10"),
		registry: registrytest.Notifying(t, "http://"+listen+"/events/test", "Bearer "+pushSecret)}
	if _, err := generate(policy.ECDSASHA256, 0, h.path("release"), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("events.secret"), []byte(pushSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.write(fmt.Sprintf(`registries:
  - name: test
    host: %q
    insecure: true
    limits: {requests_per_second: 5000, concurrency: 8}
    events: {source: distribution, secret_file: events.secret}
keys: [{name: release, uri: "file:release.key"}]
policies:
  - {name: pushed, registry: test, key: release, trigger: {type: event_based}, scope: [{repositories: "**", tags: "v*"}]}
state: %q
listen: %q
`, h.registry.Host, h.path("state"), listen))
	return h, listen
}

// scrape returns the daemon's metrics.
func (h *house) scrape() string {
	h.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path("state/control.sock"))
	}}}
	resp, err := client.Get("http://control/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// metric returns the value of a metric, 0 if it is not there.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What is pushed to a real distribution registry is signed at once. Our own
// signatures, of which it tells as well, trigger nothing.
func TestPushIsSigned(t *testing.T) {
	h, listen := pushHouse(t)
	d := h.start()
	digests := map[string]v1.Hash{}
	for i := range 5 {
		ref := fmt.Sprintf("app%d:v1", i%2)
		if i > 1 {
			ref = fmt.Sprintf("app%d:v%d", i%2, i)
		}
		digests[ref] = h.registry.Push(t, ref, registrytest.Image(t))
	}
	digests["multi:v1"] = h.registry.Push(t, "multi:v1", registrytest.Index(t, registrytest.Image(t), registrytest.Image(t)))
	dev := h.registry.Push(t, "app0:dev", registrytest.Image(t))
	signed := float64(len(digests))
	registrytest.Eventually(t, patience, "everything is signed, settled and told of", func() bool {
		text := h.scrape()
		return metric(t, text, "sealwright_inbox_pushes") == 0 && metric(t, text, "sealwright_push_to_signed_seconds_count") == signed &&
			metric(t, text, `sealwright_events_total{registry="test",result="signature"}`) == signed
	})
	for ref, digest := range digests {
		repository, _, _ := strings.Cut(ref, ":")
		if n := h.registry.Signatures(t, repository, digest); n != 1 {
			t.Errorf("%s has %d signatures, want 1", ref, n)
		}
	}
	if n := h.registry.Signatures(t, "app0", dev); n != 0 {
		t.Error("a tag that no policy covers was signed")
	}
	text := h.scrape()
	for name, want := range map[string]float64{
		`sealwright_events_total{registry="test",result="new"}`:                    signed,
		`sealwright_event_deliveries_total{registry="test",result="unauthorized"}`: 0,
	} {
		if got := metric(t, text, name); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	var artifacts int64
	for _, x := range h.executions() {
		if x.Trigger != policy.EventBased || x.Status != journal.Succeed {
			t.Errorf("execution %+v", x)
		}
		artifacts += x.Counts.Reasons["signed"]
	}
	if artifacts != int64(signed) {
		t.Errorf("history has %d signed artifacts, want %v", artifacts, signed)
	}
	if resp, err := http.Post("http://"+listen+"/events/test", "application/json", strings.NewReader("{}")); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger's delivery: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	for path, status := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusUnauthorized} {
		resp, err := http.Get("http://" + listen + path)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, resp.Status, status)
		}
	}
	d.stop()
	if strings.Contains(d.log.String(), pushSecret) {
		t.Error("the secret of the events is in the log")
	}
}

// What is pushed while the daemon is down, killed, or while its configuration is
// reloaded, is signed as well: distribution keeps it, or the journal does.
func TestPushesOutliveTheDaemon(t *testing.T) {
	h, _ := pushHouse(t)
	first := h.registry.Push(t, "app:v1", registrytest.Image(t))
	d := h.start()
	registrytest.Eventually(t, patience, "what was pushed before is signed", func() bool { return h.registry.Signatures(t, "app", first) == 1 })
	g := h.hold()
	second := h.registry.Push(t, "app:v2", registrytest.Image(t))
	g.wait(t)
	d.signal(syscall.SIGKILL)
	d.wait()
	g.open()
	h.registry.Intercept(nil)
	d = h.start()
	d.signal(syscall.SIGHUP)
	third := h.registry.Push(t, "app:v3", registrytest.Image(t))
	for name, digest := range map[string]v1.Hash{"v2": second, "v3": third} {
		registrytest.Eventually(t, patience, name+" is signed", func() bool { return h.registry.Signatures(t, "app", digest) == 1 })
	}
	d.log.await(t, "configuration reloaded", 1)
	h.write(strings.ReplaceAll(readFile(t, h.path(localConfig)), `listen: "127.0.0.1`, `listen: "127.0.0.2`))
	d.signal(syscall.SIGHUP)
	refused := d.log.await(t, "configuration refused, the old one stays", 1)
	if !strings.Contains(fmt.Sprint(refused["error"]), "changing them needs a restart") {
		t.Errorf("refused for %v", refused["error"])
	}
	d.stop()
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
