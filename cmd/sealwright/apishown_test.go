package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
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

// states returns, by changer and object, what the APIs show, each of them whole.
func (k *killed) states(t *testing.T) map[string]map[string]string {
	t.Helper()
	there := map[string]map[string]string{}
	put := func(object, is string) {
		name := ofChanger(object)
		if there[name] == nil {
			there[name] = map[string]string{}
		}
		if was, twice := there[name][object]; twice {
			t.Errorf("%s is there twice, %q and %q", object, was, is)
		}
		there[name][object] = is
	}
	k.policiesThere(t, put)
	k.namespacesThere(t, put)
	k.namespacesOfSWR(t, put)
	for _, x := range k.executions(t) {
		if ofChanger(x.Policy) == "socketfire" {
			put(x.Policy, "fired")
		}
	}
	k.keysThere(t, put)
	list, err := k.oracle.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment), Limit: pointer(1000)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		put(s.FreeformTags["object"], s.FreeformTags["state"])
	}
	for object, is := range k.changer("tcrsign").is {
		put(object, is) // what becomes of it is looked at later
	}
	return there
}

// policiesThere are those of SWR and of our own API.
func (k *killed) policiesThere(t *testing.T, put func(object, is string)) {
	t.Helper()
	enabled := map[bool]string{true: "enabled", false: "disabled"}
	for offset := int32(0); ; offset += 100 {
		list, err := k.swr.ListInstanceSignPolicies(&model.ListInstanceSignPoliciesRequest{InstanceId: swrInstance, Limit: pointer(int32(100)), Offset: &offset})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range *list.Policies {
			if len(*p.ScopeRules) == 0 || *p.SignatureKey != "release" {
				t.Errorf("half a policy: %+v", p)
			}
			if strings.HasPrefix(*p.Name, "swr") {
				put(*p.Name, enabled[*p.Enabled])
			}
		}
		if len(*list.Policies) == 0 {
			break
		}
	}
	var page struct {
		Items []struct {
			Name    string
			Enabled bool
			Origin  journal.Origin
			Policy  policy.Policy
		}
		Next string
	}
	for cursor := ""; ; cursor = page.Next {
		page.Next, page.Items = "", nil
		if code := k.own(t, http.DefaultClient, k.URL, http.MethodGet, "/policies?cursor="+cursor, nil, &page); code != http.StatusOK {
			t.Fatal(code)
		}
		for _, p := range page.Items {
			if p.Origin == journal.FromAPI {
				put(p.Name, p.Policy.Namespace+" "+enabled[p.Enabled])
			}
		}
		if page.Next == "" {
			return
		}
	}
}

// namespacesThere are those that have a policy of TCR's.
func (k *killed) namespacesThere(t *testing.T, put func(object, is string)) {
	t.Helper()
	var list struct {
		NamespaceList []struct {
			Name     string
			Metadata []struct{ Key, Value string }
		}
	}
	if err := k.tcr.Call("DescribeNamespaces", map[string]any{"RegistryId": tcrInstance, "KmsSignPolicy": true, "Limit": 100}, &list); err != nil {
		t.Fatal(err)
	}
	for _, ns := range list.NamespaceList {
		if !strings.HasPrefix(ns.Name, "tcr_") || len(ns.Metadata) == 0 {
			continue
		}
		var p struct {
			Name  string
			KmsID string `json:"kms_id"`
		}
		if err := json.Unmarshal([]byte(ns.Metadata[0].Value), &p); err != nil || p.KmsID == "" {
			t.Errorf("half a policy: %+v, %v", p, err)
		}
		put(ns.Name, p.Name)
	}
}

// namespacesOfSWR are those that a changer made and in which there would be something.
func (k *killed) namespacesOfSWR(t *testing.T, put func(object, is string)) {
	t.Helper()
	for offset := int32(0); ; offset += 100 {
		list, err := k.swr.ListInstanceNamespaces(&model.ListInstanceNamespacesRequest{InstanceId: swrInstance, Limit: pointer(int32(100)), Offset: &offset})
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range *list.Namespaces {
			if ofChanger(*ns.Name) == "swrspace" {
				put(*ns.Name, "occupied")
			}
		}
		if len(*list.Namespaces) == 0 {
			return
		}
	}
}

// keysThere are the signature keys, with how many APIs say that one is bound to them.
func (k *killed) keysThere(t *testing.T, put func(object, is string)) {
	t.Helper()
	bound := map[string]int{}
	for round := range killRounds {
		for _, api := range boundTo(fmt.Sprintf("apig_%d", round)) {
			list, err := k.apig.ListSignatureKeysBindedToApiV2(&apigmodel.ListSignatureKeysBindedToApiV2Request{InstanceId: apig.Everywhere, ApiId: api})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range *list.Bindings {
				bound[*b.SignName]++
			}
		}
	}
	keys, err := k.apig.ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: apig.Everywhere, Limit: pointer(int32(500))})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range *keys.Signs {
		is := *key.SignKey
		if n := bound[key.Name]; n > 0 {
			is += fmt.Sprintf(", %d bound", n)
		}
		delete(bound, key.Name)
		put(key.Name, is)
	}
	for name, n := range bound {
		t.Errorf("%d APIs are bound to %s, which is not there", n, name)
	}
}
