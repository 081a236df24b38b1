package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestMetricsOfADaemon: what is asked of a registry, what may be, and what waits for how
// long, while pushes cannot be signed and after they were.
func TestMetricsOfADaemon(t *testing.T) {
	h, _ := pushHouse(t)
	d, g := h.start(), h.hold()
	const pushes = 24 // more than are worked on at a time
	for i := range pushes {
		h.registry.Push(t, fmt.Sprintf("app%d:v1", i), registrytest.Image(t))
	}
	there := func(text string, names ...string) bool {
		for _, name := range names {
			if !strings.Contains(text, "\n"+name+" ") {
				return false
			}
		}
		return true
	}
	waiting := []string{"sealwright_inbox_oldest_timestamp_seconds", `sealwright_lane_oldest_timestamp_seconds{lane="pushes"}`}
	registrytest.Eventually(t, patience, "some are worked on and others wait", func() bool {
		text := h.scrape()
		return metric(t, text, "sealwright_inbox_pushes") == pushes && there(text, waiting...) &&
			metric(t, text, `sealwright_lane_repositories{lane="pushes",state="working"}`) > 0 &&
			metric(t, text, `sealwright_lane_repositories{lane="pushes",state="waiting"}`) > 0 &&
			metric(t, text, `sealwright_registry_budget_requests_under_way{registry="test"}`) > 0
	})
	g.open()
	registrytest.Eventually(t, patience, "all are signed", func() bool {
		text := h.scrape()
		return metric(t, text, "sealwright_inbox_pushes") == 0 && metric(t, text, "sealwright_push_to_signed_seconds_count") == pushes && !there(text, waiting...)
	})
	text := h.scrape()
	for name, want := range map[string]float64{
		`sealwright_registry_budget_requests_per_second{rate="configured",registry="test"}`:             5000,
		`sealwright_registry_budget_requests_under_way{registry="test"}`:                                0,
		`sealwright_registry_budget_requests_waiting{lane="live",registry="test"}`:                      0,
		`sealwright_lane_repositories{lane="pushes",state="working"}`:                                   0,
		`sealwright_executions_total{policy="pushed",reason="",status="Succeed",trigger="event_based"}`: float64(len(h.executions())),
	} {
		if got := metric(t, text, name); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	asked := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^sealwright_registry_requests_total\{method="(\w+)",registry="test",status="(\w+)"\}`).FindAllStringSubmatch(text, -1) {
		asked[m[1]] += metric(t, text, m[0])
	}
	had := h.registry.Requests()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		if n := asked[method]; n == 0 || n > float64(had[method]) { // the test asks, too
			t.Errorf("%v %s are counted, the registry had %d", n, method, had[method])
		}
	}
	d.stop()
}

// TestLostSignaturesAreCounted: what was signed, and then taken away by others.
func TestLostSignaturesAreCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	digests := h.push("library/api", 2)
	h.configure(fmt.Sprintf(manual, "all"))
	h.write(`drift_scan: "* * * * * *"` + "\n" + h.read(localConfig))
	d := h.start()
	h.run(exitOK, "trigger", "all")
	var taken atomic.Bool
	taken.Store(true)
	h.registry.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if taken.Load() && r.Method != http.MethodPut && strings.Contains(r.URL.Path, strings.ReplaceAll(digests[0].String(), ":", "-")+".sig") {
				http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
				return
			}
			taken.Store(taken.Load() && r.Method != http.MethodPut) // it is signed again
			registry.ServeHTTP(w, r)
		})
	})
	registrytest.Eventually(t, patience, "the loss is noticed", func() bool {
		h.run(exitOK, "trigger", "all")
		return metric(t, h.scrape(), `sealwright_signatures_lost_total{policy="all"}`) == 1
	})
	if n := h.signed("library/api", digests); n != 2 {
		t.Errorf("%d signatures, want 2", n)
	}
	d.stop()
}
