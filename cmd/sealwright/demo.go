package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// demoConfig is what the demo runs on; %[1]s is the registry's address, %[2]s
// the demo's directory.
const demoConfig = `# Sealwright's demo: three policies, three keys, two places.
registries:
  - name: demo
    host: %[1]s
    insecure: true # loopback only
    limits: {requests_per_second: 500, concurrency: 8}
  - name: offline
    kind: oci-layout
    host: oci-layout:%[2]s/offline
keys:
  - {name: release, uri: "file:%[2]s/release.key", algorithm: ECDSA_SHA_256}
  - {name: vault, uri: "file:%[2]s/vault.key", algorithm: RSA_PSS_SHA_256}
  - {name: national, uri: "file:%[2]s/national.key", algorithm: SM2DSA_SM3}
policies:
  - name: library-releases
    description: every release tag in library, by ECDSA P-256
    registry: demo
    namespace: library
    trigger: {type: scheduled, cron: "0 0 2 * * *"}
    scope: [{repositories: "**", tags: {matches: "v*", excludes: "*-rc*"}}]
    key: release
  - name: platform-multiarch
    description: multi-arch images with every platform's manifest, by RSA-PSS
    registry: demo
    namespace: platform
    trigger: {type: manual}
    scope: [{repositories: "**", tags: "**"}]
    index: both
    key: vault
  - name: offline-everything
    description: an OCI layout directory, untagged artifacts included, by SM2
    registry: offline
    trigger: {type: manual}
    scope: [{repositories: "**", tags: "**", untagged: true}]
    key: national
    domain: offline.example.com
state: %[2]s/state
`

func (a *app) demoCommand() *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Do the whole job on embedded defaults in seconds; leave nothing behind",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			dir := keep
			if dir == "" {
				if dir, err = os.MkdirTemp("", "sealwright-demo-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			} else if dir, err = filepath.Abs(keep); err != nil {
				return err
			} else if err := os.Mkdir(dir, 0o700); err != nil {
				return usageError{fmt.Errorf("--keep: %w", err)}
			}
			if strings.ContainsAny(dir, "\"\n") {
				return usageError{fmt.Errorf("--keep %q: a path without quotes", dir)}
			}
			d := &demo{app: a, dir: dir, started: time.Now()}
			defer func() { err = errors.Join(err, d.close()) }()
			return d.run(c.Context())
		},
	}
	c.Flags().StringVar(&keep, "keep", "", "work in `DIR`, which must not exist, and keep it")
	return c
}

// A demo is one run of the demo in its own directory.
type demo struct {
	app     *app
	dir     string
	started time.Time
	estate  *estate
	cfg     *configs.Config
}

func (d *demo) close() error {
	if d.estate == nil {
		return nil
	}
	return d.estate.close()
}

// say writes a heading or a remark; JSON output has none.
func (d *demo) say(format string, args ...any) {
	if d.app.output == "text" {
		fmt.Fprintf(d.app.out, format+"\n", args...)
	}
}

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	d.say("\n── 1. run --once: three policies")
	first, err := d.fire(ctx)
	if err != nil {
		return err
	}
	d.say("\n── 2. coverage: what is there is verified with each policy's own key")
	results, err := d.coverage(ctx)
	if err != nil {
		return err
	}
	d.say("\n── 3. verify: as a reader of the images would, with the public keys alone")
	if err := d.verify(ctx); err != nil {
		return err
	}
	d.say("\n── 4. run --once again: nothing is signed twice")
	second, err := d.fire(ctx)
	if err != nil {
		return err
	}
	return d.conclude(first, second, results)
}

// prepare makes the directory, the keys, the registry with its estate and the
// configuration.
func (d *demo) prepare(ctx context.Context) (err error) {
	for name, alg := range map[string]policy.Algorithm{"release": policy.ECDSASHA256, "vault": policy.RSAPSSSHA256, "national": policy.SM2SM3} {
		if _, err := generate(alg, 0, filepath.Join(d.dir, name), nil); err != nil {
			return err
		}
	}
	if d.estate, err = newEstate(ctx, filepath.Join(d.dir, "offline")); err != nil {
		return err
	}
	path := filepath.Join(d.dir, localConfig)
	if err := os.WriteFile(path, fmt.Appendf(nil, demoConfig, d.estate.host, d.dir), 0o600); err != nil {
		return err
	}
	d.app.config = path
	d.say("Sealwright demo in %s\n", d.dir)
	d.say("registry http://%s holds:", d.estate.host)
	for _, line := range d.estate.images {
		d.say("  %s", line)
	}
	d.say("keys: release (ECDSA P-256), vault (RSA-PSS 3072), national (SM2)")
	if d.cfg, err = d.app.load(); err != nil {
		return err
	}
	for _, w := range d.cfg.Warnings() {
		d.say("warning: %s", w)
	}
	return nil
}

// A demoRun is what one run of all policies did.
type demoRun struct {
	Executions []journal.Execution `json:"executions"`
	KeyUses    int                 `json:"key_uses"`
	Writes     int64               `json:"registry_writes"`
}

func (d *demo) fire(ctx context.Context) (demoRun, error) {
	before := d.estate.writes.Load()
	quiet := *d.app
	quiet.logLevel = "error" // the warnings were said once
	var out demoRun
	run := func(j *journal.Journal) error {
		executions, err := j.Executions(ctx, journal.ExecutionFilter{Limit: len(d.cfg.Policies)})
		if err != nil {
			return err
		}
		out.Executions = executions
		for _, x := range executions {
			out.KeyUses += int(x.Counts.Reasons["signed"])
		}
		return nil
	}
	if d.app.output == "json" {
		quiet.out = io.Discard
	}
	if err := quiet.run(ctx, d.cfg, runOptions{once: true}); err != nil {
		return out, err
	}
	j, err := journal.OpenReadOnly(ctx, d.cfg.State)
	if err != nil {
		return out, err
	}
	out.Writes = d.estate.writes.Load() - before
	return out, errors.Join(run(j), j.Close())
}

func (d *demo) coverage(ctx context.Context) ([]surveyed, error) {
	results, err := d.app.survey(ctx, nil)
	if err != nil {
		return nil, err
	}
	if d.app.output == "text" {
		writeCoverage(d.app.out, results)
	}
	for _, r := range results {
		if !r.Complete() {
			return nil, errIncomplete
		}
	}
	return results, nil
}

func (d *demo) verify(ctx context.Context) error {
	quiet := *d.app
	if d.app.output == "json" {
		quiet.out, quiet.output = io.Discard, "text"
	}
	for _, check := range []struct{ key, identity, image string }{
		{"release", "", d.estate.host + "/library/api:v1.0.0"},
		{"vault", "", d.estate.host + "/platform/proxy:stable"},
		{"national", "offline.example.com/offline", "oci-layout:" + filepath.Join(d.dir, "offline") + ":2026.1"},
	} {
		v := &verifier{app: &quiet, clients: newClients(), keyFiles: []string{filepath.Join(d.dir, check.key+".pub")},
			identity: check.identity, insecure: true}
		if err := v.run(ctx, []string{check.image}); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) conclude(first, second demoRun, coverage []surveyed) error {
	took := time.Since(d.started).Round(10 * time.Millisecond)
	d.say("\nfirst run: %d key uses, %d registry writes · second run: %d key uses, %d registry writes · %s in all",
		first.KeyUses, first.Writes, second.KeyUses, second.Writes, took)
	if d.app.output == "json" {
		err := d.app.print(map[string]any{"first": first, "second": second, "coverage": coverage, "seconds": took.Seconds()}, nil)
		if err != nil {
			return err
		}
	}
	if first.KeyUses == 0 || second.KeyUses != 0 || second.Writes != 0 {
		return errors.New("the demo did not go as it must: nothing signed, or something signed twice")
	}
	return nil
}
