//go:build interop

package main_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// logKeys are the keys whose bundles are entered in the log.
var logKeys = map[string]string{"p256": "ECDSA_SHA_256", "p384": "ECDSA_SHA_384", "pkcs1": "RSA_PKCS1_SHA_256"}

// TestInteropLog enters bundles in a Rekor server and lets cosign judge them by
// the log's public key.
func TestInteropLog(t *testing.T) {
	dir := t.TempDir()
	reg, _ := startRegistry(t, mkdir(t, dir, "storage"))
	log := startRekor(t, dir)
	ours := sealwright(t)
	images := map[string]v1.Hash{}
	for key, algorithm := range logKeys {
		ours.run(t, "key", "generate", "--algorithm", algorithm, "--out", filepath.Join(dir, key)).accepted(t)
		images[key] = reg.Push(t, key+"/app:v1", registrytest.Image(t))
	}
	images["unlogged"] = reg.Push(t, "unlogged/app:v1", registrytest.Image(t))
	writeFile(t, dir, "stranger.pub", logKey(t, dir, "stranger"), 0o600)

	fire := func(t *testing.T, publicKey string, flags ...string) map[string]map[string]int {
		t.Helper()
		config := writeFile(t, dir, "sealwright.yaml", logConfig(reg, log, publicKey, mkdir(t, dir, "state")), 0o600)
		var firings []firing
		out := ours.run(t, append([]string{"run", "--once", "--output", "json", "--config", config}, flags...)...).stdout
		if err := json.Unmarshal([]byte(out), &firings); err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		did := map[string]map[string]int{}
		for _, f := range firings {
			did[f.Policy] = f.Counts.Reasons
		}
		return did
	}
	all := func(t *testing.T, did map[string]map[string]int, reason string) {
		t.Helper()
		for key := range logKeys {
			if len(did[key]) != 1 || did[key][reason] != 1 {
				t.Errorf("policy %s: %v, want %s", key, did[key], reason)
			}
		}
	}

	all(t, fire(t, "stranger.pub"), "log_failed")
	all(t, fire(t, "log.pub"), "signed")
	cosign := program{path: tool(t, "COSIGN3"), env: ours.env, dir: dir}
	judge := func(t *testing.T) { judgeLogged(t, cosign, reg, images) }
	t.Run("cosign", judge)
	t.Run("nothing is entered twice", func(t *testing.T) { all(t, fire(t, "log.pub"), "already_signed") })
	t.Run("signatures were lost", func(t *testing.T) {
		// RSA signs alike each time: the log has that entry, and it is found there.
		for key := range logKeys {
			tag := strings.Replace(images[key].String(), ":", "-", 1)
			ref, err := name.NewTag(reg.Host+"/"+key+"/app:"+tag, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			head, err := remote.Head(ref)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Delete(ref.Digest(head.Digest.String())); err != nil {
				t.Fatal(err)
			}
		}
		all(t, fire(t, "log.pub", "--full"), "restored")
		judge(t)
	})
	t.Run("doctor", func(t *testing.T) {
		out := ours.run(t, "doctor", "--config", filepath.Join(dir, "sealwright.yaml")).accepted(t)
		if !strings.Contains(out, `Rekor v2, "rekor.example.com" with `) || !strings.Contains(out, "signed by its key") {
			t.Errorf("doctor does not know the log:\n%s", out)
		}
	})
}

// judgeLogged lets cosign verify what was entered, which it must find in the log
// whose key it was given.
func judgeLogged(t *testing.T, cosign program, reg *registrytest.Server, images map[string]v1.Hash) {
	t.Helper()
	verify := func(key, repository, root string) outcome {
		args := []string{"verify", "--key", key + ".pub", "--trusted-root", root, "--allow-insecure-registry"}
		if key == "p384" {
			args = append(args, "--signature-digest-algorithm=sha384")
		}
		return cosign.run(t, append(args, at(reg, repository+"/app", images[repository]))...)
	}
	for root, key := range map[string]string{"root.json": "log.pub", "stranger.json": "stranger.pub"} {
		cosign.run(t, "trusted-root", "create", "--no-default-fulcio", "--no-default-ctfe", "--no-default-tsa", "--no-default-rekor",
			"--rekor=url=http://rekor.example.com,public-key="+key+",start-time=2024-01-01T00:00:00Z,origin=rekor.example.com", "--out", root).accepted(t)
	}
	for key := range logKeys {
		if o := verify(key, key, "root.json"); !strings.Contains(o.stdout+o.stderr, "in the transparency log was verified") {
			t.Errorf("cosign verified no entry:\n%s", o)
		}
		verify(key, key, "root.json").accepted(t)
		verify(key, key, "stranger.json").refused(t, "not enough verified log entries")
	}
	verify("p256", "unlogged", "root.json").refused(t, "not enough verified log entries")
}

// logConfig has a policy for each key, and one without a log.
func logConfig(reg *registrytest.Server, log, publicKey, state string) string {
	var y strings.Builder
	fmt.Fprintf(&y, "registries: [{name: court, host: %q, kind: distribution, insecure: true}]\nstate: %s\nkeys:\n", reg.Host, state)
	for key, algorithm := range logKeys {
		fmt.Fprintf(&y, "  - {name: %[1]s, uri: \"file:%[1]s.key\", algorithm: %[2]s}\n", key, algorithm)
	}
	const policy = "  - {name: %[1]s, registry: court, namespace: %[1]s, trigger: {type: manual}, key: %[2]s, formats: [bundle]%[3]s,\n" +
		"     scope: [{repositories: \"**\", tags: \"v*\"}]}\n"
	fmt.Fprintln(&y, "policies:")
	for key := range logKeys {
		fmt.Fprintf(&y, policy, key, key, fmt.Sprintf(", transparency_log: %q, transparency_log_key: %s", log, publicKey))
	}
	fmt.Fprintf(&y, policy, "unlogged", "p256", "")
	return y.String()
}

// logKey makes a key as NAME.pem and returns its public half.
func logKey(t *testing.T, dir, name string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// startRekor starts a Rekor server, with a front that shows its tree beside it as
// logs that others may read do. Its public key is in log.pub.
func startRekor(t *testing.T, dir string) string {
	t.Helper()
	writeFile(t, dir, "log.pub", logKey(t, dir, "log"), 0o600)
	store := mkdir(t, dir, "log")
	ports := freePorts(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "REKOR"), "serve", "--hostname=rekor.example.com", "--checkpoint-interval=1s",
		"--http-address=127.0.0.1", "--http-port="+ports[0], "--grpc-address=127.0.0.1", "--grpc-port="+ports[1], "--http-metrics-port="+ports[2],
		"--storage-dir="+store, "--signer-filepath="+filepath.Join(dir, "log.pem"), "--log-level=error")
	cmd.Stderr = os.Stderr
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // killed: its status tells nothing
	server := &url.URL{Scheme: "http", Host: "127.0.0.1:" + ports[0]}
	registrytest.Eventually(t, 30*time.Second, "Rekor serves", func() bool {
		resp, err := http.Get(server.String() + "/healthz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(server))
	shown := http.StripPrefix("/api/v2", http.FileServer(http.Dir(store)))
	mux.Handle("GET /api/v2/checkpoint", shown)
	mux.Handle("GET /api/v2/tile/", shown)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	return front.URL
}

// freePorts returns loopback ports that were free a moment ago: the server takes
// none of its own choice.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // not before the others are chosen
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}
