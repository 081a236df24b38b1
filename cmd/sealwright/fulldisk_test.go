package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"
	tencent "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// What each API answers when something is wrong that the caller cannot mend.
var internalErrors = map[string]string{"swr": "500 SVCSTG.SWR.5000001", "apig": "500 APIG.9999", "oci": "500 InternalServerError",
	"tcr": "InternalError.ErrorTcrInternal", "own": "500"}

// told is what a vendor's SDK says that the daemon answered: in the vendor's own words,
// and with the id of the request.
func told(err error) string {
	huawei, own, ours := (*sdkerr.ServiceResponseError)(nil), (*tencent.TencentCloudSDKError)(nil), (*ownProblem)(nil)
	oracle, isOracle := common.IsServiceError(err)
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &huawei) && huawei.RequestId != "":
		return fmt.Sprint(huawei.StatusCode, " ", huawei.ErrorCode)
	case isOracle && oracle.GetOpcRequestID() != "":
		return fmt.Sprint(oracle.GetHTTPStatusCode(), " ", oracle.GetCode())
	case errors.As(err, &own) && own.RequestId != "":
		return own.Code
	case errors.As(err, &ours) && ours.RequestID != "":
		return fmt.Sprint(ours.Status)
	}
	return fmt.Sprint("no answer of the vendor's: ", err)
}

// A mutation is one call that changes something, of one API.
type mutation struct {
	api, name string
	call      func() error
}

// mutations are all calls that change something, each once. What they change is made
// here, so that they may be called in any order, and again if they failed.
func (a *apiHouse) mutations(t *testing.T, image artifacts.ContainerImage) []mutation {
	t.Helper()
	return append(append(append(a.swrMutations(t), a.apigMutations(t)...), a.ociMutations(t, image)...), append(a.tcrMutations(t), a.ownMutations(t)...)...)
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (a *apiHouse) swrMutations(t *testing.T) []mutation {
	t.Helper()
	c := a.SWR(t, vendorKey, vendorSecret)
	create := func(name string) (*model.CreateInstanceSignPolicyResponse, error) {
		return c.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: controltest.SWRPolicy(name, "release")})
	}
	var ids []int32
	for _, name := range []string{"updated", "deleted", "executed"} {
		made, err := create(name)
		ids = append(ids, *must(t, made, err).Id)
	}
	changed := *controltest.SWRPolicy("renamed", "release")
	return []mutation{
		{"swr", "CreateInstanceSignPolicy", func() error { _, err := create("created"); return err }},
		{"swr", "UpdateInstanceSignPolicy", func() error {
			_, err := c.UpdateInstanceSignPolicy(&model.UpdateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: ids[0],
				Body: &model.UpdateSignaturePolicyRequestBody{Name: changed.Name, Enabled: true, SignatureKey: changed.SignatureKey, Trigger: changed.Trigger, ScopeRules: changed.ScopeRules,
					SignatureMethod:    model.GetUpdateSignaturePolicyRequestBodySignatureMethodEnum().KMS,
					SignatureAlgorithm: model.GetUpdateSignaturePolicyRequestBodySignatureAlgorithmEnum().ECDSA_SHA_256}})
			return err
		}},
		{"swr", "DeleteInstanceSignPolicy", func() error {
			_, err := c.DeleteInstanceSignPolicy(&model.DeleteInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: ids[1]})
			return err
		}},
		{"swr", "ExecuteInstanceSignPolicy", func() error {
			_, err := c.ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: ids[2]})
			return err
		}},
		{"swr", "CreateInstanceNamespace", func() error {
			_, err := c.CreateInstanceNamespace(&model.CreateInstanceNamespaceRequest{InstanceId: swrInstance,
				Body: &model.CreateInstanceNamespaceRequestBody{NamespaceName: "fresh", Metadata: &model.NamespaceMetadata{Public: model.GetNamespaceMetadataPublicEnum().FALSE}}})
			return err
		}},
		{"swr", "DeleteInstanceNamespace", func() error {
			_, err := c.DeleteInstanceNamespace(&model.DeleteInstanceNamespaceRequest{InstanceId: swrInstance, NamespaceName: "fresh"})
			return err
		}},
	}
}

func (a *apiHouse) apigMutations(t *testing.T) []mutation {
	t.Helper()
	c := a.APIG(t, vendorKey, vendorSecret)
	create := func(name string) (*apigmodel.CreateSignatureKeyV2Response, error) {
		return c.CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: apig.Everywhere, Body: &apigmodel.BaseSignature{Name: name}})
	}
	bind := func(id, api string) (*apigmodel.AssociateSignatureKeyV2Response, error) {
		return c.AssociateSignatureKeyV2(&apigmodel.AssociateSignatureKeyV2Request{InstanceId: apig.Everywhere,
			Body: &apigmodel.SignApiBinding{SignId: id, PublishIds: []string{api}}})
	}
	var ids []string
	for _, name := range []string{"updated", "deleted", "bound", "unbound"} {
		made, err := create(name)
		ids = append(ids, *must(t, made, err).Id)
	}
	unbound, err := bind(ids[3], "sink:other")
	binding := *(*must(t, unbound, err).Bindings)[0].Id
	return []mutation{
		{"apig", "CreateSignatureKeyV2", func() error { _, err := create("created"); return err }},
		{"apig", "UpdateSignatureKeyV2", func() error {
			_, err := c.UpdateSignatureKeyV2(&apigmodel.UpdateSignatureKeyV2Request{InstanceId: apig.Everywhere, SignId: ids[0], Body: &apigmodel.BaseSignature{Name: "renamed"}})
			return err
		}},
		{"apig", "DeleteSignatureKeyV2", func() error {
			_, err := c.DeleteSignatureKeyV2(&apigmodel.DeleteSignatureKeyV2Request{InstanceId: apig.Everywhere, SignId: ids[1]})
			return err
		}},
		{"apig", "AssociateSignatureKeyV2", func() error { _, err := bind(ids[2], "sink:siem"); return err }},
		{"apig", "DisassociateSignatureKeyV2", func() error {
			_, err := c.DisassociateSignatureKeyV2(&apigmodel.DisassociateSignatureKeyV2Request{InstanceId: apig.Everywhere, SignBindingsId: binding})
			return err
		}},
	}
}

func (a *apiHouse) ociMutations(t *testing.T, image artifacts.ContainerImage) []mutation {
	t.Helper()
	c := a.Oracle(t, a.oracle)
	never := common.NoRetryPolicy()
	c.Configuration.RetryPolicy, c.Configuration.CircuitBreaker = &never, nil
	made, err := a.upload(t, c, image, "updated")
	updated := must(t, made, err).Id
	made, err = a.upload(t, c, image, "deleted")
	deleted := must(t, made, err).Id
	return []mutation{
		{"oci", "CreateContainerImageSignature", func() error { _, err := a.upload(t, c, image, "created"); return err }},
		{"oci", "UpdateContainerImageSignature", func() error {
			_, err := c.UpdateContainerImageSignature(t.Context(), artifacts.UpdateContainerImageSignatureRequest{ImageSignatureId: updated,
				UpdateContainerImageSignatureDetails: artifacts.UpdateContainerImageSignatureDetails{FreeformTags: map[string]string{"n": "2"}}})
			return err
		}},
		{"oci", "DeleteContainerImageSignature", func() error {
			_, err := c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: deleted})
			return err
		}},
	}
}

func (a *apiHouse) tcrMutations(t *testing.T) []mutation {
	t.Helper()
	c := a.TCR(vendorKey, vendorSecret)
	create := func(namespace string) error {
		return c.Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": "by tencent", "NamespaceName": namespace,
			"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil)
	}
	for _, namespace := range []string{"signed", "deleted"} {
		if err := create(namespace); err != nil {
			t.Fatal(err)
		}
	}
	return []mutation{
		{"tcr", "CreateSignaturePolicy", func() error { return create(tcrNamespace) }},
		{"tcr", "DeleteSignaturePolicy", func() error {
			return c.Call("DeleteSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "NamespaceName": "deleted"}, nil)
		}},
		{"tcr", "CreateSignature", func() error {
			return c.Call("CreateSignature", map[string]any{"RegistryId": tcrInstance, "NamespaceName": "signed", "RepositoryName": "app", "ImageVersion": "v1"}, nil)
		}},
	}
}

func (a *apiHouse) ownMutations(t *testing.T) []mutation {
	t.Helper()
	all := policy.Selector{Matches: []string{"**"}}
	p := func(name string) policy.Policy {
		return policy.Policy{Name: name, Registry: "test", Namespace: "own", Key: "release", Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
	}
	for _, name := range []string{"replaced", "removed", "switched off", "switched on", "fired"} {
		if err := a.tryOwn(http.MethodPost, "/policies", p(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.tryOwn(http.MethodPost, "/policies/switched%20on/disable", nil); err != nil {
		t.Fatal(err)
	}
	replaced := p("replaced")
	replaced.Namespace = "elsewhere"
	return []mutation{
		{"own", "create", func() error { return a.tryOwn(http.MethodPost, "/policies", p("made")) }},
		{"own", "replace", func() error { return a.tryOwn(http.MethodPut, "/policies/replaced", replaced) }},
		{"own", "delete", func() error { return a.tryOwn(http.MethodDelete, "/policies/removed", nil) }},
		{"own", "disable", func() error { return a.tryOwn(http.MethodPost, "/policies/switched%20off/disable", nil) }},
		{"own", "enable", func() error { return a.tryOwn(http.MethodPost, "/policies/switched%20on/enable", nil) }},
		{"own", "fire", func() error { return a.tryOwn(http.MethodPost, "/policies/fired/fire", nil) }},
	}
}

// TestFullDisk: while the journal's disk is full, whatever an API is asked to change it
// refuses in its vendor's words, and leaves as it was; what can be read is read; nothing
// is signed. As soon as there is room all of it works, in the same daemon.
func TestFullDisk(t *testing.T) {
	journaltest.OnDisk(t, 64<<20, func(t *testing.T, disk *journaltest.Disk) {
		a := newAPIHouse(t)
		must(t, 0, os.Symlink(disk.Path, a.path("state")))
		a.replace("sinks: [", "sinks: [{name: other, kind: webhook, url: \"http://127.0.0.1:1\"}, ")
		d := a.start()
		defer d.stop()
		for _, repository := range []string{"library", tcrNamespace, "signed", "deleted"} {
			a.registry.Push(t, repository+"/app:v1", registrytest.Image(t))
		}
		registrytest.Eventually(t, patience, "the registry has told of the images, which no policy covers", func() bool {
			return metric(t, a.scrape(), `sealwright_events_total{registry="test",result="uncovered"}`) == 4
		})
		changes := a.mutations(t, a.lookup(t, a.Oracle(t, a.oracle), "library/app:v1"))
		before, audited := a.everything(t), a.audited(t)

		disk.Fill()
		registrytest.Eventually(t, patience, "the journal cannot be written", func() bool { return a.readiness(t) == http.StatusServiceUnavailable })
		pushed := a.registry.Push(t, "signed/app:v2", registrytest.Image(t))
		a.wantRefused(t, changes)
		if after := a.everything(t); after != before {
			t.Errorf("something was changed:\n%s\nis now\n%s", before, after)
		}
		if after := a.audited(t); after != audited {
			t.Errorf("%d changes are in the audit log, not %d", after, audited)
		}
		if n := a.registry.Signatures(t, "signed/app", pushed); n != 0 {
			t.Errorf("%d signatures, of which there can be no record", n)
		}

		disk.Free()
		registrytest.Eventually(t, patience, "the journal can be written", func() bool { return a.readiness(t) == http.StatusOK })
		for _, m := range changes {
			if got := told(m.call()); got != "done" {
				t.Errorf("%s %s with room again: %s", m.api, m.name, got)
			}
		}
		if n := a.audited(t) - audited; n != len(changes) {
			t.Errorf("%d changes were audited, not %d", n, len(changes))
		}
		registrytest.Eventually(t, patience, "what was pushed meanwhile is signed", func() bool { return a.registry.Signatures(t, "signed/app", pushed) == 1 })
		a.run(exitOK, "records", "verify")
	})
}

// wantRefused fails unless each change is refused as its vendor would, without a word
// about why; also when it is sent again at once, with the same signature.
func (a *apiHouse) wantRefused(t *testing.T, changes []mutation) {
	t.Helper()
	for i := range 2 * len(changes) {
		m := changes[i/2]
		err := m.call()
		if got := told(err); got != internalErrors[m.api] {
			t.Errorf("%s %s on a full disk: %s, want %s", m.api, m.name, got, internalErrors[m.api])
		}
		for _, inside := range []string{"disk", "database", "SQL", "audit", a.dir} {
			if err != nil && strings.Contains(err.Error(), inside) {
				t.Errorf("%s %s tells of %q: %v", m.api, m.name, inside, err)
			}
		}
	}
}

// readiness asks whether the journal can be written.
func (a *apiHouse) readiness(t *testing.T) int {
	t.Helper()
	resp, err := http.Get(a.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// everything is what the APIs show of what they can change.
func (a *apiHouse) everything(t *testing.T) string {
	t.Helper()
	list, err := a.Oracle(t, a.oracle).ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment)})
	signatures := must(t, list, err).Items
	bound, err := a.APIG(t, vendorKey, vendorSecret).ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: apig.Everywhere, Limit: pointer(int32(500))})
	keys := must(t, bound, err).Signs
	var namespaces struct{ NamespaceList []map[string]any }
	if err := a.TCR(vendorKey, vendorSecret).Call("DescribeNamespaces", map[string]any{"RegistryId": tcrInstance, "KmsSignPolicy": true}, &namespaces); err != nil {
		t.Fatal(err)
	}
	var policies struct{ Items []map[string]any }
	var executions struct{ Items []journal.Execution }
	for path, answer := range map[string]any{"/policies?limit=100": &policies, "/executions?limit=100": &executions} {
		if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, path, nil, answer); code != http.StatusOK {
			t.Fatalf("%s: %d", path, code)
		}
	}
	return fmt.Sprintln(a.whatIsThere(t), signatures, *keys, namespaces, policies, len(executions.Items))
}

// audited returns how many changes are in the audit log.
func (a *apiHouse) audited(t *testing.T) int {
	t.Helper()
	var page struct{ Items []journal.AuditEntry }
	if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, "/audit?limit=100", nil, &page); code != http.StatusOK {
		t.Fatal(code)
	}
	return len(page.Items)
}

// TestDiskFullWhileSigning: a signature whose end cannot be written has a record that
// says that it was begun. As soon as there is room the record says how it ended.
func TestDiskFullWhileSigning(t *testing.T) {
	journaltest.OnDisk(t, 64<<20, func(t *testing.T, disk *journaltest.Disk) {
		h := newHouse(t)
		must(t, 0, os.Symlink(disk.Path, h.path("state")))
		h.configure(fmt.Sprintf(manual, "all"))
		digest := h.registry.Push(t, "library/app:v1", registrytest.Image(t))
		d := h.start()
		defer d.stop()
		gate := h.hold()
		h.run(exitOK, "trigger", "--detach", "all")
		gate.wait(t)

		disk.Fill()
		gate.open()
		d.log.await(t, "job failed", 1)
		records := h.records()
		if len(records) != 1 || records[0].State != journal.Signing || records[0].Digest != digest.String() {
			t.Errorf("%+v", records)
		}

		disk.Free()
		registrytest.Eventually(t, patience, "the execution has ended", func() bool {
			xs := h.executions()
			return len(xs) == 1 && xs[0].Status.Final()
		})
		if x := h.executions()[0]; x.Status != journal.Succeed {
			t.Errorf("%+v", x)
		}
		if records = h.records(); len(records) != 1 || records[0].State != journal.Signed {
			t.Errorf("%+v", records)
		}
		if n := h.registry.Signatures(t, "library/app", digest); n != 1 {
			t.Errorf("%d signatures", n)
		}
		h.run(exitOK, "records", "verify")
	})
}

// records reads the records beside whoever writes them.
func (h *house) records() []journal.Record {
	h.t.Helper()
	j, err := journal.OpenReadOnly(h.t.Context(), h.path("state"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // only read
	records, err := j.Records(h.t.Context(), journal.RecordFilter{})
	if err != nil {
		h.t.Fatal(err)
	}
	return records
}
