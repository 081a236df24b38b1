//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// password protects the private keys that have one.
const password = "correct horse battery staple"

// A court is a distribution registry with images, the keys that sign them, and
// those who judge the signatures. A namespace of the registry is called after
// the key that signs what is in it.
type court struct {
	reg            *registrytest.Server
	dir            string
	ours           program
	cosign, legacy program // version 3, version 2
	images         map[string]v1.Hash
}

// A courtKey is a key of the court; maker is who makes it.
type courtKey struct{ name, algorithm, maker string }

var courtKeys = []courtKey{
	{"p256", "ECDSA_SHA_256", "sealwright"},
	{"p384", "ECDSA_SHA_384", "sealwright"},
	{"pkcs1", "RSA_PKCS1_SHA_256", "sealwright"},
	{"pss", "RSA_PSS_SHA_256", "sealwright"},
	{"sm2", "SM2DSA_SM3", "sealwright"},
	{"sealed", "ECDSA_SHA_256", "sealwright with password"},
	{"cosign2", "ECDSA_SHA_256", "cosign 2"},
	{"cosign3", "ECDSA_SHA_256", "cosign 3"},
}

// newCourt opens a court, with what is added to its registry's configuration.
func newCourt(t *testing.T, registry ...string) *court {
	t.Helper()
	dir := t.TempDir()
	reg, _ := startRegistry(t, mkdir(t, dir, "storage"), registry...)
	c := &court{reg: reg, dir: dir, ours: sealwright(t), images: map[string]v1.Hash{}}
	env := append(c.ours.env, "COSIGN_PASSWORD="+password)
	c.legacy = program{path: tool(t, "COSIGN2"), env: env}
	c.cosign = program{path: tool(t, "COSIGN3"), env: env}
	writeFile(t, dir, "password", password+"\n", 0o600)
	for _, k := range courtKeys {
		c.makeKey(t, k)
	}
	// The stranger's key signs images too, but no policy knows it.
	c.makeKey(t, courtKey{"stranger", "ECDSA_SHA_256", "cosign 2"})
	c.configure(t)
	return c
}

func (c *court) makeKey(t *testing.T, k courtKey) {
	t.Helper()
	prefix := filepath.Join(c.dir, k.name)
	switch k.maker {
	case "cosign 2":
		c.legacy.run(t, "generate-key-pair", "--output-key-prefix", prefix).accepted(t)
	case "cosign 3":
		c.cosign.run(t, "generate-key-pair", "--output-key-prefix", prefix).accepted(t)
	case "sealwright":
		c.ours.run(t, "key", "generate", "--algorithm", k.algorithm, "--out", prefix).accepted(t)
	default:
		c.ours.run(t, "key", "generate", "--algorithm", k.algorithm, "--out", prefix, "--password-file", filepath.Join(c.dir, "password")).accepted(t)
	}
}

// configure writes a policy for each key, and three that are special: index
// both, a domain, and untagged images.
func (c *court) configure(t *testing.T) {
	t.Helper()
	var y strings.Builder
	fmt.Fprintf(&y, "registries: [{name: court, host: %q, kind: distribution, insecure: true, storage: %s, limits: {requests_per_second: 500}}]\n", c.reg.Host, c.reg.Root)
	fmt.Fprintln(&y, "keys:")
	for _, k := range courtKeys {
		protection := ""
		if k.maker != "sealwright" {
			protection = ", password_file: " + filepath.Join(c.dir, "password")
		}
		fmt.Fprintf(&y, "  - {name: %s, uri: \"file:%s\", algorithm: %s%s}\n", k.name, c.key(k.name), k.algorithm, protection)
	}
	const policy = "  - {name: %[1]s, registry: court, namespace: %[1]s, trigger: {type: manual}, scope: [{repositories: \"**\", tags: \"**\"%[3]s}], key: %[2]s%[4]s}\n"
	fmt.Fprintln(&y, "policies:")
	for _, k := range courtKeys {
		fmt.Fprintf(&y, policy, k.name, k.name, "", "")
	}
	fmt.Fprintf(&y, policy, "both", "p256", "", ", index: both")
	fmt.Fprintf(&y, policy, "renamed", "p256", "", ", domain: registry.example.com")
	fmt.Fprintf(&y, policy, "untagged", "p256", ", untagged: true", "")
	fmt.Fprintf(&y, "state: %s\n", mkdir(t, c.dir, "state"))
	writeFile(t, c.dir, "sealwright.yaml", y.String(), 0o600)
}

func (c *court) key(name string) string { return filepath.Join(c.dir, name+".key") }
func (c *court) pub(name string) string { return filepath.Join(c.dir, name+".pub") }

// push puts a new image into repository, tagged v1.
func (c *court) push(t *testing.T, repository string) {
	t.Helper()
	c.images[repository] = c.reg.Push(t, repository+":v1", registrytest.Image(t))
}

// pushIndex puts a new multi-arch image into repository, tagged v1. Its first
// child is remembered as REPOSITORY/child.
func (c *court) pushIndex(t *testing.T, repository string) {
	t.Helper()
	child := registrytest.Image(t)
	children := []mutate.Appendable{child, registrytest.Image(t)}
	c.images[repository] = c.reg.Push(t, repository+":v1", registrytest.Index(t, children...))
	c.images[repository+"/child"] = registrytest.Digest(t, child)
}

// image is how verifiers call what push put into repository: by digest.
func (c *court) image(repository string) string {
	return at(c.reg, strings.TrimSuffix(repository, "/child"), c.images[repository])
}

// A firing is what one execution of a policy did.
type firing struct {
	Policy string
	Status string
	Counts struct {
		Total   int
		Reasons map[string]int
	}
}

// fire runs every policy once and returns what each did to how many images:
// "signed", "already_signed".
func (c *court) fire(t *testing.T) map[string]map[string]int {
	t.Helper()
	out := c.ours.run(t, "run", "--once", "--output", "json", "--config", filepath.Join(c.dir, "sealwright.yaml")).accepted(t)
	var firings []firing
	if err := json.Unmarshal([]byte(out), &firings); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	did := map[string]map[string]int{}
	for _, f := range firings {
		did[f.Policy] = f.Counts.Reasons
	}
	return did
}

// sign lets one of the cosigns sign by a key, in the layout that ends in .sig.
func (c *court) sign(t *testing.T, cosign program, key, repository string) {
	t.Helper()
	args := []string{"sign", "--key", c.key(key), "--tlog-upload=false", "--allow-insecure-registry", "--yes"}
	if cosign.path == c.cosign.path {
		args = append(args, "--use-signing-config=false", "--new-bundle-format=false")
	}
	cosign.run(t, append(args, c.image(repository))...).accepted(t)
}

// verify lets one of the cosigns judge an image by a key.
func (c *court) verify(t *testing.T, cosign program, key, repository string, more ...string) outcome {
	t.Helper()
	args := []string{"verify", "--key", c.pub(key), "--insecure-ignore-tlog", "--allow-insecure-registry"}
	return cosign.run(t, append(append(args, more...), c.image(repository))...)
}

// verifyOurs lets sealwright judge an image by a key.
func (c *court) verifyOurs(t *testing.T, key, repository string, more ...string) outcome {
	t.Helper()
	args := append([]string{"verify", "--insecure", "--key", c.pub(key)}, more...)
	return c.ours.run(t, append(args, c.image(repository))...)
}

// cosigns calls f as a subtest for each version.
func (c *court) cosigns(t *testing.T, f func(t *testing.T, cosign program)) {
	t.Helper()
	t.Run("cosign 2", func(t *testing.T) { f(t, c.legacy) })
	t.Run("cosign 3", func(t *testing.T) { f(t, c.cosign) })
}
