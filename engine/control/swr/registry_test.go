package swr

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// TestSpellings: a repository's name reaches the daemon in three spellings, signed in
// two forms or with a token, and means the same.
func TestSpellings(t *testing.T) {
	h := open(t, controltest.Options{})
	digest := h.Server.Push(t, "library/team/app/web:v1", registrytest.Image(t))
	now := time.Now().Truncate(time.Second)
	host := strings.TrimPrefix(h.at, "http://")
	for _, name := range []string{"team/app/web", "team%2Fapp%2Fweb", "team%2fapp%2fweb", "team%252Fapp%252Fweb", "team%252fapp/web"} {
		for _, path := range []string{"/artifacts", "/artifacts/" + digest.String() + "/accessories", "/artifacts/v1/accessories", "/artifacts/" + strings.Replace(digest.String(), ":", "%3A", 1) + "/accessories"} {
			path := "/namespaces/library/repositories/" + name + path
			h.ask(t, viewer, "GET", path, "").want(t, 200, "")
			s := signedRequest{method: "GET", path: h.path() + path, host: host, at: now}
			h.signed(t, s.plain(controltest.ViewerKey, controltest.ViewerSecret)).want(t, 200, "")
			h.signed(t, s.scoped(controltest.ViewerKey, controltest.ViewerSecret)).want(t, 200, "")
			h.signed(t, s.scoped(controltest.ViewerKey, "wrong")).want(t, 401, "APIGW.0301")
		}
	}
	if a := h.ask(t, viewer, "GET", "/namespaces/library/repositories/team%252Fapp%252Fweb/artifacts", ""); !strings.Contains(a.body, digest.String()) || !strings.Contains(a.body, `"repository_name":"team/app/web"`) {
		t.Errorf("artifacts: %s", a.body)
	}
	// Names may hold the words around them.
	h.Server.Push(t, "library/a/artifacts:v1", registrytest.Image(t))
	if a := h.ask(t, viewer, "GET", "/namespaces/library/repositories/a/artifacts/artifacts", ""); !strings.Contains(a.body, `"total":1`) {
		t.Errorf("artifacts: %s", a.body)
	}
}

// TestTerraform is what Terraform's provider sends: bodies without members that are
// null, executions without a body, pages until one is empty.
func TestTerraform(t *testing.T) {
	h := open(t, controltest.Options{})
	h.Server.Push(t, "library/app/web:v1", registrytest.Image(t))
	now := time.Now().Truncate(time.Second)
	sign := func(method, path, query, body string) answer {
		now = now.Add(time.Second) // it does not send the same twice in one
		return h.signed(t, signedRequest{method: method, path: h.path() + path, query: query, body: body, host: strings.TrimPrefix(h.at, "http://"), at: now}.scoped(controltest.AdminKey, controltest.AdminSecret))
	}
	created := sign("POST", "/namespaces", "", `{"metadata":{"public":"false"},"namespace_name":"fresh"}`)
	created.want(t, 201, "")
	sign("GET", "/namespaces/fresh", "", "").want(t, 200, "")
	var made identified
	policy := sign("POST", policies, "", policyJSON("tf"))
	if err := json.Unmarshal([]byte(policy.body), &made); err != nil || made.ID == 0 {
		t.Fatalf("%s: %v", policy.body, err)
	}
	one := fmt.Sprintf("%s/%d", policies, made.ID)
	sign("GET", one, "", "").want(t, 200, "")
	sign("PUT", one, "", strings.Replace(policyJSON("tf"), `"manual"`, `"event_based"`, 1)).want(t, 200, "")
	var pages []string
	for offset := 0; ; offset += 100 {
		page := sign("GET", "/signature/policies", fmt.Sprintf("limit=100&offset=%d", offset), "")
		page.want(t, 200, "")
		pages = append(pages, page.body)
		if strings.Contains(page.body, `"policies":[]`) {
			break
		}
	}
	if len(pages) != 2 || !strings.Contains(pages[1], `"total":1`) || !strings.Contains(pages[0], `"event_based"`) {
		t.Errorf("pages: %q", pages)
	}
	var fired identified
	execution := sign("POST", one+"/executions", "", "")
	if err := json.Unmarshal([]byte(execution.body), &fired); err != nil || execution.status != 201 {
		t.Fatalf("%s: %v", execution.body, err)
	}
	h.Await(t, fired.ID)
	signed := sign("GET", "/namespaces/library/repositories/app%252Fweb/artifacts/v1/accessories", "limit=100&offset=0&type=signature.cosign", "")
	if !strings.Contains(signed.body, `"total":1`) {
		t.Errorf("accessories: %s", signed.body)
	}
	sign("DELETE", one, "", "").want(t, 200, "")
	sign("GET", one, "", "").want(t, 404, "SVCSTG.SWR.4040010")
	sign("DELETE", "/namespaces/fresh", "", "").want(t, 200, "")
}

// TestNamespaces: what has repositories or policies is listed, with ids that stay.
func TestNamespaces(t *testing.T) {
	h := open(t, controltest.Options{})
	for _, ref := range []string{"library/app:v1", "library/team/web:v1", "team/app:v1", "toplevel:v1"} {
		h.Server.Push(t, ref, registrytest.Image(t))
	}
	c := h.admin(t)
	create(t, c, "planned", "a")
	list := must[model.ListInstanceNamespacesResponse](t)(c.ListInstanceNamespaces(&model.ListInstanceNamespacesRequest{InstanceId: controltest.Instance}))
	got := map[string]int32{}
	ids := map[int32]bool{}
	for _, n := range *list.Namespaces {
		got[*n.Name] = *n.RepoCount
		ids[*n.NamespaceId] = true
		shown := must[model.ShowInstanceNamespaceResponse](t)(c.ShowInstanceNamespace(&model.ShowInstanceNamespaceRequest{InstanceId: controltest.Instance, NamespaceName: *n.Name}))
		if *shown.NamespaceId != *n.NamespaceId || *shown.RepoCount != *n.RepoCount || shown.Metadata.Public.Value() != "false" {
			t.Errorf("shown %+v, listed %+v", shown, n)
		}
	}
	if want := map[string]int32{"library": 2, "team": 1, "planned": 0}; fmt.Sprint(got) != fmt.Sprint(want) || *list.Total != 3 || len(ids) != 3 {
		t.Errorf("namespaces %v, want %v", got, want)
	}
	if id := namespaceID("prod", "library"); !ids[id] || id != 1156047001 {
		t.Errorf("the id of a namespace was another before: %d", id)
	}
	created := model.CreateInstanceNamespaceRequestBody{NamespaceName: "fresh", Metadata: &model.NamespaceMetadata{Public: model.GetNamespaceMetadataPublicEnum().FALSE}}
	fresh := must[model.CreateInstanceNamespaceResponse](t)(c.CreateInstanceNamespace(&model.CreateInstanceNamespaceRequest{InstanceId: controltest.Instance, Body: &created}))
	shown := must[model.ShowInstanceNamespaceResponse](t)(c.ShowInstanceNamespace(&model.ShowInstanceNamespaceRequest{InstanceId: controltest.Instance, NamespaceName: "fresh"}))
	if *shown.NamespaceId != *fresh.Id || *shown.RepoCount != 0 {
		t.Errorf("created %+v, shown %+v", fresh, shown)
	}
	for query, want := range map[string]string{"name=team": `"total":1`, "name=tea": `"total":0`, "public=true": `"total":0`, "public=false": `"total":3`, "limit=2&offset=2": `"name":"team"`,
		"order_column=updated_at&order_type=desc&limit=1": `"name":"team"`} {
		if a := h.ask(t, viewer, "GET", "/namespaces?"+query, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	for _, query := range []string{"order_type=up", "order_column=name", "name=a&name=b"} {
		h.ask(t, viewer, "GET", "/namespaces?"+query, "").want(t, 400, "SVCSTG.SWR.4000014")
	}
	for body, status := range map[string]int{
		`{"namespace_name":"library","metadata":{"public":"false"}}`: 409, `{"namespace_name":"planned","metadata":{"public":"false"}}`: 409,
		`{"namespace_name":"x","metadata":{"public":"true"}}`: 400, `{"namespace_name":"x","metadata":{}}`: 400, `{"namespace_name":"x"}`: 400, `{`: 400, ``: 400,
		`{"namespace_name":"X","metadata":{"public":"false"}}`: 400, `{"namespace_name":"x","metadata":{"public":"false","auto_scan":"true"}}`: 400, `{"namespace_name":7,"metadata":{"public":"false"}}`: 400,
		`{"namespace_name":"x","metadata":{"public":"false","auto_scan":"false","severity":"low"}}`: 201,
	} {
		if a := h.ask(t, admin, "POST", "/namespaces", body); a.status != status {
			t.Errorf("%s: %d %s, want %d", body, a.status, a.body, status)
		}
	}
	for _, name := range []string{"library", "planned"} {
		h.ask(t, admin, "DELETE", "/namespaces/"+name, "").want(t, 409, "SVCSTG.SWR.4090006")
	}
}

// TestCatalogIsShared: a registry is listed once for many who ask at once, or soon
// after.
func TestCatalogIsShared(t *testing.T) {
	h := open(t, controltest.Options{CatalogAge: time.Hour})
	h.Server.Push(t, "library/app:v1", registrytest.Image(t))
	h.Server.Reset()
	if results := at(8, func() int { return h.ask(t, viewer, "GET", "/namespaces", "").status }); results[200] != 8 {
		t.Fatalf("%v", results)
	}
	if n := h.Catalogs(); n != 1 {
		t.Errorf("%d listings for 8 requests", n)
	}
}

// TestArtifacts: what is in a repository, but signatures, as the SDK lists it.
func TestArtifacts(t *testing.T) {
	h := open(t, controltest.Options{})
	c := h.admin(t)
	image := registrytest.Image(t)
	digest := h.Server.Push(t, "library/app:v1", image)
	h.Server.Push(t, "library/app:latest", image)
	chart := h.Server.Push(t, "library/app:chart-1", mutate.ConfigMediaType(registrytest.Image(t), helmConfig))
	index := h.Server.Push(t, "library/app:index", registrytest.Index(t, registrytest.Image(t)))
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	h.ask(t, operator, "POST", policies+"/1/executions", "").want(t, 201, "")
	h.Await(t, 1)
	ask := func(r model.ListInstanceArtifactsRequest) map[string]model.Artifact {
		r.InstanceId, r.NamespaceName, r.RepositoryName = controltest.Instance, "library", "app"
		list := must[model.ListInstanceArtifactsResponse](t)(c.ListInstanceArtifacts(&r))
		all := map[string]model.Artifact{}
		for _, a := range *list.Artifacts {
			all[*a.Digest] = a
		}
		if len(all) != len(*list.Artifacts) || int(*list.Total) < len(all) {
			t.Errorf("artifacts: %+v", list)
		}
		return all
	}
	types1, types2 := model.GetListInstanceArtifactsRequestTypeEnum().IMAGE, model.GetListInstanceArtifactsRequestTypeEnum().CHART
	all := ask(model.ListInstanceArtifactsRequest{})
	a := all[digest.String()]
	size, err := image.Size()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || len(*a.Tags) != 2 || *(*a.Tags)[0].Name != "latest" || *a.Type != "IMAGE" || *a.MediaType != string(types.OCIConfigJSON) ||
		*a.ManifestMediaType != string(types.OCIManifestSchema1) || *a.Size <= size || *a.RepositoryName != "app" || *all[index.String()].ManifestMediaType != string(types.OCIImageIndex) {
		t.Errorf("artifacts: %+v", all)
	}
	for _, tt := range []struct {
		r    model.ListInstanceArtifactsRequest
		want []v1.Hash
	}{
		{model.ListInstanceArtifactsRequest{Type: &types1}, []v1.Hash{digest, index}},
		{model.ListInstanceArtifactsRequest{Type: &types2}, []v1.Hash{chart}},
		{model.ListInstanceArtifactsRequest{Tags: pointer("late")}, []v1.Hash{digest}},
		{model.ListInstanceArtifactsRequest{Limit: pointer(int32(2)), Offset: pointer(int32(4))}, nil},
	} {
		got := ask(tt.r)
		if len(got) != len(tt.want) || slices.ContainsFunc(tt.want, func(d v1.Hash) bool { _, ok := got[d.String()]; return !ok }) {
			t.Errorf("%+v: %v", tt.r, got)
		}
	}
	h.ask(t, viewer, "GET", "/namespaces/library/repositories/none/artifacts", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, viewer, "GET", "/namespaces/library/repositories/app/artifacts?type=SBOM", "").want(t, 400, "SVCSTG.SWR.4000014")
}

// TestManyArtifacts: a listing that would cost the registry too much is refused.
func TestManyArtifacts(t *testing.T) {
	h := open(t, controltest.Options{})
	h.api.limits.artifacts = 20
	if _, err := registrytest.Fill(h.Server.Root, 1, 21); err != nil {
		t.Fatal(err)
	}
	h.ask(t, viewer, "GET", "/namespaces/team-00/repositories/app-0000/artifacts", "").want(t, 400, "SVCSTG.SWR.4000014")
	h.ask(t, viewer, "GET", "/namespaces/team-00/repositories/app-0000/artifacts?tags=v1", "").want(t, 200, "")
}

// TestAccessories: what is under the tag of signatures, or refers to the image, is
// listed if it is a signature, and nothing else is.
func TestAccessories(t *testing.T) {
	h := open(t, controltest.Options{})
	image := registrytest.Image(t)
	digest := h.Server.Push(t, "library/app:v1", image)
	list := func(query string) answer {
		t.Helper()
		a := h.ask(t, viewer, "GET", "/namespaces/library/repositories/app/artifacts/v1/accessories"+query, "")
		a.want(t, 200, "")
		return a
	}
	h.Server.Push(t, "library/app:"+signature.CosignTag(digest), registrytest.Image(t)) // anything
	if a := list(""); !strings.Contains(a.body, `"accessories":[]`) || !strings.Contains(a.body, `"total":0`) {
		t.Errorf("an image under the tag of signatures is listed: %s", a.body)
	}
	subject, ok := mutate.Subject(mutate.ConfigMediaType(registrytest.Image(t), referredCosign), descriptor(t, image)).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	referrer := h.Server.Push(t, "library/app:", subject)
	other, ok := mutate.Subject(mutate.ConfigMediaType(registrytest.Image(t), "application/vnd.example.sbom"), descriptor(t, image)).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	h.Server.Push(t, "library/app:", other)
	if a := list("?type=signature.cosign"); !strings.Contains(a.body, `"total":1`) || !strings.Contains(a.body, referrer.String()) || strings.Contains(a.body, "created_at") {
		t.Errorf("the signature that refers to the image: %s", a.body)
	}
	if a := list("?limit=1&offset=1"); !strings.Contains(a.body, `"accessories":[]`) || !strings.Contains(a.body, `"total":1`) {
		t.Errorf("the second page: %s", a.body)
	}
	h.ask(t, viewer, "GET", "/namespaces/library/repositories/app/artifacts/v1/accessories?type=sbom", "").want(t, 400, "SVCSTG.SWR.4000014")
	h.ask(t, viewer, "GET", "/namespaces/library/repositories/app/artifacts/v2/accessories", "").want(t, 404, "SVCSTG.SWR.4040010")
	h.ask(t, viewer, "GET", "/namespaces/library/repositories/none/artifacts/v1/accessories", "").want(t, 404, "SVCSTG.SWR.4040010")
}

func descriptor(t *testing.T, image v1.Image) v1.Descriptor {
	t.Helper()
	size, err := image.Size()
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: registrytest.Digest(t, image)}
}

// TestRegistryFails: what the registry says stays inside; what can be said without
// it is said.
func TestRegistryFails(t *testing.T) {
	h := open(t, controltest.Options{})
	h.Server.Push(t, "library/app:v1", registrytest.Image(t))
	h.ask(t, admin, "POST", policies, policyJSON("a")).want(t, 201, "")
	h.Server.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"s3cret of the registry"}]}`))
		})
	})
	defer h.Server.Intercept(nil)
	for _, path := range []string{"/namespaces", "/namespaces/library/repositories/app/artifacts", "/namespaces/library/repositories/app/artifacts/v1/accessories"} {
		a := h.ask(t, viewer, "GET", path, "")
		a.want(t, 500, "SVCSTG.SWR.5000001")
		if strings.Contains(a.body, "s3cret") || strings.Contains(a.body, "DENIED") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	for _, path := range []string{"/namespaces/library", "/statistics", policies + "/1"} {
		h.ask(t, viewer, "GET", path, "").want(t, 200, "")
	}
}

// TestBehindAMux: the daemon's mux, which cleans paths, leads every spelling here.
func TestBehindAMux(t *testing.T) {
	h := open(t, controltest.Options{})
	h.Server.Push(t, "library/app/web:v1", registrytest.Image(t))
	mux := http.NewServeMux()
	mux.Handle("/v2/{project_id}/instances/", h.api)
	h.at = h.Serve(t, mux)
	for _, name := range []string{"app/web", "app%2Fweb", "app%252Fweb"} {
		s := signedRequest{method: "GET", path: h.path() + "/namespaces/library/repositories/" + name + "/artifacts/v1/accessories", at: time.Now()}
		h.signed(t, s.plain(controltest.ViewerKey, controltest.ViewerSecret)).want(t, 200, "")
	}
	for _, path := range []string{"//signature/policies", "/../../signature/policies", "/namespaces/%2E%2E/signature/policies"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", h.at+h.path()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", viewer)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 300 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}
