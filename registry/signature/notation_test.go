package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	notation "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	nregistry "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// pushedNotationImage is an image in a registry, and a client of it.
func pushedNotationImage(t *testing.T, s *registrytest.Server) (*registry.Client, Subject) {
	t.Helper()
	client, err := registry.NewClient(registry.Config{Name: "test", Host: s.Host, Kind: registry.KindGeneric, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Push(t, "library/app:v1", registrytest.Image(t))
	d, err := client.Resolve(t.Context(), "library/app", "v1")
	if err != nil {
		t.Fatal(err)
	}
	return client, Subject{
		Repository: "library/app", Digest: d.Digest, MediaType: d.MediaType, Size: d.Size,
		Identity: "registry.example.com/library/app",
	}
}

// notationVerify is "notation verify" with a strict policy that trusts ca, and
// tsa for timestamps. It must find user metadata that names the identity.
func notationVerify(t *testing.T, host string, s Subject, ca, tsa *x509.Certificate) error {
	t.Helper()
	config := t.TempDir()
	stores := []string{"ca:test"}
	trust := func(store string, cert *x509.Certificate) {
		at := filepath.Join(config, "truststore", "x509", store, "test")
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(filepath.Join(at, "root.crt"), block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust("ca", ca)
	if tsa != nil {
		trust("tsa", tsa)
		stores = append(stores, "tsa:test")
	}
	v, err := verifier.New(&trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "test", RegistryScopes: []string{"*"}, TrustStores: stores,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
		TrustedIdentities:     []string{"x509.subject: C=US, ST=WA, O=Test, CN=signer"},
	}}}, truststore.NewX509TrustStore(dir.NewSysFS(config)), nil)
	if err != nil {
		t.Fatal(err)
	}
	repository, err := remote.NewRepository(host + "/" + s.Repository)
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = true
	_, _, err = notation.Verify(t.Context(), v, nregistry.NewRepository(repository), notation.VerifyOptions{
		ArtifactReference:    host + "/" + s.Repository + "@" + s.Digest.String(),
		MaxSignatureAttempts: 10,
		UserMetadata:         map[string]string{annotationIdentity: s.Identity},
	})
	return err
}

func TestNotationRoundTrip(t *testing.T) {
	ca, stranger := newIssuer(t, "root"), newIssuer(t, "root")
	keys := []struct {
		name    string
		private func(testing.TB) crypto.Signer
		alg     policy.Algorithm
	}{
		{"P-256", func(t testing.TB) crypto.Signer { return curveKey(t, elliptic.P256()) }, policy.ECDSASHA256},
		{"P-384", func(t testing.TB) crypto.Signer { return curveKey(t, elliptic.P384()) }, policy.ECDSASHA384},
		{"RSA-2048", func(t testing.TB) crypto.Signer { return rsaKey(t, 2048) }, policy.RSAPSSSHA256},
		{"RSA-3072", func(t testing.TB) crypto.Signer { return rsaKey(t, 3072) }, policy.RSAPSSSHA384},
	}
	servers := map[string]func(testing.TB) *registrytest.Server{"distribution": registrytest.Distribution, "memory": registrytest.Memory}
	for _, key := range keys {
		k := newNotary(t, key.private(t), key.alg)
		k.Certificates = ca.chain(t, k.private.Public())
		for _, f := range notationFormats {
			for server, start := range servers {
				t.Run(strings.Join([]string{key.name, string(f), server}, "/"), func(t *testing.T) {
					s := start(t)
					st, subject := pushedNotationImage(t, s)
					roundTrip(t, st, f, subject, k)
					if err := notationVerify(t, s.Host, subject, ca.cert, nil); err != nil {
						t.Errorf("notation refuses it: %v", err)
					}
					if err := notationVerify(t, s.Host, subject, stranger.cert, nil); err == nil {
						t.Error("notation accepts it with another root")
					}
					renamed := subject
					renamed.Identity = "elsewhere.example.com/library/app"
					if err := notationVerify(t, s.Host, renamed, ca.cert, nil); err == nil {
						t.Error("notation accepts it under another identity")
					}
				})
			}
		}
	}
}

// roundTrip signs and finds the signature again, with one use of the key.
func roundTrip(t *testing.T, st registry.Store, f policy.Format, s Subject, k notary) {
	t.Helper()
	*k.uses = 0
	if look := lookFor(t, st, f, s, k.Key); look.Signed || look.Others > 0 {
		t.Fatalf("before it was signed: %+v", look)
	}
	i := NewLayouts(st).Image(s, Witnesses{})
	sig, err := i.Sign(t.Context(), f, k.Key)
	if err != nil {
		t.Fatal(err)
	}
	done, err := i.Attach(t.Context(), f, Look{}, sig, k.Key)
	if err != nil {
		t.Fatal(err)
	}
	look := lookFor(t, st, f, s, k.Key)
	want := Look{Signed: true, Signature: sig.Raw, Manifest: look.Manifest, Ours: 1}
	if diff := cmp.Diff(want, look); diff != "" {
		t.Errorf("look (-want +got):\n%s", diff)
	}
	if look.Manifest.Digest != done.Manifest || !bytes.Equal(done.Signature, sig.Raw) || *k.uses != 1 || sig.Timestamped {
		t.Errorf("attached %+v, %d uses of the key, timestamped %t; found %s", done, *k.uses, sig.Timestamped, look.Manifest.Digest)
	}
	other := newNotary(t, curveKey(t, elliptic.P256()), policy.ECDSASHA256)
	all, err := NewLayouts(st).Image(s, Witnesses{}).Check(t.Context(), []Key{other.Key, k.Key})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Verified{{Format: f, Identity: s.Identity, Verifier: 1, Signature: sig.Raw}}, all); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
}

// TestNotationAttachAgain stores one envelope twice, as a retry does.
func TestNotationAttachAgain(t *testing.T) {
	ca := newIssuer(t, "root")
	k, s, st := certified(t, ca), notationImage(1), lenient{newMemory()}
	i := NewLayouts(st).Image(s, Witnesses{})
	sig, err := i.Sign(t.Context(), policy.FormatNotationJWS, k.Key)
	if err != nil {
		t.Fatal(err)
	}
	var digests []v1.Hash
	for range 2 {
		done, err := i.Attach(t.Context(), policy.FormatNotationJWS, Look{}, sig, k.Key)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, done.Manifest)
	}
	look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key)
	if digests[0] != digests[1] || look.Ours != 1 || look.Others != 0 {
		t.Errorf("stored as %v, found %+v", digests, look)
	}
}

func TestNotationAttachRefuses(t *testing.T) {
	ca := newIssuer(t, "root")
	k, other := certified(t, ca), certified(t, ca)
	st := lenient{newMemory()}
	for name, content := range map[string][]byte{
		"nothing":      nil,
		"other key":    other.sealed(t, policy.FormatNotationCOSE, notationImage(1)),
		"other image":  k.sealed(t, policy.FormatNotationCOSE, notationImage(2)),
		"other format": k.sealed(t, policy.FormatNotationJWS, notationImage(1)),
	} {
		t.Run(name, func(t *testing.T) {
			i := NewLayouts(st).Image(notationImage(1), Witnesses{})
			done, err := i.Attach(t.Context(), policy.FormatNotationCOSE, Look{}, Signature{Content: content}, k.Key)
			if err == nil || len(st.blobs) > 0 {
				t.Errorf("attached %+v, %v", done, err)
			}
		})
	}
}

// TestNotationReadsBack loses what was written.
func TestNotationReadsBack(t *testing.T) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	st := &replacing{lenient: lenient{newMemory()}, with: []byte("{}")}
	i := NewLayouts(st).Image(s, Witnesses{})
	sig, err := i.Sign(t.Context(), policy.FormatNotationJWS, k.Key)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := i.Attach(t.Context(), policy.FormatNotationJWS, Look{}, sig, k.Key); err == nil {
		t.Errorf("attached %+v, though it cannot be read back", done)
	}
}

// replacing answers every question for a blob with the same bytes.
type replacing struct {
	lenient
	with []byte
}

func (r *replacing) Blob(context.Context, string, v1.Hash, int64) ([]byte, error) { return r.with, nil }

// TestNotationRenewed looks with renewed certificates: the same root vouches
// for the signature, so it counts. Another root does not.
func TestNotationRenewed(t *testing.T) {
	ca := newIssuer(t, "root")
	k, s, st := certified(t, ca), notationImage(1), lenient{newMemory()}
	signNow(t, st, policy.FormatNotationJWS, s, k.Key)
	k.Certificates = ca.chain(t, k.private.Public())
	if look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key); !look.Signed {
		t.Errorf("after renewal: %+v", look)
	}
	k.Certificates = newIssuer(t, "root").chain(t, k.private.Public())
	if look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key); look.Signed || !strings.Contains(look.Reasons[0], "lead to") {
		t.Errorf("under another root: %+v", look)
	}
	k.Certificates = nil
	if look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key); look.Signed {
		t.Errorf("without certificates: %+v", look)
	}
}

// TestNotationReadsOursFirst hides ours among more signatures than a look reads.
func TestNotationReadsOursFirst(t *testing.T) {
	ca := newIssuer(t, "root")
	k, s, st := certified(t, ca), notationImage(1), lenient{newMemory()}
	for range maxCarriers {
		referNotation(t, st, policy.FormatNotationJWS, s, certified(t, ca).sealed(t, policy.FormatNotationJWS, s))
	}
	signNow(t, st, policy.FormatNotationJWS, s, k.Key)
	st.cost()
	look := lookFor(t, st, policy.FormatNotationJWS, s, k.Key)
	if blobs := st.cost()["GET blob"]; !look.Signed || blobs != 1 {
		t.Errorf("%d envelopes were read: %+v", blobs, look)
	}
}

// recordedNotation is what notation 1.3.2 wrote into a distribution registry.
var recordedNotation = []struct {
	file   string
	format policy.Format
	Subject
}{
	{"distribution-prod-svc0000", policy.FormatNotationJWS, Subject{
		Repository: "prod/svc0000",
		Digest:     v1.Hash{Algorithm: "sha256", Hex: "56c441d280c5663f2b7754b663a139d5b8d32f6da3407f07c30754178b7ddefe"},
		MediaType:  ociManifest, Size: 402, Identity: "127.0.0.1:5100/prod/svc0000",
	}},
	{"distribution-staging-svc0001", policy.FormatNotationCOSE, Subject{
		Repository: "staging/svc0001",
		Digest:     v1.Hash{Algorithm: "sha256", Hex: "d05239bfeb0614db4474755ba36bb34d3b2ec07daf025154b89b331f08710a2e"},
		MediaType:  ociManifest, Size: 402, Identity: "127.0.0.1:5100/staging/svc0001",
	}},
}

func readNotation(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := fs.ReadFile(os.DirFS("testdata/notation"), name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readRecordedEnvelope(t testing.TB, file string, f policy.Format) []byte {
	t.Helper()
	if f == policy.FormatNotationCOSE {
		return readNotation(t, file+".cose")
	}
	return readNotation(t, file+".jws")
}

// TestRecordedNotation reads what notation wrote, on the one day on which its
// certificate was valid, and on the day after.
func TestRecordedNotation(t *testing.T) {
	for _, r := range recordedNotation {
		t.Run(string(r.format), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)))
				content := readRecordedEnvelope(t, r.file, r.format)
				st := lenient{newMemory()}
				referNotation(t, st, r.format, r.Subject, content)
				e, err := notationLayout{format: r.format}.read(content)
				if err != nil {
					t.Fatal(err)
				}
				der, err := x509.MarshalPKIXPublicKey(e.chain[0].PublicKey)
				if err != nil {
					t.Fatal(err)
				}
				k := Key{Algorithm: policy.RSAPSSSHA256, PublicKey: der, Certificates: e.chain}
				check := func() []Verified {
					found, err := NewLayouts(st).Image(r.Subject, Witnesses{}).Check(t.Context(), []Key{k})
					if err != nil {
						t.Fatal(err)
					}
					return found
				}
				if diff := cmp.Diff([]Verified{{Format: r.format, Signature: e.signature}}, check()); diff != "" {
					t.Errorf("check (-want +got):\n%s", diff)
				}
				look := lookFor(t, st, r.format, r.Subject, k)
				if look.Signed || !strings.Contains(strings.Join(look.Reasons, ""), annotationIdentity) {
					t.Errorf("look: %+v", look)
				}
				time.Sleep(24 * time.Hour)
				if found := check(); len(found) > 0 {
					t.Errorf("the certificate has expired, but check returns %+v", found)
				}
			})
		})
	}
}

// TestNotationManifestIsNotations compares manifests, but for the order of
// their members.
func TestNotationManifestIsNotations(t *testing.T) {
	for _, r := range recordedNotation {
		l := notationLayout{format: r.format}
		content := readRecordedEnvelope(t, r.file, r.format)
		e, err := l.read(content)
		if err != nil {
			t.Fatal(err)
		}
		c := carrier{configType: notationType, contentType: l.contentType(), content: content, annotations: e.annotations()}
		raw, err := c.compose(r.Subject)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal(readNotation(t, r.file+".manifest.json"), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs from notation's (-want +got):\n%s", r.file, diff)
		}
	}
}
