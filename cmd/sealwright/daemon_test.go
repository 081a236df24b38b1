package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// push pushes n new images to a repository.
func (h *house) push(repository string, n int) []v1.Hash {
	h.t.Helper()
	digests := make([]v1.Hash, n)
	for i := range digests {
		digests[i] = h.registry.Push(h.t, fmt.Sprintf("%s:v%d", repository, i), registrytest.Image(h.t))
	}
	return digests
}

// signed returns how many of the artifacts have a signature, and fails if one
// has several.
func (h *house) signed(repository string, digests []v1.Hash) int {
	h.t.Helper()
	signed := 0
	for _, d := range digests {
		n := h.registry.Signatures(h.t, repository, d)
		if n > 1 {
			h.t.Fatalf("%s@%s has %d signatures", repository, d, n)
		}
		signed += n
	}
	return signed
}

// TestDaemonTellsSystemd: ready, alive, reloading since when, ready again,
// stopping.
func TestDaemonTellsSystemd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	for _, tc := range []struct {
		name, pid string
		watched   bool
	}{
		{"its own watchdog", "$$", true},
		{"another's watchdog", "1", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.t = t
			c := exec.Command("sh", "-c", "WATCHDOG_PID="+tc.pid+" exec sealwright run --config "+h.path(localConfig))
			c.Env = append(h.env, "WATCHDOG_USEC=300000")
			d := h.launch(c)
			d.notes.await(t, "READY=1")
			if tc.watched {
				d.notes.await(t, "WATCHDOG=1")
				d.notes.await(t, "WATCHDOG=1")
			}
			before := monotonic(t)
			d.signal(syscall.SIGHUP)
			said := d.notes.await(t, "RELOADING=1")
			_, usec, _ := strings.Cut(said, "MONOTONIC_USEC=")
			since, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64)
			if err != nil || since < before || since > monotonic(t) {
				t.Errorf("%q: want MONOTONIC_USEC of now, which was %d before", said, before)
			}
			d.notes.await(t, "READY=1")
			if tc.watched {
				d.notes.await(t, "WATCHDOG=1")
			}
			d.signal(syscall.SIGTERM)
			if tc.watched {
				d.notes.await(t, "STOPPING=1")
			}
			if code := d.wait(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			if rest := d.notes.rest(); !tc.watched && (strings.Contains(rest, "WATCHDOG=1") || !strings.Contains(rest, "STOPPING=1")) {
				t.Errorf("said %q", rest)
			}
		})
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestDaemonReloads: a new policy is there after SIGHUP; a configuration that is
// bad is refused as a whole, and what was there goes on.
func TestDaemonReloads(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 1)
	h.configure(fmt.Sprintf(manual, "old"))
	d := h.start()
	if _, said := h.run(exitUsage, "trigger", "new"); !strings.Contains(said, `no policy is named "new"`) {
		t.Errorf("trigger said %q", said)
	}
	h.configure(fmt.Sprintf(manual, "old"), fmt.Sprintf(manual, "new"))
	d.signal(syscall.SIGHUP)
	if entry := d.log.await(t, "configuration reloaded", 1); entry["policies"] != 2.0 {
		t.Errorf("logged %v", entry)
	}
	h.run(exitOK, "trigger", "new")
	if n := h.signed("library/api", digests); n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}

	good, err := os.ReadFile(h.path(localConfig))
	if err != nil {
		t.Fatal(err)
	}
	refusals := 0
	refused := func(problem string) {
		t.Helper()
		d.signal(syscall.SIGHUP)
		refusals++
		entry := d.log.await(t, "configuration refused, the old one stays", refusals)
		if text, _ := entry["error"].(string); !strings.Contains(text, problem) || entry["level"] != "error" {
			t.Errorf("logged %v, want %q", entry, problem)
		}
		d.notes.await(t, "RELOADING=1")
		d.notes.await(t, "READY=1")
	}
	h.write(strings.Replace(string(good), "registry: test", "registry: nowhere", 1))
	refused(localConfig + `:4: policies[0].registry: "nowhere" is not declared`)
	h.write("registries: [")
	refused(localConfig + ":2: is not YAML")
	h.write(strings.Replace(string(good), h.path("state"), h.path("elsewhere"), 1))
	refused("state: changing it needs a restart")
	h.write(string(good))
	if err := os.Chmod(h.path("release.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused("release.key has permissions 0644")
	if err := os.Chmod(h.path("release.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(exitOK, "trigger", "old")

	h.configure(fmt.Sprintf(manual, "new"))
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration reloaded", 2)
	h.run(exitUsage, "trigger", "old")
	d.stop()
}

// TestDaemonFiresAll: SIGUSR1 fires every enabled policy, and no other.
func TestDaemonFiresAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 2)
	h.configure(fmt.Sprintf(manual, "a"), fmt.Sprintf(manual, "b"), strings.Replace(fmt.Sprintf(manual, "c"), "{", "{enabled: false, ", 1))
	d := h.start()
	d.signal(syscall.SIGUSR1)
	d.log.await(t, "policy fired", 2)
	registrytest.Eventually(t, patience, "both executions ended", func() bool {
		xs := h.executions()
		return len(xs) == 2 && xs[0].Status == journal.Succeed && xs[1].Status == journal.Succeed
	})
	if n := h.signed("library/api", digests); n != 2 {
		t.Errorf("%d signatures, want 2", n)
	}
	if _, said := h.run(exitUsage, "trigger", "c"); !strings.Contains(said, `"c" is disabled`) {
		t.Errorf("trigger said %q", said)
	}
	if c := d.log.await(t, "change", 2); c["api"] != "signal" || c["action"] != "SIGUSR1" || c["caller"] != "local" || c["target"] != "test/b" || c["outcome"] != "done" {
		t.Errorf("the audit log says %v", c)
	}
	d.stop()
	for _, x := range h.executions() {
		if x.Policy == "c" || x.Trigger != policy.Manual {
			t.Errorf("execution %d of %s by %s", x.ID, x.Policy, x.Trigger)
		}
	}
}

// TestDaemonKeepsSchedule: what a schedule covers is signed without being asked,
// also what was pushed later.
func TestDaemonKeepsSchedule(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(strings.Replace(fmt.Sprintf(manual, "often"), "type: manual", `type: scheduled, cron: "* * * * * *"`, 1))
	d := h.start()
	for _, repository := range []string{"library/first", "library/second"} {
		digests := h.push(repository, 1)
		registrytest.Eventually(t, patience, "the image is signed", func() bool { return h.signed(repository, digests) == 1 })
	}
	d.stop()
	for _, x := range h.executions() {
		if x.Trigger != policy.Scheduled || x.Tick.IsZero() || x.Lane != journal.Backlog {
			t.Errorf("execution %+v", x)
		}
	}
}

// TestDaemonDrains: at SIGTERM the artifact that has begun is signed, no other
// begins, and the next daemon goes on by itself.
func TestDaemonDrains(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 4)
	h.configure(fmt.Sprintf(manual, "all"))
	g := h.hold()
	d := h.start()
	h.run(exitOK, "trigger", "all", "--detach")
	g.wait(t)
	d.signal(syscall.SIGTERM)
	d.notes.await(t, "STOPPING=1")
	d.log.await(t, "stopping, finishing what has begun", 1)
	if !d.running() || h.signed("library/api", digests) != 0 {
		t.Fatal("the daemon did not wait for what had begun")
	}
	g.open()
	if code := d.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if n := h.signed("library/api", digests); n != 1 {
		t.Errorf("%d artifacts were signed while stopping, want 1", n)
	}
	if xs := h.executions(); len(xs) != 1 || xs[0].Status.Final() || xs[0].Counts.Reasons["signed"] != 1 {
		t.Errorf("executions %+v", xs)
	}
	h.resumes("library/api", digests)
}

// resumes starts a daemon that must end the one execution there is, unasked.
func (h *house) resumes(repository string, digests []v1.Hash) {
	h.t.Helper()
	d := h.start()
	registrytest.Eventually(h.t, patience, "the interrupted execution ended", func() bool {
		xs := h.executions()
		return len(xs) == 1 && xs[0].Status.Final()
	})
	d.stop()
	if n := h.signed(repository, digests); n != len(digests) {
		h.t.Errorf("%d artifacts are signed, want %d", n, len(digests))
	}
	x := h.executions()[0]
	if x.Status != journal.Succeed || x.Counts.Total != int64(len(digests)) || x.Counts.InProgress != 0 {
		h.t.Errorf("execution %+v", x)
	}
	wantJournalInOrder(h.t, h.path("state"))
}

// TestDaemonIsCut: a second signal does not wait for anything, and costs
// nothing but work.
func TestDaemonIsCut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 2)
	h.configure(fmt.Sprintf(manual, "all"))
	g := h.hold()
	d := h.start()
	h.run(exitOK, "trigger", "all", "--detach")
	g.wait(t)
	d.signal(syscall.SIGINT)
	d.notes.await(t, "STOPPING=1")
	d.signal(syscall.SIGTERM)
	d.log.await(t, "second signal, stopping at once", 1)
	if code := d.wait(); code != exitOK { // patience is shorter than drainTimeout
		t.Errorf("exit code %d", code)
	}
	if n := h.signed("library/api", digests); n != 0 {
		t.Errorf("%d artifacts were signed through a closed gate", n)
	}
	g.open()
	h.resumes("library/api", digests)
}

// TestDaemonIsKilled: after SIGKILL the next daemon goes on unasked; the socket
// that was left behind does not keep it from starting.
func TestDaemonIsKilled(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 3)
	h.configure(fmt.Sprintf(manual, "all"))
	g := h.hold()
	d := h.start()
	h.run(exitOK, "trigger", "all", "--detach")
	g.wait(t)
	d.signal(syscall.SIGKILL)
	d.wait()
	g.open()
	if _, err := os.Stat(h.path("state/" + control.SocketName)); err != nil {
		t.Fatalf("no stale socket to start over: %v", err)
	}
	if _, said := h.run(exitFailed, "trigger", "all"); !strings.Contains(said, "no daemon answers: ") {
		t.Errorf("trigger said %q", said)
	}
	h.resumes("library/api", digests)
}

// TestDaemonIsAlone: its socket is for its user only and goes with it; another
// one on its state is refused; commands that read work beside it.
func TestDaemonIsAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.push("library/api", 1)
	h.configure(fmt.Sprintf(manual, "all"))
	if _, said := h.run(exitFailed, "trigger", "all"); !strings.Contains(said, "no daemon answers: ") || !strings.Contains(said, "is sealwright run running") {
		t.Errorf("trigger said %q", said)
	}
	d := h.start()
	socket := h.path("state/" + control.SocketName)
	info, err := os.Stat(socket)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}
	for _, args := range [][]string{{"run"}, {"run", "--once"}} {
		_, said := h.run(exitFailed, args...)
		if want := fmt.Sprintf("state directory is in use by another process (pid %d)", d.cmd.Process.Pid); !strings.Contains(said, want) {
			t.Errorf("%v said %q", args, said)
		}
	}
	h.run(exitFailed, "coverage")
	out, said := h.run(exitOK, "trigger", "all", "--output", "json")
	var x journal.Execution
	if err := json.Unmarshal([]byte(out), &x); err != nil || x.Status != journal.Succeed || x.Counts.Reasons["signed"] != 1 {
		t.Errorf("trigger ended %v, %s", err, out)
	}
	if !strings.HasPrefix(said, "execution 1 of all: ") {
		t.Errorf("trigger said %q", said)
	}
	h.run(exitOK, "coverage")
	if out, _ := h.run(exitOK, "history"); !strings.Contains(out, "Succeed") {
		t.Errorf("history beside the daemon: %s", out)
	}
	d.stop()
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// TestDaemonLogs: one JSON object on each line, at every level and whatever goes
// wrong, and no secret in any of them.
func TestDaemonLogs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const user, password, keyPassword = "robot", "swordfish-of-the-registry", "swordfish-of-the-key"
	secret := func() ([]byte, error) { return []byte(keyPassword), nil }
	if _, err := generate(policy.ECDSASHA256, 0, h.path("locked"), secret); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"registry.password": password, "key.password": keyPassword + "\n"} {
		if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digests := h.push("library/api", 2)
	login := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	deny := func(allow string) {
		h.registry.Intercept(func(registry http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Basic "+allow {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					http.Error(w, "denied", http.StatusUnauthorized)
					return
				}
				registry.ServeHTTP(w, r)
			})
		})
	}
	deny(login)
	config := fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true, auth: {username: %s, password_file: registry.password}}]
keys: [{name: release, uri: "file:locked.key", password_file: key.password}]
policies: [%s]
state: %q
`, h.registry.Host, user, fmt.Sprintf(manual, "all"), h.path("state"))
	h.write(config)
	d := h.start("--log-level", "debug")
	h.run(exitOK, "trigger", "all")
	deny("nobody")
	_, _ = h.run(exitFailed, "trigger", "all")
	h.registry.Intercept(nil)
	h.write(strings.Replace(config, "password_file: key.password", "password: "+keyPassword, 1))
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration refused, the old one stays", 1)
	h.write(strings.Replace(config, "password_file: key.password", "password_file: registry.password", 1))
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration refused, the old one stays", 2)
	d.stop()
	if n := h.signed("library/api", digests); n != len(digests) {
		t.Errorf("%d signed", n)
	}

	text := d.log.String()
	lines := 0
	for line := range strings.Lines(text) {
		lines++
		var entry struct{ Level, Time, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Time == "" || entry.Message == "" {
			t.Errorf("%v: %q", err, line)
		}
	}
	if lines < 10 {
		t.Errorf("only %d lines:\n%s", lines, text)
	}
	key, err := os.ReadFile(h.path("locked.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kms.ParsePublicKey(key, ""); err == nil {
		t.Fatal("that is no private key")
	}
	secrets := append(strings.Split(string(key), "\n")[1:3], password, keyPassword, login)
	for _, s := range secrets {
		if len(s) < 8 || strings.Contains(text, s) {
			t.Errorf("the log holds a secret:\n%s", text)
		}
	}
}
