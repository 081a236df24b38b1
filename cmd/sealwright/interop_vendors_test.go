//go:build interop

package main_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	vendorKey, vendorSecret = "AKEXAMPLE0000000001", "SKEXAMPLE00000000000000000000000000000001"
	vendorInstance          = "8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111"
	ociCompartment          = "ocid1.compartment.oc1..aaaaaaaaexample"
	ociKey, ociVersion      = "ocid1.key.oc1.phx.example", "ocid1.keyversion.oc1.phx.example"
	// pushKey and pushSecret are what the registry sends with what it tells.
	pushKey, pushSecret = "push-key-01", "Push-secret-0123"
	// eventSecret is what proves an event unless a signature key does.
	eventSecret = "event-secret-0123456789"
)

// A vendorCourt is a court whose daemon serves the vendors' APIs to itself, to their own
// clients, and to a registry that tells of pushes.
type vendorCourt struct {
	*court
	controltest.Vendors
	oracle controltest.OracleKey
	siem   *recipient
}

func newVendorCourt(t *testing.T) *vendorCourt {
	t.Helper()
	listen := "127.0.0.1:" + freePorts(t, 1)[0]
	c := newCourt(t, fmt.Sprintf(`notifications:
  events: {includereferences: true}
  endpoints: [{name: sealwright, url: "http://%s/events/court", headers: {Authorization: ["Basic %s"]}, timeout: 5s, threshold: 3, backoff: 100ms}]
`, listen, base64.StdEncoding.EncodeToString([]byte(pushKey+":"+pushSecret))))
	v := &vendorCourt{court: c, Vendors: controltest.Vendors{URL: "http://" + listen}, oracle: controltest.NewOracleKey(t), siem: &recipient{}}
	siem := httptest.NewServer(v.siem)
	t.Cleanup(siem.Close)
	for name, content := range map[string]string{"vendor.secret": vendorSecret, "oracle.pem": string(v.oracle.PublicPEM), "events.secret": eventSecret, "seal.key": strings.Repeat("5e", 32)} {
		writeFile(t, c.dir, name, content, 0o600)
	}
	config := filepath.Join(c.dir, "sealwright.yaml")
	const limits = "limits: {requests_per_second: 500}"
	writeFile(t, c.dir, "sealwright.yaml", strings.Replace(readFile(t, config), limits, limits+", events: {source: distribution, secret_file: events.secret}", 1), 0o600)
	c.serve(t, fmt.Sprintf(`listen: %q
instances: [{id: %s, registry: court}, {id: %s, registry: court}]
access:
  - {name: vendor, role: admin, access_key: %s, secret_key_file: vendor.secret}
  - {name: oracle, role: admin, oci_key_id: "%s", public_key_file: oracle.pem}
sinks:
  - {name: siem, kind: webhook, url: "%s/records"}
  - {name: oracle, kind: ocir, registry: court, key: pss, region: us-phoenix-1, namespace: court, endpoint: %q, config_file: %q, key_id: %s, key_version_id: %s}
public_keys: [{id: %[9]s, version: %[10]s, public_key_file: pss.pub}]
signature_keys: {seal_key_file: seal.key}
`, listen, vendorInstance, ociCompartment, vendorKey, v.oracle.ID, siem.URL, v.URL, v.oracle.ConfigFile(t), ociKey, ociVersion))
	tencent := v.TCR(vendorKey, vendorSecret)
	registrytest.Eventually(t, time.Minute, "the daemon answers", func() bool { return tencent.Call("DescribeInstances", map[string]any{}, nil) == nil })
	return v
}

// serve runs the daemon with the court's configuration and what is added to it, until
// the test ends.
func (c *court) serve(t *testing.T, more string) {
	t.Helper()
	config := filepath.Join(c.dir, "sealwright.yaml")
	writeFile(t, c.dir, "sealwright.yaml", readFile(t, config)+more, 0o600)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, c.ours.path, "run", "--config", config)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), c.ours.env...), os.Stderr, os.Stderr
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed: its status tells nothing
	})
}

// TestInteropVendors: a policy that a vendor's own SDK made signs an image in a real
// registry, both versions of cosign accept the signature, and each vendor's SDK tells of
// what it has to do with it.
func TestInteropVendors(t *testing.T) {
	v := newVendorCourt(t)
	t.Run("huawei", v.byHuawei)
	t.Run("tencent", v.byTencent)
	t.Run("oracle", v.byOracle)
	t.Run("open telekom cloud", v.byOTC)
}

// judge lets both versions of cosign judge an image by the key that signed it, and by
// another one.
func (v *vendorCourt) judge(t *testing.T, repository string) {
	t.Helper()
	v.cosigns(t, func(t *testing.T, cosign program) {
		v.verify(t, cosign, "p256", repository).accepted(t)
		v.verify(t, cosign, "p384", repository).refused(t, "")
	})
}

// policy makes a policy for a namespace with Huawei's SDK, and returns its id.
func (v *vendorCourt) policy(t *testing.T, namespace string, trigger model.TriggerConfigType) int32 {
	t.Helper()
	body := controltest.SWRPolicy("every_image_of_"+namespace, "p256")
	body.Trigger = &model.TriggerConfig{Type: trigger}
	made, err := v.SWR(t, vendorKey, vendorSecret).CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: vendorInstance, NamespaceName: namespace, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return *made.Id
}

// shown waits until Huawei's SDK shows one signature of a namespace's app.
func (v *vendorCourt) shown(t *testing.T, namespace string) {
	t.Helper()
	c := v.SWR(t, vendorKey, vendorSecret)
	registrytest.Eventually(t, time.Minute, "the SDK shows the signature", func() bool {
		list, err := c.ListInstanceAccessories(&model.ListInstanceAccessoriesRequest{InstanceId: vendorInstance, NamespaceName: namespace, RepositoryName: "app",
			Reference: v.images[namespace+"/app"].String(), Type: pointerTo(model.GetListInstanceAccessoriesRequestTypeEnum().SIGNATURE_COSIGN)})
		return err == nil && *list.Total == 1
	})
}

// signHuawei has an image signed by a policy that Huawei's SDK made and executes.
func (v *vendorCourt) signHuawei(t *testing.T, namespace string) {
	t.Helper()
	v.push(t, namespace+"/app")
	id := v.policy(t, namespace, model.GetTriggerConfigTypeEnum().MANUAL)
	if _, err := v.SWR(t, vendorKey, vendorSecret).ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{InstanceId: vendorInstance,
		NamespaceName: namespace, PolicyId: id}); err != nil {
		t.Fatal(err)
	}
	v.shown(t, namespace)
}

func (v *vendorCourt) byHuawei(t *testing.T) {
	v.signHuawei(t, "huawei")
	v.judge(t, "huawei/app")
}

func (v *vendorCourt) byTencent(t *testing.T) {
	v.push(t, "tencent/app")
	tencent := v.TCR(vendorKey, vendorSecret)
	with := func(more map[string]any) map[string]any {
		more["RegistryId"], more["NamespaceName"] = vendorInstance, "tencent"
		return more
	}
	if err := tencent.Call("CreateSignaturePolicy", with(map[string]any{"Name": "library signing", "KmsId": "p256", "KmsRegion": ""}), nil); err != nil {
		t.Fatal(err)
	}
	if err := tencent.Call("CreateSignature", with(map[string]any{"RepositoryName": "app", "ImageVersion": "v1"}), nil); err != nil {
		t.Fatal(err)
	}
	registrytest.Eventually(t, time.Minute, "the SDK shows the signature", func() bool {
		var images struct {
			ImageInfoList []struct{ KmsSignature string }
		}
		err := tencent.Call("DescribeImages", with(map[string]any{"RepositoryName": "app"}), &images)
		return err == nil && len(images.ImageInfoList) == 1 && images.ImageInfoList[0].KmsSignature != ""
	})
	v.judge(t, "tencent/app")
}

func pointerTo[T any](v T) *T { return &v }
