package tcr_test

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

const installNode = "install it with: .ci/tools.sh node-tcr (Debian: apt-get install nodejs npm; then npm ci of testdata/node)"

// nodeModules returns the directory of Tencent's SDK for Node.js, as testdata/node has
// it pinned: where .ci/tools.sh puts it.
func nodeModules(t *testing.T) string {
	t.Helper()
	lock, err := os.ReadFile("testdata/node/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("SEALWRIGHT_TOOLS")
	if cache == "" {
		cache = filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache")), "sealwright", "tools")
	}
	dir := filepath.Join(cache, "node-tcr-"+hexOf(lock)[:16], "node_modules")
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("Tencent's SDK for Node.js is not there: %v; %s", err, installNode)
	}
	return dir
}

// TestNode: Tencent's SDK for Node.js knows the actions by name, and finds in the
// answers what it looks for.
func TestNode(t *testing.T) {
	t.Parallel()
	modules := nodeModules(t)
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v; %s", err, installNode)
	}
	e := newEstate(t, controltest.Options{})
	digest := e.push("library/app:v1")
	with := text(t, map[string]string{"endpoint": strings.TrimPrefix(e.url, "http://"), "id": controltest.AdminKey, "secret": controltest.AdminSecret,
		"wrong": controltest.ViewerSecret, "instance": controltest.Instance, "key": controltest.RSAKeyAlias, "domain": "images.example.com"})
	cmd := exec.CommandContext(t.Context(), node, "testdata/node/lifecycle.js", with)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, failure.String())
	}
	var saw struct {
		WrongSecret, NoKey, NoNamespace, Created, Instance, Digest, Signature string
		Namespaces, Left                                                      int
		Policy                                                                map[string]any
	}
	if err := json.Unmarshal(out, &saw); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	for what, c := range map[string][2]string{
		"wrong secret": {saw.WrongSecret, "AuthFailure.SignatureFailure with a request id"},
		"no key":       {saw.NoKey, invalid + " with a request id"},
		"no namespace": {saw.NoNamespace, notFound + " with a request id"},
		"instance":     {saw.Instance, "1 premium Running"},
		"digest":       {saw.Digest, digest},
		"name":         {text(t, saw.Policy["name"]), `"library signing"`},
		"key":          {text(t, saw.Policy["kms_id"]), text(t, controltest.RSAKeyAlias)},
		"disabled":     {text(t, saw.Policy["disabled"]), "false"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %q, want %q", what, c[0], c[1])
		}
	}
	if !requestID.MatchString(saw.Created) || saw.Namespaces != 1 || saw.Left != 0 {
		t.Errorf("%+v", saw)
	}
	e.proves(controltest.RSAKey, "images.example.com/library/app", imageInfo{Digest: saw.Digest, ImageVersion: "v1", KmsSignature: saw.Signature})
}
