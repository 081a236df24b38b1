package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/oracle/oci-go-sdk/v65/common"
)

const (
	// ocirPage is how many entries are asked for at once. The most that is
	// served is not documented, so it is what all of OCI's listings serve.
	ocirPage      = 100
	ocirAvailable = "AVAILABLE" // the state of what is not deleted
)

var (
	ocirHost        = regexp.MustCompile(`^(?:ocir\.)?([a-z0-9-]+)\.(?:ocir\.io|oci\.[a-z0-9.-]+)$`)
	ocirCompartment = regexp.MustCompile(`^ocid1\.(compartment|tenancy)\.[a-z0-9]+\.[a-z0-9-]*\.[a-z0-9.]{1,128}$`)
	ocirRegion      = regexp.MustCompile(`^[a-z]{2,8}(?:-[a-z0-9]{1,32}){1,4}$`)
)

// An ocirLister lists the container repositories of a compartment of Oracle
// Cloud Infrastructure.
type ocirLister struct {
	api         *vendorAPI
	said        string // the registry, for errors
	size        int    // of a page
	compartment string
}

var (
	_ manifestLister = (*ocirLister)(nil)
	_ tagResolver    = (*ocirLister)(nil)
)

// openOCIR returns the listing of a registry of kind ocir. Its compartment comes
// from cfg.Cloud, and the API's host from cfg.API, or the region there, or the
// region in the registry's host.
func openOCIR(c *Client, cfg Config) (manifestLister, error) {
	usual, err := ocirEndpoint(cfg)
	faults := []error{err}
	if !ocirCompartment.MatchString(cfg.Cloud.Compartment) {
		faults = append(faults, fmt.Errorf("cloud.compartment: %q: want an OCID, ocid1.compartment.… or, for all compartments, ocid1.tenancy.…", plain(cfg.Cloud.Compartment)))
	}
	identity, err := ociIdentityFile(cfg.Cloud)
	faults = append(faults, err)
	api, err := newVendorAPI(c, cfg, usual)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	api.diagnose, api.kind = ocirDiagnostics, ocirKind
	api.credentials = func(context.Context) (authorise, error) {
		as, err := identity.read()
		return func(req *http.Request, _ []byte) error {
			req.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
			return common.DefaultRequestSigner(as).Sign(req)
		}, err
	}
	return &ocirLister{api: api, said: cfg.Host, size: pageSize(cfg, ocirPage), compartment: cfg.Cloud.Compartment}, nil
}

func ocirEndpoint(cfg Config) (string, error) {
	if cfg.API != "" {
		return "", nil
	}
	name := cfg.Cloud.Region
	if m := ocirHost.FindStringSubmatch(strings.ToLower(cfg.Host)); name == "" && m != nil {
		name = m[1]
	}
	region := common.StringToRegion(name)
	if name == "" || !ocirRegion.MatchString(string(region)) {
		return "", fmt.Errorf("cloud.region: %q: want a region like eu-frankfurt-1, unless the host is REGION.ocir.io; or api", plain(name))
	}
	return "https://artifacts." + string(region) + ".oci." + region.SecondLevelDomain(), nil
}

func ocirDiagnostics(body []byte) []diagnostic {
	var said diagnostic
	if json.Unmarshal(body, &said) != nil || said.Code == "" {
		return nil
	}
	return []diagnostic{said}
}

// ocirKind fails closed: OCI does not tell what is not there from what may not
// be seen.
func ocirKind(e *ResponseError) error {
	for _, code := range e.Codes {
		if strings.HasSuffix(code, "NotAuthorizedOrNotFound") {
			return ErrForbidden
		}
	}
	return nil
}

func (o *ocirLister) untagged() string { return "" }

// resolvesTags implements tagResolver: OCI lists of an image's tags only the
// most recent one.
func (o *ocirLister) resolvesTags() (tellsSome bool) { return true }

func (o *ocirLister) call(kind, token string, filters url.Values) vendorCall {
	query := url.Values{
		"compartmentId":  {o.compartment},
		"lifecycleState": {ocirAvailable},
		"limit":          {strconv.Itoa(o.size)},
	}
	if strings.HasPrefix(o.compartment, "ocid1.tenancy.") {
		query.Set("compartmentIdInSubtree", "true")
	}
	if token != "" {
		query.Set("page", token)
	}
	for name, values := range filters {
		query[name] = values
	}
	return vendorCall{segments: []string{"20160918", "container", kind}, query: query}
}

// An ocirRepository is a repository as OCI lists it.
type ocirRepository struct {
	Name      string `json:"displayName"` // without the namespace
	Namespace string `json:"namespace"`   // of the tenancy
}

func (o *ocirLister) fetchRepositories(filters url.Values) fetchTokenPage[ocirRepository] {
	return func(ctx context.Context, token string) ([]ocirRepository, string, error) {
		var answer struct {
			Items []ocirRepository `json:"items"`
		}
		header, err := o.api.ask(ctx, o.call("repositories", token, filters), &answer)
		return answer.Items, header.Get("opc-next-page"), err
	}
}

func (o *ocirLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range tokenPages(ctx, "", o.fetchRepositories(nil)) {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of %s: %w", o.said, err))
				return
			}
			for _, r := range page.items {
				name := r.Namespace + "/" + r.Name
				if !yield(name, checkRepository(name)) {
					return
				}
			}
		}
	}
}

// An ocirImage is a manifest as OCI lists it, without its media type.
type ocirImage struct {
	Digest     string `json:"digest"`
	Repository string `json:"repositoryName"`
	State      string `json:"lifecycleState"`
	Version    string `json:"version"` // the most recent tag, "" without one
}

// manifests yields each manifest with the one of its tags that OCI says.
func (o *ocirLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		_, name, err := namespaced(repository)
		if err != nil {
			yield(listedManifest{}, err)
			return
		}
		for m, err := range tokenManifests(ctx, after, o.fetchImages(name)) {
			if err != nil && !isEntry(m) {
				err = fmt.Errorf("listing the images of %s/%s: %w", o.said, repository, err)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// fetchImages fetches a page of a repository's images. OCI lists nothing of a
// repository that is not there; whether that is so takes another request.
func (o *ocirLister) fetchImages(repository string) fetchTokenPage[listedEntry] {
	return func(ctx context.Context, token string) ([]listedEntry, string, error) {
		var answer struct {
			Items []ocirImage `json:"items"`
		}
		header, err := o.api.ask(ctx, o.call("images", token, url.Values{"repositoryName": {repository}}), &answer)
		if err != nil {
			return nil, "", err
		}
		next := header.Get("opc-next-page")
		if token == "" && next == "" && len(answer.Items) == 0 {
			return nil, "", o.exists(ctx, repository)
		}
		entries := make([]listedEntry, 0, len(answer.Items))
		for _, image := range answer.Items {
			if image.Repository != repository || image.State != ocirAvailable {
				continue
			}
			var tags []string
			if image.Version != "" {
				tags = []string{image.Version}
			}
			entries = append(entries, newListedEntry(image.Digest, "", "", tags))
		}
		return entries, next, nil
	}
}

func (o *ocirLister) exists(ctx context.Context, repository string) error {
	for page, err := range tokenPages(ctx, "", o.fetchRepositories(url.Values{"displayName": {repository}})) {
		if err != nil {
			return err
		}
		if len(page.items) > 0 {
			return nil
		}
	}
	return fmt.Errorf("no such repository in the compartment: %w", ErrNotFound)
}

// isEntry reports whether what a listing yields is about one manifest.
func isEntry(m listedManifest) bool { return m.Digest != (v1.Hash{}) }
