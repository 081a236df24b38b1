package ocir_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink/ocir"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	tenancy, user = "ocid1.tenancy.oc1..aaaaaaaaexampletenancy", "ocid1.user.oc1..aaaaaaaaexampleuser"
	compartment   = "ocid1.compartment.oc1..aaaaaaaaexamplecompartment"
	region        = "us-phoenix-1"
	// patience bounds how long a test waits for what must happen.
	patience = time.Minute

	lookup = "POST /20160918/container/images/actions/lookupImageByUri"
	list   = "GET /20160918/container/imageSignatures"
	create = "POST /20160918/container/imageSignatures"
)

// apiKeys are two API keys: Oracle knows the first.
var apiKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) { //nolint:gochecknoglobals // making keys takes long
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// An oracle is our own API of Oracle Artifacts, served, which a test may keep from
// answering as it should.
type oracle struct {
	*controltest.House
	t      *testing.T
	url    string
	config string // the path of the configuration file of who asks
	pushed int
	after  int64 // the last entry that was made

	mu    sync.Mutex
	gate  func(http.ResponseWriter, *http.Request, http.Handler) // nil: open
	asked map[string]int
	heads []http.Header // of creations

	keyUses atomic.Int64
	results map[ocir.Result]int
}

func newOracle(t *testing.T, formats ...policy.Format) *oracle {
	t.Helper()
	all := policy.Selector{Matches: []string{"**"}}
	policies := []policy.Policy{{Name: "all", Registry: controltest.Registry, Key: controltest.Key, Formats: formats,
		Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}}
	o := &oracle{t: t, asked: map[string]int{}, results: map[ocir.Result]int{}}
	o.House = controltest.New(t, controltest.Options{Policies: policies, Rights: rights.Options{PerSecond: 10000, Burst: 10000},
		Credentials: []door.Credential{{Name: "uploader", Role: door.Admin, OCIKeyID: tenancy + "/" + user + "/first", OCIPublicKey: &apiKeys()[0].PublicKey}}})
	o.Rights.Replace([]rights.Instance{{ID: compartment, Registry: controltest.Registry}}, []string{controltest.Registry, controltest.Other})
	api := oci.New(oci.Options{Engine: o.Engine, Journal: o.Journal, Door: o.Door, Rights: o.Rights, Log: zap.NewNop()})
	o.url = o.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.asked[r.Method+" "+r.URL.Path]++
		if r.Method+" "+r.URL.Path == create {
			o.heads = append(o.heads, r.Header.Clone())
		}
		gate := o.gate
		o.mu.Unlock()
		if gate == nil {
			api.ServeHTTP(w, r)
			return
		}
		gate(w, r, api)
	}))
	o.config = filepath.Join(t.TempDir(), "config")
	o.asks(0)
	return o
}

// asks writes the configuration file of who asks.
func (o *oracle) asks(key int) {
	o.t.Helper()
	file := filepath.Join(filepath.Dir(o.config), "api.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(apiKeys()[key])})
	config := fmt.Sprintf("[DEFAULT]\ntenancy=%s\nuser=%s\nfingerprint=first\nkey_file=%s\n", tenancy, user, file)
	must(o.t, os.WriteFile(file, text, 0o600), os.WriteFile(o.config, []byte(config), 0o600))
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// is makes the API answer as the gate does.
func (o *oracle) is(gate func(http.ResponseWriter, *http.Request, http.Handler)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gate = gate
}

// times is how often something was asked.
func (o *oracle) times(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[what]
}

// A held key is one that the sink uses.
type held struct {
	signer kms.Signer
	err    error
	closed int
}

func (k *held) Signer() (kms.Signer, error) { return k.signer, k.err }
func (k *held) Close() error                { k.closed++; return nil }

// options are those of a sink for the house's registry.
func (o *oracle) options() ocir.Options {
	return ocir.Options{Region: region, Endpoint: o.url, Registry: controltest.Registry, Namespace: controltest.Registry, UserAgent: "test",
		Key: &held{signer: o.Signers[controltest.RSAKey]}, KeyID: controltest.RSAKeyAlias, KeyVersionID: o.Public[controltest.RSAKey].Fingerprint(),
		Identity: func() (common.KeyProvider, error) { return kms.OCIIdentity(o.config, "") },
		Has: func(ctx context.Context, repository, digest string) (bool, error) {
			r, _ := o.Engine.Registry(controltest.Registry)
			_, err := r.Resolve(ctx, repository, digest)
			if errors.Is(err, registry.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		},
		KeyUsed: func(time.Duration, error) { o.keyUses.Add(1) },
		Count:   o.count}
}

func (o *oracle) count(r ocir.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.results[r]++
}

// became fails unless that is what became of images, and how often the key was used.
func (o *oracle) became(keyUses int64, want map[ocir.Result]int) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := cmp.Diff(want, o.results); d != "" || o.keyUses.Load() != keyUses {
		o.t.Errorf("key used %d times, want %d; results (-want +got): %s", o.keyUses.Load(), keyUses, d)
	}
}

func (o *oracle) sink(change func(*ocir.Options)) *ocir.Sink {
	o.t.Helper()
	options := o.options()
	if change != nil {
		change(&options)
	}
	s, err := ocir.New(options)
	must(o.t, err)
	o.t.Cleanup(func() { must(o.t, s.Close()) })
	return s
}

// push pushes an image and returns its digest.
func (o *oracle) push(repository string) string {
	o.t.Helper()
	o.pushed++
	return o.Server.Push(o.t, fmt.Sprintf("%s:v%d", repository, o.pushed), registrytest.Image(o.t)).String()
}

// sign has everything signed that is in the registry, and returns the entries that this
// made.
func (o *oracle) sign() []journal.Entry {
	o.t.Helper()
	x, err := o.Engine.Fire(o.t.Context(), "all")
	must(o.t, err)
	o.Await(o.t, x.ID)
	es, err := o.Journal.Entries(o.t.Context(), o.after, 1000)
	must(o.t, err)
	if len(es) == 0 {
		o.t.Fatal("nothing was signed")
	}
	o.after = es[len(es)-1].Seq
	return es
}

// one pushes an image to a repository, and returns the entry of its signature.
func (o *oracle) one(repository string) (journal.Entry, string) {
	o.t.Helper()
	digest := o.push(repository)
	es := o.sign()
	if len(es) != 1 {
		o.t.Fatalf("%d entries", len(es))
	}
	return es[0], digest
}

// deliver delivers one entry; again if the API takes a request for the one before it,
// as it was sent in the same second.
func (o *oracle) deliver(s *ocir.Sink, e journal.Entry) error {
	o.t.Helper()
	var n int
	var err error
	registrytest.Eventually(o.t, patience, "no request is taken for another", func() bool {
		n, err = s.Deliver(o.t.Context(), []journal.Entry{e})
		return err == nil || !strings.Contains(err.Error(), "IncorrectState")
	})
	if (n == 1) != (err == nil) {
		o.t.Errorf("%d taken, %v", n, err)
	}
	return err
}

// refuses fails unless the delivery fails, and says all of that.
func (o *oracle) refuses(s *ocir.Sink, e journal.Entry, says ...string) {
	o.t.Helper()
	err := o.deliver(s, e)
	if err == nil {
		o.t.Fatal("it is taken")
	}
	for _, text := range append(says, fmt.Sprintf("entry %d: ", e.Seq)) {
		if !strings.Contains(err.Error(), text) {
			o.t.Errorf("%v, want it to say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "Signature version") || strings.Contains(err.Error(), o.url) {
		o.t.Errorf("it says too much: %v", err)
	}
}

// client is Oracle's own.
func (o *oracle) client() artifacts.ArtifactsClient {
	o.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(apiKeys()[0])})
	c, err := artifacts.NewArtifactsClientWithConfigurationProvider(common.NewRawConfigurationProvider(tenancy, user, region, "first", string(text), nil))
	must(o.t, err)
	c.Host = o.url
	return c
}

// signatures are those that Oracle's client finds of an image, each verified as the OCI
// CLI does.
func (o *oracle) signatures(repository, digest string) []message.Message {
	o.t.Helper()
	got, err := o.client().ListContainerImageSignatures(o.t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(compartment),
		RepositoryName: &repository, ImageDigest: &digest})
	must(o.t, err)
	var all []message.Message
	for _, item := range got.Items {
		m, signed, err := message.Parse(*item.Message)
		must(o.t, err)
		signature, err := base64.StdEncoding.DecodeString(*item.Signature)
		must(o.t, err, o.Public[controltest.RSAKey].Verify(signed, signature))
		all = append(all, m)
	}
	return all
}

// has fails unless Oracle has one signature of each image.
func (o *oracle) has(repository string, digests ...string) {
	o.t.Helper()
	for _, digest := range digests {
		want := []message.Message{{ImageDigest: digest, KMSKeyID: controltest.RSAKeyAlias, KMSKeyVersionID: o.Public[controltest.RSAKey].Fingerprint(),
			Region: region, RepositoryName: repository, SigningAlgorithm: "SHA_256_RSA_PKCS_PSS"}}
		if d := cmp.Diff(want, o.signatures(repository, digest)); d != "" {
			o.t.Errorf("%s@%s: %s", repository, digest, d)
		}
	}
}

// remove deletes an image from the registry.
func (o *oracle) remove(repository, digest string) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodDelete, "http://"+o.Server.Host+"/v2/"+repository+"/manifests/"+digest, nil)
	must(o.t, err)
	resp, err := http.DefaultClient.Do(r)
	must(o.t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		o.t.Fatal(resp.Status)
	}
}
