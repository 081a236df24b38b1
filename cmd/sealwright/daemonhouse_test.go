package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// manual is a policy that signs everything by hand.
const manual = `{name: %s, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}`

// A house is a directory with a key, a configuration and a state, and a
// registry.
type house struct {
	t        *testing.T
	registry *registrytest.Server
	dir      string
	env      []string // for every command
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, registry: registrytest.Distribution(t), dir: t.TempDir(), env: append(os.Environ(), "GORACE=atexit_sleep_ms=10")}
	if _, err := generate(policy.ECDSASHA256, 0, h.path("release"), nil); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

// configure writes a configuration with these policies.
func (h *house) configure(policies ...string) {
	h.t.Helper()
	h.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true, limits: {requests_per_second: 5000, concurrency: 1}}]
keys: [{name: release, uri: "file:release.key"}]
policies:
  - %s
state: %q
`, h.registry.Host, strings.Join(policies, "\n  - "), h.path("state")))
}

func (h *house) write(config string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(localConfig), []byte(config), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// command returns sealwright with this house's configuration.
func (h *house) command(args ...string) *exec.Cmd {
	c := exec.Command("sealwright", append(args, "--config", h.path(localConfig))...)
	c.Env = h.env
	return c
}

// run runs a command to its end, which must have that exit code.
func (h *house) run(code int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	var out, errOut bytes.Buffer
	c := h.command(args...)
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		h.t.Fatalf("sealwright %s: %v, want exit code %d\n%s%s", strings.Join(args, " "), err, code, &out, &errOut)
	}
	return out.String(), errOut.String()
}

// executions reads the journal beside whoever writes it.
func (h *house) executions() []journal.Execution {
	h.t.Helper()
	out, _ := h.run(exitOK, "history", "--output", "json")
	var xs []journal.Execution
	if err := json.Unmarshal([]byte(out), &xs); err != nil {
		h.t.Fatal(err)
	}
	return xs
}

// freeAddress returns a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A daemonProcess is a running `sealwright run`.
type daemonProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	notes *notifyListener
	log   *logLines
	ended chan struct{}
	err   error // after ended
}

// start starts the daemon and waits until it is ready. It is killed with the
// test, if it still runs by then.
func (h *house) start(args ...string) *daemonProcess {
	h.t.Helper()
	d := h.launch(h.command(append([]string{"run"}, args...)...))
	select {
	case <-d.notes.ready:
	case <-d.ended:
		h.t.Fatalf("the daemon ended with %v\n%s", d.err, d.log)
	case <-time.After(patience):
		h.t.Fatalf("the daemon is not ready\n%s", d.log)
	}
	return d
}

func (h *house) launch(c *exec.Cmd) *daemonProcess {
	h.t.Helper()
	d := &daemonProcess{t: h.t, cmd: c, log: newLogLines(), ended: make(chan struct{})}
	c.Stdout, c.Stderr = d.log, d.log
	d.notes = listenNotify(h.t, c)
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		d.err = c.Wait()
	}()
	h.t.Cleanup(func() {
		_ = c.Process.Kill()
		<-d.ended
		if h.t.Failed() {
			h.t.Logf("the daemon's log:\n%s", d.log)
		}
	})
	return d
}

func (d *daemonProcess) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// wait waits for the daemon's end and returns its exit code, -1 for a signal.
func (d *daemonProcess) wait() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.t.Fatal("the daemon does not end")
	}
	if ended := (*exec.ExitError)(nil); d.err != nil && !errors.As(d.err, &ended) {
		d.t.Fatal(d.err)
	}
	return d.cmd.ProcessState.ExitCode()
}

// stop ends the daemon in order.
func (d *daemonProcess) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != exitOK {
		d.t.Errorf("the daemon ended with exit code %d", code)
	}
}

func (d *daemonProcess) running() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// logLines collects what a daemon logs.
type logLines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func newLogLines() *logLines { return &logLines{changed: make(chan struct{})} }

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(p)
}

func (l *logLines) String() string {
	text, _ := l.now()
	return text
}

func (l *logLines) now() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String(), l.changed
}

// await returns the nth line with that message, counted from 1.
func (l *logLines) await(t *testing.T, message string, nth int) map[string]any {
	t.Helper()
	timeout := time.After(patience)
	for {
		text, changed := l.now()
		n := 0
		for line := range strings.Lines(text) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil || entry["message"] != message {
				continue
			}
			if n++; n == nth {
				return entry
			}
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%q was not logged %d times:\n%s", message, nth, text)
		}
	}
}

// A gate holds the writing of signatures.
type gate struct {
	held chan struct{} // one value for each write that waits
	once sync.Once
	free chan struct{} // closed by open
}

// hold makes the registry hold every write of a signature's manifest until the
// gate is opened, or the writer is gone.
func (h *house) hold() *gate {
	g := &gate{held: make(chan struct{}, 1000), free: make(chan struct{})}
	h.registry.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				g.held <- struct{}{}
				select {
				case <-g.free:
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
			}
			registry.ServeHTTP(w, r)
		})
	})
	h.t.Cleanup(g.open)
	return g
}

func (g *gate) open() { g.once.Do(func() { close(g.free) }) }

// wait waits until a write is held.
func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.held:
	case <-time.After(patience):
		t.Fatal("no signature was written")
	}
}
