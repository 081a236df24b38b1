package engine_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/event"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestRunsGiveWay: while somebody waits for an answer and the processors are busy, artifacts
// of runs are worked on one by one, and what was pushed side by side as always.
func TestRunsGiveWay(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	const artifacts = 6
	var pushes []event.Push
	for i := range artifacts {
		s.Push(t, fmt.Sprint("run:v", i), registrytest.Image(t))
		s.Push(t, fmt.Sprint("pushed:v", i), registrytest.Image(t))
		pushes = append(pushes, event.Push{Repository: "pushed", Tag: fmt.Sprint("v", i)})
	}
	byHand, pushed := everything("by-hand"), onPush("pushed")
	byHand.Scope[0].Repositories = matches("run")
	pushed.Scope[0].Repositories = matches("pushed")
	h := build(t, s, []policy.Policy{byHand, pushed}, nil)
	var mu sync.Mutex
	now, most, long := 0, 0, 20*time.Millisecond
	together := make(chan struct{})
	two := sync.OnceFunc(func() { close(together) })
	h.key.fail = func() error {
		mu.Lock()
		now++
		if most = max(most, now); now == 2 {
			two()
		}
		wait := time.After(long)
		mu.Unlock()
		select {
		case <-together:
		case <-wait:
		}
		mu.Lock()
		defer mu.Unlock()
		now--
		return nil
	}
	h.KeepProcessorsBusy()
	defer h.GiveWay()()
	wantCounts(t, h.fire("by-hand"), journal.Succeed, map[string]int64{engine.ReasonSigned: artifacts})
	mu.Lock()
	if most != 1 {
		t.Errorf("%d artifacts of a run were signed at once", most)
	}
	long = 10 * time.Second
	mu.Unlock()
	h.receive(engine.Receipt{New: artifacts}, pushes...)
	h.drained("pushed")
	mu.Lock()
	defer mu.Unlock()
	if most < 2 {
		t.Error("what was pushed was signed one by one")
	}
}
