package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// oracleOnce is Oracle's client, which tries nothing again.
func (a *apiHouse) oracleOnce(t *testing.T) artifacts.ArtifactsClient {
	t.Helper()
	c := a.Oracle(t, a.oracle)
	never := common.NoRetryPolicy()
	c.Configuration.RetryPolicy, c.Configuration.CircuitBreaker = &never, nil
	return c
}

// asksRegistry are the calls that the registry is asked for.
func (a *apiHouse) asksRegistry(t *testing.T, image artifacts.ContainerImage) []mutation {
	t.Helper()
	huawei, oracle, tencent := a.SWR(t, vendorKey, vendorSecret), a.oracleOnce(t), a.TCR(vendorKey, vendorSecret)
	ofApp := map[string]any{"RegistryId": tcrInstance, "NamespaceName": tcrNamespace, "RepositoryName": "app"}
	return []mutation{
		{"swr", "ListInstanceArtifacts", func() error {
			_, err := huawei.ListInstanceArtifacts(&model.ListInstanceArtifactsRequest{InstanceId: swrInstance, NamespaceName: "library", RepositoryName: "app"})
			return err
		}},
		{"swr", "ListInstanceAccessories", func() error {
			_, err := huawei.ListInstanceAccessories(&model.ListInstanceAccessoriesRequest{InstanceId: swrInstance, NamespaceName: "library", RepositoryName: "app", Reference: "v1"})
			return err
		}},
		{"swr", "ListInstanceNamespaces", func() error {
			_, err := huawei.ListInstanceNamespaces(&model.ListInstanceNamespacesRequest{InstanceId: swrInstance})
			return err
		}},
		{"oci", "LookupContainerImageByUri", func() error {
			_, err := oracle.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
				LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: pointer("test/" + tcrNamespace + "/app:v1")}})
			return err
		}},
		{"oci", "GetContainerImage", func() error {
			_, err := oracle.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: image.Id})
			return err
		}},
		{"oci", "ListContainerImages", func() error {
			_, err := oracle.ListContainerImages(t.Context(), artifacts.ListContainerImagesRequest{CompartmentId: pointer(ociCompartment)})
			return err
		}},
		{"oci", "ListContainerRepositories", func() error {
			_, err := oracle.ListContainerRepositories(t.Context(), artifacts.ListContainerRepositoriesRequest{CompartmentId: pointer(ociCompartment)})
			return err
		}},
		{"oci", "CreateContainerImageSignature", func() error { _, err := a.upload(t, oracle, image, "while it is down"); return err }},
		{"tcr", "DescribeImages", func() error { return tencent.Call("DescribeImages", ofApp, nil) }},
		{"tcr", "CreateSignature", func() error {
			return tencent.Call("CreateSignature", map[string]any{"RegistryId": tcrInstance, "NamespaceName": tcrNamespace, "RepositoryName": "app", "ImageVersion": "v1"}, nil)
		}},
		{"tcr", "CreateSignaturePolicy", func() error { // for a namespace that only the registry knows
			return tencent.Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": "by tencent", "NamespaceName": "library",
				"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil)
		}},
		{"own", "coverage", func() error { return a.covered(t) }},
	}
}

// covered is an error unless our own API says that it saw all that a policy covers. The
// API tells what it saw, and why not more, with a 200.
func (a *apiHouse) covered(t *testing.T) error {
	var said struct {
		Finished, Complete bool
		Covered            int
		Findings           []struct{ Reason string }
	}
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, "/policies/from%20file/coverage", nil, &said); code != http.StatusOK {
		return fmt.Errorf("answered %d", code)
	}
	unavailable := len(said.Findings) == 1 && said.Findings[0].Reason == engine.ReasonUnavailable
	switch {
	case !said.Complete && said.Covered == 0 && unavailable:
		return errUnseen
	case said.Finished && said.Covered == 1 && !unavailable:
		return nil
	}
	return fmt.Errorf("neither of the two: %+v", said)
}

var errUnseen = errors.New("not all was seen")

// fireOwn fires a policy by our own API and returns what became of that.
func (a *apiHouse) fireOwn(t *testing.T, policy string) journal.Execution {
	t.Helper()
	var x journal.Execution
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodPost, "/policies/"+url.PathEscape(policy)+"/fire", nil, &x); code != http.StatusAccepted {
		t.Fatal(code)
	}
	registrytest.Eventually(t, patience, "the execution has ended", func() bool {
		return a.own(t, http.DefaultClient, a.URL, http.MethodGet, fmt.Sprintf("/executions/%d", x.ID), nil, &x) == http.StatusOK && x.Status.Final()
	})
	return x
}

// wantAnswers makes all calls at once and compares what each API answers.
func wantAnswers(t *testing.T, when string, calls []mutation, want map[string]string) {
	t.Helper()
	var all sync.WaitGroup
	for _, c := range calls {
		all.Go(func() {
			if got := told(c.call()); got != want[c.api] {
				t.Errorf("%s %s %s: %s, want %s", c.api, c.name, when, got, want[c.api])
			}
		})
	}
	all.Wait()
}

var allDone = map[string]string{"swr": "done", "apig": "done", "oci": "done", "tcr": "done", "own": "done"}

// TestRegistryOutage: while the registry is down each API says so in its vendor's words,
// in the time that the vendor's SDK waits, and answers what it knows by itself. All of it
// works as soon as the registry is back.
func TestRegistryOutage(t *testing.T) {
	t.Parallel()
	a := newAPIHouse(t)
	d := a.start()
	defer d.stop()
	for _, repository := range []string{"library/app", tcrNamespace + "/app", "files/app"} {
		a.registry.Push(t, repository+":v1", registrytest.Image(t))
	}
	image := a.lookup(t, a.oracleOnce(t), "library/app:v1")
	a.swrMutations(t) // there are policies to read
	if err := a.TCR(vendorKey, vendorSecret).Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": "by tencent", "NamespaceName": tcrNamespace,
		"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil); err != nil {
		t.Fatal(err)
	}
	calls, before := a.asksRegistry(t, image), a.whatIsThere(t)

	a.registry.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	})
	registrytest.Eventually(t, patience, "the listing of before is too old to be used", func() bool {
		_, err := a.SWR(t, vendorKey, vendorSecret).ListInstanceNamespaces(&model.ListInstanceNamespacesRequest{InstanceId: swrInstance})
		return err != nil
	})
	wantAnswers(t, "while the registry is down", calls, map[string]string{"swr": "500 SVCSTG.SWR.5000001", "oci": "503 ServiceUnavailable",
		"tcr": "InternalError.ErrorTcrInternal", "own": told(errUnseen)})
	if after := a.whatIsThere(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%v is now %v", before, after)
	}

	if x := a.fireOwn(t, "from file"); x.Status != journal.Failed || x.Reason != engine.ReasonUnavailable {
		t.Errorf("fired while the registry was down: %+v", x)
	}

	a.registry.Intercept(nil)
	if x := a.fireOwn(t, "from file"); x.Status != journal.Succeed || x.Counts.Succeed != 1 {
		t.Errorf("fired when the registry was back: %+v", x)
	}
	wantAnswers(t, "when the registry is back", calls, allDone)
}

// TestKeyStoreOutage: a key that its store does not open keeps nobody from reading, and
// what needs it is refused in each vendor's words. It works when the store is back.
func TestKeyStoreOutage(t *testing.T) {
	t.Parallel()
	a, vault := newAPIHouse(t), vaulttest.New(t)
	vault.AddKey("transit/vault", "rsa-2048", a.privateKey(t, "vault.key"))
	vault.CreateKey(t, "transit/signing", "ecdsa-p256")
	if err := os.WriteFile(a.path("vault.token"), []byte(vault.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.replace("keys:\n", fmt.Sprintf(`key_stores: [{name: vault, kind: hashivault, endpoint: %q, timeout: 1s, auth: {token_file: vault.token}}]
keys:
  - {name: remote, uri: "hashivault://signing", store: vault}
`, vault.URL))
	a.replace(`uri: "file:vault.key"`, `uri: "hashivault://vault", store: vault`)
	a.replace("policies:\n", `policies:
  - {name: far, registry: test, namespace: library, key: vault, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}
`)
	vault.Intercept(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
		vaulttest.Fail(w, http.StatusServiceUnavailable, "Vault is sealed")
		return true
	})
	d := a.start()
	defer d.stop()
	a.registry.Push(t, "library/app:v1", registrytest.Image(t))
	a.registry.Push(t, tcrNamespace+"/app:v1", registrytest.Image(t))
	oracle := a.oracleOnce(t)
	image := a.lookup(t, oracle, "library/app:v1")
	calls := []mutation{
		{"swr", "CreateInstanceSignPolicy", func() error {
			_, err := a.SWR(t, vendorKey, vendorSecret).CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: controltest.SWRPolicy("by_huawei", "remote")})
			return err
		}},
		{"oci", "CreateContainerImageSignature", func() error { _, err := a.upload(t, oracle, image, "a-retry-token"); return err }},
		{"tcr", "CreateSignaturePolicy", func() error {
			return a.TCR(vendorKey, vendorSecret).Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": "by tencent",
				"NamespaceName": tcrNamespace, "KmsId": "ocid1.key.oc1.phx.example", "KmsRegion": ""}, nil)
		}},
	}
	wantAnswers(t, "while the key store is down", calls, map[string]string{"swr": "500 SVCSTG.SWR.5000001",
		"oci": "503 ServiceUnavailable", "tcr": "FailedOperation.DependenceError"})
	if x := a.fireOwn(t, "far"); x.Status != journal.Failed || x.Reason != engine.ReasonKeyUnavailable {
		t.Errorf("fired while the key store was down: %+v", x)
	}
	if x := a.fireOwn(t, "from file"); x.Status != journal.Succeed {
		t.Errorf("fired with another key: %+v", x)
	}
	a.whatIsThere(t)

	vault.Intercept(nil)
	d.log.await(t, "keys opened again", 1)
	wantAnswers(t, "when the key store is back", calls, allDone)
	if x := a.fireOwn(t, "far"); x.Status != journal.Succeed || x.Counts.Succeed != 1 {
		t.Errorf("fired when the key store was back: %+v", x)
	}
}

// privateKey reads a private key of the house.
func (a *apiHouse) privateKey(t *testing.T, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode([]byte(a.read(name)))
	if block == nil {
		t.Fatal("no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}
