package oci_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// listImages lists the names of images, all pages, whose ids must be those of ids, by
// compartment and digest.
func listImages(ctx context.Context, c artifacts.ArtifactsClient, ids map[string]string, r artifacts.ListContainerImagesRequest) ([]string, error) {
	if r.CompartmentId == nil {
		r.CompartmentId = common.String(compartment)
	}
	var all []string
	for {
		got, err := c.ListContainerImages(ctx, r)
		if err != nil {
			return nil, err
		}
		if (got.OpcNextPage == nil) != (*got.RemainingItemsCount == 0) || r.Limit != nil && len(got.Items) > *r.Limit {
			return nil, fmt.Errorf("%d items, %d more, next page %v", len(got.Items), *got.RemainingItemsCount, got.OpcNextPage)
		}
		for _, i := range got.Items {
			if id := ids[*i.CompartmentId+*i.Digest]; *i.Id != id || id == "" {
				return nil, fmt.Errorf("%s has the id %s, want %s", *i.DisplayName, *i.Id, id)
			}
			all = append(all, *i.DisplayName)
		}
		if got.OpcNextPage == nil {
			return all, nil
		}
		r.Page = got.OpcNextPage
	}
}

// TestImages: images and repositories are found, and have the same ids however.
func TestImages(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "admin")
	var images []artifacts.ContainerImage
	ids := map[string]string{}
	for _, ref := range []string{"library/app:v1", "library/app:v2", "library/app2:v1", "team/app:latest"} {
		repository, tag, _ := strings.Cut(ref, ":")
		image := s.push(t, repository, tag)
		images, ids[compartment+*image.Digest] = append(images, image), *image.Id
	}
	elsewhere, err := c.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: common.String(controltest.Other + "/team/app:latest")}})
	if err != nil || *elsewhere.Digest != *images[3].Digest || *elsewhere.Id == *images[3].Id {
		t.Fatalf("the same in another registry: %+v, %v", elsewhere, err)
	}
	ids[otherCompartment+*elsewhere.Digest] = *elsewhere.Id
	i := images[0]
	if *i.DisplayName != "library/app:v1" || *i.RepositoryName != "library/app" || *i.CompartmentId != compartment || len(i.Layers) != 1 || *i.LayersSizeInBytes < 1 ||
		*i.ManifestSizeInBytes < 1 || *i.Version != "v1" || i.LifecycleState != "AVAILABLE" || len(*i.Id) > 255 {
		t.Errorf("%v", i)
	}
	got, err := c.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id})
	if err != nil || *got.Id != *i.Id || *got.Digest != *i.Digest || *got.DisplayName != "library/app@"+*i.Digest || got.Version != nil {
		t.Errorf("%v, %v", got, err)
	}
	str := common.String
	all := []string{"library/app:v1", "library/app:v2", "library/app2:v1", "team/app:latest"}
	for what, f := range map[string]struct {
		r    artifacts.ListContainerImagesRequest
		want []string
	}{
		"all":                  {artifacts.ListContainerImagesRequest{}, all},
		"one by one":           {artifacts.ListContainerImagesRequest{Limit: common.Int(1)}, all},
		"repository":           {artifacts.ListContainerImagesRequest{RepositoryName: str("library/app")}, all[:2]},
		"repositories":         {artifacts.ListContainerImagesRequest{RepositoryName: str("library/*"), Limit: common.Int(2)}, all[:3]},
		"repository id":        {artifacts.ListContainerImagesRequest{RepositoryId: images[2].RepositoryId}, all[2:3]},
		"no repository":        {artifacts.ListContainerImagesRequest{RepositoryName: str("library")}, nil},
		"unknown repository":   {artifacts.ListContainerImagesRequest{RepositoryId: str("ocid1.x")}, nil},
		"image":                {artifacts.ListContainerImagesRequest{ImageId: i.Id}, []string{"library/app@" + *i.Digest}},
		"image elsewhere":      {artifacts.ListContainerImagesRequest{ImageId: i.Id, RepositoryName: str("team/app")}, nil},
		"unknown image":        {artifacts.ListContainerImagesRequest{ImageId: str("ocid1.x")}, nil},
		"image, other digest":  {artifacts.ListContainerImagesRequest{ImageId: i.Id, ImageDigest: images[1].Digest}, nil},
		"image, version":       {artifacts.ListContainerImagesRequest{ImageId: i.Id, Version: str("v*")}, all[:1]},
		"digest":               {artifacts.ListContainerImagesRequest{ImageDigest: images[3].Digest}, []string{"team/app@" + *images[3].Digest}},
		"digest, version":      {artifacts.ListContainerImagesRequest{ImageDigest: images[3].Digest, Version: str("latest")}, all[3:]},
		"a digest that is not": {artifacts.ListContainerImagesRequest{ImageDigest: str("sha256:x")}, nil},
		"version":              {artifacts.ListContainerImagesRequest{Version: str("v1")}, []string{all[0], all[2]}},
		"versions":             {artifacts.ListContainerImagesRequest{Version: str("v*")}, all[:3]},
		"display name":         {artifacts.ListContainerImagesRequest{DisplayName: str("library/app:v2")}, all[1:2]},
		"tagged":               {artifacts.ListContainerImagesRequest{IsVersioned: common.Bool(true)}, all},
		"untagged":             {artifacts.ListContainerImagesRequest{IsVersioned: common.Bool(false)}, nil},
		"deleted":              {artifacts.ListContainerImagesRequest{LifecycleState: str("DELETED")}, nil},
		"by name, backwards":   {artifacts.ListContainerImagesRequest{SortBy: "DISPLAYNAME", SortOrder: "DESC"}, []string{all[3], all[1], all[0], all[2]}},
		"below the root":       {artifacts.ListContainerImagesRequest{CompartmentId: str(tenancy), CompartmentIdInSubtree: common.Bool(true), RepositoryName: str("team/*")}, []string{all[3], all[3]}},
		"the root":             {artifacts.ListContainerImagesRequest{CompartmentId: str(tenancy)}, nil},
	} {
		got, err := listImages(t.Context(), c, ids, f.r)
		if d := cmp.Diff(f.want, got); d != "" || err != nil {
			t.Errorf("%s: %s %v", what, d, err)
		}
	}
	if got, err := listImages(t.Context(), s.client(t, "narrow"), ids, artifacts.ListContainerImagesRequest{}); !slices.Equal(got, all[3:]) || err != nil {
		t.Error(got, err)
	}
}

// TestStableIDs: an id is known after a restart, and if the journal has lost it, as
// soon as the image is found again.
func TestStableIDs(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "library/app", "v1")
	restarted := siteOf(t, s.House)
	if _, err := restarted.client(t, "viewer").GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id}); err != nil {
		t.Error(err)
	}
	lost := newSite(t, controltest.Options{}) // another journal and another registry
	_, err := lost.client(t, "viewer").GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id})
	expectNotFound(t, "an id that nobody handed out", err)
	if _, err := lost.client(t, "viewer").ListContainerRepositories(t.Context(), artifacts.ListContainerRepositoriesRequest{CompartmentId: common.String(compartment)}); err != nil {
		t.Fatal(err)
	}
	j := lost.push(t, "library/app", "v1")
	if *j.RepositoryId != *i.RepositoryId || *j.Id == *i.Id {
		t.Errorf("%v\n%v", i, j)
	}
	_, err = lost.client(t, "viewer").GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id})
	expectNotFound(t, "an image that is in another registry", err)
}

// TestLookup: an image's URI begins with what the configuration says, an instance's id
// or the host.
func TestLookup(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "viewer")
	i := s.push(t, "library/app", "v1")
	for _, id := range []string{compartment, controltest.Registry, tenancy} {
		got, err := c.GetContainerConfiguration(t.Context(), artifacts.GetContainerConfigurationRequest{CompartmentId: &id})
		if err != nil || *got.Namespace == "" || id != tenancy && *got.Namespace != controltest.Registry {
			t.Errorf("%v, %v", got, err)
		}
	}
	_, err := c.GetContainerConfiguration(t.Context(), artifacts.GetContainerConfigurationRequest{CompartmentId: common.String("x")})
	expectNotFound(t, "an unknown compartment", err)
	lookup := func(uri string) (artifacts.LookupContainerImageByUriResponse, error) {
		return c.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
			LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: &uri}})
	}
	for _, uri := range []string{"prod/library/app:v1", compartment + "/library/app:v1", s.Server.Host + "/library/app:v1", "prod/library/app@" + *i.Digest, "prod/library/app:v9@" + *i.Digest} {
		if got, err := lookup(uri); err != nil || *got.Digest != *i.Digest {
			t.Errorf("%s: %v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"prod/library/app:v2", "prod/library/none:v1", "none/library/app:v1", "prod/library/app@sha256:" + strings.Repeat("0", 64), "prod/library/app@x:y",
		"prod/../library/app:v1", "prod/Library:v1", "prod/library/app:%2e", "prod//app:v1", "prod/library/app?x:v1", "prod/library/app:" + strings.Repeat("a", 200)} {
		_, err := lookup(uri)
		expectNotFound(t, uri, err)
	}
	for _, uri := range []string{"", "prod", "prod/", "prod/library/app", "prod/library/app:", "prod/:v1", "prod/library/app@", "a\x00/b:c", strings.Repeat("a", 1025)} {
		_, err := lookup(uri)
		expect(t, uri, err, http.StatusBadRequest, "InvalidParameter")
	}
}

// TestRepositories: repositories are listed and found.
func TestRepositories(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "viewer")
	for _, name := range []string{"library/app", "library/app2", "team/app"} {
		s.Server.Push(t, name+":v1", registrytest.Image(t))
	}
	names := func(r artifacts.ListContainerRepositoriesRequest) (all []string) {
		t.Helper()
		r.CompartmentId = common.String(compartment)
		for {
			got, err := c.ListContainerRepositories(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range got.Items {
				one, err := c.GetContainerRepository(t.Context(), artifacts.GetContainerRepositoryRequest{RepositoryId: i.Id})
				if err != nil || *one.DisplayName != *i.DisplayName || *one.CompartmentId != compartment || *one.Namespace != controltest.Registry {
					t.Errorf("%v, %v", one, err)
				}
				all = append(all, *i.DisplayName)
			}
			if (got.OpcNextPage == nil) != (*got.RemainingItemsCount == 0) {
				t.Error(got)
			}
			if got.OpcNextPage == nil {
				return all
			}
			r.Page = got.OpcNextPage
		}
	}
	all := []string{"library/app", "library/app2", "team/app"}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	for what, f := range map[string]struct {
		r    artifacts.ListContainerRepositoriesRequest
		want []string
	}{
		"all":        {artifacts.ListContainerRepositoriesRequest{}, all},
		"one by one": {artifacts.ListContainerRepositoriesRequest{Limit: common.Int(1)}, all},
		"backwards":  {artifacts.ListContainerRepositoriesRequest{Limit: common.Int(2), SortOrder: "DESC"}, backwards},
		"name":       {artifacts.ListContainerRepositoriesRequest{DisplayName: common.String("library/app")}, all[:1]},
		"names":      {artifacts.ListContainerRepositoriesRequest{DisplayName: common.String("library*")}, all[:2]},
		"deleted":    {artifacts.ListContainerRepositoriesRequest{LifecycleState: common.String("DELETED")}, nil},
		"unknown":    {artifacts.ListContainerRepositoriesRequest{RepositoryId: common.String("x")}, nil},
	} {
		if d := cmp.Diff(f.want, names(f.r)); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	_, err := c.GetContainerRepository(t.Context(), artifacts.GetContainerRepositoryRequest{RepositoryId: common.String("ocid1.containerrepo.oc1..x")})
	expectNotFound(t, "an unknown repository", err)
}

// TestCatalogIsShared: a registry is listed once for many who ask at once, or soon
// after, each of whom is told what it may see; and a repository that is new is found.
func TestCatalogIsShared(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{CatalogAge: time.Hour})
	for _, name := range []string{"library/app", "team/app"} {
		s.Server.Push(t, name+":v1", registrytest.Image(t))
	}
	repositories := func(caller string, name *string) (names []string) {
		got, err := s.client(t, caller).ListContainerRepositories(t.Context(), artifacts.ListContainerRepositoriesRequest{CompartmentId: common.String(compartment), DisplayName: name})
		if err != nil {
			t.Error(err)
			return nil
		}
		for _, i := range got.Items {
			names = append(names, *i.DisplayName)
		}
		return names
	}
	s.Server.Reset()
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			caller, want := "viewer", []string{"library/app", "team/app"}
			if i%2 == 0 {
				caller, want = "narrow", []string{"team/app"}
			}
			if got := repositories(caller, nil); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", caller, got, want)
			}
		})
	}
	callers.Wait()
	if n := s.Catalogs(); n != 1 {
		t.Errorf("%d listings for 8 requests", n)
	}
	s.Server.Push(t, "library/fresh:v1", registrytest.Image(t))
	if got := repositories("viewer", common.String("library/fresh")); len(got) != 1 || s.Catalogs() != 2 {
		t.Errorf("what is new: %v after %d listings", got, s.Catalogs())
	}
}

// TestManyRepositories: a page looks into so many repositories and no more, and the
// next one goes on after them.
func TestManyRepositories(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "viewer")
	image := registrytest.Image(t)
	for i := range 55 {
		tag := "v1"
		if i == 53 {
			tag = "v2"
		}
		s.Server.Push(t, fmt.Sprintf("r%03d:%s", i, tag), image)
	}
	r := artifacts.ListContainerImagesRequest{CompartmentId: common.String(compartment), Version: common.String("v2")}
	first, err := c.ListContainerImages(t.Context(), r)
	if err != nil || len(first.Items) != 0 || first.OpcNextPage == nil {
		t.Fatal(first, err)
	}
	r.Page = first.OpcNextPage
	second, err := c.ListContainerImages(t.Context(), r)
	if err != nil || len(second.Items) != 1 || *second.Items[0].DisplayName != "r053:v2" || second.OpcNextPage != nil {
		t.Error(second, err)
	}
}
