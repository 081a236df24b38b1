package tcr_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// names returns the names of a listing of namespaces, and its TotalCount.
func (c client) names(p params) string {
	c.t.Helper()
	var list namespaceList
	c.call("DescribeNamespaces", params{"RegistryId": controltest.Instance}.with(p), &list)
	names, ids := []string{}, map[int64]bool{}
	for _, n := range list.NamespaceList {
		names = append(names, n.Name)
		ids[n.NamespaceID] = true
	}
	if len(ids) != len(names) || ids[0] {
		c.t.Errorf("namespace ids %v of %v", ids, names)
	}
	return fmt.Sprint(names, list.TotalCount)
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	for _, ref := range []string{"a/x:v1", "b/x/y:v1", "library/app:v1", "library/other:v1", "alone:v1"} {
		e.push(ref)
	}
	e.admin().call("CreateSignaturePolicy", library(), nil)
	viewer := e.viewer()
	for _, c := range []struct {
		p    params
		want string
	}{
		{params{}, "[a b library] 3"},
		{params{"Limit": 2}, "[a b] 3"},
		{params{"Limit": 2, "Offset": 1}, "[a b] 3"},
		{params{"Limit": 2, "Offset": 0}, "[a b] 3"},
		{params{"Limit": 2, "Offset": 2}, "[library] 3"},
		{params{"Limit": 2, "Offset": 1 << 30}, "[] 3"},
		{params{"Limit": 1, "Offset": 3, "All": true}, "[a b library] 3"},
		{params{"Limit": 0}, "[a b library] 3"},
		{params{"NamespaceName": "b"}, "[b] 1"},
		{params{"NamespaceName": "li"}, "[] 0"},
		{params{"NamespaceName": "library"}, "[library] 1"},
		{params{"KmsSignPolicy": true}, "[library] 1"},
		{params{"KmsSignPolicy": false}, "[a b library] 3"},
		{params{"KmsSignPolicy": true, "NamespaceName": "a"}, "[] 0"},
		{params{"Filters": []any{params{"Name": "Tags", "Values": []string{"team:a"}}}}, "[] 0"},
		{params{"Filters": []any{}}, "[a b library] 3"},
	} {
		if got := viewer.names(c.p); got != c.want {
			t.Errorf("%v: %s, want %s", c.p, got, c.want)
		}
	}
}

// TestCatalogIsShared: a registry is listed once for many who ask at once, or soon
// after, each of whom is told what it may see; and a namespace that is new is found.
func TestCatalogIsShared(t *testing.T) {
	t.Parallel()
	narrow := door.Credential{Name: "narrow", Role: door.Admin, AccessKey: "AKEXAMPLE0000000009", Secret: []byte("SKEXAMPLE00000000000000000000000000000009"),
		Registries: []string{controltest.Registry}, Namespaces: []string{"team"}, Keys: []string{controltest.Key}}
	e := newEstate(t, controltest.Options{CatalogAge: time.Hour, Credentials: []door.Credential{narrow}})
	e.push("library/app:v1")
	e.push("team/app:v1")
	e.Server.Reset()
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			c, want := e.viewer(), "[library team] 2"
			if i%2 == 0 {
				c, want = e.client(narrow.AccessKey, string(narrow.Secret), nil), "[team] 1"
			}
			if got := c.names(params{}); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	callers.Wait()
	if n := e.Catalogs(); n != 1 {
		t.Errorf("%d listings for 8 requests", n)
	}
	e.push("fresh/app:v1")
	e.admin().call("CreateSignaturePolicy", library().with(params{"NamespaceName": "fresh"}), nil)
	if n := e.Catalogs(); n != 2 {
		t.Errorf("%d listings after a namespace that the first has not", n)
	}
}

// tags returns the tags of a listing of images, and its TotalCount.
func (c client) tags(p params) string {
	c.t.Helper()
	var list imageList
	c.call("DescribeImages", app("").with(params{"ImageVersion": nil}).with(p), &list)
	tags := []string{}
	for _, i := range list.ImageInfoList {
		tags = append(tags, i.ImageVersion)
	}
	return fmt.Sprint(tags, list.TotalCount)
}

func TestImages(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	var v1 string
	for _, tag := range []string{"v2", "v1.1", "v1", "latest"} {
		if digest := e.push("library/app:" + tag); tag == "v1" {
			v1 = digest
		}
	}
	registrytest.CopyTag(t, e.Server, "library/app", "v1", "stable")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.operator().call("CreateSignature", app("v1"), nil)
	viewer := e.viewer()
	viewer.signed("v1") // and so a signature's tag is there, which is no image
	if i := viewer.image("stable"); i.Digest != v1 || i.KmsSignature == "" {
		t.Errorf("another tag of a signed image: %+v", i)
	}
	for _, c := range []struct {
		p    params
		want string
	}{
		{params{}, "[latest stable v1 v1.1 v2] 5"},
		{params{"Limit": 2}, "[latest stable] 5"},
		{params{"Limit": 2, "Offset": 3}, "[v2] 5"},
		{params{"Limit": 2, "Offset": 4}, "[] 5"},
		{params{"ImageVersion": "v1"}, "[v1 v1.1] 2"},
		{params{"ImageVersion": "1"}, "[v1 v1.1] 2"},
		{params{"ImageVersion": "v1", "ExactMatch": true}, "[v1] 1"},
		{params{"ImageVersion": "v", "ExactMatch": true}, "[] 0"},
		{params{"ExactMatch": true}, "[latest stable v1 v1.1 v2] 5"},
		{params{"Digest": v1}, "[stable v1] 2"},
		{params{"Digest": v1, "ImageVersion": "st"}, "[stable] 1"},
		{params{"Digest": v1, "Limit": 1, "Offset": 2}, "[v1] 2"},
		{params{"Digest": "sha256:" + strings.Repeat("0", 64)}, "[] 0"},
		{params{"ImageVersion": "sha256-"}, "[] 0"},
	} {
		if got := viewer.tags(c.p); got != c.want {
			t.Errorf("%v: %s, want %s", c.p, got, c.want)
		}
	}
}

// TestForeignSignature: who may push can put something where the signature belongs.
// It is not shown, and the images beside it are.
func TestForeignSignature(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	digest, err := v1.NewHash(e.push("library/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	e.push("library/app:v2")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.operator().call("CreateSignature", app("v2"), nil)
	e.viewer().signed("v2")
	e.push("library/app:" + signature.CosignTag(digest))
	var list imageList
	e.viewer().call("DescribeImages", app("").with(params{"ImageVersion": nil}), &list)
	if len(list.ImageInfoList) != 2 || list.ImageInfoList[0].KmsSignature != "" || list.ImageInfoList[1].KmsSignature == "" {
		t.Errorf("%+v", list)
	}
}

func TestInstances(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	list := func(p params) string {
		var said struct {
			Registries []struct {
				RegistryID                                       string `json:"RegistryId"`
				RegistryName, RegistryType, Status, PublicDomain string
			}
			TotalCount int
		}
		e.viewer().call("DescribeInstances", p, &said)
		names := []string{}
		for _, r := range said.Registries {
			if r.RegistryType != "premium" || r.Status != "Running" || r.PublicDomain != e.Server.Host {
				t.Errorf("%+v", r)
			}
			names = append(names, r.RegistryName+"="+r.RegistryID[:4])
		}
		return fmt.Sprint(names, said.TotalCount)
	}
	for _, c := range []struct {
		p    params
		want string
	}{
		{params{}, "[prod=8d9b other=5e1c] 2"},
		{params{"AllRegion": true, "Limit": 100}, "[prod=8d9b other=5e1c] 2"},
		{params{"Limit": 1}, "[prod=8d9b] 2"},
		{params{"Limit": 1, "Offset": 1}, "[other=5e1c] 2"},
		{params{"Offset": 7}, "[] 2"},
		{params{"Registryids": []string{controltest.OtherInstance, "tcr-none", controltest.OtherInstance}}, "[other=5e1c] 1"},
		{params{"Registryids": []string{controltest.Registry}}, "[prod=prod] 1"},
		{params{"Filters": []any{params{"Name": "RegistryName", "Values": []string{"x", "other"}}}}, "[other=5e1c] 1"},
		{params{"Filters": []any{params{"Name": "Tags", "Values": []string{"a:b"}}}}, "[] 0"},
	} {
		if got := list(c.p); got != c.want {
			t.Errorf("%v: %s, want %s", c.p, got, c.want)
		}
	}
}

// TestAtOnce: many who create and delete the same policy leave one or none, whole.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			if i%4 == 3 {
				_, _ = e.admin().try("DeleteSignaturePolicy", inLibrary())
				return
			}
			p := library().with(params{"Name": fmt.Sprint("policy ", i), "Disabled": i%2 == 0})
			if _, err := e.admin().try("CreateSignaturePolicy", p); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	known, err := e.Engine.KnownPolicies(t.Context())
	if err != nil || len(known) > 1 {
		t.Errorf("policies %+v, %v", known, err)
	}
	controltest.NextSecond()
	e.admin().call("CreateSignaturePolicy", library(), nil)
	if got := e.admin().policies(); len(got) != 1 || !strings.Contains(got["library"], `"library signing"`) {
		t.Errorf("policies %v", got)
	}
	e.admin().call("DeleteSignaturePolicy", inLibrary(), nil)
	if known, err := e.Engine.KnownPolicies(t.Context()); err != nil || len(known) != 0 {
		t.Errorf("policies %+v, %v", known, err)
	}
}
