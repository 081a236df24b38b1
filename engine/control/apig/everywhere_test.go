package apig_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

// TestEverywhere: what belongs to no registry is for who sees all of them; for others it
// is not there.
func TestEverywhere(t *testing.T) {
	t.Parallel()
	const limitedKey, limitedSecret = "AKEXAMPLE0000000009", "SKEXAMPLE00000000000000000000000000000009"
	place := newPlace(t, controltest.Options{Credentials: []door.Credential{{Name: "limited", Role: door.Admin, Namespaces: []string{"team"},
		AccessKey: limitedKey, Secret: []byte(limitedSecret)}}})
	place.setAPIs("", apig.API{ID: "sink:siem", Name: "siem", Kind: "sinks"})
	admin := huaweiClient(t, place.url, controltest.AdminKey, controltest.AdminSecret)
	made, err := admin.CreateSignatureKeyV2(&model.CreateSignatureKeyV2Request{InstanceId: apig.Everywhere, Body: &model.BaseSignature{Name: "for_sinks"}})
	ok(t, err)
	_, err = admin.AssociateSignatureKeyV2(&model.AssociateSignatureKeyV2Request{InstanceId: apig.Everywhere,
		Body: &model.SignApiBinding{SignId: *made.Id, PublishIds: []string{"sink:siem"}}})
	ok(t, err)
	elsewhere, err := admin.ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: controltest.Instance})
	if err != nil || elsewhere.Total != 0 {
		t.Errorf("in an instance: %+v, %v", elsewhere, err)
	}
	for key, secret := range map[string]string{controltest.StrangerKey: controltest.StrangerSecret, limitedKey: limitedSecret} {
		_, err := huaweiClient(t, place.url, key, secret).ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: apig.Everywhere})
		_, nowhere := huaweiClient(t, place.url, key, secret).ListSignatureKeysV2(&model.ListSignatureKeysV2Request{InstanceId: "nowhere"})
		var said, same *sdkerr.ServiceResponseError
		if !errors.As(err, &said) || !errors.As(nowhere, &same) || said.StatusCode != same.StatusCode || said.ErrorCode != same.ErrorCode || said.StatusCode < http.StatusBadRequest {
			t.Errorf("%s: %v, of what is not there %v", key, err, nowhere)
		}
	}
}
