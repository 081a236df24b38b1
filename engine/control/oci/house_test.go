package oci_test

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
	"sync"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	tenancy          = "ocid1.tenancy.oc1..aaaaaaaaexampletenancy"
	compartment      = "ocid1.compartment.oc1..aaaaaaaaexamplecompartment" // controltest.Registry
	otherCompartment = "ocid1.compartment.oc1..aaaaaaaaothercompartment"   // controltest.Other
	algorithm256     = "SHA_256_RSA_PKCS_PSS"
)

// callerKeys are API keys, one for each caller.
var callerKeys = sync.OnceValue(func() map[string]*rsa.PrivateKey { //nolint:gochecknoglobals // making keys takes long
	keys := map[string]*rsa.PrivateKey{}
	for _, name := range []string{"admin", "operator", "viewer", "stranger", "narrow", "nobody"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	return keys
})

func userOf(name string) string { return "ocid1.user.oc1..aaaaaaaa" + name }

// A site is the API, served, with what stands behind it.
type site struct {
	*controltest.House
	url  string
	keys *keyList
}

// A keyList knows public keys.
type keyList struct{ sync.Map }

func (k *keyList) PublicKey(keyID, versionID string) (*kms.PublicKey, error) {
	v, ok := k.Load([2]string{keyID, versionID})
	if !ok {
		return nil, fmt.Errorf("%s: %w", keyID, oci.ErrNoKey)
	}
	if err, broken := v.(error); broken {
		return nil, err
	}
	return v.(*kms.PublicKey), nil
}

func newSite(t *testing.T, o controltest.Options) *site {
	t.Helper()
	return siteOf(t, newHouse(t, o))
}

func newHouse(t *testing.T, o controltest.Options) *controltest.House {
	t.Helper()
	credential := func(name string, role door.Role) door.Credential {
		return door.Credential{Name: "oci " + name, Role: role, OCIKeyID: tenancy + "/" + userOf(name) + "/" + name, OCIPublicKey: &callerKeys()[name].PublicKey}
	}
	stranger, narrow := credential("stranger", door.Admin), credential("narrow", door.Admin)
	stranger.Registries, narrow.Namespaces = []string{controltest.Other}, []string{"team"}
	stranger.Keys, narrow.Keys = []string{controltest.RSAKey}, []string{controltest.RSAKey}
	o.Credentials = append(o.Credentials, credential("admin", door.Admin), credential("operator", door.Operator), credential("viewer", door.Viewer), stranger, narrow)
	if o.Rights.PerSecond == 0 {
		o.Rights.PerSecond, o.Rights.Burst = 10000, 10000
	}
	h := controltest.New(t, o)
	h.Rights.Replace([]rights.Instance{{ID: compartment, Registry: controltest.Registry}, {ID: otherCompartment, Registry: controltest.Other}},
		[]string{controltest.Registry, controltest.Other})
	return h
}

func siteOf(t *testing.T, h *controltest.House) *site {
	t.Helper()
	s := &site{House: h, keys: &keyList{}}
	s.url = h.Serve(t, oci.New(oci.Options{Engine: h.Engine, Journal: h.Journal, Door: h.Door, Rights: h.Rights, Keys: s.keys, Log: zap.NewNop()}))
	return s
}

// client is Oracle's, for a caller, with the retries that it has by default.
func (s *site) client(t *testing.T, name string) artifacts.ArtifactsClient {
	t.Helper()
	return clientFor(t, s.url, name, callerKeys()[name])
}

func clientFor(t *testing.T, url, name string, key *rsa.PrivateKey) artifacts.ArtifactsClient {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	c, err := artifacts.NewArtifactsClientWithConfigurationProvider(common.NewRawConfigurationProvider(tenancy, userOf(name), "us-phoenix-1", name, string(text), nil))
	if err != nil {
		t.Fatal(err)
	}
	c.Host = url
	return c
}

// impatient never tries again.
func impatient(c artifacts.ArtifactsClient) artifacts.ArtifactsClient {
	never := common.NoRetryPolicy()
	c.Configuration.RetryPolicy = &never
	c.Configuration.CircuitBreaker = nil
	return c
}

// push puts an image into the registry, and returns what the API calls it.
func (s *site) push(t *testing.T, repository, tag string) artifacts.ContainerImage {
	t.Helper()
	s.Server.Push(t, repository+":"+tag, registrytest.Image(t))
	return s.lookup(t, repository, tag)
}

func (s *site) lookup(t *testing.T, repository, tag string) artifacts.ContainerImage {
	t.Helper()
	got, err := s.client(t, "admin").LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: common.String(controltest.Registry + "/" + repository + ":" + tag)}})
	if err != nil {
		t.Fatal(err)
	}
	return got.ContainerImage
}

// version is what the house's RSA key calls its version.
func (s *site) version() string { return s.Public[controltest.RSAKey].Fingerprint() }

// messageOf is what a client says of an image, as the OCI CLI does.
func (s *site) messageOf(i artifacts.ContainerImage) message.Message {
	return message.Message{Description: "a test", ImageDigest: *i.Digest, KMSKeyID: controltest.RSAKeyAlias, KMSKeyVersionID: s.version(),
		Metadata: `{"build":"7"}`, Region: "us-phoenix-1", RepositoryName: *i.RepositoryName, SigningAlgorithm: algorithm256}
}

// details are the upload of a message, signed with the house's RSA key.
func (s *site) details(t *testing.T, i artifacts.ContainerImage, m message.Message) artifacts.CreateContainerImageSignatureDetails {
	t.Helper()
	text, uploaded, err := m.Build()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := s.Signers[controltest.RSAKey].Sign(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return artifacts.CreateContainerImageSignatureDetails{CompartmentId: common.String(compartment), ImageId: i.Id,
		KmsKeyId: &m.KMSKeyID, KmsKeyVersionId: &m.KMSKeyVersionID, Message: &uploaded, Signature: common.String(base64.StdEncoding.EncodeToString(signature)),
		SigningAlgorithm: artifacts.CreateContainerImageSignatureDetailsSigningAlgorithmEnum(m.SigningAlgorithm)}
}

// upload makes a client upload a signature of an image.
func (s *site) upload(t *testing.T, c artifacts.ArtifactsClient, i artifacts.ContainerImage) artifacts.CreateContainerImageSignatureResponse {
	t.Helper()
	got, err := s.tryUpload(t, c, s.details(t, i, s.messageOf(i)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (s *site) tryUpload(t *testing.T, c artifacts.ArtifactsClient, d artifacts.CreateContainerImageSignatureDetails) (artifacts.CreateContainerImageSignatureResponse, error) {
	t.Helper()
	return c.CreateContainerImageSignature(t.Context(), artifacts.CreateContainerImageSignatureRequest{CreateContainerImageSignatureDetails: d})
}

// list lists signatures, all pages.
func list(ctx context.Context, c artifacts.ArtifactsClient, r artifacts.ListContainerImageSignaturesRequest) ([]artifacts.ContainerImageSignatureSummary, error) {
	if r.CompartmentId == nil {
		r.CompartmentId = common.String(compartment)
	}
	var all []artifacts.ContainerImageSignatureSummary
	for {
		got, err := c.ListContainerImageSignatures(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, got.Items...)
		if got.OpcNextPage == nil {
			return all, nil
		}
		r.Page = got.OpcNextPage
	}
}

// expect is that a client is told an error.
func expect(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var f common.ServiceError
	if !errors.As(err, &f) || f.GetHTTPStatusCode() != status || f.GetCode() != code || f.GetMessage() == "" || f.GetOpcRequestID() == "" {
		t.Errorf("%s: %v, want %d %s", what, err, status, code)
	}
}

func expectNotFound(t *testing.T, what string, err error) {
	t.Helper()
	expect(t, what, err, http.StatusNotFound, "NotAuthorizedOrNotFound")
}
