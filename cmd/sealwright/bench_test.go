//go:build bench

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// The sizes of the benchmark. BENCH_SMALL=1 makes it a smoke test.
const (
	benchRounds  = 3
	benchWorkers = 16
	cosignImages = 64
	cosignProcs  = 8
)

// benchResult is one line of bench.json.
type benchResult struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target,omitempty"`
	OK     bool    `json:"ok"`
}

// A bench is one run of all measurements.
type bench struct {
	t       *testing.T
	results []benchResult
}

// TestBench measures against a distribution registry in a process of its own:
// signing beside the least that any program must do, re-running, memory, and
// cosign. It prints a table, writes bench.json, and fails when a target is
// missed. Rates are medians of paired rounds: ours, the limit, ours, the limit.
func TestBench(t *testing.T) {
	b := &bench{t: t}
	repos, tags, many := 200, 5, 20000
	if os.Getenv("BENCH_SMALL") != "" {
		repos, tags, many = 20, 5, 400
	}
	t.Logf("%s, %d CPUs, %d artifacts in %d repositories, %d workers, %d rounds", runtime.Version(), runtime.NumCPU(), repos*tags, repos, benchWorkers, benchRounds)
	var ourRates, limitRates, ratios, againRates, againLimits, againRatios, rememberedRates []float64
	for range benchRounds {
		ours := b.measureOurs(repos, tags, policy.ECDSASHA256)
		limit := b.measureLimit(repos, tags)
		ourRates, limitRates = append(ourRates, ours.sign), append(limitRates, limit.sign)
		ratios = append(ratios, ours.sign/limit.sign)
		againRates, againLimits = append(againRates, ours.again), append(againLimits, limit.again)
		againRatios = append(againRatios, ours.again/limit.again)
		rememberedRates = append(rememberedRates, ours.remembered)
		if len(ourRates) < benchRounds {
			continue
		}
		b.add("requests per new signature", ours.signRequests, "", "≤ 7", ours.signRequests <= 7)
		b.add("  and per repository", ours.perRepository, "", "", true)
		b.add("requests per signed artifact", ours.againRequests, "", "≤ 2", ours.againRequests <= 2)
		b.add("  and per repository", ours.againPerRepository, "", "", true)
		b.add("requests per remembered artifact", ours.rememberedRequests, "", "≤ 1", ours.rememberedRequests <= 1)
		b.add("key uses per new signature", ours.keyUses, "", "= 1", ours.keyUses == 1)
		b.add("key uses per signed artifact", ours.againKeyUses, "", "= 0", ours.againKeyUses == 0)
		b.add("peak memory, first run", ours.rss, "MB", "", true)
	}
	b.add("signing", median(ourRates), "artifacts/s", "", true)
	b.add("the limit: signing", median(limitRates), "artifacts/s", "", true)
	b.add("signing ÷ the limit", median(ratios), "", "≥ 0.7", median(ratios) >= 0.7)
	b.add("re-run", median(againRates), "artifacts/s", "", true)
	b.add("the limit: re-run", median(againLimits), "artifacts/s", "", true)
	b.add("re-run ÷ the limit", median(againRatios), "", "", true)
	b.add("re-run, remembered", median(rememberedRates), "artifacts/s", "", true)

	cosign := b.measureCosign(repos, tags)
	b.add("cosign sign v2, 8 processes", cosign, "artifacts/s", "", true)
	b.add("signing ÷ cosign", median(ourRates)/cosign, "", "≥ 12", median(ourRates)/cosign >= 12)

	rsa := b.measureOurs(repos/4, tags, policy.RSAPSSSHA256)
	b.add("signing with RSA-PSS 3072", rsa.sign, "artifacts/s", "", true)

	small, large := b.measureMemory(1000), b.measureMemory(many)
	b.add("peak memory, 1,000 artifacts", small, "MB", "", true)
	b.add(fmt.Sprintf("peak memory, %d artifacts", many), large, "MB", "≤ 150", large <= 150)
	b.add("memory growth", large/small, "×", "≤ 1.3", large/small <= 1.3)

	b.walk()
	b.reads()
	start := b.measureStart()
	b.add("version starts", start, "ms", "≤ 60", start <= 60)
	b.report()
}

func (b *bench) add(name string, value float64, unit, target string, ok bool) {
	b.results = append(b.results, benchResult{name, value, unit, target, ok})
}

func (b *bench) report() {
	b.t.Helper()
	var table strings.Builder
	for _, r := range b.results {
		mark := " "
		if r.Target != "" {
			mark = "✓"
			if !r.OK {
				mark = "✗"
				b.t.Errorf("%s: %.2f %s, target %s", r.Name, r.Value, r.Unit, r.Target)
			}
		}
		fmt.Fprintf(&table, "  %s %-36s %10.2f %-12s %s\n", mark, r.Name, r.Value, r.Unit, r.Target)
	}
	fmt.Printf("\n%s\n", &table)
	text, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile("../../bench.json", append(text, '\n'), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func need(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Fatalf("%s is not set; run: make bench", variable)
	}
	return v
}

// A benchRegistry is a distribution registry in its own process, with an
// estate on disk and an access log.
type benchRegistry struct {
	host   string
	images []string // REPOSITORY@DIGEST
	log    *countingLog
	stop   func()
}

// countingLog counts a registry's access log: requests for artifacts, and those
// that each repository or the whole registry costs once, which are the ping, the
// catalog, the tag listings and the upload of the constant config.
type countingLog struct {
	mu              sync.Mutex
	rest            []byte // of a line that is not complete
	artifact, other int64
	uploads         map[string]int64 // by blob digest
}

func (c *countingLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		c.rest = rest
		c.count(string(line))
	}
}

var accessLine = regexp.MustCompile(`"(GET|HEAD|POST|PUT|PATCH) (/v2/\S*) HTTP`)

func (c *countingLog) count(line string) {
	m := accessLine.FindStringSubmatch(line)
	switch {
	case m == nil:
	case m[2] == "/v2/", strings.HasPrefix(m[2], "/v2/_catalog"), strings.Contains(m[2], "/tags/list"):
		c.other++
	default:
		if _, digest, ok := strings.Cut(m[2], "digest=sha256"); ok && m[1] == "PUT" {
			c.uploads[digest]++
		}
		c.artifact++
	}
}

// take returns the counts since the last take, after the log has been quiet.
func (c *countingLog) take() (artifact, other float64) {
	for last := int64(-1); ; {
		c.mu.Lock()
		now := c.artifact + c.other
		if now == last {
			for digest, n := range c.uploads {
				if n > 1 { // the constant config, PUT and POST
					c.artifact, c.other = c.artifact-2*n, c.other+2*n
				}
				delete(c.uploads, digest)
			}
			artifact, other = float64(c.artifact), float64(c.other)
			c.artifact, c.other = 0, 0
			c.mu.Unlock()
			return artifact, other
		}
		last = now
		c.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

func (b *bench) registry(repos, tags int) *benchRegistry {
	b.t.Helper()
	root, err := os.MkdirTemp("", "sealwright-bench-")
	if err != nil {
		b.t.Fatal(err)
	}
	r := &benchRegistry{log: &countingLog{uploads: map[string]int64{}}, host: freeAddress(b.t)}
	if r.images, err = registrytest.Fill(root, repos, tags); err != nil {
		b.t.Fatal(err)
	}
	config := filepath.Join(root, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\nstorage: {filesystem: {rootdirectory: %q, maxthreads: 100}, maintenance: {uploadpurging: {enabled: false}}}\nhttp: {addr: %q, secret: bench}\n", root, r.host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	c := exec.Command(need(b.t, "REGISTRY"), "serve", config)
	c.Stdout, c.Stderr = r.log, io.Discard
	c.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	r.stop = func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = os.RemoveAll(root)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get("http://" + r.host + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			r.stop()
			b.t.Fatalf("the registry does not answer: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.log.take()
	return r
}

// rates is what one program did on one estate.
type rates struct {
	sign, again                 float64 // artifacts/s
	signRequests, againRequests float64 // per artifact
	// perRepository are the requests that do not depend on the number of
	// artifacts: listing, and the constant config.
	perRepository, againPerRepository float64
	remembered, rememberedRequests    float64 // of a run that believes what was verified
	keyUses, againKeyUses             float64 // per artifact
	rss                               float64 // MB
}

// measureOurs signs a new estate with the real binary, then runs again.
func (b *bench) measureOurs(repos, tags int, alg policy.Algorithm) rates {
	b.t.Helper()
	reg := b.registry(repos, tags)
	defer reg.stop()
	config := b.config(reg.host, alg)
	n := float64(len(reg.images))
	first := b.once(config)
	own, shared := reg.log.take()
	out := rates{sign: n / first.took.Seconds(), signRequests: own / n, perRepository: shared / float64(repos), rss: first.rss}
	uses := b.keyUses(config)
	out.keyUses = uses / n
	second := b.once(config, "--full")
	own, shared = reg.log.take()
	out.again, out.againRequests, out.againPerRepository = n/second.took.Seconds(), own/n, shared/float64(repos)
	third := b.once(config)
	own, _ = reg.log.take()
	out.remembered, out.rememberedRequests = n/third.took.Seconds(), own/n
	out.againKeyUses = (b.keyUses(config) - uses) / n
	if first.signed != n || second.already != n || third.already != n {
		b.t.Fatalf("signed %v, then found %v and %v signed, of %v", first.signed, second.already, third.already, n)
	}
	return out
}

func (b *bench) config(host string, alg policy.Algorithm) string {
	dir := b.t.TempDir()
	if _, err := generate(alg, 0, filepath.Join(dir, "bench"), nil); err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(dir, localConfig)
	text := fmt.Sprintf(`registries: [{name: bench, host: %q, insecure: true, limits: {requests_per_second: 10000, concurrency: %d}}]
keys: [{name: bench, uri: "file:bench.key", algorithm: %s}]
policies: [{name: all, registry: bench, key: bench, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}]
state: %q
`, host, benchWorkers, alg, filepath.Join(dir, "state"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// keyUses counts the uses of the key so far: each has its record, written before
// the key is used, whatever became of it.
func (b *bench) keyUses(config string) float64 {
	b.t.Helper()
	j, err := journal.OpenReadOnly(b.t.Context(), filepath.Join(filepath.Dir(config), "state"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	const page = 500
	n := 0
	for after := int64(0); ; {
		records, err := j.Records(b.t.Context(), journal.RecordFilter{After: after, Limit: page})
		if err != nil {
			b.t.Fatal(err)
		}
		n += len(records)
		if len(records) < page {
			return float64(n)
		}
		after = records[len(records)-1].ID
	}
}

// onceRun is one `run --once`.
type onceRun struct {
	took            time.Duration // of the whole process
	signed, already float64
	rss             float64 // MB
}

func (b *bench) once(config string, flags ...string) onceRun {
	b.t.Helper()
	var out, errOut bytes.Buffer
	args := append([]string{"run", "--once", "--config", config, "--output", "json", "--log-level", "error"}, flags...)
	c := exec.Command(need(b.t, "SEALWRIGHT"), args...)
	c.Stdout, c.Stderr = &out, &errOut
	begun := time.Now()
	if err := c.Run(); err != nil {
		b.t.Fatalf("run --once: %v\n%s%s", err, &out, &errOut)
	}
	r := onceRun{took: time.Since(begun), rss: float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024}
	var xs []struct {
		Counts struct{ Reasons map[string]float64 }
	}
	if err := json.Unmarshal(out.Bytes(), &xs); err != nil || len(xs) != 1 {
		b.t.Fatalf("%v: %s", err, &out)
	}
	r.signed, r.already = xs[0].Counts.Reasons["signed"], xs[0].Counts.Reasons["already_signed"]
	return r
}

// measureLimit does on a new estate the least that writes and finds the same
// signatures, with as many workers.
func (b *bench) measureLimit(repos, tags int) rates {
	b.t.Helper()
	reg := b.registry(repos, tags)
	defer reg.stop()
	l := newLimit(b.t, reg)
	n := float64(len(reg.images))
	begun := time.Now()
	l.each(l.sign)
	out := rates{sign: n / time.Since(begun).Seconds()}
	own, _ := reg.log.take()
	out.signRequests = own / n
	begun = time.Now()
	l.each(l.look)
	out.again = n / time.Since(begun).Seconds()
	own, _ = reg.log.take()
	out.againRequests = own / n
	b.t.Logf("the limit: %.2f requests per signature, %.2f per look", out.signRequests, out.againRequests)
	return out
}

// measureCosign signs with cosign v2, several processes at once.
func (b *bench) measureCosign(repos, tags int) float64 {
	b.t.Helper()
	reg := b.registry(repos, tags)
	defer reg.stop()
	cosign, dir := need(b.t, "COSIGN2"), b.t.TempDir()
	env := append(os.Environ(), "COSIGN_PASSWORD=bench", "COSIGN_YES=true")
	keygen := exec.Command(cosign, "generate-key-pair")
	keygen.Dir, keygen.Env = dir, env
	if out, err := keygen.CombinedOutput(); err != nil {
		b.t.Fatalf("cosign generate-key-pair: %v\n%s", err, out)
	}
	work := make(chan string)
	var wg sync.WaitGroup
	var failed atomic.Pointer[string]
	begun := time.Now()
	for range cosignProcs {
		wg.Go(func() {
			for image := range work {
				c := exec.CommandContext(context.Background(), cosign, "sign", "--key", "cosign.key", "--tlog-upload=false", "--allow-http-registry", reg.host+"/"+image)
				c.Dir, c.Env = dir, env
				if out, err := c.CombinedOutput(); err != nil {
					text := fmt.Sprintf("%v\n%s", err, out)
					failed.Store(&text)
				}
			}
		})
	}
	n := min(cosignImages, len(reg.images))
	for _, image := range reg.images[:n] {
		work <- image
	}
	close(work)
	wg.Wait()
	if text := failed.Load(); text != nil {
		b.t.Fatalf("cosign sign: %s", *text)
	}
	return float64(n) / time.Since(begun).Seconds()
}

// measureMemory signs n artifacts and returns the peak of resident memory in MB.
func (b *bench) measureMemory(n int) float64 {
	b.t.Helper()
	reg := b.registry(n/20, 20)
	defer reg.stop()
	r := b.once(b.config(reg.host, policy.ECDSASHA256))
	if int(r.signed) != n {
		b.t.Fatalf("signed %v of %d", r.signed, n)
	}
	b.t.Logf("%d artifacts in %s, %.1f MB", n, r.took.Round(time.Second), r.rss)
	return r.rss
}

// measureStart returns the median time of `sealwright version` in milliseconds.
func (b *bench) measureStart() float64 {
	var times []float64
	for range 11 {
		begun := time.Now()
		if err := exec.Command(need(b.t, "SEALWRIGHT"), "version").Run(); err != nil {
			b.t.Fatal(err)
		}
		times = append(times, float64(time.Since(begun).Microseconds())/1000)
	}
	return median(times)
}
