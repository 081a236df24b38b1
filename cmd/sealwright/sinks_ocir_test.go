package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	firstVersion, secondVersion = "ocid1.keyversion.oc1.phx.one.example", "ocid1.keyversion.oc1.phx.two.example"
	// ociSink is where to upload to, who asks, and the version that signs.
	ociSink = `sinks: [{name: oracle, kind: ocir, registry: test, key: vault, region: us-phoenix-1, namespace: test, endpoint: %q, config_file: %q,
  key_id: ocid1.key.oc1.phx.example, key_version_id: %s}]
`
)

// fileKey makes an RSA key in a file, and returns its public half.
func (a *apiHouse) fileKey(name string) *kms.PublicKey {
	a.t.Helper()
	public, err := generate(policy.RSAPSSSHA256, 2048, a.path(name), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return public
}

// uploaded waits until Oracle's client finds one signature of an image, and fails unless
// that is by the version of the key.
func (a *apiHouse) uploaded(t *testing.T, image, version string, key *kms.PublicKey) {
	t.Helper()
	c := a.Oracle(t, a.oracle)
	digest := a.lookup(t, c, image).Digest
	var list artifacts.ListContainerImageSignaturesResponse
	registrytest.Eventually(t, patience, "a signature of "+image+" is uploaded", func() bool {
		var err error
		list, err = c.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment), ImageDigest: digest})
		return err == nil && len(list.Items) > 0
	})
	got := list.Items[0]
	signature, err := base64.StdEncoding.DecodeString(*got.Signature)
	if err != nil {
		t.Fatal(err)
	}
	m, signed, err := message.Parse(*got.Message)
	if err == nil {
		err = key.Verify(signed, signature)
	}
	if err != nil || len(list.Items) != 1 || *got.KmsKeyVersionId != version || m.ImageDigest != *digest {
		t.Errorf("%+v, %v", list.Items, err)
	}
}

// TestOCIRSinkOfADaemon: a daemon uploads a signature of what it signs, to a daemon that
// serves Oracle's API: itself. A reload hands a new key to the sink; a disabled key holds
// up the sink alone, until it is enabled.
func TestOCIRSinkOfADaemon(t *testing.T) {
	t.Parallel()
	a := newAPIHouse(t)
	second := a.fileKey("vault2")
	before, _, _ := strings.Cut(a.read(localConfig), "sinks:")
	a.write(before + fmt.Sprintf(ociSink, a.URL, a.oracle.ConfigFile(t), firstVersion) + fmt.Sprintf(`public_keys:
  - {id: ocid1.key.oc1.phx.example, version: %s, public_key_file: vault.pub}
  - {id: ocid1.key.oc1.phx.example, version: %s, public_key_file: vault2.pub}
`, firstVersion, secondVersion))
	d := a.start()
	fire := func(image string) {
		a.registry.Push(t, image, registrytest.Image(t))
		a.run(exitOK, "trigger", "from file")
	}
	value := func(name, labels string) float64 { return metric(t, a.scrape(), name+"{"+labels+"}") }
	fire("files/app:v1")
	a.uploaded(t, "files/app:v1", firstVersion, a.rsa.Public())
	registrytest.Eventually(t, patience, "it is counted", func() bool { return value("sealwright_sink_images_total", `result="uploaded",sink="oracle"`) == 1 })

	a.replace("file:vault.key", "file:vault2.key")
	a.replace("key_version_id: "+firstVersion, "key_version_id: "+secondVersion)
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration reloaded", 1)
	fire("files/app:v2")
	a.uploaded(t, "files/app:v2", secondVersion, second)

	a.replace("{name: vault,", "{name: vault, disabled: true,")
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration reloaded", 2)
	fire("files/app:v3")
	a.accepts("files/app:v3")
	registrytest.Eventually(t, patience, "the key is asked", func() bool { return strings.Contains(d.log.String(), "signing the message: key is disabled") })
	a.replace("disabled: true,", "disabled: false,")
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration reloaded", 3)
	a.uploaded(t, "files/app:v3", secondVersion, second)
	registrytest.Eventually(t, patience, "all is delivered", func() bool { return value("sealwright_sink_delivered_total", `sink="oracle"`) == 3 })
	a.once(t, second)
	d.stop()
}

// once: run --once, with another configuration while the daemon runs, uploads what it
// signed before it ends.
func (a *apiHouse) once(t *testing.T, key *kms.PublicKey) {
	t.Helper()
	a.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true}]
keys:
  - {name: release, uri: "file:release.key"}
  - {name: vault, uri: "file:vault2.key", algorithm: RSA_PSS_SHA_256}
policies: [{name: once, registry: test, namespace: once, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}]
state: %q
`, a.registry.Host, a.path("state-once")) + fmt.Sprintf(ociSink, a.URL, a.oracle.ConfigFile(t), secondVersion))
	a.registry.Push(t, "once/app:v1", registrytest.Image(t))
	_, logged := a.run(exitOK, "run", "--once")
	if strings.Contains(logged, "not delivered yet") {
		t.Errorf("logged:\n%s", logged)
	}
	a.uploaded(t, "once/app:v1", secondVersion, key)
}

// TestOCIRSinkBad: credentials that cannot be read keep the daemon from starting.
func TestOCIRSinkBad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	if _, err := generate(policy.RSAPSSSHA256, 2048, h.path("vault"), nil); err != nil {
		t.Fatal(err)
	}
	h.replace("keys: [", `keys: [{name: vault, uri: "file:vault.key", algorithm: RSA_PSS_SHA_256}, `)
	h.write(h.read(localConfig) + fmt.Sprintf(ociSink, "http://127.0.0.1:1", "oci.config", firstVersion))
	if _, shown := h.run(exitUsage, "check"); !strings.Contains(shown, "sinks[0].config_file") {
		t.Errorf("shown: %s", shown)
	}
	if err := os.WriteFile(h.path("oci.config"), []byte("[DEFAULT]\nkey_file=secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, shown := h.run(exitUsage, "run", "--once"); !strings.Contains(shown, `sink "oracle": OCI config_file`) || !strings.Contains(shown, "tenancy is missing") {
		t.Errorf("shown: %s", shown)
	}
}
