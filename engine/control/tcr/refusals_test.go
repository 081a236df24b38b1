package tcr_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

const (
	invalid  = "InvalidParameter.ErrorTcrInvalidParameter"
	notFound = "ResourceNotFound.TcrResourceNotFound"
)

// allCalls are of each action, as good as they can be.
func allCalls() map[string]params {
	return map[string]params{
		"CreateSignaturePolicy": library(),
		"DeleteSignaturePolicy": inLibrary(),
		"CreateSignature":       app("v1"),
		"DescribeNamespaces":    {"RegistryId": controltest.Instance},
		"DescribeImages":        app("v1"),
		"DescribeInstances":     {},
	}
}

// TestRoles: who may do what.
func TestRoles(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	const denied = "AuthFailure.UnauthorizedOperation"
	for action, needs := range map[string]string{"CreateSignaturePolicy": "admin", "DeleteSignaturePolicy": "admin", "CreateSignature": "operator"} {
		e.viewer().refused(action, allCalls()[action], denied, action, needs)
	}
	e.operator().refused("CreateSignaturePolicy", library(), denied)
	e.operator().refused("DeleteSignaturePolicy", inLibrary(), denied)
	// A role is not told to who cannot see the registry.
	e.viewer().refused("CreateSignaturePolicy", library().with(params{"RegistryId": "tcr-none"}), notFound, "registry")
	entries, err := e.Journal.AuditEntries(t.Context(), journal.AuditFilter{})
	if err != nil || len(entries) != 6 {
		t.Fatalf("audited %+v, %v", entries, err)
	}
	for i, entry := range entries {
		if (entry.Outcome == "refused: not_found") != (i == 0) || i > 0 && entry.Outcome != "refused: role" {
			t.Errorf("audited %+v", entry)
		}
	}
	for _, action := range []string{"DescribeNamespaces", "DescribeImages", "DescribeInstances"} {
		e.viewer().call(action, allCalls()[action], nil)
	}
}

// TestOtherTenants: what is another tenant's is answered as what is not there is.
func TestOtherTenants(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)

	for action, p := range allCalls() {
		if action == "DescribeInstances" {
			continue
		}
		_, theirs := e.stranger().try(action, p)
		_, none := e.stranger().try(action, p.with(params{"RegistryId": "tcr-none"}))
		if theirs == nil || none == nil || theirs.Code != none.Code || theirs.Message != none.Message || theirs.Code != notFound {
			t.Errorf("%s: %v, where nothing is: %v", action, theirs, none)
		}
	}
	var seen struct {
		Registries []struct{ RegistryName string }
	}
	e.stranger().call("DescribeInstances", params{"Registryids": []string{controltest.Instance, controltest.OtherInstance}}, &seen)
	if len(seen.Registries) != 1 || seen.Registries[0].RegistryName != controltest.Other {
		t.Errorf("a stranger sees %+v", seen)
	}

	// Two registries may have namespaces of one name.
	there := params{"RegistryId": controltest.OtherInstance}
	if got := e.admin().names(there.with(params{"KmsSignPolicy": true})); got != "[] 0" {
		t.Errorf("another registry has %v", got)
	}
	e.admin().call("DeleteSignaturePolicy", inLibrary().with(there), nil)
	e.operator().refused("CreateSignature", app("v1").with(there), notFound, "signature policy")
	if got := e.admin().policies(); len(got) != 1 {
		t.Errorf("policies %v", got)
	}
}

// TestQuota: a registry has only so many policies, and one takes the place of another.
func TestQuota(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{StoredQuota: 1})
	e.push("library/app:v1")
	e.push("team/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.admin().call("CreateSignaturePolicy", library().with(params{"Name": "another"}), nil)
	e.admin().refused("CreateSignaturePolicy", library().with(params{"NamespaceName": "team"}), "LimitExceeded", "as many signature policies")
}

// TestOtherNamespaces: who sees some namespaces of a registry finds nothing else there.
func TestOtherNamespaces(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{Credentials: []door.Credential{{Name: "team", Role: door.Admin, AccessKey: "AKTEAM",
		Secret: []byte("SKTEAM0000000000000000000000000000000001"), Registries: []string{controltest.Registry}, Namespaces: []string{"team"}, Keys: []string{controltest.Key}}}})
	e.push("library/app:v1")
	e.push("team/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	team := e.client("AKTEAM", "SKTEAM0000000000000000000000000000000001", nil)
	for action, p := range allCalls() {
		if action == "DescribeInstances" || action == "DescribeNamespaces" {
			continue
		}
		theirs, err := team.try(action, p)
		none, otherErr := team.try(action, p.with(params{"NamespaceName": "nothing-here"}))
		switch {
		case action == "DeleteSignaturePolicy" && (theirs == nil || none == nil),
			action != "DeleteSignaturePolicy" && (err == nil || otherErr == nil || err.Code != otherErr.Code || err.Message != otherErr.Message):
			t.Errorf("%s: %v, where nothing is: %v", action, err, otherErr)
		}
	}
	entries, failed := e.Journal.AuditEntries(t.Context(), journal.AuditFilter{Caller: "team"})
	outcomes := map[string]int{}
	for _, entry := range entries {
		outcomes[entry.Action+" "+entry.Outcome]++
	}
	// A deletion is answered as a success, and is none.
	if d := cmp.Diff(map[string]int{"CreateSignature not done": 2, "CreateSignaturePolicy not done": 2, "DeleteSignaturePolicy refused: not_found": 2}, outcomes); d != "" || failed != nil {
		t.Error(d, failed)
	}
	e.admin().call("DeleteSignaturePolicy", inLibrary().with(params{"NamespaceName": "nothing-here"}), nil)
	if entries, err := e.Journal.AuditEntries(t.Context(), journal.AuditFilter{Limit: 1}); err != nil || entries[0].Outcome != "nothing to change" {
		t.Errorf("audited %+v, %v", entries, err)
	}
	// Not even by how long it takes: the registry is not asked.
	e.Server.Reset()
	for _, namespace := range []string{"library", "nothing-here"} {
		team.refused("CreateSignaturePolicy", library().with(params{"NamespaceName": namespace, "Name": "other"}), notFound, "project not found")
	}
	if asked := e.Server.Log(); len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
	team.refused("CreateSignaturePolicy", library().with(params{"NamespaceName": "team", "KmsId": controltest.RSAKeyAlias}),
		"FailedOperation.DependenceError", "KmsId: there is no key of this id") // it is another's
	team.call("CreateSignaturePolicy", library().with(params{"NamespaceName": "team"}), nil)
	if got := team.policies(); len(got) != 1 || got["team"] == "" {
		t.Errorf("the team sees %v", got)
	}
	var list namespaceList
	team.call("DescribeNamespaces", params{"RegistryId": controltest.Instance, "All": true}, &list)
	if list.TotalCount != 1 {
		t.Errorf("the team sees %+v", list)
	}
	if got := e.admin().policies(); len(got) != 2 || got["library"] == "" {
		t.Errorf("policies %v", got)
	}
}

// TestCredentials: who cannot prove who it is learns Tencent's code of why.
func TestCredentials(t *testing.T) {
	t.Parallel()
	now := time.Now
	var mu sync.Mutex
	e := newEstate(t, controltest.Options{Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now() }})
	e.push("library/app:v1")
	for what, c := range map[string]struct {
		c    client
		code string
	}{
		"wrong secret": {e.client(controltest.AdminKey, controltest.ViewerSecret, nil), "AuthFailure.SignatureFailure"},
		"unknown id":   {e.client("AKNOBODY", controltest.AdminSecret, nil), "AuthFailure.SecretIdNotFound"},
		"HmacSHA1": {e.client(controltest.AdminKey, controltest.AdminSecret, func(p *profile.ClientProfile) { p.SignMethod = "HmacSHA1" }),
			"AuthFailure.InvalidAuthorization"},
		"HmacSHA256 by GET": {e.client(controltest.AdminKey, controltest.AdminSecret, func(p *profile.ClientProfile) {
			p.SignMethod, p.HttpProfile.ReqMethod = "HmacSHA256", http.MethodGet
		}), "AuthFailure.InvalidAuthorization"},
		"GET": {e.client(controltest.AdminKey, controltest.AdminSecret, func(p *profile.ClientProfile) { p.HttpProfile.ReqMethod = http.MethodGet }),
			"UnsupportedProtocol"},
	} {
		t.Log(what)
		c.c.refused("DeleteSignaturePolicy", inLibrary(), c.code)
	}
	for _, skew := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		mu.Lock()
		now = func() time.Time { return time.Now().Add(skew) }
		mu.Unlock()
		e.admin().refused("DeleteSignaturePolicy", inLibrary(), "AuthFailure.SignatureExpire", "clock")
	}
}

// A bad call is a good one with a change, the code that refuses it, and words of the
// message.
type bad struct {
	change params
	code   string
	words  []string
}

// refuses fails unless bad calls are refused, and change nothing.
func (e *estate) refuses(calls map[string][]bad) {
	e.t.Helper()
	for action, list := range calls {
		for _, c := range list {
			e.admin().refused(action, allCalls()[action].with(c.change), c.code, c.words...)
		}
	}
	if all := e.admin().policies(); len(all) != 0 {
		e.t.Errorf("policies %v", all)
	}
}

func long(n int) string { return strings.Repeat("a", n) }

// TestBoundsOfPolicies: every field of a policy is checked, and named when it is
// refused.
func TestBoundsOfPolicies(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.refuses(map[string][]bad{
		"CreateSignaturePolicy": {
			{params{"RegistryId": nil}, "MissingParameter", []string{"RegistryId"}},
			{params{"RegistryId": ""}, invalid, []string{"RegistryId: non zero value required"}},
			{params{"RegistryId": 7}, "InvalidParameter", []string{"RegistryId", "a string"}},
			{params{"Name": nil}, "MissingParameter", []string{"Name"}},
			{params{"Name": ""}, invalid, []string{"Name: non zero value required"}},
			{params{"Name": "a"}, invalid, []string{"Name", "2 to 128"}},
			{params{"Name": long(129)}, invalid, []string{"Name", "2 to 128"}},
			{params{"Name": " library"}, invalid, []string{"Name"}},
			{params{"Name": "a\x00b"}, invalid, []string{"Name"}},
			{params{"Name": "политика"}, invalid, []string{"Name"}},
			{params{"Name": []string{"x"}}, "InvalidParameter", []string{"Name", "a string"}},
			{params{"NamespaceName": nil}, "MissingParameter", []string{"NamespaceName"}},
			{params{"NamespaceName": "Library"}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": "library/app"}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": "../library"}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": "library%2Fapp"}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": long(129)}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": "no-such-namespace"}, notFound, []string{"project not found"}},
			{params{"KmsId": nil}, "MissingParameter", []string{"KmsId"}},
			{params{"KmsId": ""}, invalid, []string{"KmsId: non zero value required"}},
			{params{"KmsId": "no-such-key"}, "FailedOperation.DependenceError", []string{"KmsId"}},
			{params{"KmsId": long(257)}, invalid, []string{"KmsId"}},
			{params{"KmsRegion": nil}, "MissingParameter", []string{"KmsRegion"}},
			{params{"KmsRegion": "AP"}, invalid, []string{"KmsRegion"}},
			{params{"KmsRegion": long(65)}, invalid, []string{"KmsRegion"}},
			{params{"Domain": "https://images.example.com"}, invalid, []string{"Domain", "HOST"}},
			{params{"Domain": long(256)}, invalid, []string{"Domain", "255"}},
			{params{"Domain": long(2000)}, invalid, []string{"Domain", "1024"}},
			{params{"Disabled": "true"}, "InvalidParameter", []string{"Disabled", "a boolean"}},
			{params{"Disabled": 1}, "InvalidParameter", []string{"Disabled"}},
			{params{"disabled": true}, "UnknownParameter", []string{"disabled"}},
			{params{"Enabled": true}, "UnknownParameter", []string{"Enabled"}},
			{params{"Version": "2019-09-24"}, "UnknownParameter", []string{"Version"}},
		},
	})
}

// TestBounds: so is every field of the other requests.
func TestBounds(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.refuses(map[string][]bad{
		"DeleteSignaturePolicy": {
			{params{"NamespaceName": nil}, "MissingParameter", []string{"NamespaceName"}},
			{params{"NamespaceName": ""}, invalid, []string{"NamespaceName"}},
			{params{"NamespaceName": "**"}, invalid, []string{"NamespaceName"}},
			{params{"Name": "library signing"}, "UnknownParameter", []string{"Name"}},
		},
		"CreateSignature": {
			{params{"NamespaceName": nil}, "MissingParameter", []string{"NamespaceName"}},
			{params{"RepositoryName": nil}, "MissingParameter", []string{"RepositoryName"}},
			{params{"ImageVersion": nil}, "MissingParameter", []string{"ImageVersion"}},
			{params{"RepositoryName": "app/"}, invalid, []string{"RepositoryName"}},
			{params{"RepositoryName": "app//x"}, invalid, []string{"RepositoryName"}},
			{params{"RepositoryName": "../other/app"}, invalid, []string{"RepositoryName"}},
			{params{"RepositoryName": long(256)}, invalid, []string{"RepositoryName"}},
			{params{"ImageVersion": "v1@sha256:0"}, invalid, []string{"ImageVersion"}},
			{params{"ImageVersion": "v1?x"}, invalid, []string{"ImageVersion"}},
			{params{"ImageVersion": long(129)}, invalid, []string{"ImageVersion"}},
			{params{}, notFound, []string{"signature policy"}},
		},
		"DescribeNamespaces": {
			{params{"RegistryId": nil}, "MissingParameter", []string{"RegistryId"}},
			{params{"Limit": -1}, "InvalidParameterValue", []string{"Limit"}},
			{params{"Limit": 101}, "InvalidParameterValue", []string{"Limit", "100"}},
			{params{"Limit": "20"}, "InvalidParameter", []string{"Limit", "an integer"}},
			{params{"Limit": 1.5}, "InvalidParameter", []string{"Limit"}},
			{params{"Offset": -1}, "InvalidParameterValue", []string{"Offset"}},
			{params{"NamespaceName": "Library"}, invalid, []string{"NamespaceName"}},
			{params{"KmsSignPolicy": "yes"}, "InvalidParameter", []string{"KmsSignPolicy"}},
			{params{"Filters": "Tags"}, "InvalidParameter", []string{"Filters"}},
			{params{"Filters": []any{7}}, "InvalidParameter", []string{"Filters"}},
			{params{"Filters": []any{params{"Name": "Color", "Values": []string{"red"}}}}, "InvalidParameterValue", []string{"Color", "Tags"}},
			{params{"Filters": []any{params{"Values": []string{"red"}}}}, "MissingParameter", []string{"Name"}},
			{params{"Filters": []any{params{"Name": "Tags", "Values": "red"}}}, "InvalidParameter", []string{"Values"}},
			{params{"Filters": []any{params{"Name": "Tags", "Also": 1}}}, "UnknownParameter", []string{"Also"}},
		},
		"DescribeImages": {
			{params{"RepositoryName": nil}, "MissingParameter", []string{"RepositoryName"}},
			{params{"Digest": "sha256:0"}, invalid, []string{"Digest"}},
			{params{"Digest": "sha512:" + long(128)}, invalid, []string{"Digest"}},
			{params{"ExactMatch": 1}, "InvalidParameter", []string{"ExactMatch"}},
			{params{"Limit": 1000}, "InvalidParameterValue", []string{"Limit"}},
			{params{"RepositoryName": "none"}, notFound, []string{"repository"}},
			{params{"NamespaceName": "none"}, notFound, []string{"repository"}},
		},
		"DescribeInstances": {
			{params{"Registryids": "tcr-1"}, "InvalidParameter", []string{"Registryids"}},
			{params{"Registryids": []any{7}}, "InvalidParameter", []string{"Registryids"}},
			{params{"Registryids": slices.Repeat([]string{"tcr-1"}, 101)}, "InvalidParameterValue", []string{"Registryids"}},
			{params{"Limit": 101}, "InvalidParameterValue", []string{"Limit"}},
			{params{"AllRegion": "no"}, "InvalidParameter", []string{"AllRegion"}},
			{params{"RegistryId": "x"}, "UnknownParameter", []string{"RegistryId"}},
		},
	})
}

// TestUnsignable: what is no image of the namespace cannot be signed by hand.
func TestUnsignable(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.operator().refused("CreateSignature", app("none"), notFound, "artifact")
	e.operator().refused("CreateSignature", app("sha256-"+strings.Repeat("0", 64)+".sig"), "InternalError.ErrorTcrInvalidMediaType", "signature")
}

// TestNothingOfOthers: a policy of a file, or of another API, is neither shown nor
// deleted.
func TestNothingOfOthers(t *testing.T) {
	t.Parallel()
	all := []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Matches: []string{"**"}}}}
	file := policy.Policy{Name: "library signing", Registry: controltest.Registry, Namespace: "library", Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.EventBased}, Scope: all}
	e := newEstate(t, controltest.Options{Policies: []policy.Policy{file}})
	e.push("library/app:v1")
	own := file
	own.Name = "own"
	if _, err := e.Engine.CreatePolicy(t.Context(), journal.StoredPolicy{Policy: own, Origin: journal.FromAPI, Label: "own"}); err != nil {
		t.Fatal(err)
	}
	e.admin().call("DeleteSignaturePolicy", inLibrary(), nil)
	if got := e.admin().policies(); len(got) != 0 {
		t.Errorf("policies %v", got)
	}
	e.operator().refused("CreateSignature", app("v1"), notFound)
	controltest.NextSecond()
	// The name that a file has is no reason to refuse TCR's.
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.admin().call("DeleteSignaturePolicy", inLibrary(), nil)
	known, err := e.Engine.KnownPolicies(t.Context())
	if err != nil || len(known) != 2 {
		t.Errorf("policies %+v, %v", known, err)
	}
}
