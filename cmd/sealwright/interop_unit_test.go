//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const unitName = "sealwright.service"

// TestInteropUnit lets systemd judge the unit, and boots one to run it.
func TestInteropUnit(t *testing.T) {
	needRoot(t, "booting a system in systemd-nspawn")
	oneBootAtATime(t)
	t.Run("verify", func(t *testing.T) {
		// A setting that systemd does not know is only a warning: nothing at all must be said.
		if said := shell(t, "systemd-analyze --man=no verify "+unitName+" 2>&1").accepted(t); said != "" {
			t.Errorf("systemd-analyze verify says:\n%s", said)
		}
	})
	t.Run("exposure at most 2.0", func(t *testing.T) {
		shell(t, "systemd-analyze security --no-pager --offline=yes --threshold=20 /etc/systemd/system/"+unitName).accepted(t)
	})
	t.Run("boot", boot)
}

// oneBootAtATime waits for other tests that use the same tree: their systems
// would share a cgroup, and break each other.
func oneBootAtATime(t *testing.T) {
	t.Helper()
	tree, err := os.Open(tool(t, "ROOTFS"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() }) // gives the lock back
	registrytest.Eventually(t, 3*time.Minute, "another test's boot ends", func() bool {
		err := syscall.Flock(int(tree.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// nspawn calls systemd-nspawn on the tree, whose changes stay in memory.
func nspawn(t *testing.T) program {
	t.Helper()
	return program{path: tool(t, "SYSTEMD_NSPAWN"), limit: 2 * time.Minute, args: []string{
		"--quiet", "--register=no", "--keep-unit", "--private-network", "--volatile=overlay",
		fmt.Sprintf("--machine=sealwright-%d", os.Getpid()), "--directory=" + tool(t, "ROOTFS")}}
}

// shell runs a command beside the unit, without booting.
func shell(t *testing.T, command string) outcome {
	t.Helper()
	return nspawn(t).run(t, "--pipe", "--bind-ro="+tool(t, "SEALWRIGHT")+":/usr/bin/sealwright",
		"--bind-ro="+configs(t, "systemd", unitName)+":/etc/systemd/system/"+unitName, "/bin/sh", "-c", "exec "+command)
}

// boot boots a system, in which check.sh installs and uses Sealwright. What it
// signed there is then judged from outside.
func boot(t *testing.T) {
	dir := t.TempDir()
	storage, images := storedImages(t, mkdir(t, dir, "storage"), "triggered/app", "reloaded/app", "signalled/app")
	guest, out := mkdir(t, dir, "guest"), mkdir(t, dir, "out")
	prepareGuest(t, guest)
	o := nspawn(t).run(t, "--bind-ro="+guest+":/interop", "--bind="+out+":/out", "--bind="+storage+":/srv/registry",
		"--bind-ro="+tool(t, "REGISTRY")+":/usr/bin/registry", "--boot",
		"systemd.run=/interop/check.sh", "systemd.run_success_action=exit", "systemd.run_failure_action=exit")
	if o.code != 0 {
		log := existing(filepath.Join(out, "log"))
		t.Fatalf("exit %d of check.sh:\n%s\nthe daemon's journal:\n%s", o.code, log, existing(filepath.Join(out, "journal")))
	}
	want := []string{"install and notify", "hardened", "trigger", "reload", "bad configuration refused", "signal", "watchdog",
		"state survives", "stop", "start again"}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(readFile(t, filepath.Join(out, "passed"))), "\n")); diff != "" {
		t.Fatalf("passed (-want +got):\n%s\n%s", diff, readFile(t, filepath.Join(out, "log")))
	}
	for repository, key := range map[string]string{"triggered/app": "release", "reloaded/app": "vault", "signalled/app": "release"} {
		judgeStored(t, storage, repository, images[repository], filepath.Join(guest, key+".pub"))
	}
}

// existing is the content of a file, or why there is none.
func existing(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// guestConfig is what the daemon in the guest runs on.
const guestConfig = `registries: [{name: local, host: "127.0.0.1:5000", insecure: true}]
keys:
  - {name: release, uri: "file:/run/credentials/sealwright.service/sealwright.release.key", algorithm: ECDSA_SHA_256}
  - {name: vault, uri: "file:/run/credentials/sealwright.service/vault.key", algorithm: ECDSA_SHA_256}
state: /var/lib/sealwright
policies:
  - {name: triggered, registry: local, namespace: triggered, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}], key: release}
  - {name: signalled, registry: local, namespace: signalled, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}], key: release}
`

const reloadedPolicy = `  - {name: reloaded, registry: local, namespace: reloaded, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}], key: vault}
`

// interopConf is a drop-in: one key comes as the README says for files from
// elsewhere, and nobody wants to wait for the watchdog's usual time.
const interopConf = `[Service]
LoadCredential=vault.key:/interop/vault.key
WatchdogSec=4s
RestartSec=100ms
`

// prepareGuest writes what the guest finds in /interop: what a user has at
// hand when following the README, and check.sh with its files.
func prepareGuest(t *testing.T, guest string) {
	t.Helper()
	copyFile(t, tool(t, "SEALWRIGHT"), mkdir(t, guest, "dist"), "sealwright", 0o755)
	copyFile(t, configs(t, "systemd", unitName), mkdir(t, guest, "configs", "systemd"), unitName, 0o644)
	writeFile(t, guest, "install.sh", readmeBlock(t, configs(t, "systemd", "README.md"), "install"), 0o644)
	copyFile(t, filepath.Join("testdata", "interop", "check.sh"), guest, "check.sh", 0o755)
	writeFile(t, guest, "registry.yaml", fmt.Sprintf(registryConfig, "127.0.0.1:5000", "/srv/registry"), 0o644)
	writeFile(t, guest, "interop.conf", interopConf, 0o644)
	writeFile(t, guest, "sealwright.yaml", guestConfig, 0o644)
	writeFile(t, guest, "reloaded.yaml", guestConfig+reloadedPolicy, 0o644)
	writeFile(t, guest, "broken.yaml", guestConfig+strings.ReplaceAll(reloadedPolicy, "vault", "nobody"), 0o644)
	for _, key := range []string{"release", "vault"} {
		sealwright(t).run(t, "key", "generate", "--out", filepath.Join(guest, key)).accepted(t)
	}
}

// storedImages puts an image into each repository of a registry that is then
// stopped; its storage is for a registry elsewhere.
func storedImages(t *testing.T, root string, repositories ...string) (storage string, images map[string]v1.Hash) {
	t.Helper()
	reg, stop := startRegistry(t, root)
	defer stop()
	images = map[string]v1.Hash{}
	for _, r := range repositories {
		images[r] = reg.Push(t, r+":v1", registrytest.Image(t))
	}
	return root, images
}

// judgeStored lets cosign judge an image in the storage of a registry that is
// no longer running.
func judgeStored(t *testing.T, storage, repository string, digest v1.Hash, pub string) {
	t.Helper()
	reg, stop := startRegistry(t, storage)
	defer stop()
	cosign := program{path: tool(t, "COSIGN3"), env: sealwright(t).env}
	cosign.run(t, "verify", "--key", pub, "--insecure-ignore-tlog", "--allow-insecure-registry",
		at(reg, repository, digest)).accepted(t)
}
