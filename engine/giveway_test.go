package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestRunsGiveWay: while somebody waits for an answer, each artifact of a run gives way, and
// then begins.
func TestRunsGiveWay(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	const artifacts = 5
	for i := range artifacts {
		s.Push(t, fmt.Sprint("app:v", i), registrytest.Image(t))
	}
	h := build(t, s, []policy.Policy{everything("p")}, nil)
	defer h.GiveWay()()
	began := time.Now()
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonSigned: artifacts})
	if took := time.Since(began); took < artifacts*100*time.Millisecond {
		t.Errorf("%d artifacts were signed within %s: they gave no way", artifacts, took)
	}
}
