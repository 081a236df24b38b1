package tcr

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

// reference is the request of Tencent's API reference for CreateSignaturePolicy.
const reference = `{
    "RegistryId": "tcr-f7g1ir99",
    "Name": "library signing",
    "NamespaceName": "library",
    "KmsId": "08408a30-0416-11ed-abdc-52540036b432",
    "KmsRegion": "",
    "Disabled": false
}`

func TestPolicyOfTheReference(t *testing.T) {
	var d Document
	if err := json.Unmarshal([]byte(reference), &d); err != nil {
		t.Fatal(err)
	}
	all := policy.Selector{Matches: []string{"**"}}
	want := policy.Policy{Name: "library signing", Registry: "tcr-f7g1ir99", Namespace: "library", Trigger: policy.Trigger{Type: policy.EventBased},
		Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}, Key: "08408a30-0416-11ed-abdc-52540036b432"}
	p := d.Policy()
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if faults := p.Validate(); len(faults) > 0 || !p.IsEnabled() {
		t.Error(faults)
	}
	d.Disabled, d.Domain = true, "images.example.com"
	if p := d.Policy(); p.IsEnabled() || p.Domain != "images.example.com" {
		t.Errorf("%+v", p)
	}
}

// TestMetadata: a namespace says its policy as TCR's own do.
func TestMetadata(t *testing.T) {
	d := Document{RegistryID: "tcr-f7g1ir99", Name: "a/b", NamespaceName: "library", KmsID: "k", KmsRegion: "ap-guangzhou",
		Domain: "images.example.com", Disabled: true}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 8*60*60))
	raw, err := json.Marshal(d.Metadata(at))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"a/b","domain":"images.example.com","kms_id":"k","kms_region":"ap-guangzhou","disabled":true,"create_at":"2026-01-02T03:04:05.678901234+08:00"}`
	if string(raw) != want {
		t.Errorf("metadata %s, want %s", raw, want)
	}
}
