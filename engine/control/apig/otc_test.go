package apig_test

import (
	"errors"
	"testing"

	golangsdk "github.com/opentelekomcloud/gophertelekomcloud"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack/apigw/v2/key"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
)

// otcClient signs in the scoped form, or has a token.
func otcClient(url, accessKey, secret, token string) *golangsdk.ServiceClient {
	if token == "" {
		return controltest.Vendors{URL: url}.OTC(accessKey, secret)
	}
	return &golangsdk.ServiceClient{ProviderClient: &golangsdk.ProviderClient{TokenID: token}, Endpoint: url + "/v2/" + project + "/"}
}

// TestOTCLife: the whole life of a signature key of sinks through Open Telekom Cloud's
// SDK.
func TestOTCLife(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(url string) *golangsdk.ServiceClient{
		"signed": func(url string) *golangsdk.ServiceClient {
			return otcClient(url, controltest.AdminKey, controltest.AdminSecret, "")
		},
		"token": func(url string) *golangsdk.ServiceClient { return otcClient(url, "", "", controltest.AdminToken) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := newPlace(t, controltest.Options{})
			otcLife(t, client(place.url))
			if left, err := place.Journal.SignatureKeys(t.Context(), ""); err != nil || len(left) != 0 {
				t.Errorf("keys are left: %+v, %v", left, err)
			}
		})
	}
}

func otcLife(t *testing.T, c *golangsdk.ServiceClient) {
	t.Helper()
	created, err := key.Create(c, key.CreateOpts{GatewayID: apig.Everywhere, Name: "otc_hmac", SignType: "hmac", SignKey: "signkeysignkey", SignSecret: "sig-secret-0123456789"})
	ok(t, err)
	if created.SignSecret != "sig-secret-0123456789" || created.SignType != "hmac" || len(created.ID) != 32 || created.SignAlgorithm != "" {
		t.Errorf("%+v", created)
	}
	list, err := key.List(c, key.ListOpts{GatewayID: apig.Everywhere, SignatureName: "otc_hmac", PreciseSearch: "name"})
	ok(t, err)
	if len(list) != 1 || list[0].ID != created.ID || list[0].SignSecret != "************" {
		t.Errorf("%+v", list)
	}
	updated, err := key.Update(c, key.UpdateOpts{GatewayID: apig.Everywhere, SignID: created.ID, Name: "otc_hmac2", SignType: "hmac", SignKey: "signkeysignkey2", SignSecret: "sig-secret-9876543210"})
	ok(t, err)
	if updated.Name != "otc_hmac2" || updated.SignSecret != "sig-secret-9876543210" || updated.CreateTime != created.CreateTime {
		t.Errorf("%+v", updated)
	}
	bound, err := key.BindKey(c, key.BindOpts{GatewayID: apig.Everywhere, SignID: created.ID, PublishIds: []string{"sink:records"}})
	ok(t, err)
	if len(bound) != 1 || bound[0].ApiID != "sink:records" || bound[0].SignName != "otc_hmac2" || bound[0].SignSecret != "************" || bound[0].ApiType != 2 {
		t.Fatalf("%+v", bound)
	}
	apis, err := key.ListAPIBoundKeys(c, key.ListBoundOpts{GatewayID: apig.Everywhere, SignID: created.ID})
	ok(t, err)
	if len(apis) != 1 || apis[0].ApiName != "records" || apis[0].SignSecret != "" {
		t.Errorf("%+v", apis)
	}
	rest, err := key.ListUnboundKeys(c, key.ListUnbindOpts{GatewayID: apig.Everywhere, SignID: created.ID})
	ok(t, err)
	if len(rest) != 1 || rest[0].ID != "sink:chat" || rest[0].RunEnvName != "RELEASE" {
		t.Errorf("%+v", rest)
	}
	signs, err := key.ListBoundKeys(c, key.ListBindingOpts{GatewayID: apig.Everywhere, ApiID: "sink:records"})
	ok(t, err)
	if len(signs) != 1 || signs[0].SignID != created.ID || signs[0].SignSecret != "************" {
		t.Errorf("%+v", signs)
	}
	ok(t, key.UnbindKey(c, apig.Everywhere, bound[0].ID))
	ok(t, key.Delete(c, apig.Everywhere, created.ID))
	if _, err := key.Update(c, key.UpdateOpts{GatewayID: apig.Everywhere, SignID: created.ID, Name: "gone"}); !errors.As(err, new(golangsdk.ErrDefault404)) {
		t.Errorf("update of a deleted key: %v", err)
	}
}

// TestOTCRefusals: the errors that Open Telekom Cloud's SDK knows.
func TestOTCRefusals(t *testing.T) {
	t.Parallel()
	place := newPlace(t, controltest.Options{})
	for name, c := range map[string]struct {
		client *golangsdk.ServiceClient
		name   string
		want   any
	}{
		"wrong secret": {otcClient(place.url, controltest.AdminKey, "wrong", ""), "demo", new(golangsdk.ErrDefault401)},
		"wrong token":  {otcClient(place.url, "", "", "wrong"), "demo", new(golangsdk.ErrDefault401)},
		"viewer":       {otcClient(place.url, controltest.ViewerKey, controltest.ViewerSecret, ""), "demo", new(golangsdk.ErrDefault403)},
		"stranger":     {otcClient(place.url, controltest.StrangerKey, controltest.StrangerSecret, ""), "demo", new(golangsdk.ErrDefault404)},
		"bad name":     {otcClient(place.url, controltest.AdminKey, controltest.AdminSecret, ""), "9x", new(golangsdk.ErrDefault400)},
	} {
		if _, err := key.Create(c.client, key.CreateOpts{GatewayID: controltest.Instance, Name: c.name}); err == nil || !errors.As(err, c.want) {
			t.Errorf("%s: %v, want %T", name, err, c.want)
		}
	}
}
