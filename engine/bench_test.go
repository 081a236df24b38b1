package engine_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// BenchmarkExecution signs an estate of 200 artifacts in 40 repositories, and
// runs again over it. Registry and engine share the processors.
func BenchmarkExecution(b *testing.B) {
	b.Run("sign", func(b *testing.B) { benchmarkExecution(b, true) })
	b.Run("rerun", func(b *testing.B) { benchmarkExecution(b, false) })
}

func benchmarkExecution(b *testing.B, sign bool) {
	const repos, tags = 40, 5
	var spent time.Duration
	for range b.N {
		b.StopTimer()
		s := registrytest.Distribution(b)
		if _, err := registrytest.Fill(s.Root, repos, tags); err != nil {
			b.Fatal(err)
		}
		e, j := benchEngine(b, s)
		if !sign {
			benchFire(b, e, j)
		}
		b.StartTimer()
		begun := time.Now()
		benchFire(b, e, j)
		spent += time.Since(begun)
		b.StopTimer()
		if err := e.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*repos*tags)/spent.Seconds(), "artifacts/s")
}

func benchEngine(b *testing.B, s *registrytest.Server) (*engine.Engine, *journal.Journal) {
	b.Helper()
	j, err := journal.Open(b.Context(), journal.Options{State: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	r := open(b, s, func(c *registry.Config) { c.Limits = registry.Limits{RequestsPerSecond: 10000, Concurrency: 16} })
	setup, err := engine.NewSetup([]policy.Policy{everything("all")},
		map[string]*engine.Place{"test": engine.NewPlace(r, 16)}, map[string]engine.Key{"key": {Signer: newKey(b)}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	e := engine.New(engine.Options{Journal: j, Setup: setup})
	if err := e.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return e, j
}

func benchFire(b *testing.B, e *engine.Engine, j *journal.Journal) {
	b.Helper()
	x, err := e.Fire(b.Context(), "all")
	for err == nil && !x.Status.Final() {
		time.Sleep(5 * time.Millisecond)
		x, err = j.Execution(b.Context(), x.ID)
	}
	if err != nil || x.Status != journal.Succeed {
		b.Fatalf("execution %s: %s, %v", strconv.FormatInt(x.ID, 10), x.Status, err)
	}
}
