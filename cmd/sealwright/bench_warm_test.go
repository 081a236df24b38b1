//go:build bench

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// runWarm runs over signed artifacts of a registry whose listing has the digests,
// once verifying everything, and once believing what was verified. The registry is
// a loopback server in this process.
func (b *bench) runWarm(repos, tags int) {
	b.t.Helper()
	harbor := registrytest.NewHarbor(b.t)
	harbor.FillEach(b.t, repos, tags)
	dir := b.t.TempDir()
	if _, err := generate(policy.ECDSASHA256, 0, filepath.Join(dir, "bench"), nil); err != nil {
		b.t.Fatal(err)
	}
	config := filepath.Join(dir, localConfig)
	for path, text := range map[string]string{
		filepath.Join(dir, "password"): registrytest.HarborPassword,
		config: fmt.Sprintf(`registries:
  - {name: bench, host: %q, kind: harbor, insecure: true, auth: {username: %q, password_file: password}, limits: {requests_per_second: 10000, concurrency: %d}}
keys: [{name: bench, uri: "file:bench.key"}]
policies: [{name: all, registry: bench, key: bench, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}]
state: %q
`, harbor.Host, registrytest.HarborUser, benchWorkers, filepath.Join(dir, "state")),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	n := float64(repos * tags)
	if first := b.once(config); first.signed != n {
		b.t.Fatalf("signed %v of %v", first.signed, n)
	}
	var cold, warm []float64
	var requests int
	for range benchRounds {
		full := b.once(config, "--full")
		harbor.Reset()
		believing := b.once(config)
		requests = 0
		for _, count := range harbor.Requests() {
			requests += count
		}
		if full.already != n || believing.already != n {
			b.t.Fatalf("found %v and %v signed, of %v", full.already, believing.already, n)
		}
		cold, warm = append(cold, n/full.took.Seconds()), append(warm, n/believing.took.Seconds())
	}
	b.add("run --full, harbor (loopback)", median(cold), "artifacts/s", "", true)
	b.add("run, remembered", median(warm), "artifacts/s", "", true)
	b.add("  ÷ run --full", median(warm)/median(cold), "", "", true)
	pages := repos + (repos+99)/100
	b.add("  requests per artifact", float64(requests)/n, "", "1 a page", requests <= pages+2)
}
