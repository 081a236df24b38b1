package apig_test

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	huawei "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

func sha(text string) [32]byte { return sha256.Sum256([]byte(text)) }

func huaweiClient(t *testing.T, url, key, secret string) *huawei.ApigClient {
	t.Helper()
	return controltest.Vendors{URL: url}.APIG(t, key, secret)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refusedBy fails unless Huawei's SDK says that error.
func refusedBy(t *testing.T, what string, err error, status int, code, message string) {
	t.Helper()
	var said *sdkerr.ServiceResponseError
	if !errors.As(err, &said) || said.StatusCode != status || said.ErrorCode != code || said.ErrorMessage != message || said.RequestId == "" {
		t.Errorf("%s: %v\nwant %d %s %s", what, err, status, code, message)
	}
}

func p[T any](v T) *T { return &v }

// TestHuaweiLife: a signature key's whole life through Huawei's SDK.
func TestHuaweiLife(t *testing.T) {
	t.Parallel()
	place := newPlace(t, controltest.Options{})
	admin := huaweiClient(t, place.url, controltest.AdminKey, controltest.AdminSecret)
	begun := time.Now().Add(-time.Second)
	created, err := admin.CreateSignatureKeyV2(&model.CreateSignatureKeyV2Request{InstanceId: controltest.Instance,
		Body: &model.BaseSignature{Name: "signature_demo", SignKey: p("signkeysignkey"), SignSecret: p("sig-secret-0123456789")}})
	ok(t, err)
	if created.HttpStatusCode != http.StatusCreated || *created.SignSecret != "sig-secret-0123456789" || *created.SignKey != "signkeysignkey" ||
		created.SignType.Value() != "hmac" || len(*created.Id) != 32 || time.Time(*created.CreateTime).Before(begun) {
		t.Fatalf("%+v", created)
	}
	aes, err := admin.CreateSignatureKeyV2(&model.CreateSignatureKeyV2Request{InstanceId: controltest.Instance, Body: &model.BaseSignature{
		Name: "signature_aes", SignType: p(model.GetBaseSignatureSignTypeEnum().AES), SignAlgorithm: p(model.GetBaseSignatureSignAlgorithmEnum().AES_256_CFB)}})
	ok(t, err)
	if len(*aes.SignKey) != 32 || len(*aes.SignSecret) != 16 || aes.SignAlgorithm.Value() != "aes-256-cfb" {
		t.Fatalf("%+v", aes)
	}
	viewer := huaweiClient(t, place.url, controltest.ViewerKey, controltest.ViewerSecret)
	list, err := viewer.ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: controltest.Instance, Limit: p(int32(500))})
	ok(t, err)
	if list.Total != 2 || list.Size != 2 {
		t.Fatalf("%+v", list)
	}
	first, second := (*list.Signs)[0], (*list.Signs)[1]
	if *first.Id != *created.Id || *first.SignSecret != "************" || *first.SignKey != "signkeysignkey" || *first.BindNum != 0 || *first.LdapiBindNum != 0 {
		t.Errorf("%+v", first)
	}
	if *second.Id != *aes.Id || *second.SignSecret != "************" || *second.SignKey != "************" {
		t.Errorf("%+v", second)
	}
	updated, err := admin.UpdateSignatureKeyV2(&model.UpdateSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: *created.Id,
		Body: &model.BaseSignature{Name: "renamed", SignKey: p("signkeysignkey2"), SignSecret: p("sig-secret-9876543210")}})
	ok(t, err)
	if updated.HttpStatusCode != http.StatusOK || updated.Name != "renamed" || *updated.SignKey != "signkeysignkey2" || *updated.SignSecret != "sig-secret-9876543210" {
		t.Errorf("%+v", updated)
	}
	found, err := viewer.ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: controltest.Instance, Name: p("rename"), Id: created.Id})
	ok(t, err)
	if found.Total != 1 || (*found.Signs)[0].Name != "renamed" {
		t.Errorf("%+v", found)
	}
	huaweiBindings(t, place, admin, *created.Id)
}

// huaweiBindings binds, lists and unbinds the key, and deletes it while it is bound.
func huaweiBindings(t *testing.T, place *place, admin *huawei.ApigClient, id string) {
	t.Helper()
	bound, err := admin.AssociateSignatureKeyV2(&model.AssociateSignatureKeyV2Request{InstanceId: controltest.Instance,
		Body: &model.SignApiBinding{SignId: id, PublishIds: []string{"hooks:records", "events:prod"}}})
	ok(t, err)
	if bound.HttpStatusCode != http.StatusCreated || len(*bound.Bindings) != 2 {
		t.Fatalf("%+v", bound)
	}
	events := (*bound.Bindings)[0]
	if *events.ApiId != "events:prod" || *events.PublishId != "events:prod" || *events.SignSecret != "************" || *events.SignName != "renamed" ||
		*events.EnvName != "RELEASE" || *events.EnvId != "DEFAULT_ENVIRONMENT_RELEASE_ID" || events.ApiType.Value() != 2 || events.SignType.Value() != "hmac" {
		t.Errorf("%+v", events)
	}
	apis, err := admin.ListApisBindedToSignatureKeyV2(&model.ListApisBindedToSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: id})
	ok(t, err)
	if apis.Total != 2 || apis.Size != 2 || *(*apis.Bindings)[1].ApiName != "records" {
		t.Errorf("%+v", apis)
	}
	rest, err := admin.ListApisNotBoundWithSignatureKeyV2(&model.ListApisNotBoundWithSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: id})
	ok(t, err)
	if rest.Total != 1 || *(*rest.Apis)[0].Id != "hooks:chat" || *(*rest.Apis)[0].GroupName != "hooks" {
		t.Errorf("%+v", rest)
	}
	signs, err := admin.ListSignatureKeysBindedToApiV2(&model.ListSignatureKeysBindedToApiV2Request{InstanceId: controltest.Instance, ApiId: "hooks:records"})
	ok(t, err)
	if signs.Total != 1 || *(*signs.Bindings)[0].SignId != id || *(*signs.Bindings)[0].SignKey != "signkeysignkey2" {
		t.Errorf("%+v", signs)
	}
	gone, err := admin.DisassociateSignatureKeyV2(&model.DisassociateSignatureKeyV2Request{InstanceId: controltest.Instance, SignBindingsId: *events.Id})
	ok(t, err)
	deleted, err := admin.DeleteSignatureKeyV2(&model.DeleteSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: id})
	ok(t, err)
	if gone.HttpStatusCode != http.StatusNoContent || deleted.HttpStatusCode != http.StatusNoContent {
		t.Errorf("%+v, %+v", gone, deleted)
	}
	left, err := place.Journal.SignatureBindings(t.Context(), controltest.Registry)
	if err != nil || len(left) != 0 || len(place.stored(t)) != 1 {
		t.Errorf("%+v, %v", left, err)
	}
	_, err = admin.ListApisBindedToSignatureKeyV2(&model.ListApisBindedToSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: id})
	refusedBy(t, "bound APIs of a deleted key", err, 404, "APIG.3017", "Signature key "+id+" does not exist")
	_, err = admin.UpdateSignatureKeyV2(&model.UpdateSignatureKeyV2Request{InstanceId: controltest.Instance, SignId: id, Body: &model.BaseSignature{Name: "again"}})
	refusedBy(t, "update of a deleted key", err, 404, "APIG.3017", "Signature key "+id+" does not exist")
	_, err = admin.DisassociateSignatureKeyV2(&model.DisassociateSignatureKeyV2Request{InstanceId: controltest.Instance, SignBindingsId: absent})
	refusedBy(t, "unbind of nothing", err, 404, "APIG.3018", "The signature key binding record does not exist")
}

// TestHuaweiRefusals: who may not, and what may not be, in the vendor's words.
func TestHuaweiRefusals(t *testing.T) {
	t.Parallel()
	place := newPlace(t, controltest.Options{})
	list := func(key, secret, instance string) error {
		_, err := huaweiClient(t, place.url, key, secret).ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: instance})
		return err
	}
	create := func(key, secret, instance, name string) error {
		_, err := huaweiClient(t, place.url, key, secret).CreateSignatureKeyV2(&model.CreateSignatureKeyV2Request{InstanceId: instance, Body: &model.BaseSignature{Name: name}})
		return err
	}
	const wrong = "Incorrect IAM authentication information: verify aksk signature fail"
	none := "The instance does not exist;id:"
	refusedBy(t, "wrong secret", list(controltest.AdminKey, "wrong", controltest.Instance), 401, "APIG.0301", wrong)
	refusedBy(t, "unknown key", list("AKUNKNOWN", controltest.AdminSecret, controltest.Instance), 401, "APIG.0301", wrong)
	refusedBy(t, "viewer creates", create(controltest.ViewerKey, controltest.ViewerSecret, controltest.Instance, "demo"), 403, "APIG.1005", "No permissions to request this method")
	refusedBy(t, "operator creates", create(controltest.OperatorKey, controltest.OperatorSecret, controltest.Instance, "demo"), 403, "APIG.1005", "No permissions to request this method")
	refusedBy(t, "stranger lists", list(controltest.StrangerKey, controltest.StrangerSecret, controltest.Instance), 404, "APIG.3030", none+controltest.Instance)
	refusedBy(t, "stranger creates", create(controltest.StrangerKey, controltest.StrangerSecret, controltest.Instance, "demo"), 404, "APIG.3030", none+controltest.Instance)
	refusedBy(t, "no such instance", list(controltest.StrangerKey, controltest.StrangerSecret, "nothing"), 404, "APIG.3030", none+"nothing")
	refusedBy(t, "bad name", create(controltest.AdminKey, controltest.AdminSecret, controltest.Instance, "ab"), 400, "APIG.2011", "Invalid parameter value,parameterName:name"+docs)
	ok(t, create(controltest.AdminKey, controltest.AdminSecret, controltest.Instance, "demo"))
	ok(t, create(controltest.StrangerKey, controltest.StrangerSecret, controltest.OtherInstance, "demo"))
	if n := len(place.stored(t)); n != 1 {
		t.Errorf("%d keys", n)
	}
}
