package oci_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

func idsOf(list []artifacts.ContainerImageSignatureSummary) []string {
	var all []string
	for _, s := range list {
		all = append(all, *s.Id)
	}
	return all
}

// TestList: each filter chooses what it says, and pages hold each signature once.
func TestList(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "admin")
	var ids []string
	var made []artifacts.CreateContainerImageSignatureResponse
	images := []artifacts.ContainerImage{s.push(t, "library/app", "v1"), s.push(t, "library/app", "v2"), s.push(t, "library/app2", "v1"), s.push(t, "team/app", "v1")}
	for _, i := range images {
		made = append(made, s.upload(t, c, i))
		ids = append(ids, *made[len(made)-1].Id)
	}
	newest := slices.Clone(ids)
	slices.Reverse(newest)
	str := common.String
	for what, f := range map[string]struct {
		r    artifacts.ListContainerImageSignaturesRequest
		want []string
	}{
		"all":                   {artifacts.ListContainerImageSignaturesRequest{}, newest},
		"in order":              {artifacts.ListContainerImageSignaturesRequest{SortOrder: "ASC"}, ids},
		"one by one":            {artifacts.ListContainerImageSignaturesRequest{Limit: common.Int(1)}, newest},
		"one by one, in order":  {artifacts.ListContainerImageSignaturesRequest{Limit: common.Int(1), SortBy: "TIMECREATED", SortOrder: "ASC"}, ids},
		"three":                 {artifacts.ListContainerImageSignaturesRequest{Limit: common.Int(3), SortOrder: "DESC"}, newest},
		"repository":            {artifacts.ListContainerImageSignaturesRequest{RepositoryName: str("library/app"), SortOrder: "ASC"}, ids[:2]},
		"repositories":          {artifacts.ListContainerImageSignaturesRequest{RepositoryName: str("library/app*"), SortOrder: "ASC"}, ids[:3]},
		"every repository":      {artifacts.ListContainerImageSignaturesRequest{RepositoryName: str("*"), SortOrder: "ASC"}, ids},
		"no repository":         {artifacts.ListContainerImageSignaturesRequest{RepositoryName: str("lib")}, nil},
		"no pattern":            {artifacts.ListContainerImageSignaturesRequest{RepositoryName: str("%")}, nil},
		"repository id":         {artifacts.ListContainerImageSignaturesRequest{RepositoryId: images[2].RepositoryId}, ids[2:3]},
		"repository id, name":   {artifacts.ListContainerImageSignaturesRequest{RepositoryId: images[2].RepositoryId, RepositoryName: str("library/*")}, ids[2:3]},
		"contradiction":         {artifacts.ListContainerImageSignaturesRequest{RepositoryId: images[2].RepositoryId, RepositoryName: str("team/*")}, nil},
		"repository elsewhere":  {artifacts.ListContainerImageSignaturesRequest{CompartmentId: str(otherCompartment), RepositoryId: images[2].RepositoryId}, nil},
		"unknown repository id": {artifacts.ListContainerImageSignaturesRequest{RepositoryId: str("ocid1.containerrepo.oc1..x")}, nil},
		"image":                 {artifacts.ListContainerImageSignaturesRequest{ImageId: images[1].Id}, ids[1:2]},
		"digest":                {artifacts.ListContainerImageSignaturesRequest{ImageDigest: images[3].Digest}, ids[3:]},
		"display name":          {artifacts.ListContainerImageSignaturesRequest{DisplayName: made[0].DisplayName}, ids[:1]},
		"key":                   {artifacts.ListContainerImageSignaturesRequest{KmsKeyId: str(controltest.RSAKeyAlias), KmsKeyVersionId: str(s.version()), SortOrder: "ASC"}, ids},
		"another name of it":    {artifacts.ListContainerImageSignaturesRequest{KmsKeyId: str(controltest.RSAKey)}, nil},
		"another key version":   {artifacts.ListContainerImageSignaturesRequest{KmsKeyVersionId: str("x")}, nil},
		"algorithm":             {artifacts.ListContainerImageSignaturesRequest{SigningAlgorithm: "SHA_512_RSA_PKCS_PSS"}, nil},
		"another compartment":   {artifacts.ListContainerImageSignaturesRequest{CompartmentId: str(otherCompartment)}, nil},
		"the registry's name":   {artifacts.ListContainerImageSignaturesRequest{CompartmentId: str(controltest.Registry), SortOrder: "ASC"}, ids},
		"the root":              {artifacts.ListContainerImageSignaturesRequest{CompartmentId: str(tenancy)}, nil},
		"all below the root":    {artifacts.ListContainerImageSignaturesRequest{CompartmentId: str(tenancy), CompartmentIdInSubtree: common.Bool(true), SortOrder: "ASC"}, ids},
	} {
		found, err := list(t.Context(), c, f.r)
		if d := cmp.Diff(f.want, idsOf(found)); d != "" || err != nil {
			t.Errorf("%s: %s %v", what, d, err)
		}
	}
	byName := func(order artifacts.ListContainerImageSignaturesSortOrderEnum) []string {
		found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{SortBy: "DISPLAYNAME", SortOrder: order, Limit: common.Int(1)})
		if err != nil {
			t.Error(err)
		}
		return idsOf(found)
	}
	slices.SortFunc(made, func(a, b artifacts.CreateContainerImageSignatureResponse) int {
		return strings.Compare(*a.DisplayName, *b.DisplayName)
	})
	var names []string
	for _, m := range made {
		names = append(names, *m.Id)
	}
	if d := cmp.Diff(names, byName("")); d != "" {
		t.Error(d)
	}
	slices.Reverse(names)
	if d := cmp.Diff(names, byName("DESC")); d != "" {
		t.Error(d)
	}
	s.pagesGoOn(t, c, newest)
}

// pagesGoOn: what is uploaded meanwhile is on no page after the first.
func (s *site) pagesGoOn(t *testing.T, c artifacts.ArtifactsClient, newest []string) {
	t.Helper()
	first, err := c.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(compartment), Limit: common.Int(2)})
	if err != nil || first.OpcNextPage == nil || *first.RemainingItemsCount != 2 || first.Items[0].FreeformTags == nil {
		t.Fatal(first, err)
	}
	s.upload(t, c, s.push(t, "library/new", "v1"))
	if _, err := c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: first.Items[1].Id}); err != nil {
		t.Fatal(err)
	}
	rest, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{Page: first.OpcNextPage, Limit: common.Int(1)})
	if d := cmp.Diff(newest[2:], idsOf(rest)); d != "" || err != nil {
		t.Error(d, err)
	}
}

// TestListRefusals: a list that cannot be is refused.
func TestListRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "admin")
	for range 2 {
		s.upload(t, c, s.push(t, "library/app", "v1"))
	}
	page, err := c.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(compartment), Limit: common.Int(1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"imageSignatures", "images", "repositories"} {
		for query, code := range map[string]string{
			"":               "MissingParameter",
			"compartmentId=": "InvalidParameter",
			"compartmentId=" + compartment + "&compartmentId=" + compartment: "InvalidParameter",
			"compartmentId=" + strings.Repeat("a", 101):                      "InvalidParameter",
			"compartmentId=%00":                      "InvalidParameter",
			"compartmentId=%ff":                      "InvalidParameter",
			"compartmentId=ocid1.compartment.oc1..x": "NotAuthorizedOrNotFound",
			"compartmentId=a;b":                      "CannotParseRequest",
			"&limit=0":                               "InvalidParameter",
			"&limit=1001":                            "InvalidParameter",
			"&limit=-1":                              "InvalidParameter",
			"&limit=a":                               "InvalidParameter",
			"&limit=99999999999999999999":            "InvalidParameter",
			"&sortBy=x":                              "InvalidParameter",
			"&sortOrder=x":                           "InvalidParameter",
			"&compartmentIdInSubtree=1":              "InvalidParameter",
			"&compartmentIdInSubtree=true":           "InvalidParameter",
			"&page=":                                 "InvalidParameter",
			"&page=1":                                "InvalidParameter",
			"&page=%25":                              "InvalidParameter",
			"&page=" + strings.Repeat("A", 3000):     "InvalidParameter",
			"&page=eyJuIjoiXHUwMDAwIn0":              "InvalidParameter", // {"n":"\u0000"}
			"&page=eyJ4IjoxfQ":                       "InvalidParameter", // {"x":1}
			"&repositoryId=%00":                      "InvalidParameter",
			"&repositoryId=" + strings.Repeat("a", 256): "InvalidParameter",
		} {
			if strings.HasPrefix(query, "&") {
				query = "compartmentId=" + compartment + query
			}
			got := s.send(t, "admin", http.MethodGet, "/20160918/container/"+path+"?"+query, "", nil)
			if got.Code != code {
				t.Errorf("%s?%s: %d %s %s, want %s", path, query, got.status, got.Code, got.Message, code)
			}
		}
	}
	for _, query := range []string{"&signingAlgorithm=x", "&imageId=", "&imageDigest=%0a", "&displayName=" + strings.Repeat("a", 256), "&kmsKeyId=", "&kmsKeyVersionId=", "&repositoryName=",
		"&sortOrder=ASC&page=" + *page.OpcNextPage, "&sortBy=DISPLAYNAME&sortOrder=DESC&page=" + *page.OpcNextPage} {
		got := s.send(t, "admin", http.MethodGet, "/20160918/container/imageSignatures?compartmentId="+compartment+query, "", nil)
		if got.status != http.StatusBadRequest || got.Code != "InvalidParameter" {
			t.Errorf("%s: %d %s", query, got.status, got.Code)
		}
	}
	if got := s.send(t, "admin", http.MethodGet, "/20160918/container/imageSignatures?newer=x&compartmentId="+compartment, "", nil); got.status != http.StatusOK {
		t.Error(got)
	}
}

// TestWhoSeesWhat: what a caller does not see is not there for it, in the same words.
func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i, team := s.push(t, "library/app", "v1"), s.push(t, "team/app", "v1")
	created, visible := s.upload(t, s.client(t, "admin"), i), s.upload(t, s.client(t, "narrow"), team)
	var unknown string
	for _, name := range []string{"stranger", "narrow"} {
		c := s.client(t, name)
		calls := map[string]error{}
		_, calls["get"] = c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: created.Id})
		_, calls["update"] = c.UpdateContainerImageSignature(t.Context(), artifacts.UpdateContainerImageSignatureRequest{ImageSignatureId: created.Id})
		_, calls["delete"] = c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: created.Id})
		_, calls["delete with etag"] = c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: created.Id, IfMatch: common.String("x")})
		_, calls["image"] = c.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id})
		_, calls["repository"] = c.GetContainerRepository(t.Context(), artifacts.GetContainerRepositoryRequest{RepositoryId: i.RepositoryId})
		_, calls["lookup"] = c.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
			LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: common.String("prod/library/app:v1")}})
		_, calls["nothing"] = c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: common.String("ocid1.x")})
		for what, err := range calls {
			expectNotFound(t, name+" "+what, err)
			if f, ok := common.IsServiceError(err); ok {
				if unknown == "" {
					unknown = f.GetMessage()
				}
				if f.GetMessage() != unknown {
					t.Errorf("%s %s: %q differs from %q", name, what, f.GetMessage(), unknown)
				}
			}
		}
	}
	_, err := list(t.Context(), s.client(t, "stranger"), artifacts.ListContainerImageSignaturesRequest{})
	expectNotFound(t, "another's compartment", err)
	_, err = s.tryUpload(t, s.client(t, "stranger"), s.details(t, i, s.messageOf(i)))
	expectNotFound(t, "an upload to another's compartment", err)
	d := s.details(t, i, s.messageOf(i))
	_, err = s.tryUpload(t, s.client(t, "narrow"), d)
	expect(t, "an upload to another's namespace", err, http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound")
	d.CompartmentId = common.String(otherCompartment)
	_, err = s.tryUpload(t, s.client(t, "stranger"), d)
	expect(t, "an upload of another's image", err, http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound")
	for name, want := range map[string][]string{"narrow": {*visible.Id}, "viewer": {*visible.Id, *created.Id}} {
		r := artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(tenancy), CompartmentIdInSubtree: common.Bool(true)}
		found, err := list(t.Context(), s.client(t, name), r)
		if d := cmp.Diff(want, idsOf(found)); d != "" || err != nil {
			t.Errorf("%s: %s %v", name, d, err)
		}
	}
}

// TestRoles: who may look may not change.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "library/app", "v1")
	created := s.upload(t, s.client(t, "admin"), i)
	for _, name := range []string{"viewer", "operator"} {
		c := s.client(t, name)
		if _, err := c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: created.Id}); err != nil {
			t.Error(err)
		}
		if _, err := c.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id}); err != nil {
			t.Error(err)
		}
		_, err := s.tryUpload(t, c, s.details(t, i, s.messageOf(i)))
		expectNotFound(t, name+" uploads", err)
		_, err = c.UpdateContainerImageSignature(t.Context(), artifacts.UpdateContainerImageSignatureRequest{ImageSignatureId: created.Id})
		expectNotFound(t, name+" updates", err)
		_, err = c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: created.Id})
		expectNotFound(t, name+" deletes", err)
	}
	if found, err := list(t.Context(), s.client(t, "viewer"), artifacts.ListContainerImageSignaturesRequest{}); len(found) != 1 || err != nil {
		t.Error(found, err)
	}
}
