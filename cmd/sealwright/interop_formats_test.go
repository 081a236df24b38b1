//go:build interop

package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestInteropFormats lets cosign and notation judge the formats that lie beside
// the image, and us what they sign: where the registry has the referrers API
// and where it has not.
func TestInteropFormats(t *testing.T) {
	t.Run("without the referrers API", func(t *testing.T) {
		t.Parallel()
		reg, _ := startRegistry(t, mkdir(t, t.TempDir(), "storage"))
		newExchange(t, reg).judge(t)
	})
	t.Run("with the referrers API", func(t *testing.T) {
		t.Parallel()
		x := newExchange(t, startOlareg(t))
		x.api = true
		x.judge(t)
	})
}

// An exchange is a court where all formats are spoken.
type exchange struct {
	*court
	notary program
	// roots issues the certificates of our keys, strangers those of others.
	roots, strangers *issuer
	tsa, tsaChain    string
	tsaRoot          *issuer
	// api: the registry has the referrers API.
	api bool
}

// exchangeKeys are ours. Certificates are for the formats of notation.
var exchangeKeys = []struct{ name, algorithm, bits string }{
	{"p256", "ECDSA_SHA_256", ""},
	{"p384", "ECDSA_SHA_384", ""},
	{"pkcs1", "RSA_PKCS1_SHA_256", "2048"},
	{"pss", "RSA_PSS_SHA_256", "2048"},
}

func newExchange(t *testing.T, reg *registrytest.Server) *exchange {
	t.Helper()
	x := &exchange{court: &court{reg: reg, dir: t.TempDir(), ours: sealwright(t), images: map[string]v1.Hash{}}}
	env := append(x.ours.env, "COSIGN_PASSWORD="+password)
	x.legacy = program{path: tool(t, "COSIGN2"), env: env}
	x.cosign = program{path: tool(t, "COSIGN3"), env: env}
	x.notary = program{path: tool(t, "NOTATION"), env: x.ours.env}
	x.roots, x.strangers = newIssuer(t, x.dir, "roots"), newIssuer(t, x.dir, "strangers")
	x.tsaRoot = newIssuer(t, x.dir, "clocks")
	x.tsa, x.tsaChain = startTSA(t, x.tsaRoot)
	for _, k := range exchangeKeys {
		args := []string{"key", "generate", "--algorithm", k.algorithm, "--out", filepath.Join(x.dir, k.name)}
		if k.bits != "" {
			args = append(args, "--bits", k.bits)
		}
		x.ours.run(t, args...).accepted(t)
		x.roots.certifyFile(t, x.dir, k.name)
	}
	x.makeKey(t, courtKey{"stranger", "ECDSA_SHA_256", "cosign 3"})
	x.makeKey(t, courtKey{"notary", "ECDSA_SHA_256", "sealwright"})
	x.strangers.certifyFile(t, x.dir, "notary")
	return x
}

// An exchangePolicy is a policy, which covers the namespace of its name.
type exchangePolicy struct{ name, key, formats, more string }

// stamped is what a policy says to have timestamps.
func (x *exchange) stamped() string {
	return fmt.Sprintf(", timestamp: {url: %q, ca: %s}", x.tsa, x.tsaRoot.file)
}

// policies of the exchange: one format each, so that who accepts an image
// accepts that format.
func (x *exchange) policies() []exchangePolicy {
	stamped := x.stamped()
	return []exchangePolicy{
		{"p256-bundle", "p256", "bundle", ""},
		{"p384-bundle", "p384", "bundle", ""},
		{"pkcs1-bundle", "pkcs1", "bundle", ""},
		{"pss-bundle", "pss", "bundle", ""},
		{"p256-jws", "p256", "notation-jws", ""},
		{"p384-jws", "p384", "notation-jws", ""},
		{"pss-jws", "pss", "notation-jws", ""},
		{"p256-cose", "p256", "notation-cose", ""},
		{"p384-cose", "p384", "notation-cose", ""},
		{"pss-cose", "pss", "notation-cose", ""},
		{"stamped-bundle", "p256", "bundle", stamped},
		{"stamped-jws", "p256", "notation-jws", stamped},
		{"stamped-cose", "p256", "notation-cose", stamped},
		{"all", "p256", "cosign, bundle, notation-jws, notation-cose", stamped},
	}
}

func (x *exchange) configure(t *testing.T, policies []exchangePolicy) {
	t.Helper()
	var y strings.Builder
	fmt.Fprintf(&y, "registries: [{name: court, host: %q, insecure: true, limits: {requests_per_second: 500}}]\nkeys:\n", x.reg.Host)
	for _, k := range exchangeKeys {
		fmt.Fprintf(&y, "  - {name: %s, uri: \"file:%s\", algorithm: %s, certificate_chain: %s}\n",
			k.name, x.key(k.name), k.algorithm, filepath.Join(x.dir, k.name+"-chain.pem"))
	}
	fmt.Fprintln(&y, "policies:")
	for _, p := range policies {
		fmt.Fprintf(&y, "  - {name: %[1]s, registry: court, namespace: %[1]s, trigger: {type: manual}, "+
			"scope: [{repositories: \"**\", tags: \"v*\"}], key: %[2]s, formats: [%[3]s]%[4]s}\n", p.name, p.key, p.formats, p.more)
	}
	fmt.Fprintf(&y, "state: %s\n", mkdir(t, x.dir, "state"))
	writeFile(t, x.dir, "sealwright.yaml", y.String(), 0o600)
}

// judge signs, lets the others judge, and judges them.
func (x *exchange) judge(t *testing.T) {
	policies := x.policies()
	x.configure(t, policies)
	want, again := map[string]map[string]int{}, map[string]map[string]int{}
	for _, p := range policies {
		x.push(t, p.name+"/app")
		want[p.name], again[p.name] = map[string]int{"signed": 1}, map[string]int{"already_signed": 1}
	}
	x.push(t, "uncovered/app")
	for _, name := range []string{"p256-bundle", "p256-jws", "all"} {
		x.push(t, name+"/after")
		x.signByAll(t, name+"/after")
		want[name]["signed"], again[name]["already_signed"] = 2, 2
	}
	if diff := cmp.Diff(want, x.fire(t)); diff != "" {
		t.Fatalf("first run (-want +got):\n%s", diff)
	}
	t.Run("bundle", x.judgeBundles)
	t.Run("notation", x.judgeEnvelopes)
	t.Run("timestamps", x.judgeTimestamps)
	t.Run("sealwright", x.judgeByUs)
	t.Run("beside each other", x.judgeBeside)
	if diff := cmp.Diff(again, x.fire(t)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
	t.Run("a timestamp later", x.judgeLaterTimestamp)
}

// judgeLaterTimestamp edits policies so that they want a timestamp: what has
// none does not count any more.
func (x *exchange) judgeLaterTimestamp(t *testing.T) {
	var edited []exchangePolicy
	want := map[string]map[string]int{}
	for _, p := range x.policies() {
		if p.key == "p256" && p.more == "" {
			p.more = x.stamped()
			edited = append(edited, p)
			want[p.name] = map[string]int{"signed": 1}
		}
	}
	want["p256-bundle"]["signed"], want["p256-jws"]["signed"] = 2, 2
	x.configure(t, edited)
	if diff := cmp.Diff(want, x.fire(t)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	right, _ := x.trustedClocks(t)
	x.verify(t, x.cosign, "p256", "p256-bundle/app", right...).accepted(t)
	for _, format := range []string{"jws", "cose"} {
		x.verifyEnvelope(t, trust{x.roots, x.tsaRoot}, "p256-"+format+"/app").accepted(t)
	}
}

// signByAll lets the strangers sign: cosign in both its formats, notation in
// both of its.
func (x *exchange) signByAll(t *testing.T, repository string) {
	t.Helper()
	x.sign(t, x.legacy, "stranger", repository)
	x.signBundle(t, "stranger", repository)
	x.signEnvelope(t, "jws", repository)
	x.signEnvelope(t, "cose", repository)
}

func (x *exchange) signBundle(t *testing.T, key, repository string) {
	t.Helper()
	x.cosign.run(t, "sign", "--key", x.key(key), "--tlog-upload=false", "--use-signing-config=false",
		"--allow-insecure-registry", "--yes", x.image(repository)).accepted(t)
}

// signEnvelope lets notation sign by its own key, where it would by default
// write a fallback index also where nobody needs it.
func (x *exchange) signEnvelope(t *testing.T, format, repository string) {
	t.Helper()
	home := t.TempDir()
	writeFile(t, mkdir(t, home, "notation"), "signingkeys.json", fmt.Sprintf(`{"default": "notary", "keys": [{"name": "notary", "keyPath": %q, "certPath": %q}]}`,
		x.key("notary"), filepath.Join(x.dir, "notary-chain.pem")), 0o600)
	x.notation(home).run(t, "sign", "--insecure-registry", "--force-referrers-tag=false", "--signature-format", format, x.image(repository)).accepted(t)
}

// notation is the program with its configuration in home.
func (x *exchange) notation(home string) program {
	p := x.notary
	p.env = append(append([]string{}, p.env...), "XDG_CONFIG_HOME="+home)
	return p
}

// A trust is what notation trusts. Without a clock it wants no timestamp.
type trust struct{ roots, clocks *issuer }

// verifyEnvelope lets notation judge an image under a strict policy.
func (x *exchange) verifyEnvelope(t *testing.T, trusted trust, repository string) outcome {
	t.Helper()
	home := t.TempDir()
	copyFile(t, trusted.roots.file, mkdir(t, home, "notation/truststore/x509/ca/court"), "roots.pem", 0o600)
	stores, verification := `"ca:court"`, `"level": "strict"`
	if trusted.clocks != nil {
		copyFile(t, trusted.clocks.file, mkdir(t, home, "notation/truststore/x509/tsa/clocks"), "clocks.pem", 0o600)
		stores, verification = stores+`, "tsa:clocks"`, verification+`, "verifyTimestamp": "always"`
	}
	writeFile(t, filepath.Join(home, "notation"), "trustpolicy.json", fmt.Sprintf(`{"version": "1.0", "trustPolicies": [{"name": "court", "registryScopes": ["*"],
		"signatureVerification": {%s}, "trustStores": [%s], "trustedIdentities": ["*"]}]}`, verification, stores), 0o600)
	return x.notation(home).run(t, "verify", "--verbose", "--insecure-registry", x.image(repository))
}

// judgeBundles lets both cosigns judge our bundles.
func (x *exchange) judgeBundles(t *testing.T) {
	legacy := append([]string{"--new-bundle-format"}, x.trustNobody(t)...)
	sha384 := []string{"--signature-digest-algorithm=sha384"}
	for _, test := range []struct {
		name          string
		cosign        program
		key           string
		args          []string
		wrong, refuse string
	}{
		{name: "P-256, cosign 3", cosign: x.cosign, key: "p256"},
		{name: "P-256, cosign 2", cosign: x.legacy, key: "p256", args: legacy},
		{name: "RSA PKCS#1, cosign 3", cosign: x.cosign, key: "pkcs1"},
		{name: "RSA PKCS#1, cosign 2", cosign: x.legacy, key: "pkcs1", args: legacy},
		{name: "P-384, cosign 3", cosign: x.cosign, key: "p384", args: sha384},
		{name: "P-384, cosign 3 without its digest", cosign: x.cosign, key: "p384", refuse: "no matching"},
		{name: "P-384, cosign 2", cosign: x.legacy, key: "p384", args: append(sha384, legacy...)},
		{name: "RSA-PSS, cosign 3", cosign: x.cosign, key: "pss", refuse: "no matching"},
		{name: "RSA-PSS, cosign 2", cosign: x.legacy, key: "pss", args: legacy, refuse: "no matching"},
	} {
		t.Run(test.name, func(t *testing.T) {
			repository := test.key + "-bundle/app"
			if test.refuse != "" {
				x.verify(t, test.cosign, test.key, repository, test.args...).refused(t, test.refuse)
				return
			}
			x.verify(t, test.cosign, test.key, repository, test.args...).accepted(t)
			x.verify(t, test.cosign, "stranger", repository, test.args...).refused(t, "no matching")
		})
	}
	x.verify(t, x.cosign, "p256", "uncovered/app").refused(t, "no signatures found")
}

// trustNobody are the options for a trusted root that trusts nobody, without
// which cosign 2 asks sigstore's servers for theirs as soon as it sees a bundle.
func (x *exchange) trustNobody(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(x.dir, "nobody.json")
	x.cosign.run(t, "trusted-root", "create", "--out", path).accepted(t)
	return []string{"--trusted-root", path}
}

// judgeEnvelopes lets notation judge ours.
func (x *exchange) judgeEnvelopes(t *testing.T) {
	for _, repository := range []string{"p256-jws/app", "p384-jws/app", "pss-jws/app", "p256-cose/app", "p384-cose/app", "pss-cose/app", "all/app"} {
		t.Run(repository, func(t *testing.T) {
			x.verifyEnvelope(t, trust{roots: x.roots}, repository).accepted(t)
			x.verifyEnvelope(t, trust{roots: x.strangers}, repository).refused(t, "does not contain any trusted certificate")
		})
	}
	x.verifyEnvelope(t, trust{roots: x.roots}, "uncovered/app").refused(t, "no signature is associated")
}

// judgeTimestamps lets them want a timestamp by an authority they trust.
func (x *exchange) judgeTimestamps(t *testing.T) {
	right, wrong := x.trustedClocks(t)
	x.cosigns(t, func(t *testing.T, cosign program) {
		var bundle []string
		if cosign.path == x.legacy.path {
			bundle = []string{"--new-bundle-format"}
		}
		x.verify(t, cosign, "p256", "stamped-bundle/app", append(bundle, right...)...).accepted(t)
		x.verify(t, cosign, "p256", "stamped-bundle/app", append(bundle, wrong...)...).refused(t, "unable to verify signed timestamps")
		x.verify(t, cosign, "p256", "p256-bundle/app", append(bundle, right...)...).refused(t, "threshold not met for verified signed timestamps")
	})
	for _, format := range []string{"jws", "cose"} {
		t.Run("notation "+format, func(t *testing.T) {
			x.verifyEnvelope(t, trust{x.roots, x.tsaRoot}, "stamped-"+format+"/app").accepted(t)
			x.verifyEnvelope(t, trust{x.roots, x.strangers}, "stamped-"+format+"/app").refused(t, "failed to verify the timestamp countersignature")
			x.verifyEnvelope(t, trust{x.roots, x.tsaRoot}, "p256-"+format+"/app").refused(t, "no timestamp countersignature was found")
		})
	}
}

// trustedClocks are cosign's options to want timestamps by the authority that
// we asked, or by another.
func (x *exchange) trustedClocks(t *testing.T) (right, wrong []string) {
	t.Helper()
	options := func(name, chain string) []string {
		path := filepath.Join(x.dir, name+".json")
		x.cosign.run(t, "trusted-root", "create", "--tsa", "url="+x.tsa+",certificate-chain="+chain, "--out", path).accepted(t)
		return []string{"--use-signed-timestamps", "--trusted-root", path}
	}
	_, other := startTSA(t, x.strangers)
	return options("clock", x.tsaChain), options("other-clock", other)
}

// judgeByUs judges both, ours and theirs.
func (x *exchange) judgeByUs(t *testing.T) {
	for repository, want := range map[string][2]string{
		"p256-bundle/app": {"p256", "bundle"}, "p384-bundle/app": {"p384", "bundle"},
		"pkcs1-bundle/app": {"pkcs1", "bundle"}, "pss-bundle/app": {"pss", "bundle"},
		"p384-jws/app": {"p384", "notation-jws"}, "pss-cose/app": {"pss", "notation-cose"},
		"stamped-bundle/app": {"p256", "bundle"}, "all/app": {"p256", "cosign"},
	} {
		t.Run(repository, func(t *testing.T) {
			if out := x.verifyOurs(t, want[0], repository).accepted(t); !strings.HasSuffix(out, "  "+want[1]+"\n") {
				t.Errorf("want format %s last:\n%s", want[1], out)
			}
			x.verifyOurs(t, "notary", repository, "--no-identity").refused(t, "no signature that the key verifies")
		})
	}
	for format, key := range map[string]string{"bundle": "stranger", "jws": "notary", "cose": "notary"} {
		t.Run("theirs "+format, func(t *testing.T) {
			repository := "uncovered/" + format
			x.push(t, repository)
			if format == "bundle" {
				x.signBundle(t, key, repository)
			} else {
				x.signEnvelope(t, format, repository)
			}
			if out := x.verifyOurs(t, key, repository, "--no-identity").accepted(t); !strings.HasSuffix(out, format+"\n") {
				t.Errorf("want format %s last:\n%s", format, out)
			}
			x.verifyOurs(t, key, repository).refused(t, "signed by the key, but for no repository by name (see --no-identity)")
			x.verifyOurs(t, "p256", repository, "--no-identity").refused(t, "no signature that the key verifies")
		})
	}
}

// judgeBeside looks for signatures that went lost when another was added.
func (x *exchange) judgeBeside(t *testing.T) {
	t.Run("ours after theirs", func(t *testing.T) { x.allStand(t, "all/after") })
	t.Run("theirs after ours", func(t *testing.T) {
		x.signByAll(t, "all/app")
		x.allStand(t, "all/app")
	})
	t.Run("bundle after theirs", func(t *testing.T) {
		x.verify(t, x.cosign, "p256", "p256-bundle/after").accepted(t)
		x.verify(t, x.cosign, "stranger", "p256-bundle/after").accepted(t)
		x.verifyEnvelope(t, trust{roots: x.strangers}, "p256-bundle/after").accepted(t)
		x.verifyEnvelope(t, trust{roots: x.roots}, "p256-bundle/after").refused(t, "does not contain any trusted certificate")
	})
	t.Run("envelope after theirs", func(t *testing.T) {
		x.verify(t, x.cosign, "stranger", "p256-jws/after").accepted(t)
		x.verifyEnvelope(t, trust{roots: x.strangers}, "p256-jws/after").accepted(t)
		x.verifyEnvelope(t, trust{roots: x.roots}, "p256-jws/after").accepted(t)
	})
}

// allStand fails the test unless everybody's signatures in all formats are
// there and accepted.
func (x *exchange) allStand(t *testing.T, repository string) {
	t.Helper()
	nobody := x.trustNobody(t)
	for _, key := range []string{"p256", "stranger"} {
		x.verify(t, x.legacy, key, repository, nobody...).accepted(t)
		x.verify(t, x.cosign, key, repository).accepted(t)
		x.verify(t, x.cosign, key, repository, oldFormat).accepted(t)
		x.verifyOurs(t, key, repository, "--no-identity").accepted(t)
	}
	for _, trusted := range []trust{{roots: x.roots}, {roots: x.strangers}} {
		x.verifyEnvelope(t, trusted, repository).accepted(t)
	}
	if n := x.reg.Signatures(t, repository, x.images[repository]); n != 2 {
		t.Errorf("%d cosign signatures, want 2", n)
	}
	want := map[string]int{"application/vnd.dev.sigstore.bundle.v0.3+json": 2, "application/vnd.cncf.notary.signature": 4}
	if diff := cmp.Diff(want, x.referrers(t, repository)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
}

// referrers counts what refers to an image, by artifact type, as crane's
// library sees it.
func (x *exchange) referrers(t *testing.T, repository string) map[string]int {
	t.Helper()
	ref, err := name.NewDigest(x.image(repository), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, m := range manifest.Manifests {
		found[m.ArtifactType]++
	}
	return found
}
