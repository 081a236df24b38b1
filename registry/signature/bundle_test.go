package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// bundleAlgorithms are those of the keys that tests make.
var bundleAlgorithms = []policy.Algorithm{
	policy.ECDSASHA256, policy.ECDSASHA384, policy.RSAPKCS1SHA256, policy.RSAPSSSHA512,
}

// anyHalf is publicHalf that also knows PKCS #1 v1.5, of which bundles, unlike
// Notary Project signatures, can be made.
type anyHalf struct{ publicHalf }

func (h anyHalf) Verify(message, signature []byte) error {
	if h.alg.Family() == policy.RSAPKCS1 {
		return rsa.VerifyPKCS1v15(h.key.(*rsa.PublicKey), h.alg.Hash(), digestOf(h.alg, message), signature)
	}
	return h.publicHalf.Verify(message, signature)
}

// bundleKey makes a key.
func bundleKey(t testing.TB, algorithm policy.Algorithm) Key {
	t.Helper()
	var private crypto.Signer
	switch algorithm {
	case policy.ECDSASHA256:
		private = curveKey(t, elliptic.P256())
	case policy.ECDSASHA384:
		private = curveKey(t, elliptic.P384())
	default:
		private = rsaKey(t, 2048)
	}
	k := newNotary(t, private, algorithm).Key
	k.Verifier = anyHalf{k.Verifier.(publicHalf)}
	return k
}

// bundleImage is an image that is nowhere, as far as bundles need it.
func bundleImage(n int) Subject {
	s := image(n)
	s.MediaType, s.Size = ociManifest, int64(400+n)
	return s
}

// mustSign signs and attaches.
func mustSign(t testing.TB, i *Image, f policy.Format, k Key) (Signature, Attached) {
	t.Helper()
	base, err := i.Look(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := i.Sign(t.Context(), f, k)
	if err != nil {
		t.Fatal(err)
	}
	done, err := i.Attach(t.Context(), f, base, sig, k)
	if err != nil {
		t.Fatal(err)
	}
	return sig, done
}

// mustLook looks for bundles.
func mustLook(t testing.TB, l *Layouts, s Subject, k Key) Look {
	t.Helper()
	look, err := l.Image(s, Witnesses{}).Look(t.Context(), policy.FormatBundle, k)
	if err != nil {
		t.Fatal(err)
	}
	return look
}

// api is a referrers API in front of a registry that has none.
type api struct {
	inner http.Handler
	mu    sync.Mutex
	lists map[string][]map[string]any // :: subject → descriptors
}

func withAPI(inner http.Handler) http.Handler {
	return &api{inner: inner, lists: map[string][]map[string]any{}}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, subject, ok := strings.Cut(r.URL.Path, "/referrers/"); ok {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
			"manifests": append([]map[string]any{}, a.lists[subject]...),
		})
		return
	}
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.note(w, body)
	}
	a.inner.ServeHTTP(w, r)
}

func (a *api) note(w http.ResponseWriter, body []byte) {
	var m struct {
		MediaType, ArtifactType string
		Subject                 *struct{ Digest string }
		Annotations             map[string]string
	}
	if json.Unmarshal(body, &m) != nil || m.Subject == nil {
		return
	}
	a.lists[m.Subject.Digest] = append(a.lists[m.Subject.Digest], map[string]any{
		"mediaType": m.MediaType, "digest": hash(body).String(), "size": len(body),
		"artifactType": m.ArtifactType, "annotations": m.Annotations,
	})
	w.Header().Set("OCI-Subject", m.Subject.Digest)
}

// registries are those that bundles are kept in.
var registries = map[string]func(testing.TB) *registrytest.Server{
	"distribution": registrytest.Distribution,
	"memory":       registrytest.Memory,
	"with referrers API": func(t testing.TB) *registrytest.Server {
		s := registrytest.Memory(t)
		s.Intercept(withAPI)
		return s
	},
}

// openRegistry returns a client of a server.
func openRegistry(t testing.TB, s *registrytest.Server) registry.Registry {
	t.Helper()
	r, err := registry.Open(registry.Config{
		Name: "test", Host: s.Host, Kind: registry.KindGeneric, Insecure: true,
		Limits: registry.Limits{RequestsPerSecond: 1e6, Concurrency: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := r.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return r
}

// pushed returns a new image of a server.
func pushedImage(t testing.TB, s *registrytest.Server, st registry.Store, repository string) Subject {
	t.Helper()
	digest := s.Push(t, repository+":", registrytest.Image(t))
	d, err := st.Resolve(t.Context(), repository, digest.String())
	if err != nil {
		t.Fatal(err)
	}
	return Subject{
		Repository: repository, Digest: digest, MediaType: d.MediaType, Size: d.Size,
		Identity: "registry.example.com/" + repository,
	}
}

func TestBundleRoundTrip(t *testing.T) {
	for name, start := range registries {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			st := openRegistry(t, server)
			l := NewLayouts(st)
			stranger := bundleKey(t, policy.ECDSASHA256)
			s := pushedImage(t, server, st, "library/app")
			for _, algorithm := range bundleAlgorithms {
				k := bundleKey(t, algorithm)
				if look := mustLook(t, l, s, k); look.Signed || look.Ours > 0 {
					t.Fatalf("%s: signed before: %+v", algorithm, look)
				}
				sig, done := mustSign(t, l.Image(s, Witnesses{}), policy.FormatBundle, k)
				if string(done.Signature) != string(sig.Raw) || done.Rounds != 1 || sig.Timestamped {
					t.Errorf("%s: attached %+v of %+v", algorithm, done, sig)
				}
				look := mustLook(t, l, s, k)
				if !look.Signed || look.Ours != 1 || string(look.Signature) != string(sig.Raw) || look.Manifest.Digest != done.Manifest {
					t.Errorf("%s: signed %t, ours %d, manifest %s", algorithm, look.Signed, look.Ours, look.Manifest.Digest)
				}
				found, err := l.Image(s, Witnesses{}).Check(t.Context(), []Key{stranger, k})
				want := []Verified{{Format: policy.FormatBundle, Identity: s.Identity, Verifier: 1, Signature: sig.Raw}}
				if diff := cmp.Diff(want, found); diff != "" || err != nil {
					t.Errorf("%s: Check, %v (-want +got):\n%s", algorithm, err, diff)
				}
				if look := mustLook(t, l, s, stranger); look.Signed || look.Ours != 0 {
					t.Errorf("%s: signed by a stranger: %+v", algorithm, look)
				}
				renamed := s
				renamed.Identity = "registry.example.com/library/other"
				if look := mustLook(t, l, renamed, k); look.Signed || !strings.Contains(strings.Join(look.Reasons, "\n"), s.Identity) {
					t.Errorf("%s: signed under another name: %+v", algorithm, look)
				}
			}
		})
	}
}

// TestBundleOfAnIndex: what is signed need not be an image.
func TestBundleOfAnIndex(t *testing.T) {
	server := registrytest.Distribution(t)
	st := openRegistry(t, server)
	digest := server.Push(t, "app:v1", registrytest.Index(t, registrytest.Image(t)))
	d, err := st.Resolve(t.Context(), "app", "v1")
	if err != nil {
		t.Fatal(err)
	}
	s := Subject{Repository: "app", Digest: digest, MediaType: d.MediaType, Size: d.Size, Identity: "a.example/app"}
	k, l := bundleKey(t, policy.ECDSASHA256), NewLayouts(st)
	_, done := mustSign(t, l.Image(s, Witnesses{}), policy.FormatBundle, k)
	m, err := st.Manifest(t.Context(), "app", done.Manifest.String())
	if err != nil {
		t.Fatal(err)
	}
	var got v1.Manifest
	if err := json.Unmarshal(m.Raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Subject == nil || got.Subject.Digest != digest || got.Subject.Size != d.Size || string(got.Subject.MediaType) != d.MediaType {
		t.Errorf("subject %+v, want %+v", got.Subject, d)
	}
}

func TestBundleCosts(t *testing.T) {
	for name, want := range map[string]struct{ sign, look, unsigned map[string]int }{
		"with referrers API": {
			sign:     map[string]int{"POST": 1, "PUT": 2, "GET": 2},
			look:     map[string]int{"GET": 3},
			unsigned: map[string]int{"GET": 1},
		},
		"distribution": {
			sign:     map[string]int{"POST": 1, "PUT": 3, "GET": 4},
			look:     map[string]int{"GET": 3},
			unsigned: map[string]int{"GET": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := registries[name](t)
			st := openRegistry(t, server)
			l, k := NewLayouts(st), bundleKey(t, policy.ECDSASHA256)
			cost := func(what string, want map[string]int, do func()) {
				t.Helper()
				server.Reset()
				do()
				if diff := cmp.Diff(want, server.Requests()); diff != "" {
					t.Errorf("%s (-want +got):\n%s\n%s", what, diff, strings.Join(server.Log(), "\n"))
				}
			}
			mustSign(t, l.Image(pushedImage(t, server, st, "app"), Witnesses{}), policy.FormatBundle, k)
			s := pushedImage(t, server, st, "app")
			i := l.Image(s, Witnesses{})
			var base Look
			cost("look at nothing", want.unsigned, func() {
				var err error
				if base, err = i.Look(t.Context(), policy.FormatBundle, k); err != nil || base.Signed {
					t.Fatal(base, err)
				}
			})
			cost("sign", map[string]int{}, func() {
				if _, err := i.Sign(t.Context(), policy.FormatBundle, k); err != nil {
					t.Fatal(err)
				}
			})
			sig, err := i.Sign(t.Context(), policy.FormatBundle, k)
			if err != nil {
				t.Fatal(err)
			}
			cost("attach", want.sign, func() {
				if _, err := i.Attach(t.Context(), policy.FormatBundle, base, sig, k); err != nil {
					t.Fatal(err)
				}
			})
			for range 3 {
				mustSign(t, l.Image(s, Witnesses{}), policy.FormatBundle, bundleKey(t, policy.ECDSASHA256))
			}
			cost("look at ours among others", want.look, func() {
				if look := mustLook(t, l, s, k); !look.Signed || look.Others != 3 {
					t.Fatal(look)
				}
			})
		})
	}
}

// TestReferrersAreListedOnce however many formats look at them.
func TestReferrersAreListedOnce(t *testing.T) {
	server := registries["with referrers API"](t)
	st := openRegistry(t, server)
	l, k := NewLayouts(st), bundleKey(t, policy.ECDSASHA256)
	s := pushedImage(t, server, st, "app")
	mustSign(t, l.Image(s, Witnesses{}), policy.FormatBundle, k)
	server.Reset()
	i := l.Image(s, Witnesses{})
	for range 2 {
		if look, err := i.Look(t.Context(), policy.FormatBundle, k); err != nil || !look.Signed {
			t.Fatal(look, err)
		}
	}
	if _, err := i.Check(t.Context(), []Key{k}); err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, line := range server.Log() {
		if strings.Contains(line, "/referrers/") {
			lists++
		}
	}
	if lists != 1 {
		t.Errorf("listed %d times:\n%s", lists, strings.Join(server.Log(), "\n"))
	}
}

// recordedBundles are what cosign wrote into real registries: the last by
// v2.6.5, which has no predicate, the others by v3.
var recordedBundles = []struct {
	file, digest string
	size         int64
}{
	{"distribution-library-svc0003", "9c75da5131cb3dedab089c47cdf02c4abe345a8958d7e64bbc5dedb23ea82fe2", 402},
	{"zot-prod-svc0000", "b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502", 402},
	{"zot-staging-svc0001", "6cbe7a9abe28ad7cd595b05de4135a9b7b8bec1558d384e89094061eba992e11", 402},
}

func readRecordedBundle(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := fs.ReadFile(os.DirFS("testdata/bundle"), name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// recordedKey is the key that made the recorded bundles.
func recordedKey(t testing.TB) Key {
	t.Helper()
	block, rest := pem.Decode(readRecordedBundle(t, "recorded.pub"))
	if len(rest) > 0 {
		t.Fatal("recorded.pub is not one PEM block")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Verifier: publicHalf{k, policy.ECDSASHA256}, Algorithm: policy.ECDSASHA256, PublicKey: block.Bytes}
}

// TestCosignsBundles: cosign's bundles are its key's signatures over the
// digest, of no particular repository.
func TestCosignsBundles(t *testing.T) {
	k := recordedKey(t)
	for _, r := range recordedBundles {
		t.Run(r.file, func(t *testing.T) {
			st := lenient{newMemory()}
			l := NewLayouts(st)
			s := bundleImage(1)
			s.Digest = v1.Hash{Algorithm: "sha256", Hex: r.digest}
			content := readRecordedBundle(t, r.file+".bundle.json")
			st.foreignBlob(s.Repository, content)
			refer(t, st, s, readRecordedBundle(t, r.file+".manifest.json"))

			b, err := parseBundle(content)
			if err != nil {
				t.Fatal(err)
			}
			found, err := l.Image(s, Witnesses{}).Check(t.Context(), []Key{bundleKey(t, policy.ECDSASHA256), k})
			want := []Verified{{Format: policy.FormatBundle, Verifier: 1, Signature: b.sig}}
			if diff := cmp.Diff(want, found); diff != "" || err != nil {
				t.Errorf("Check, %v (-want +got):\n%s", err, diff)
			}
			look := mustLook(t, l, s, k)
			if look.Signed || look.Others != 1 || !strings.Contains(look.Reasons[0], "does not say which repository") {
				t.Errorf("Look = %+v", look)
			}
			if hint := fmt.Sprintf(`"hint":%q`, keyHint(k.PublicKey)); !strings.Contains(string(content), hint) {
				t.Errorf("%s is not in %s", hint, content)
			}
		})
	}
}

// TestBundleIsCosigns: what we write differs from what cosign wrote only in what
// we mean to add.
func TestBundleIsCosigns(t *testing.T) {
	k := recordedKey(t)
	r := recordedBundles[0]
	theirs := readRecordedBundle(t, r.file+".bundle.json")
	b, err := parseBundle(theirs)
	if err != nil {
		t.Fatal(err)
	}
	s := Subject{Digest: v1.Hash{Algorithm: "sha256", Hex: r.digest}, MediaType: ociManifest, Size: r.size, Identity: "a.example/b"}

	var ours, want map[string]any
	if err := errors.Join(json.Unmarshal(newStatement(s), &ours), json.Unmarshal(payloadOf(t, theirs), &want)); err != nil {
		t.Fatal(err)
	}
	subject := want["subject"].([]any)[0].(map[string]any)
	subject["name"] = s.Identity
	delete(subject, "annotations")
	if diff := cmp.Diff(want, ours); diff != "" {
		t.Errorf("statement (-want +got):\n%s", diff)
	}

	content, err := newBundle(keyHint(k.PublicKey), newEnvelope(payloadOf(t, theirs), b.sig), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.NewReplacer(`, "`, `,"`).Replace(string(theirs)); string(content) != want {
		t.Errorf("bundle\n%s\nwant\n%s", content, want)
	}

	made := time.Date(2026, 11, 22, 2, 8, 16, 0, time.UTC)
	c := newBundleCarrier(theirs, keyHint(k.PublicKey), made)
	delete(c.annotations, annotationKey)
	raw, err := c.compose(s)
	if err != nil {
		t.Fatal(err)
	}
	if want := readRecordedBundle(t, r.file+".manifest.json"); string(raw) != string(want) {
		t.Errorf("manifest\n%s\nwant\n%s", raw, want)
	}
}

// payloadOf returns what a bundle signs.
func payloadOf(t testing.TB, content []byte) []byte {
	t.Helper()
	var b struct {
		DSSEEnvelope struct{ Payload []byte }
	}
	if err := json.Unmarshal(content, &b); err != nil {
		t.Fatal(err)
	}
	return b.DSSEEnvelope.Payload
}

// TestBundleIsNotMade before the key would be used in vain.
func TestBundleIsNotMade(t *testing.T) {
	good, s := bundleKey(t, policy.ECDSASHA256), bundleImage(1)
	for _, test := range []struct {
		name    string
		change  func(*Subject, *Key)
		reason  string
		looking bool // a look cannot be had either
	}{
		{"SM2", func(_ *Subject, k *Key) { k.Algorithm = policy.SM2SM3 }, "SM2", true},
		{"another digest", func(s *Subject, _ *Key) { s.Digest.Algorithm = "sha512" }, "sha512", true},
		{"no size", func(s *Subject, _ *Key) { s.Size = 0 }, "media type and size", false},
		{"no media type", func(s *Subject, _ *Key) { s.MediaType = "" }, "media type and size", false},
		{"no identity", func(s *Subject, _ *Key) { s.Identity = "" }, "identity", false},
		{"no public key", func(_ *Subject, k *Key) { k.PublicKey = nil }, "no public half", false},
		{"cannot sign", func(_ *Subject, k *Key) { k.Sign = nil }, "cannot sign", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, k, used := s, good, false
			k.Sign = func(context.Context, []byte) ([]byte, error) { used = true; return nil, nil }
			test.change(&s, &k)
			i := NewLayouts(lenient{newMemory()}).Image(s, Witnesses{})
			if _, err := i.Sign(t.Context(), policy.FormatBundle, k); err == nil || !strings.Contains(err.Error(), test.reason) || used {
				t.Errorf("Sign: %v, key used %t", err, used)
			}
			_, err := i.Look(t.Context(), policy.FormatBundle, k)
			if errors.Is(err, registry.ErrUnsupported) != test.looking || err != nil != test.looking {
				t.Errorf("Look: %v", err)
			}
		})
	}
}

// TestBundleByAnotherKey is not returned: the key does not sign what it should.
func TestBundleByAnotherKey(t *testing.T) {
	k, other := bundleKey(t, policy.ECDSASHA256), bundleKey(t, policy.ECDSASHA256)
	i := NewLayouts(lenient{newMemory()}).Image(bundleImage(1), Witnesses{})
	mixed := k
	mixed.Sign = other.Sign
	if sig, err := i.Sign(t.Context(), policy.FormatBundle, mixed); err == nil {
		t.Errorf("Sign = %+v", sig)
	}
	broken := errors.New("the HSM is on fire")
	mixed.Sign = func(context.Context, []byte) ([]byte, error) { return nil, broken }
	if _, err := i.Sign(t.Context(), policy.FormatBundle, mixed); !errors.Is(err, broken) {
		t.Errorf("Sign: %v", err)
	}
	sig, err := i.Sign(t.Context(), policy.FormatBundle, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Attach(t.Context(), policy.FormatBundle, Look{}, sig, k); err == nil || !strings.Contains(err.Error(), "not by the key") {
		t.Errorf("Attach: %v", err)
	}
}
