//go:build interop

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// judgeBySkopeo lets skopeo copy images under a policy that wants signatures.
func (c *court) judgeBySkopeo(t *testing.T) {
	registriesD := mkdir(t, c.dir, "registries.d")
	writeFile(t, registriesD, "court.yaml", fmt.Sprintf("docker:\n  %s:\n    use-sigstore-attachments: true\n", c.reg.Host), 0o600)
	const matchRepository = `{"type": "matchRepository"}`
	for _, test := range []struct {
		name, repository, key, identity, refused string
	}{
		{"ours", "p256/app", "p256", matchRepository, ""},
		{"ours beside a forged one", "p256/forged", "p256", matchRepository, ""},
		{"ours after cosign's", "p256/after2", "p256", matchRepository, ""},
		{"ours beside a bundle", "p256/bundled", "p256", matchRepository, ""},
		{"index", "both/index", "p256", matchRepository, ""},
		{"domain", "renamed/app", "p256", `{"type": "exactRepository", "dockerRepository": "registry.example.com/renamed/app"}`, ""},
		{"wrong key", "p256/app", "cosign2", matchRepository, "cryptographic signature verification failed"},
		{"wrong domain", "p256/app", "p256", `{"type": "exactRepository", "dockerRepository": "registry.example.com/p256/app"}`, "is not accepted"},
		{"unsigned", "uncovered/app", "p256", matchRepository, "A signature was required, but no signature exists"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			policy := fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {"docker": {%q: [
				{"type": "sigstoreSigned", "keyPath": %q, "signedIdentity": %s}]}}}`, c.reg.Host, c.pub(test.key), test.identity)
			skopeo := program{path: tool(t, "SKOPEO"), env: c.ours.env,
				args: []string{"--registries.d", registriesD, "--policy", writeFile(t, dir, "policy.json", policy, 0o600)}}
			copied := filepath.Join(dir, "copied")
			o := skopeo.run(t, "copy", "--all", "--remove-signatures", "--src-tls-verify=false", "docker://"+c.image(test.repository), "dir:"+copied)
			if test.refused != "" {
				o.refused(t, test.refused)
				return
			}
			o.accepted(t)
			if _, err := os.Stat(filepath.Join(copied, "manifest.json")); err != nil {
				t.Errorf("skopeo accepted but copied nothing: %v", err)
			}
		})
	}
}

// judgeByOpenSSL lets OpenSSL judge signatures, those that cosign cannot
// verify among them. It is asked about the bytes that lie in the registry.
func (c *court) judgeByOpenSSL(t *testing.T) {
	openssl := program{path: tool(t, "OPENSSL")}
	dgst := func(options ...string) func(t *testing.T, f exhibit) outcome {
		return func(t *testing.T, f exhibit) outcome {
			args := append([]string{"dgst", "-verify", f.key, "-signature", f.signature}, options...)
			return openssl.run(t, append(args, f.payload)...)
		}
	}
	sm2 := func(id string) func(t *testing.T, f exhibit) outcome {
		return func(t *testing.T, f exhibit) outcome {
			return openssl.run(t, "pkeyutl", "-verify", "-rawin", "-digest", "sm3", "-pubin", "-inkey", f.key,
				"-sigfile", f.signature, "-in", f.payload, "-pkeyopt", "distid:"+id)
		}
	}
	for _, test := range []struct {
		name, key, other string
		verify           func(t *testing.T, f exhibit) outcome
	}{
		{"P-256", "p256", "cosign2", dgst("-sha256")},
		{"P-384", "p384", "p256", dgst("-sha384")},
		{"RSA PKCS#1", "pkcs1", "pss", dgst("-sha256")},
		{"RSA-PSS", "pss", "pkcs1", dgst("-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")},
		{"SM2", "sm2", "other-sm2", sm2("1234567812345678")},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.other == "other-sm2" {
				c.makeKey(t, courtKey{test.other, "SM2DSA_SM3", "sealwright"})
			}
			f := c.exhibit(t, test.key+"/app", test.key)
			test.verify(t, f).accepted(t)
			test.verify(t, f.withKey(c.pub(test.other))).refused(t, "erif") // "Verification failure", "Signature Verification Failure"
			test.verify(t, f.tampered(t)).refused(t, "erif")
		})
	}
	t.Run("RSA-PSS is not PKCS#1", func(t *testing.T) {
		dgst("-sha256")(t, c.exhibit(t, "pss/app", "pss")).refused(t, "Verification failure")
	})
	t.Run("SM2 of another user id", func(t *testing.T) {
		sm2("8765432187654321")(t, c.exhibit(t, "sm2/app", "sm2")).refused(t, "Signature Verification Failure")
	})
}

// An exhibit is a signature in files.
type exhibit struct{ dir, key, payload, signature string }

// exhibit fetches the only signature of an image from the registry.
func (c *court) exhibit(t *testing.T, repository, key string) exhibit {
	t.Helper()
	found := signaturesOf(t, c.reg, repository, c.images[repository])
	if len(found) != 1 {
		t.Fatalf("%d signatures of %s, want 1", len(found), repository)
	}
	checkPayload(t, found[0].payload, c.reg.Host+"/"+repository, c.images[repository])
	dir := t.TempDir()
	return exhibit{dir, c.pub(key), writeFile(t, dir, "payload", string(found[0].payload), 0o600),
		writeFile(t, dir, "signature", string(found[0].signature), 0o600)}
}

func (f exhibit) withKey(key string) exhibit { f.key = key; return f }

// tampered changes one bit of the payload.
func (f exhibit) tampered(t *testing.T) exhibit {
	t.Helper()
	payload := []byte(readFile(t, f.payload))
	payload[len(payload)/2] ^= 1
	f.payload = writeFile(t, f.dir, "tampered", string(payload), 0o600)
	return f
}
