//go:build bench

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestBenchWalk is the part of TestBench that walks registries, alone. bench.json
// then holds only that.
func TestBenchWalk(t *testing.T) {
	b := &bench{t: t}
	b.walk()
	b.report()
}

// walk measures how fast a registry's artifacts are listed, how many requests
// that takes, and how much memory; and what a run over them costs when what it
// verified is remembered.
func (b *bench) walk() {
	repos, tags := 500, 20
	sizes := []int{1000, 20000, 100000}
	if os.Getenv("BENCH_SMALL") != "" {
		repos, tags, sizes = 20, 20, []int{100, 200, 400}
	}
	b.t.Logf("walking %d artifacts in %d repositories", repos*tags, repos)
	cold := b.walkCold(repos, tags)
	b.walkWarm(repos, tags, cold)
	b.runWarm(repos/5, tags)
	b.walkMemory(sizes)
}

// walkRounds is how often walks are measured: one takes a few seconds, in which
// much can come between.
const walkRounds = 5

// walkCold lists tags and resolves each by one HEAD, against a distribution
// registry in a process of its own, beside the least that does the same. It
// returns our rate.
func (b *bench) walkCold(repos, tags int) float64 {
	b.t.Helper()
	reg := b.registry(repos, tags)
	defer reg.stop()
	n := float64(repos * tags)
	b.measureWalk(reg, registry.KindGeneric, repos*tags) // the registry and the page cache are warm
	var generic, distribution, limits, genericRatios, distributionRatios []float64
	for round := range walkRounds {
		limit := func() { limits = append(limits, n/b.measureWalkLimit(reg, repos*tags).took.Seconds()) }
		if round%2 == 1 { // neither is always first
			limit()
		}
		g := b.measureWalk(reg, registry.KindGeneric, repos*tags)
		d := b.measureWalk(reg, registry.KindDistribution, repos*tags)
		if round%2 == 0 {
			limit()
		}
		generic, distribution = append(generic, n/g.took.Seconds()), append(distribution, n/d.took.Seconds())
		genericRatios = append(genericRatios, generic[round]/limits[round])
		distributionRatios = append(distributionRatios, distribution[round]/limits[round])
		if round == walkRounds-1 {
			b.add("walk: requests per artifact", g.requests/n, "", "≤ 1.1", g.requests/n <= 1.1)
			b.add("  and as the registry counts them", g.logged/n, "", "the same", g.logged == g.requests)
		}
	}
	b.add("walk, generic", median(generic), "artifacts/s", "", true)
	b.add("walk, distribution", median(distribution), "artifacts/s", "", true)
	b.add("the limit: walk", median(limits), "artifacts/s", "", true)
	slower := min(median(genericRatios), median(distributionRatios))
	b.add("the slower walk ÷ the limit", slower, "", "≥ 0.85", slower >= 0.85)
	return median(generic)
}

// walkWarm lists registries whose listing has the digests: loopback servers in
// this process, which takes a part of the processors, as no vendor's service can
// be had here.
func (b *bench) walkWarm(repos, tags int, cold float64) {
	b.t.Helper()
	harbor := registrytest.NewHarbor(b.t)
	harbor.FillEach(b.t, repos, tags)
	ecr := registrytest.NewECR(b.t)
	ecr.FillEach(b.t, repos, tags)
	for _, w := range []struct {
		cfg  registry.Config
		page int // artifacts
	}{
		{registry.Config{Kind: registry.KindHarbor, Host: harbor.Host, Keychain: registry.Static(registrytest.HarborUser, registrytest.HarborPassword)}, 100},
		{registry.Config{Kind: registry.KindECR, Host: ecr.Registry.Host, API: "http://" + ecr.API.Host, Cloud: registry.Cloud{
			Region: registrytest.ECRRegion, AccessKey: registrytest.ECRAccessKey, Secret: func() ([]byte, error) { return []byte(registrytest.ECRSecretKey), nil }}}, 1000},
	} {
		var rates []float64
		var last walked
		for range benchRounds {
			last = walkAll(b.t, w.cfg, repos*tags)
			rates = append(rates, float64(repos*tags)/last.took.Seconds())
		}
		// A page of each repository, those of their names, and the login.
		pages := float64(repos*((tags+w.page-1)/w.page) + (repos+w.page-1)/w.page)
		name := "walk, " + w.cfg.Kind + " (loopback)"
		b.add(name, median(rates), "artifacts/s", "", true)
		b.add("  ÷ the walk by HEAD", median(rates)/cold, "", "≥ 5", median(rates)/cold >= 5)
		b.add("  requests per artifact", last.requests/float64(repos*tags), "", "1 a page", last.requests <= pages+2)
	}
}

// walkMemory walks more and more tags of ten repositories, in a process each.
func (b *bench) walkMemory(sizes []int) {
	b.t.Helper()
	var peaks []float64
	for _, n := range sizes {
		peak := b.measureWalkMemory(n)
		peaks = append(peaks, peak)
		b.add(fmt.Sprintf("peak memory, walking %d", n), peak, "MB", "", true)
		b.add("  growth", peak/peaks[0], "×", "≤ 1.3", peak/peaks[0] <= 1.3)
	}
}

func (b *bench) measureWalkMemory(n int) float64 {
	b.t.Helper()
	reg := b.registry(10, n/10)
	defer reg.stop()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.CommandContext(b.t.Context(), self, "-test.run", "^TestBenchWalkAlone$")
	c.Stdout, c.Stderr = &out, &out
	c.Env = append(os.Environ(), "BENCH_WALK="+reg.host, "BENCH_WALK_TAGS="+strconv.Itoa(n))
	begun := time.Now()
	if err := c.Run(); err != nil {
		b.t.Fatalf("walking %d tags: %v\n%s", n, err, &out)
	}
	_, said, _ := strings.Cut(out.String(), peakMark)
	var kB float64
	if _, err := fmt.Sscan(said, &kB); err != nil {
		b.t.Fatalf("%v: %s", err, &out)
	}
	b.t.Logf("walked %d tags in %s, %.1f MB", n, time.Since(begun).Round(time.Second), kB/1024)
	return kB / 1024
}

// TestBenchWalkAlone is the process that measureWalkMemory starts.
func TestBenchWalkAlone(t *testing.T) {
	n, err := strconv.Atoi(need(t, "BENCH_WALK_TAGS"))
	if err != nil {
		t.Fatal(err)
	}
	walkAll(t, registry.Config{Kind: registry.KindGeneric, Host: need(t, "BENCH_WALK")}, n)
	// What wait(2) says of a child includes what its parent had in memory when it
	// started it; this does not.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(peakMark, strings.Fields(peak)[0])
}

const peakMark = "peak of resident memory in kB:"
