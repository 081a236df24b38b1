//go:build latency

package main

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestPushLatency pushes 20 images a second to a real distribution registry for
// ten seconds: of 95 % of them, 500 ms later the signature is there, read back and
// verified. It runs alone and without the race detector.
func TestPushLatency(t *testing.T) {
	h, _ := pushHouse(t)
	d := h.start("--log-level", "debug")
	t.Cleanup(func() { _ = os.WriteFile("/tmp/push.log", []byte(d.log.String()+h.scrape()), 0o600) })
	n := h.pushes(20, 10*time.Second)
	if n < 190 {
		t.Fatalf("only %d pushes in 10 s: this machine is too slow or too busy to tell", n)
	}
	eventually(t, "everything is signed", func() bool {
		return metric(t, h.scrape(), "sealwright_push_to_signed_seconds_count") == float64(n)
	})
	text := h.scrape()
	share := func(seconds string) float64 {
		return metric(t, text, `sealwright_push_to_signed_seconds_bucket{le="`+seconds+`"}`) / float64(n)
	}
	t.Logf("%d pushes: within 50 ms %.1f %%, 100 ms %.1f %%, 200 ms %.1f %%, 300 ms %.1f %%, 500 ms %.1f %%, mean %.0f ms", n,
		100*share("0.05"), 100*share("0.1"), 100*share("0.2"), 100*share("0.3"), 100*share("0.5"),
		1000*metric(t, text, "sealwright_push_to_signed_seconds_sum")/float64(n))
	if share("0.5") < 0.95 {
		t.Errorf("only %.1f %% were signed within 500 ms", 100*share("0.5"))
	}
}

// pushes pushes images at a steady pace, several at once if one takes longer, and
// returns how many.
func (h *house) pushes(perSecond int, during time.Duration) (n int) {
	h.t.Helper()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for end := time.Now().Add(during); time.Now().Before(end); n++ {
		<-tick.C
		ref := fmt.Sprintf("team%d/app:v%d", n%10, n)
		under.Go(func() { h.registry.Push(h.t, ref, registrytest.Image(h.t)) })
	}
	return n
}
