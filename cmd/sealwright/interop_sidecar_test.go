//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// registryImage is the image of the registry that the sidecar stands beside.
const registryImage = `FROM scratch
COPY registry registry.yaml /
ENV OTEL_TRACES_EXPORTER=none
ENTRYPOINT ["/registry", "serve", "/registry.yaml"]
`

// sidecarConfig is what the README shows, with a policy.
const sidecarConfig = `registries: [{name: local, host: "127.0.0.1:5000", insecure: true}]
keys:
  - {name: release, uri: "file:/etc/sealwright/release.key", algorithm: ECDSA_SHA_256}
state: /var/lib/sealwright
policies:
  - {name: app, registry: local, namespace: app, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}], key: release}
`

// TestInteropSidecar builds the image and runs it beside a registry that only
// listens on the loopback of their common network namespace.
func TestInteropSidecar(t *testing.T) {
	needRoot(t, "running containers with podman and runc")
	dir := t.TempDir()
	storage, images := storedImages(t, mkdir(t, dir, "storage"), "app/web")
	podman := newPodman(t, dir)
	prepareUser(t, dir)
	startRegistryContainer(t, podman, dir, storage)

	steps := func(name string) outcome {
		return podman.run(t, "-eux", "-c", readmeBlock(t, configs(t, "container", "README.md"), name))
	}
	steps("build").accepted(t)
	steps("sidecar").accepted(t)
	registrytest.Eventually(t, 30*time.Second, "the daemon is ready", func() bool {
		return strings.Contains(podman.run(t, "-c", "podman logs sealwright").stderr, `"message":"running"`)
	})
	checkConfined(t, strings.TrimSpace(podman.run(t, "-c", "podman inspect --format={{.State.Pid}} sealwright").accepted(t)))
	steps("use").accepted(t)
	if code := strings.TrimSpace(podman.run(t, "-c", "podman inspect --format={{.State.ExitCode}} sealwright").accepted(t)); code != "0" {
		t.Errorf("stopped with exit code %s, want 0:\n%s", code, podman.run(t, "-c", "podman logs sealwright"))
	}
	judgeStored(t, storage, "app/web", images["app/web"], filepath.Join(dir, "release.pub"))

	t.Run("as in a pod", func(t *testing.T) { runAsInPod(t, podman, dir) })

	// The volume kept the state: history knows the first run.
	podman.run(t, "-c", "podman start sealwright").accepted(t)
	history := podman.run(t, "-c", "podman exec sealwright /sealwright history --output json").accepted(t)
	if !strings.Contains(history, `"signed": 1`) {
		t.Errorf("history after a restart does not know the signature:\n%s", history)
	}
}

// newPodman returns a shell in dir that finds a podman with storage of its own,
// whose containers end with the test.
func newPodman(t *testing.T, dir string) program {
	t.Helper()
	own := mkdir(t, dir, "podman")
	storage := writeFile(t, own, "storage.conf", fmt.Sprintf("[storage]\ndriver = \"overlay\"\nrunroot = \"%[1]s/run\"\ngraphroot = \"%[1]s/graph\"\n", own), 0o600)
	// The limits are those that any root may set, in a container say.
	conf := writeFile(t, own, "containers.conf", fmt.Sprintf(`[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
events_logger = "file"
runtime = "runc"
tmp_dir = "%[1]s/tmp"
[engine.runtimes]
runc = ["%[2]s"]
`, own, tool(t, "RUNC")), 0o600)
	bin := mkdir(t, own, "bin")
	if err := os.Symlink(tool(t, "PODMAN"), filepath.Join(bin, "podman")); err != nil {
		t.Fatal(err)
	}
	// The binary is built already: by the make that runs the tests.
	writeFile(t, bin, "make", "#!/bin/sh\n[ \"$*\" = build ]\n", 0o755)
	podman := program{path: "/bin/sh", dir: dir, limit: 2 * time.Minute, env: []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "CONTAINERS_STORAGE_CONF=" + storage, "CONTAINERS_CONF=" + conf,
		"XDG_RUNTIME_DIR=" + own, "BUILDAH_ISOLATION=chroot"}}
	t.Cleanup(func() { cleanUp(t, podman) })
	return podman
}

func cleanUp(t *testing.T, podman program) {
	o := podman.run(t, "-c", "podman rm --all --force --time 0; podman volume rm --all --force; podman rmi --all --force")
	if o.code != 0 {
		t.Errorf("cleaning up:\n%s", o)
	}
}

// prepareUser writes what a user has at hand when following the README.
func prepareUser(t *testing.T, dir string) {
	t.Helper()
	copyFile(t, tool(t, "SEALWRIGHT"), mkdir(t, dir, "dist"), "sealwright", 0o755)
	image := mkdir(t, dir, "configs", "container")
	copyFile(t, configs(t, "container", "Containerfile"), image, "Containerfile", 0o644)
	copyFile(t, configs(t, "container", "build.sh"), image, "build.sh", 0o755)
	writeFile(t, dir, "sealwright.yaml", sidecarConfig, 0o644)
	sealwright(t).run(t, "key", "generate", "--out", filepath.Join(dir, "release")).accepted(t)
}

func startRegistryContainer(t *testing.T, podman program, dir, storage string) {
	t.Helper()
	context := mkdir(t, dir, "registry")
	copyFile(t, tool(t, "REGISTRY"), context, "registry", 0o755)
	writeFile(t, context, "registry.yaml", fmt.Sprintf(registryConfig, "127.0.0.1:5000", "/var/lib/registry"), 0o644)
	writeFile(t, context, "Containerfile", registryImage, 0o644)
	podman.run(t, "-c", "podman build --tag localhost/registry "+context).accepted(t)
	podman.run(t, "-c", "podman run --detach --name registry --network=none --volume="+storage+":/var/lib/registry localhost/registry").accepted(t)
}

// checkConfined looks at the sidecar's process from outside.
func checkConfined(t *testing.T, pid string) {
	t.Helper()
	status := readFile(t, "/proc/"+pid+"/status")
	for _, want := range []string{"Uid:\t65532\t", "Gid:\t65532\t", "NoNewPrivs:\t1", "Seccomp:\t2",
		"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(status, "\n"+want) {
			t.Errorf("the process is not %q:\n%s", want, status)
		}
	}
	mounts := readFile(t, "/proc/"+pid+"/mountinfo")
	if !regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ / ro[, ]`).MatchString(mounts) {
		t.Errorf("its root is not read-only:\n%s", mounts)
	}
}

// runAsInPod mounts files and state as Kubernetes does for a fsGroup: all is
// root's, the group may read the key and write the state, and what has a name
// is a link into a directory that can be exchanged.
func runAsInPod(t *testing.T, podman program, dir string) {
	t.Helper()
	const group = 65532
	mounted, state := mkdir(t, dir, "pod", "etc"), mkdir(t, dir, "pod", "state")
	version := mkdir(t, mounted, "..v1")
	links := map[string]string{"..data": "..v1"}
	for _, name := range []string{"sealwright.yaml", "release.key"} {
		path := copyFile(t, filepath.Join(dir, name), version, name, 0o440)
		links[name] = filepath.Join("..data", name)
		if err := os.Chown(path, 0, group); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(mounted, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(state, 0, group), os.Chmod(state, 0o777|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	podman.run(t, "-c", "podman run --rm --network=container:registry --read-only --read-only-tmpfs=false --cap-drop=all "+
		"--volume="+mounted+":/etc/sealwright:ro --volume="+state+":/var/lib/sealwright localhost/sealwright run --once").accepted(t)
}
