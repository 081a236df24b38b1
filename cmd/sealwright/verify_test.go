package main

import (
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// TestVerifyBesideAForeignTag: what somebody pushed under the tag of cosign
// signatures takes nothing from a bundle; without one it is said.
func TestVerifyBesideAForeignTag(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(`{name: all, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "v*"}], formats: [bundle]}`)
	d := h.push("library/api", 1)[0]
	h.run(exitOK, "run", "--once")
	unsigned := h.registry.Push(t, "library/api:unsigned", registrytest.Image(t))
	for _, tag := range []string{signature.CosignTag(d), signature.CosignTag(unsigned)} {
		h.registry.Push(t, "library/api:"+tag, registrytest.Image(t))
	}
	image := h.registry.Host + "/library/api"
	out, _ := h.run(exitOK, "verify", "--insecure", "--key", h.path("release.pub"), image+":v0")
	if !strings.HasPrefix(out, "verified ") || !strings.HasSuffix(out, " bundle\n") {
		t.Errorf("verify printed %s", out)
	}
	out, _ = h.run(exitFailed, "verify", "--insecure", "--key", h.path("release.pub"), image+":unsigned")
	if !strings.HasPrefix(out, "REFUSED ") || !strings.Contains(out, signature.ErrForeign.Error()) {
		t.Errorf("verify printed %s", out)
	}
}
