package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	swrInstance    = "8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111"
	tcrInstance    = "tcr-f7g1ir99"
	ociCompartment = "ocid1.compartment.oc1..aaaaaaaaexample"
	vendorKey      = "AKEXAMPLE0000000001"
	vendorSecret   = "SKEXAMPLE00000000000000000000000000000001"
	ownToken       = "0123456789abcdef0123456789abcdef0123"
)

// An apiHouse is a house whose daemon serves all APIs, and whose registry tells of
// pushes.
type apiHouse struct {
	*house
	controltest.Vendors
	oracle controltest.OracleKey
	rsa    kms.Signer
	hook   *hook
	// uploads are the requests that were sent, by their retry token. One goroutine at a
	// time uploads.
	uploads map[string]artifacts.CreateContainerImageSignatureRequest
}

// A hook is a webhook that takes records as soon as it knows the key that signs them.
type hook struct {
	mu   sync.Mutex
	gate *door.Gate
	key  door.SDKKey // that requests must be signed by; empty: not known yet
	took []string    // digests of entries whose request was signed right
	bad  []error
}

func (k *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key.AccessKey == "" {
		w.WriteHeader(http.StatusServiceUnavailable) // come again
		return
	}
	if err == nil {
		err = k.gate.SDKHMAC(r, body, k.key) // that none is sent twice
	}
	if err == nil {
		err = controltest.SignedBy(r, body, k.key.AccessKey, string(k.key.Secret))
	}
	if err != nil {
		k.bad = append(k.bad, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	k.took = append(k.took, string(body))
}

func newAPIHouse(t *testing.T) *apiHouse {
	t.Helper()
	h, listen := pushHouse(t)
	a := &apiHouse{house: h, Vendors: controltest.Vendors{URL: "http://" + listen}, oracle: controltest.NewOracleKey(t),
		uploads: map[string]artifacts.CreateContainerImageSignatureRequest{},
		hook:    &hook{gate: door.NewGate(15*time.Minute, 1000, time.Now)}}
	server := httptest.NewServer(a.hook)
	t.Cleanup(server.Close)
	if _, err := generate(policy.RSAPSSSHA256, 2048, h.path("vault"), nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if a.rsa, err = kms.Open(t.Context(), kms.Config{URI: "file:" + h.path("vault.key"), Algorithm: policy.RSAPSSSHA256}); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"vendor.secret": vendorSecret, "own.token": ownToken, "oracle.pem": string(a.oracle.PublicPEM),
		"seal.key": strings.Repeat("5e", 32)} {
		if err := os.WriteFile(h.path(name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.write(fmt.Sprintf(`registries:
  - name: test
    host: %q
    insecure: true
    limits: {requests_per_second: 5000, concurrency: 8}
    events: {source: distribution, secret_file: events.secret}
keys:
  - {name: release, aliases: [4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11], uri: "file:release.key"}
  - {name: vault, aliases: [ocid1.key.oc1.phx.example], uri: "file:vault.key", algorithm: RSA_PSS_SHA_256}
policies:
  - {name: from file, registry: test, namespace: files, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}
state: %q
listen: %q
instances:
  - {id: %s, registry: test}
  - {id: %s, registry: test}
  - {id: %s, registry: test}
access:
  - {name: vendor, role: admin, access_key: %s, secret_key_file: vendor.secret}
  - {name: oracle, role: admin, oci_key_id: "%s", public_key_file: oracle.pem}
  - {name: own, role: admin, token_file: own.token}
sinks: [{name: siem, kind: webhook, url: %q}]
signature_keys: {seal_key_file: seal.key}
`, h.registry.Host, h.path("state"), listen, swrInstance, tcrInstance, ociCompartment, vendorKey, a.oracle.ID, server.URL))
	return a
}

func pointer[T any](v T) *T { return &v }

// accepts fails unless the release key's signature of an image is in the registry.
func (a *apiHouse) accepts(image string) {
	a.t.Helper()
	a.run(exitOK, "verify", "--insecure", "--key", a.path("release.pub"), a.registry.Host+"/"+image)
}

// TestVendorsSDKs: with each vendor's own SDK a daemon is told what to sign, signs it in
// a real registry, and tells what became of it.
func TestVendorsSDKs(t *testing.T) {
	a := newAPIHouse(t)
	d := a.start()
	t.Run("huawei", a.byHuawei)
	t.Run("tencent", a.byTencent)
	t.Run("oracle", a.byOracle)
	t.Run("own", a.byOwn)
	t.Run("signature key", a.bySignatureKey)
	d.stop()
	a.run(exitOK, "records", "verify")

	// What was stored outlives the daemon.
	d = a.start()
	defer d.stop()
	list, err := a.SWR(t, vendorKey, vendorSecret).ListInstanceSignPolicies(&model.ListInstanceSignPoliciesRequest{InstanceId: swrInstance})
	if err != nil || *list.Total != 4 { // huawei's, tencent's, our own and that of the file
		t.Errorf("%+v, %v", list, err)
	}
	for _, secret := range []string{vendorSecret, ownToken, "hook-secret-0123456789"} {
		if strings.Contains(d.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

func (a *apiHouse) byHuawei(t *testing.T) {
	a.registry.Push(t, "library/team/app:v1", registrytest.Image(t))
	c := a.SWR(t, vendorKey, vendorSecret)
	created, err := c.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: controltest.SWRPolicy("by_huawei", "release")})
	if err != nil {
		t.Fatal(err)
	}
	fired, err := c.ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: *created.Id})
	if err != nil {
		t.Fatal(err)
	}
	registrytest.Eventually(t, patience, "the SDK says that it succeeded", func() bool {
		xs, err := c.ListInstanceSignPolicyExecutions(&model.ListInstanceSignPolicyExecutionsRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: *created.Id})
		return err == nil && *xs.Total == 1 && (*xs.Executions)[0].Id == *fired.Id && (*xs.Executions)[0].Status == "Succeed" && (*xs.Executions)[0].Succeed == 1
	})
	a.accepts("library/team/app:v1")
}

func (a *apiHouse) byTencent(t *testing.T) {
	a.registry.Push(t, "team/app:before", registrytest.Image(t)) // the namespace has to be there
	c := a.TCR(vendorKey, vendorSecret)
	if err := c.Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": "library signing", "NamespaceName": "team",
		"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil); err != nil {
		t.Fatal(err)
	}
	a.registry.Push(t, "team/app:v1", registrytest.Image(t)) // the registry tells of it
	var images struct {
		ImageInfoList []struct{ ImageVersion, KmsSignature string }
	}
	registrytest.Eventually(t, patience, "the SDK shows the signature", func() bool {
		err := c.Call("DescribeImages", map[string]any{"RegistryId": tcrInstance, "NamespaceName": "team", "RepositoryName": "app", "ImageVersion": "v1"}, &images)
		return err == nil && len(images.ImageInfoList) == 1 && images.ImageInfoList[0].KmsSignature != ""
	})
	if got := images.ImageInfoList[0].ImageVersion; got != "v1" {
		t.Errorf("image %q", got)
	}
	a.accepts("team/app:v1")
}

// upload uploads a signature with a retry token. Again with the same token it is the
// same request.
func (a *apiHouse) upload(t *testing.T, c artifacts.ArtifactsClient, image artifacts.ContainerImage, token string) (artifacts.CreateContainerImageSignatureResponse, error) {
	t.Helper()
	req, ok := a.uploads[token]
	if !ok {
		req = artifacts.CreateContainerImageSignatureRequest{OpcRetryToken: &token, CreateContainerImageSignatureDetails: a.details(t, image)}
		req.FreeformTags = ociTags(token, "1")
		a.uploads[token] = req
	}
	return c.CreateContainerImageSignature(t.Context(), req)
}

// details are a signature of an image, made as the OCI CLI does.
func (a *apiHouse) details(t *testing.T, image artifacts.ContainerImage) artifacts.CreateContainerImageSignatureDetails {
	t.Helper()
	m := message.Message{ImageDigest: *image.Digest, KMSKeyID: "ocid1.key.oc1.phx.example", KMSKeyVersionID: a.rsa.Public().Fingerprint(),
		Region: "us-phoenix-1", RepositoryName: *image.RepositoryName, SigningAlgorithm: "SHA_256_RSA_PKCS_PSS"}
	signed, uploaded, err := m.Build()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := a.rsa.Sign(t.Context(), signed)
	if err != nil {
		t.Fatal(err)
	}
	return artifacts.CreateContainerImageSignatureDetails{CompartmentId: pointer(ociCompartment), ImageId: image.Id,
		KmsKeyId: &m.KMSKeyID, KmsKeyVersionId: &m.KMSKeyVersionID, Message: &uploaded, Signature: pointer(base64.StdEncoding.EncodeToString(sig)),
		SigningAlgorithm: artifacts.CreateContainerImageSignatureDetailsSigningAlgorithmEnum(m.SigningAlgorithm)}
}

func (a *apiHouse) lookup(t *testing.T, c artifacts.ArtifactsClient, image string) artifacts.ContainerImage {
	t.Helper()
	found, err := c.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: pointer("test/" + image)}})
	if err != nil {
		t.Fatal(err)
	}
	return found.ContainerImage
}

func (a *apiHouse) byOracle(t *testing.T) {
	a.registry.Push(t, "vault/app:v1", registrytest.Image(t))
	c := a.Oracle(t, a.oracle)
	image := a.lookup(t, c, "vault/app:v1")
	made, err := a.upload(t, c, image, "a-retry-token")
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment), ImageDigest: image.Digest})
	if err != nil || len(list.Items) != 1 || *list.Items[0].Id != *made.Id {
		t.Errorf("%+v, %v", list, err)
	}
}

// own asks our own API.
func (a *apiHouse) own(t *testing.T, client *http.Client, base, method, path string, body, answer any) int {
	t.Helper()
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+"/api/v1"+path, sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if base == a.URL {
		req.Header.Set("Authorization", "Bearer "+ownToken)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && answer != nil && resp.StatusCode < http.StatusBadRequest {
		err = json.Unmarshal(raw, answer)
	}
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return resp.StatusCode
}

func (a *apiHouse) byOwn(t *testing.T) {
	a.registry.Push(t, "own/app:v1", registrytest.Image(t))
	all := policy.Selector{Matches: []string{"**"}}
	p := policy.Policy{Name: "by hand", Registry: "test", Namespace: "own", Key: "release", Trigger: policy.Trigger{Type: policy.Manual},
		Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodPost, "/policies", p, nil); code != http.StatusCreated {
		t.Fatal(code)
	}
	var x journal.Execution
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodPost, "/policies/by%20hand/fire", nil, &x); code != http.StatusAccepted {
		t.Fatal(code)
	}
	// The control socket has the same API, for the daemon's user.
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.path("state/control.sock"))
	}}}
	defer socket.CloseIdleConnections()
	registrytest.Eventually(t, patience, "the execution succeeds", func() bool {
		return a.own(t, socket, "http://control", http.MethodGet, fmt.Sprintf("/executions/%d", x.ID), nil, &x) == http.StatusOK && x.Status == journal.Succeed
	})
	a.accepts("own/app:v1")
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodPut, "/policies/from%20file", p, nil); code < 400 {
		t.Errorf("%d: a policy of a file was replaced", code)
	}
}

// bySignatureKey: records go to a sink that wants them signed once a key is bound to it.
func (a *apiHouse) bySignatureKey(t *testing.T) {
	c := a.APIG(t, vendorKey, vendorSecret)
	made, err := c.CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: apig.Everywhere,
		Body: &apigmodel.BaseSignature{Name: "hook_key", SignKey: pointer("hook-key-01"), SignSecret: pointer("hook-secret-0123456789")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AssociateSignatureKeyV2(&apigmodel.AssociateSignatureKeyV2Request{InstanceId: apig.Everywhere,
		Body: &apigmodel.SignApiBinding{SignId: *made.Id, PublishIds: []string{"sink:siem"}}}); err != nil {
		t.Fatal(err)
	}
	a.hook.mu.Lock()
	a.hook.key = door.SDKKey{AccessKey: "hook-key-01", Secret: []byte("hook-secret-0123456789")}
	a.hook.mu.Unlock()
	registrytest.Eventually(t, patience, "the records of all images were delivered, signed", func() bool {
		a.hook.mu.Lock()
		defer a.hook.mu.Unlock()
		return len(a.hook.took) >= 3
	})
	a.hook.mu.Lock()
	defer a.hook.mu.Unlock()
	for _, image := range []string{"library/team/app", "team/app", "own/app"} {
		if !strings.Contains(strings.Join(a.hook.took, "\n"), image) {
			t.Errorf("no record of %s was delivered", image)
		}
	}
	for _, err := range a.hook.bad {
		t.Errorf("a request was not signed right: %v", err)
	}
}
