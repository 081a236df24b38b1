package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestDaemonStopsAKey: the key is taken away in the middle of a run, by either
// switch. What was being stored is stored; the key makes nothing more.
func TestDaemonStopsAKey(t *testing.T) {
	for name, test := range map[string]struct {
		stop   func(h *house, d *daemonProcess)
		detail string
	}{
		"reload": {func(h *house, d *daemonProcess) {
			h.replace(`uri: "file:release.key"`, `uri: "file:release.key", disabled: true`)
			d.signal(syscall.SIGHUP)
			d.log.await(h.t, "configuration reloaded", 1)
		}, "key is disabled by the configuration"},
		"file": {func(h *house, _ *daemonProcess) {
			if err := os.WriteFile(h.path("stop"), nil, 0o600); err != nil {
				h.t.Fatal(err)
			}
		}, "key is disabled by the file "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			digests := h.push("library/api", 12)
			h.configure(fmt.Sprintf(manual, "all"))
			h.replace(`uri: "file:release.key"`, `uri: "file:release.key", disable_file: stop`)
			gate := h.hold()
			d := h.start()
			h.run(exitOK, "trigger", "--detach", "all")
			gate.wait(t) // the first signature is on its way
			test.stop(h, d)
			gate.open()
			entry := d.log.await(t, "execution stopped: its key cannot sign", 1)
			if entry["reason"] != engine.ReasonKeyDisabled || !strings.Contains(fmt.Sprint(entry["error"]), test.detail) {
				t.Errorf("logged %v", entry)
			}
			registrytest.Eventually(t, patience, "the execution has ended", func() bool { return h.executions()[0].Status.Final() })
			x := h.executions()[0]
			if x.Status != journal.Failed || x.Reason != engine.ReasonKeyDisabled || !strings.Contains(x.Detail, test.detail) {
				t.Errorf("execution %+v", x)
			}
			if n := h.signed("library/api", digests); n == 0 || n > 2 {
				t.Errorf("%d of 12 signed, want what was on its way alone", n)
			}
			d.stop()
		})
	}
}

// replace changes a text of the configuration.
func (h *house) replace(old, with string) {
	h.t.Helper()
	text, err := os.ReadFile(h.path(localConfig))
	if err != nil {
		h.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		h.t.Fatalf("the configuration has no %q", old)
	}
	h.write(strings.ReplaceAll(string(text), old, with))
}

// TestDaemonLivesWithoutAKeyStore: a store that is down fails the policies of
// its keys and no others, and the daemon starts.
func TestDaemonLivesWithoutAKeyStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 2)
	h.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true}]
key_stores: [{name: down, kind: hashivault, endpoint: "http://127.0.0.1:1", timeout: 1s, auth: {token_file: token}}]
keys:
  - {name: release, uri: "file:release.key"}
  - {name: remote, uri: "hashivault://release", store: down}
policies:
  - {name: near, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}
  - {name: far, registry: test, key: remote, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}
state: %q
`, h.registry.Host, h.path("state")))
	if err := os.WriteFile(h.path("token"), []byte("hvs.secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := h.start()
	entry := d.log.await(t, "keys not opened: their policies fail until they are", 1)
	if fmt.Sprint(entry["keys"]) != "[remote]" {
		t.Errorf("logged %v", entry)
	}
	h.run(exitOK, "trigger", "near")
	out, _ := h.run(exitFailed, "trigger", "far")
	if !strings.Contains(out, "Failed ("+engine.ReasonKeyUnavailable+")") {
		t.Errorf("trigger printed %s", out)
	}
	if n := h.signed("library/api", digests); n != 2 {
		t.Errorf("%d signed, want 2", n)
	}
	if strings.Contains(d.log.String(), "hvs.secret") {
		t.Error("the token is in the log")
	}
	d.stop()
}

// TestDaemonHearsWhileItOpensKeys: a key store that hangs delays no switch. What
// the second reload disables is off before the first one has ended.
func TestDaemonHearsWhileItOpensKeys(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	d := h.start()
	if err := os.WriteFile(h.path("token"), []byte("hvs.secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.replace("keys: [", fmt.Sprintf(`key_stores: [{name: slow, kind: hashivault, endpoint: %q, auth: {token_file: token}}]
keys: [{name: remote, uri: "hashivault://release", store: slow}, `, hanging.URL))
	d.signal(syscall.SIGHUP)
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("the key store was not asked")
	}
	h.replace(`uri: "file:release.key"`, `uri: "file:release.key", disabled: true`)
	d.signal(syscall.SIGHUP)
	d.log.await(t, "keys disabled", 1)
	h.push("library/api", 1)
	if out, _ := h.run(exitFailed, "trigger", "all"); !strings.Contains(out, engine.ReasonKeyDisabled) {
		t.Errorf("trigger printed %s", out)
	}
	if log := d.log.String(); strings.Contains(log, "configuration reloaded") {
		t.Errorf("it was off only after a reload had ended:\n%s", log)
	}
	d.stop()
}
