//go:build interop

package main_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// registryConfig is the configuration of a distribution registry; %[1]s is
// where it listens, %[2]s where it stores.
const registryConfig = `version: 0.1
log: {level: info, formatter: text, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %[2]s}, delete: {enabled: true}}
http: {addr: "%[1]s", secret: interop}
`

var listeningRE = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// startRegistry starts the distribution program on a free loopback port with
// its storage in root, and what is added to its configuration. It runs until stop, or
// the end of the test.
func startRegistry(t testing.TB, root string, more ...string) (reg *registrytest.Server, stop func()) {
	t.Helper()
	config := writeFile(t, t.TempDir(), "registry.yaml", fmt.Sprintf(registryConfig, "127.0.0.1:0", root)+strings.Join(more, ""), 0o600)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "REGISTRY"), "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	ownGroup(cmd)
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		announce(output, lines)
		_ = cmd.Wait() // killed: its status tells nothing
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	select {
	case host, ok := <-lines:
		if !ok {
			t.Fatal("the registry ended before it listened")
		}
		return &registrytest.Server{Host: host, Root: root}, stop
	case <-time.After(30 * time.Second):
		t.Fatal("the registry does not listen")
	}
	return nil, nil
}

// announce sends the address that a registry says it listens on, once, and
// reads the rest of its output.
func announce(output io.Reader, found chan<- string) {
	sent := false
	for s := bufio.NewScanner(output); s.Scan(); {
		if m := listeningRE.FindStringSubmatch(s.Text()); m != nil && !sent {
			found <- m[1]
			sent = true
		}
	}
}

// signatureRef is where cosign keeps the signatures of an artifact.
func signatureRef(t testing.TB, reg *registrytest.Server, repository string, digest v1.Hash) name.Tag {
	t.Helper()
	tag, err := name.NewTag(reg.Host+"/"+repository+":sha256-"+digest.Hex+".sig", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// A sealed payload is one signature as it lies in the registry.
type sealed struct{ payload, signature []byte }

// signaturesOf reads the signatures of an artifact, which must say its digest
// and identity.
func signaturesOf(t testing.TB, reg *registrytest.Server, repository string, digest v1.Hash) []sealed {
	t.Helper()
	image, err := remote.Image(signatureRef(t, reg, repository, digest))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var found []sealed
	for _, l := range manifest.Layers {
		sig, err := base64.StdEncoding.DecodeString(l.Annotations["dev.cosignproject.cosign/signature"])
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, sealed{layerContent(t, image, l.Digest), sig})
	}
	return found
}

func layerContent(t testing.TB, image v1.Image, digest v1.Hash) []byte {
	t.Helper()
	layer, err := image.LayerByDigest(digest)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close() // read to its end
	return content
}

// checkPayload fails the test unless a payload speaks of this artifact.
func checkPayload(t testing.TB, payload []byte, identity string, digest v1.Hash) {
	t.Helper()
	var p struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			}
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			}
			Type string
		}
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	c := p.Critical
	if c.Identity.Reference != identity || c.Image.Digest != digest.String() || c.Type != "cosign container image signature" {
		t.Fatalf("payload speaks of %s@%s (%s), want %s@%s", c.Identity.Reference, c.Image.Digest, c.Type, identity, digest)
	}
}

// forge attaches a signature that nobody made, over the right payload.
func forge(t testing.TB, reg *registrytest.Server, repository string, digest v1.Hash) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"%s/%s"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}`,
		reg.Host, repository, digest)
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString([]byte("forged"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(signatureRef(t, reg, repository, digest), mutate.ConfigMediaType(image, types.OCIConfigJSON)); err != nil {
		t.Fatal(err)
	}
}

// at is REPOSITORY of reg by digest.
func at(reg *registrytest.Server, repository string, digest v1.Hash) string {
	return strings.Join([]string{reg.Host, "/", repository, "@", digest.String()}, "")
}
