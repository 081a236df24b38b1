package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tspclient "github.com/notaryproject/tspclient-go"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// opensslAuthority is a timestamp authority that OpenSSL plays, in a directory.
type opensslAuthority struct {
	t   testing.TB
	dir string
}

// newOpenSSLAuthority returns an authority with a root of its own.
func newOpenSSLAuthority(t testing.TB, name string) (Authority, opensslAuthority) {
	t.Helper()
	ca, private := newIssuer(t, name), curveKey(t, elliptic.P256())
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{Country: []string{"US"}, Organization: []string{"Example"}, CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage,
		}},
	}
	valid(template, time.Now().Add(-time.Hour), 24*time.Hour)
	cert := certificate(t, template, ca.cert, private.Public(), ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	o := opensslAuthority{t, t.TempDir()}
	o.write("key.pem", "PRIVATE KEY", der)
	o.write("cert.pem", "CERTIFICATE", cert.Raw)
	o.write("ca.pem", "CERTIFICATE", ca.cert.Raw)
	config := `[tsa]
serial = serial
signer_cert = cert.pem
certs = ca.pem
signer_key = key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
accuracy = secs:1
`
	if err := os.WriteFile(filepath.Join(o.dir, "tsa.cnf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return Authority{Timestamper: o, Roots: roots, Name: name}, o
}

func (o opensslAuthority) write(file, kind string, der []byte) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// run runs OpenSSL in the authority's directory.
func (o opensslAuthority) run(ctx context.Context, args ...string) error {
	path, err := exec.LookPath("openssl")
	if err != nil {
		o.t.Fatal("this test needs OpenSSL 3: apt-get install openssl")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = o.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("openssl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Timestamp implements tspclient.Timestamper.
func (o opensslAuthority) Timestamp(ctx context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	query, err := request.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "query"), query, 0o600); err != nil {
		return nil, err
	}
	if err := o.run(ctx, "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", "query", "-out", "reply"); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(o.dir, "reply"))
	if err != nil {
		return nil, err
	}
	response := &tspclient.Response{}
	return response, response.UnmarshalBinary(raw)
}

// verifies returns nil if OpenSSL accepts a response over message.
func (o opensslAuthority) verifies(response, message []byte) error {
	for name, content := range map[string][]byte{"stored": response, "message": message} {
		if err := os.WriteFile(filepath.Join(o.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return o.run(o.t.Context(), "ts", "-verify", "-in", "stored", "-data", "message", "-CAfile", "ca.pem")
}

// down is an authority that does not work.
type down struct{ err error }

func (d down) Timestamp(context.Context, *tspclient.Request) (*tspclient.Response, error) {
	return nil, d.err
}

// otherwise asks an authority for a timestamp over something else.
type otherwise struct{ tspclient.Timestamper }

func (o otherwise) Timestamp(ctx context.Context, _ *tspclient.Request) (*tspclient.Response, error) {
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte("else"), HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, err
	}
	return o.Timestamper.Timestamp(ctx, request)
}

// stamps returns the timestamps of a bundle.
func stamps(t *testing.T, content []byte) [][]byte {
	t.Helper()
	var b protobundle.Bundle
	if err := protojson.Unmarshal(content, &b); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, s := range b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps() {
		out = append(out, s.GetSignedTimestamp())
	}
	return out
}

func TestBundleIsTimestamped(t *testing.T) {
	good, openssl := newOpenSSLAuthority(t, "good")
	stranger, _ := newOpenSSLAuthority(t, "stranger")
	untrusted := Authority{Timestamper: stranger.Timestamper, Roots: good.Roots, Name: "untrusted"}
	broken := Authority{Timestamper: down{errors.New("on holiday")}, Name: "broken"}
	wrong := Authority{Timestamper: otherwise{good.Timestamper}, Roots: good.Roots, Name: "wrong"}
	rootless := Authority{Timestamper: good.Timestamper, Name: "rootless"}
	for _, test := range []struct {
		name     string
		ask      []Authority
		failures []string
	}{
		{"the first answers", []Authority{good, broken}, nil},
		{"others do not answer", []Authority{broken, untrusted, wrong, good}, nil},
		{"none answers", []Authority{broken, untrusted, wrong, rootless},
			[]string{"broken: on holiday", "untrusted: ", "wrong: ", "rootless: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := lenient{newMemory()}
			l, s, k := NewLayouts(st), bundleImage(1), bundleKey(t, policy.ECDSASHA256)
			i := l.Image(s, Witnesses{Timestamps: test.ask})
			if test.failures != nil {
				sig, err := i.Sign(t.Context(), policy.FormatBundle, k)
				if !errors.Is(err, ErrTimestamp) || sig.Content != nil {
					t.Fatalf("Sign = %+v, %v", sig, err)
				}
				for _, text := range test.failures {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("%q is not in %v", text, err)
					}
				}
				return
			}
			sig, done := mustSign(t, i, policy.FormatBundle, k)
			got := stamps(t, sig.Content)
			if len(got) != 1 || !sig.Timestamped {
				t.Fatalf("%d timestamps, timestamped %t", len(got), sig.Timestamped)
			}
			if err := openssl.verifies(got[0], sig.Raw); err != nil {
				t.Error(err)
			}
			if err := openssl.verifies(got[0], []byte("else")); err == nil {
				t.Error("OpenSSL accepts the timestamp for something else")
			}
			if look := mustLook(t, l, s, k); !look.Signed || look.Manifest.Digest != done.Manifest {
				t.Errorf("Look = %+v", look)
			}
		})
	}
}

// TestRootsOfTheAuthorityThatAnswered are all that a library gets to judge it by.
func TestRootsOfTheAuthorityThatAnswered(t *testing.T) {
	first, _ := newOpenSSLAuthority(t, "first")
	second, _ := newOpenSSLAuthority(t, "second")
	first.Timestamper = down{errors.New("on holiday")}
	stamper, roots := Witnesses{Timestamps: []Authority{first, second}}.timestamper()
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte("x"), HashAlgorithm: crypto.SHA384})
	if err != nil {
		t.Fatal(err)
	}
	if !roots.Equal(x509.NewCertPool()) {
		t.Error("there are roots before anybody was asked")
	}
	if _, err := stamper.Timestamp(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if !roots.Equal(second.Roots) {
		t.Error("the roots are not those of the authority that answered")
	}
	if stamper, roots := (Witnesses{}).timestamper(); stamper != nil || roots != nil {
		t.Error("no authorities are something to ask")
	}
}

// hanging is an authority that never answers.
type hanging struct{}

func (hanging) Timestamp(ctx context.Context, _ *tspclient.Request) (*tspclient.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestHangingAuthorities(t *testing.T) {
	w := Witnesses{Timestamps: []Authority{{Timestamper: hanging{}, Name: "a"}, {Timestamper: hanging{}, Name: "b"}}}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := w.timestamp(t.Context(), []byte("x")); !errors.Is(err, ErrTimestamp) || time.Since(start) != 2*authorityPatience {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := w.timestamp(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTimestamp) ||
			time.Since(start) != time.Second || !strings.Contains(err.Error(), "asking a ") {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// logged is a transparency log that gives one answer.
type logged struct {
	answer     string
	err        error
	doubt      error // of Holds
	seen, from []byte
}

func (l *logged) Enter(_ context.Context, envelope, publicKey []byte) ([]byte, error) {
	l.seen, l.from = bytes.Clone(envelope), publicKey
	return []byte(l.answer), l.err
}

// Holds implements Log.
func (l *logged) Holds(*protorekor.TransparencyLogEntry, []byte, []byte, []byte) error {
	return l.doubt
}

const logEntry = `{"logIndex":"7","logId":{"keyId":"eA=="},"kindVersion":{"kind":"dsse","version":"0.0.2"},` +
	`"inclusionProof":{"logIndex":"7","rootHash":"eA==","treeSize":"8","hashes":["eA=="],"checkpoint":{"envelope":"x"}},"canonicalizedBody":"eA=="}`

func TestBundleIsLogged(t *testing.T) {
	for _, test := range []struct {
		name   string
		log    *logged
		reason string // why not
	}{
		{"entered", &logged{answer: logEntry}, ""},
		{"not entered", &logged{err: registry.ErrUnavailable}, "not entered"},
		{"entered in other words", &logged{answer: `"yes"`}, "does not count"},
		{"not really entered", &logged{answer: `{}`}, "no inclusion proof"},
		{"no JSON", &logged{answer: `{`}, "encoding the bundle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, s, k := NewLayouts(lenient{newMemory()}), bundleImage(1), bundleKey(t, policy.ECDSASHA256)
			i := l.Image(s, Witnesses{Log: test.log})
			sig, err := i.Sign(t.Context(), policy.FormatBundle, k)
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) || errors.Is(err, ErrLog) != (test.log.err != nil) {
					t.Errorf("Sign = %+v, %v", sig, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var b struct {
				DSSEEnvelope         json.RawMessage
				VerificationMaterial struct{ TlogEntries []json.RawMessage }
			}
			if err := json.Unmarshal(sig.Content, &b); err != nil {
				t.Fatal(err)
			}
			if e := b.VerificationMaterial.TlogEntries; len(e) != 1 || string(e[0]) != logEntry {
				t.Errorf("entries %s", e)
			}
			if !bytes.Equal(test.log.seen, b.DSSEEnvelope) || !bytes.Equal(test.log.from, k.PublicKey) {
				t.Errorf("entered %s by %x", test.log.seen, test.log.from)
			}
			if _, err := i.Attach(t.Context(), policy.FormatBundle, Look{}, sig, k); err != nil {
				t.Fatal(err)
			}
			if look := mustLook(t, l, s, k); !look.Signed {
				t.Errorf("Look = %+v", look)
			}
		})
	}
}
