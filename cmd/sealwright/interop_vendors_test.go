//go:build interop

package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

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

// TestInteropVendors: a vendor's own SDK makes a policy, an image in a real registry is
// signed by it, both versions of cosign accept the signature, and the SDK tells of it.
func TestInteropVendors(t *testing.T) {
	const accessKey, secret, instance = "AKEXAMPLE0000000001", "SKEXAMPLE00000000000000000000000000000001", "8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111"
	c := newCourt(t)
	for _, repository := range []string{"huawei/app", "tencent/app"} {
		c.push(t, repository)
	}
	listen := "127.0.0.1:" + freePorts(t, 1)[0]
	writeFile(t, c.dir, "vendor.secret", secret, 0o600)
	c.serve(t, fmt.Sprintf("listen: %q\ninstances: [{id: %s, registry: court}]\naccess: [{name: vendor, role: admin, access_key: %s, secret_key_file: vendor.secret}]\n",
		listen, instance, accessKey))
	vendors := controltest.Vendors{URL: "http://" + listen}
	tencent := vendors.TCR(accessKey, secret)
	registrytest.Eventually(t, time.Minute, "the daemon answers", func() bool { return tencent.Call("DescribeInstances", map[string]any{}, nil) == nil })
	judge := func(t *testing.T, repository string) {
		t.Helper()
		c.cosigns(t, func(t *testing.T, cosign program) {
			c.verify(t, cosign, "p256", repository).accepted(t)
			c.verify(t, cosign, "p384", repository).refused(t, "")
		})
	}
	t.Run("huawei", func(t *testing.T) {
		swr := vendors.SWR(t, accessKey, secret)
		made, err := swr.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: instance, NamespaceName: "huawei", Body: controltest.SWRPolicy("every_image", "p256")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := swr.ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{InstanceId: instance, NamespaceName: "huawei", PolicyId: *made.Id}); err != nil {
			t.Fatal(err)
		}
		registrytest.Eventually(t, time.Minute, "the SDK shows the signature", func() bool {
			list, err := swr.ListInstanceAccessories(&model.ListInstanceAccessoriesRequest{InstanceId: instance, NamespaceName: "huawei", RepositoryName: "app",
				Reference: c.images["huawei/app"].String(), Type: pointerTo(model.GetListInstanceAccessoriesRequestTypeEnum().SIGNATURE_COSIGN)})
			return err == nil && *list.Total == 1
		})
		judge(t, "huawei/app")
	})
	t.Run("tencent", func(t *testing.T) {
		of := map[string]any{"RegistryId": instance, "NamespaceName": "tencent"}
		with := func(more map[string]any) map[string]any {
			all := map[string]any{}
			for _, m := range []map[string]any{of, more} {
				for name, v := range m {
					all[name] = v
				}
			}
			return all
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
		judge(t, "tencent/app")
	})
}

func pointerTo[T any](v T) *T { return &v }
