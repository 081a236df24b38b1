//go:build interop

package main_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestInteropCosign lets strangers judge what we sign in a real registry, and
// us what they sign.
func TestInteropCosign(t *testing.T) {
	c := newCourt(t)
	c.fill(t)
	c.cosigns(t, func(t *testing.T, cosign program) {
		c.verify(t, cosign, "p256", "p256/app").refused(t, "no signatures found")
		c.verify(t, cosign, "p256", "p256/forged").refused(t, "no matching signatures")
	})

	want := map[string]map[string]int{
		"p256": {"signed": 6}, "p384": {"signed": 1}, "pkcs1": {"signed": 1}, "pss": {"signed": 1}, "sm2": {"signed": 1},
		"sealed":  {"already_signed": 1},
		"cosign2": {"signed": 1, "already_signed": 1},
		"cosign3": {"signed": 1, "already_signed": 1},
		"both":    {"signed": 3}, "renamed": {"signed": 1}, "untagged": {"signed": 2},
	}
	if diff := cmp.Diff(want, c.fire(t)); diff != "" {
		t.Fatalf("first run (-want +got):\n%s", diff)
	}

	t.Run("signed by us", func(t *testing.T) { c.cosigns(t, c.judgeOurs) })
	t.Run("skopeo", c.judgeBySkopeo)
	t.Run("openssl", c.judgeByOpenSSL)
	t.Run("signed by them", c.judgeTheirs)
	t.Run("beside each other", c.judgeNeighbours)
	t.Run("nothing is signed twice", func(t *testing.T) {
		for policy, did := range c.fire(t) {
			if did["signed"] != 0 || did["already_signed"] == 0 || len(did) != 1 {
				t.Errorf("policy %s: %v, want already_signed only", policy, did)
			}
		}
	})
}

// fill puts images into the registry, some with the signatures of others.
func (c *court) fill(t *testing.T) {
	t.Helper()
	for _, repository := range []string{
		"p256/app", "p256/forged", "p256/after2", "p256/after3", "p384/app", "pkcs1/app", "pss/app", "sm2/app",
		"sealed/theirs", "cosign2/app", "cosign2/theirs", "cosign3/app", "cosign3/theirs", "p256/bundled",
		"renamed/app", "untagged/app", "uncovered/app",
	} {
		c.push(t, repository)
	}
	c.pushIndex(t, "p256/index")
	c.pushIndex(t, "both/index")
	c.images["untagged/bare"] = c.reg.Push(t, "untagged/bare:", registrytest.Image(t))

	forge(t, c.reg, "p256/forged", c.images["p256/forged"])
	c.sign(t, c.legacy, "stranger", "p256/after2")
	c.sign(t, c.cosign, "stranger", "p256/after3")
	c.sign(t, c.legacy, "sealed", "sealed/theirs")
	c.sign(t, c.legacy, "cosign2", "cosign2/theirs")
	c.sign(t, c.cosign, "cosign3", "cosign3/theirs")
	c.cosign.run(t, "sign", "--key", c.key("stranger"), "--tlog-upload=false", "--use-signing-config=false",
		"--allow-insecure-registry", "--yes", c.image("p256/bundled")).accepted(t)
}

// judgeOurs lets cosign judge what we signed.
func (c *court) judgeOurs(t *testing.T, cosign program) {
	for _, test := range []struct{ key, repository string }{
		{"p256", "p256/app"},
		{"p256", "p256/index"},
		{"p256", "both/index"},
		{"p256", "both/index/child"},
		{"p256", "renamed/app"},
		{"p256", "untagged/app"},
		{"p256", "untagged/bare"},
		{"p256", "p256/forged"},
		{"pkcs1", "pkcs1/app"},
		{"cosign2", "cosign2/app"},
		{"cosign3", "cosign3/app"},
	} {
		t.Run(test.repository, func(t *testing.T) {
			c.verify(t, cosign, test.key, test.repository).accepted(t)
			c.verify(t, cosign, "stranger", test.repository).refused(t, "no matching signatures")
		})
	}
	t.Run("p384/app", func(t *testing.T) {
		c.verify(t, cosign, "p384", "p384/app", "--signature-digest-algorithm=sha384").accepted(t)
		c.verify(t, cosign, "stranger", "p384/app", "--signature-digest-algorithm=sha384").refused(t, "no matching signatures")
		c.verify(t, cosign, "p384", "p384/app").refused(t, "no matching signatures")
	})
	t.Run("RSA-PSS is beyond cosign", func(t *testing.T) {
		c.verify(t, cosign, "pss", "pss/app").refused(t, "no matching signatures")
	})
	t.Run("SM2 is beyond cosign", func(t *testing.T) {
		c.verify(t, cosign, "sm2", "sm2/app").refused(t, "unsupported elliptic curve")
	})
	t.Run("no policy covers it", func(t *testing.T) {
		c.verify(t, cosign, "p256", "uncovered/app").refused(t, "no signatures found")
		c.verify(t, cosign, "p256", "p256/index/child").refused(t, "no signatures found")
	})
}

// judgeTheirs judges what the cosigns signed.
func (c *court) judgeTheirs(t *testing.T) {
	for key, repository := range map[string]string{
		"cosign2": "cosign2/theirs", "cosign3": "cosign3/theirs", "sealed": "sealed/theirs",
	} {
		t.Run(repository, func(t *testing.T) {
			c.verifyOurs(t, key, repository).accepted(t)
			c.verifyOurs(t, "stranger", repository).refused(t, "no signature that the key verifies")
			if n := c.reg.Signatures(t, repository, c.images[repository]); n != 1 {
				t.Errorf("%d signatures, want theirs alone", n)
			}
		})
	}
}

// judgeNeighbours looks for signatures that went lost when another was added.
func (c *court) judgeNeighbours(t *testing.T) {
	both := func(t *testing.T, repository string) {
		t.Helper()
		for _, key := range []string{"p256", "stranger"} {
			c.verify(t, c.legacy, key, repository).accepted(t)
			c.verify(t, c.cosign, key, repository).accepted(t)
			c.verifyOurs(t, key, repository).accepted(t)
		}
		if n := c.reg.Signatures(t, repository, c.images[repository]); n != 2 {
			t.Errorf("%d signatures, want 2", n)
		}
	}
	t.Run("ours after cosign 2", func(t *testing.T) { both(t, "p256/after2") })
	t.Run("ours after cosign 3", func(t *testing.T) { both(t, "p256/after3") })
	t.Run("ours after a forged one", func(t *testing.T) {
		c.verifyOurs(t, "p256", "p256/forged").accepted(t)
		if n := c.reg.Signatures(t, "p256/forged", c.images["p256/forged"]); n != 2 {
			t.Errorf("%d signatures, want the forged one and ours", n)
		}
	})
	t.Run("ours after a bundle", func(t *testing.T) {
		c.verifyOurs(t, "p256", "p256/bundled").accepted(t)
		// Where cosign finds a bundle, it looks for nothing else, unless it is told to.
		c.verify(t, c.cosign, "p256", "p256/bundled").refused(t, "no matching attestations")
		c.verify(t, c.cosign, "p256", "p256/bundled", "--new-bundle-format=false").accepted(t)
		c.verify(t, c.cosign, "cosign3", "p256/bundled", "--new-bundle-format=false").refused(t, "no matching signatures")
	})
	t.Run("cosign 2 after ours", func(t *testing.T) {
		c.sign(t, c.legacy, "stranger", "p256/app")
		both(t, "p256/app")
	})
	t.Run("cosign 3 after ours", func(t *testing.T) {
		c.sign(t, c.cosign, "stranger", "p256/index")
		both(t, "p256/index")
	})
	t.Run("cosign 2 again after cosign and ours", func(t *testing.T) {
		c.sign(t, c.legacy, "stranger", "both/index")
		both(t, "both/index")
	})
}
