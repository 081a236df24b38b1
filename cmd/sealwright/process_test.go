package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// writeConfig writes a key and a configuration with one manual policy over
// everything in the registry, and returns the configuration's path.
func writeConfig(t *testing.T, s *registrytest.Server, state string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := generate(policy.ECDSASHA256, 0, filepath.Join(dir, "release"), nil); err != nil {
		t.Fatal(err)
	}
	return writeConfigFile(t, dir, s, state)
}

func writeConfigFile(t *testing.T, dir string, s *registrytest.Server, state string) string {
	t.Helper()
	path := filepath.Join(dir, localConfig)
	text := fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true, limits: {requests_per_second: 5000, concurrency: 4}}]
keys: [{name: release, uri: "file:release.key"}]
policies: [{name: all, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}]
state: %q
`, s.Host, state)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command returns the sealwright command as a process of its own.
func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	c := exec.CommandContext(t.Context(), "sealwright", args...)
	c.Stdout, c.Stderr = &out, &out
	return c, &out
}

// TestKill kills -9 the signing process at random points of its talk with the
// registry, and lets it go on each time: no signature is missing in the end, and
// none is there twice.
func TestKill(t *testing.T) {
	const phases, images, killsPerPhase = 10, 6, 5
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := registrytest.Distribution(t)
	state := filepath.Join(t.TempDir(), "state")
	config := writeConfig(t, s, state)
	digests := map[v1.Hash]string{}
	kills := 0
	for phase := range phases {
		repo := "team/app" + strconv.Itoa(phase)
		for i := range images {
			digests[s.Push(t, repo+":v"+strconv.Itoa(i), registrytest.Image(t))] = repo
		}
		for range killsPerPhase {
			// A full run over signed artifacts asks 2 requests for each, so that
			// later phases reach what is new a little later.
			if runAndKill(t, s, config, 1+rng.IntN(8*images+2*images*phase), rng.IntN(2) == 0) {
				kills++
			}
		}
	}
	t.Logf("%d kills", kills)
	if kills < 50*9/10 {
		t.Errorf("only %d of %d runs were killed: the rest ended before their point", kills, phases*killsPerPhase)
	}
	for kills < 50 {
		if runAndKill(t, s, config, 1+rng.IntN(10), false) {
			kills++
		}
	}
	c, out := command(t, "run", "--once", "--config", config, "--log-level", "error")
	if err := c.Run(); err != nil {
		t.Fatalf("the last run: %v\n%s", err, out)
	}
	for d, repo := range digests {
		if n := s.Signatures(t, repo, d); n != 1 {
			t.Errorf("%s@%s has %d signatures, want 1", repo, d, n)
		}
	}
	wantJournalInOrder(t, state)
}

// runAndKill runs --once and kills it when the registry gets its nth request,
// before or after that is carried out. It returns false if the run ended before.
func runAndKill(t *testing.T, s *registrytest.Server, config string, nth int, before bool) bool {
	t.Helper()
	c, out := command(t, "run", "--once", "--full", "--config", config, "--log-level", "error")
	var mu sync.Mutex
	count, killed := 0, false
	s.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			count++
			now := count == nth
			killed = killed || now
			dead, process := killed, c.Process
			mu.Unlock()
			if dead && !now {
				panic(http.ErrAbortHandler) // from a process that is no more
			}
			if now && before {
				_ = process.Kill()
				panic(http.ErrAbortHandler)
			}
			registry.ServeHTTP(w, r)
			if now {
				_ = process.Kill()
			}
		})
	})
	defer s.Intercept(nil)
	mu.Lock()
	err := c.Start()
	mu.Unlock()
	if err == nil {
		err = c.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	if !killed && err != nil {
		t.Fatalf("a run that was not killed: %v\n%s", err, out)
	}
	return killed
}

// wantJournalInOrder fails unless all executions have ended well and every
// record has an end.
func wantJournalInOrder(t *testing.T, state string) {
	t.Helper()
	j, err := journal.OpenReadOnly(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	xs, err := j.Executions(t.Context(), journal.ExecutionFilter{Limit: 1000})
	if err != nil || len(xs) == 0 {
		t.Fatalf("%d executions, %v", len(xs), err)
	}
	for _, x := range xs {
		if x.Status != journal.Succeed {
			t.Errorf("execution %d ended %s (%s)", x.ID, x.Status, x.Reason)
		}
	}
	recs, err := j.Records(t.Context(), journal.RecordFilter{Limit: 10000})
	if err != nil {
		t.Fatal(err)
	}
	signed := map[string]int{}
	for _, r := range recs {
		switch r.State {
		case journal.Signed:
			signed[r.Repository+"@"+r.Digest]++
		case journal.Signing:
			t.Errorf("record %d has no end", r.ID)
		}
	}
	for name, n := range signed {
		if n > 1 {
			t.Errorf("%s was signed %d times", name, n)
		}
	}
}

// TestTwoWorkersShareADatabase: two processes on one PostgreSQL, both at work on
// its jobs, sign every artifact once.
func TestTwoWorkersShareADatabase(t *testing.T) {
	const repos, images = 20, 4
	s := registrytest.Distribution(t)
	digests := map[v1.Hash]string{}
	for r := range repos {
		repo := "team/app" + strconv.Itoa(r)
		for i := range images {
			digests[s.Push(t, repo+":v"+strconv.Itoa(i), registrytest.Image(t))] = repo
		}
	}
	url := journaltest.Postgres(t)
	config := writeConfig(t, s, url)
	var runtimes []string
	for range 2 {
		dir := t.TempDir()
		runtimes = append(runtimes, dir)
		startDaemon(t, config, dir)
	}
	c, out := command(t, "trigger", "all", "--config", config, "--output", "json")
	c.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+runtimes[1])
	var stdout bytes.Buffer
	c.Stdout = &stdout
	if err := c.Run(); err != nil {
		t.Fatalf("trigger: %v\n%s%s", err, out, &stdout)
	}
	var x journal.Execution
	if err := json.Unmarshal(stdout.Bytes(), &x); err != nil {
		t.Fatalf("%v: %s", err, &stdout)
	}
	if x.Status != journal.Succeed || x.Counts.Reasons["signed"] != repos*images {
		t.Errorf("ended %s with %v, want %d signed", x.Status, x.Counts.Reasons, repos*images)
	}
	for d, repo := range digests {
		if n := s.Signatures(t, repo, d); n != 1 {
			t.Errorf("%s@%s has %d signatures, want 1", repo, d, n)
		}
	}
	wantJournalInOrder(t, url)
}

// startDaemon starts `sealwright run` and waits until it is ready; it is
// stopped with the test.
func startDaemon(t *testing.T, config, runtimeDir string) *exec.Cmd {
	t.Helper()
	c := exec.Command("sealwright", "run", "--config", config, "--log-level", "warn")
	c.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+runtimeDir)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	ready := notifySocket(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the daemon ended with %v\n%s", err, &out)
			}
		case <-time.After(30 * time.Second):
			_ = c.Process.Kill()
			<-ended
			t.Errorf("the daemon did not stop\n%s", &out)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the daemon ended with %v\n%s", err, &out)
	case <-ctx.Done():
		t.Fatalf("the daemon is not ready\n%s", &out)
	}
	return c
}
