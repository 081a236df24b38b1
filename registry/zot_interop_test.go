//go:build interop

package registry

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// A realZot is a zot of its own for one check, on a loopback port.
type realZot struct {
	*registrytest.Server
	root     string // its rootDirectory
	settings string // its configuration's file
	cmd      *exec.Cmd
	output   bytes.Buffer
}

// startRealZot runs the program that ZOT names until the test ends. search is
// whether it has its search extension.
func startRealZot(t *testing.T, search bool) *realZot {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	z := &realZot{root: t.TempDir(), settings: filepath.Join(t.TempDir(), "config.json")}
	if err := os.WriteFile(z.settings, zotSettings(t, z.root, address, search), 0o600); err != nil {
		t.Fatal(err)
	}
	z.Server = registrytest.Before(t, &url.URL{Scheme: "http", Host: address})
	t.Cleanup(func() {
		z.stop()
		if t.Failed() {
			t.Logf("the last of what zot said:\n%s", z.output.Bytes()[max(0, z.output.Len()-20_000):])
		}
	})
	z.start(t)
	return z
}

func (z *realZot) start(t *testing.T) {
	t.Helper()
	program := os.Getenv("ZOT")
	if program == "" {
		t.Fatal("ZOT is not set: install zot (https://zotregistry.dev), the build with all extensions, then ZOT=/path/to/zot go test -tags interop -run '^TestInteropZot$' ./registry")
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", z.settings)
	cmd.Stdout, cmd.Stderr = &z.output, &z.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	z.cmd = cmd
	z.waitUntilReady(t)
}

func (z *realZot) stop() {
	if z.cmd == nil {
		return
	}
	_ = z.cmd.Process.Kill() // what it keeps is written at once, or goes with the test
	_ = z.cmd.Wait()         // killed
	z.cmd = nil
}

// zotSettings is the configuration of a zot that takes docker's images too, as
// the suite has one.
func zotSettings(t *testing.T, root, address string, search bool) []byte {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return encode(t, map[string]any{
		"storage":    map[string]any{"rootDirectory": root},
		"http":       map[string]any{"address": host, "port": port, "compat": []string{"docker2s2"}},
		"log":        map[string]any{"level": "warn"},
		"extensions": map[string]any{"search": map[string]any{"enable": search}},
	})
}

func (z *realZot) waitUntilReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it reads its storage first
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+z.Host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("zot is not ready: %v", err)
		}
		<-tick.C
	}
}

// fill gives an image n tags, in the storage of a zot that does not run, which
// then starts again: in one that runs, each tag takes longer than the one before.
func (z *realZot) fill(t *testing.T, n int) registrytest.Filled {
	t.Helper()
	z.stop()
	f := registrytest.Filled{Repository: "team/many", Tags: map[string]string{}}
	root := filepath.Join(z.root, f.Repository)
	newLayout(t, root)
	blob := func(mediaType string, content []byte) entry {
		d := describe(mediaType, content)
		if err := os.WriteFile(filepath.Join(root, "blobs", "sha256", sum(content).Hex), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return d
	}
	image := blob(ociManifest, encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest,
		"config": blob(ociConfig, []byte(`{}`)), "layers": []any{blob(ociLayer, []byte(`layer`))},
	}))
	entries := make([]any, 0, n)
	for i := range n {
		tag := fmt.Sprintf("t%05d", i)
		f.Tags[tag] = image.Digest
		entries = append(entries, layoutDescriptor{
			MediaType: image.MediaType, Digest: image.Digest, Size: image.Size, Annotations: map[string]string{refAnnotation: tag},
		})
	}
	index := encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries})
	if err := os.WriteFile(filepath.Join(root, "index.json"), index, 0o600); err != nil {
		t.Fatal(err)
	}
	z.start(t)
	return f
}

// target tries kind zot on it, with pages of three, and of a hundred where the
// suite asks for usual ones.
func (z *realZot) target(t *testing.T, storage bool) *registrytest.SuiteTarget {
	t.Helper()
	cfg := config(z.Host)
	cfg.Kind, cfg.PageSize = KindZot, 3
	if storage {
		cfg.Storage = z.root
	}
	target := suiteTarget(open(t, cfg), z.Server)
	target.Untagged, target.Forgets, target.PageSize = storage, true, cfg.PageSize
	target.Many, target.Fill = zotMany, z.fill
	cfg.PageSize = 100
	target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, cfg.PageSize
	return target
}

// zotMany is how many tags a real zot is asked to list: its database takes 25
// times as long for five times as many, and a HEAD reads the whole index.
const zotMany = 2_000

func TestInteropZot(t *testing.T) {
	t.Run("search and storage", func(t *testing.T) {
		registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
			target := startRealZot(t, true).target(t, true)
			target.UsualPage /= 2 // one of tags, one of what they name
			return target
		})
	})
	t.Run("neither", func(t *testing.T) {
		registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
			target := startRealZot(t, false).target(t, false)
			target.PerArtifact = 1
			return target
		})
	})
}
