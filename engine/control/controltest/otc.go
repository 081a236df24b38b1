package controltest

import (
	"testing"

	otc "github.com/opentelekomcloud/gophertelekomcloud"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack/apigw/v2/key"
)

// OTC returns Open Telekom Cloud's client of API Gateway, which signs in the scoped form.
func (v Vendors) OTC(accessKey, secret string) *otc.ServiceClient {
	signed := otc.AKSKAuthOptions{AccessKey: accessKey, SecretKey: secret, ProjectId: Project}
	return &otc.ServiceClient{ProviderClient: &otc.ProviderClient{AKSKAuthOptions: signed}, Endpoint: v.URL + "/v2/" + Project + "/"}
}

// BindOTC makes a signature key in an instance, binds it to an API there, and fails the
// test unless the client then lists both as bound to each other. It returns the binding's
// id.
func BindOTC(t testing.TB, c *otc.ServiceClient, instance, api string, o key.CreateOpts) string {
	t.Helper()
	o.GatewayID = instance
	made, err := key.Create(c, o)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := key.BindKey(c, key.BindOpts{GatewayID: instance, SignID: made.ID, PublishIds: []string{api}})
	if err != nil || len(bound) != 1 {
		t.Fatalf("%+v, %v", bound, err)
	}
	keys, err := key.ListBoundKeys(c, key.ListBindingOpts{GatewayID: instance, ApiID: api})
	if err != nil || len(keys) != 1 || keys[0].SignID != made.ID || keys[0].SignKey != o.SignKey || keys[0].SignType != o.SignType {
		t.Errorf("keys bound to %s: %+v, %v", api, keys, err)
	}
	apis, err := key.ListAPIBoundKeys(c, key.ListBoundOpts{GatewayID: instance, SignID: made.ID})
	if err != nil || len(apis) != 1 || apis[0].ApiID != api {
		t.Errorf("what %s is bound to: %+v, %v", o.Name, apis, err)
	}
	return bound[0].ID
}
