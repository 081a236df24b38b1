package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestTracesOfADaemon: each execution of a daemon is one trace, of the whole and of what
// was done in it, which the collector has got when the daemon has stopped.
func TestTracesOfADaemon(t *testing.T) {
	t.Parallel()
	h, c := newHouse(t), controltest.NewCollector(t)
	h.configure(fmt.Sprintf(manual, "all"))
	if err := os.WriteFile(h.path("traces.token"), []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.write(h.read(localConfig) + fmt.Sprintf("tracing: {endpoint: %q, token_file: traces.token}\n", c.URL))
	d := h.start()
	for _, ref := range []string{"one:v1", "two:v1"} {
		h.registry.Push(t, ref, registrytest.Image(t))
		h.run(exitOK, "trigger", "all") // waits for its end
	}
	d.stop()
	if xs := h.executions(); len(xs) != 2 || xs[0].Status != journal.Succeed || xs[1].Status != journal.Succeed {
		t.Fatalf("executions %+v", xs)
	}
	traces := map[string]map[string]int{} // of the spans by name
	for _, s := range c.Spans() {
		id := string(s.GetTraceId())
		if traces[id] == nil {
			traces[id] = map[string]int{}
		}
		traces[id][s.GetName()]++
	}
	if len(traces) != 2 {
		t.Errorf("%d traces, want 2", len(traces))
	}
	for id, names := range traces {
		if names["execution"] != 1 || names["walk"] != 1 || names["sign"] != 1 || names["repository"] < 1 {
			t.Errorf("trace %x: %v", id, names)
		}
	}
	if got := c.Authorization(); got != "Bearer sesame" {
		t.Errorf("sent with %q", got)
	}
}
