package main

import (
	"net/http"
	"testing"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/journal"
)

// whatIsThere returns the names of what the APIs show, each of them whole.
func (a *apiHouse) whatIsThere(t *testing.T) map[string][]string {
	t.Helper()
	there := map[string][]string{}
	swr := a.SWR(t, vendorKey, vendorSecret)
	for offset := int32(0); ; offset += 100 {
		list, err := swr.ListInstanceSignPolicies(&model.ListInstanceSignPoliciesRequest{InstanceId: swrInstance, Limit: pointer(int32(100)), Offset: &offset})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range *list.Policies {
			if *p.NamespaceName == "library" {
				there["swr"] = append(there["swr"], *p.Name)
			}
			if len(*p.ScopeRules) == 0 || *p.SignatureKey != "release" {
				t.Errorf("half a policy: %+v", p)
			}
		}
		if len(*list.Policies) == 0 {
			break
		}
	}
	keys, err := a.APIG(t, vendorKey, vendorSecret).ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: swrInstance, Limit: pointer(int32(500))})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range *keys.Signs {
		there["apig"] = append(there["apig"], k.Name)
	}
	var page struct {
		Items []struct {
			Name   string
			Origin journal.Origin
		}
		Next string
	}
	for cursor := ""; ; cursor = page.Next {
		page.Next, page.Items = "", nil
		if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, "/policies?cursor="+cursor, nil, &page); code != http.StatusOK {
			t.Fatal(code)
		}
		for _, p := range page.Items {
			if p.Origin == journal.FromAPI {
				there["own"] = append(there["own"], p.Name)
			}
		}
		if page.Next == "" {
			return there
		}
	}
}
