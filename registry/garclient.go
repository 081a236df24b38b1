package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	garAPI = "https://artifactregistry.googleapis.com"
	// garRelatedTags is how many tags a version is said to have at most.
	garRelatedTags = 100
)

// A garClient asks the API of Artifact Registry. Its "repository" holds many
// images, its "package" is the repository of an image, and its "version" a
// manifest. It is safe for concurrent use.
type garClient struct {
	garPlace
	api      *vendorAPI
	login    *garLogin
	host     string
	pageSize int
}

func newGARClient(client *Client, cfg Config) (*garClient, error) {
	api, err := newVendorAPI(client, cfg, garAPI)
	if err != nil {
		return nil, err
	}
	api.diagnose = googleDiagnose
	place := newGARPlace(cfg)
	if place.project != "" && place.location == "" {
		return nil, fmt.Errorf("host %s does not say the location of project %s: want cloud.region", cfg.Host, place.project)
	}
	return &garClient{
		garPlace: place, api: api, login: newGARLogin(client, cfg), host: cfg.Host,
		pageSize: min(client.pageSize, vendorPage),
	}, nil
}

// googleDiagnose reads an error of Google's APIs.
func googleDiagnose(raw []byte) []diagnostic {
	var answer struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return nil
	}
	return []diagnostic{{Code: answer.Error.Status, Message: answer.Error.Message}}
}

// list asks for a page of a listing, once more with a new token if Google does
// not accept the one that was used.
func (c *garClient) list(ctx context.Context, path []string, query url.Values, token string, out any) error {
	query.Set("pageSize", strconv.Itoa(c.pageSize))
	if token != "" {
		query.Set("pageToken", token)
	}
	used, err := c.login.token(ctx, "")
	if err != nil {
		return err
	}
	call := vendorCall{segments: path, query: query}
	if err = c.ask(ctx, call, used, out); !errors.Is(err, ErrUnauthorized) {
		return err
	}
	other, loginErr := c.login.token(ctx, used.value)
	switch {
	case loginErr != nil:
		return fmt.Errorf("%w; logging in again: %w", err, loginErr)
	case other.value == used.value:
		return err
	}
	return c.ask(ctx, call, other, out)
}

func (c *garClient) ask(ctx context.Context, call vendorCall, token garToken, out any) error {
	api := *c.api
	api.credentials = func(context.Context) (authorise, error) {
		return func(req *http.Request, _ []byte) error {
			req.Header.Set("Authorization", "Bearer "+token.value)
			if token.quotaProject != "" {
				req.Header.Set("X-Goog-User-Project", token.quotaProject)
			}
			return nil
		}, nil
	}
	_, err := api.ask(ctx, call, out)
	return err
}

func (c *garClient) repositoriesPath() []string {
	return []string{"v1", "projects", c.project, "locations", c.location, "repositories"}
}

// repositories yields the repositories of images of the project and location
// that can be written to. One whose images can not be listed is an error of its
// own.
func (c *garClient) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range tokenPages(ctx, "", c.repositoryPage) {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of project %s on %s: %w", c.project, c.host, err))
				return
			}
			for _, repository := range page.items {
				if !c.images(ctx, repository, yield) {
					return
				}
			}
		}
	}
}

func (c *garClient) repositoryPage(ctx context.Context, token string) (names []string, next string, err error) {
	var answer struct {
		Repositories []struct {
			Name   string `json:"name"`
			Format string `json:"format"`
			Mode   string `json:"mode"`
		} `json:"repositories"`
		NextPageToken string `json:"nextPageToken"`
	}
	if err := c.list(ctx, c.repositoriesPath(), url.Values{}, token, &answer); err != nil {
		return nil, "", err
	}
	for _, r := range answer.Repositories {
		_, name, _ := strings.Cut(r.Name, "/repositories/")
		readOnly := r.Mode == "VIRTUAL_REPOSITORY" || r.Mode == "REMOTE_REPOSITORY"
		if r.Format != "DOCKER" || readOnly || c.repository != "" && name != c.repository {
			continue
		}
		names = append(names, name)
	}
	return names, answer.NextPageToken, nil
}

// images yields the images of one repository; false if it is over.
func (c *garClient) images(ctx context.Context, repository string, yield func(string, error) bool) bool {
	fetch := func(ctx context.Context, token string) ([]string, string, error) {
		return c.imagePage(ctx, repository, token)
	}
	for page, err := range tokenPages(ctx, "", fetch) {
		if err != nil {
			name := c.full(repository, "")
			err = fmt.Errorf("listing the images of %s/%s: %w", c.host, plain(name), err)
			if ctx.Err() != nil || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) {
				name = "" // not of this one alone
			}
			return yield(name, err) && name != ""
		}
		for _, image := range page.items {
			name := c.full(repository, image)
			if !yield(name, checkRepository(name)) {
				return false
			}
		}
	}
	return true
}

func (c *garClient) imagePage(ctx context.Context, repository, token string) (images []string, next string, err error) {
	var answer struct {
		Packages []struct {
			Name string `json:"name"`
		} `json:"packages"`
		NextPageToken string `json:"nextPageToken"`
	}
	if err := c.list(ctx, append(c.repositoriesPath(), repository, "packages"), url.Values{}, token, &answer); err != nil {
		return nil, "", err
	}
	for _, p := range answer.Packages {
		images = append(images, lastPart(p.Name, "/packages/"))
	}
	return images, answer.NextPageToken, nil
}

// lastPart returns what follows a collection in a resource's name, where
// slashes are escaped.
func lastPart(name, collection string) string {
	_, part, _ := strings.Cut(name, collection)
	if unescaped, err := url.PathUnescape(part); err == nil {
		return unescaped
	}
	return part
}

// manifests yields the versions of an image. Their own listing is asked, and not
// that of "dockerImages", which has all images of the repository in one.
func (c *garClient) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		name, err := c.parse(repository)
		if err != nil {
			yield(listedManifest{}, err)
			return
		}
		fetch := func(ctx context.Context, token string) ([]listedEntry, string, error) {
			return c.versionPage(ctx, name, token)
		}
		for m, err := range tokenManifests(ctx, after, fetch) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// A garVersion is a manifest.
type garVersion struct {
	Name        string   `json:"name"`
	RelatedTags []garTag `json:"relatedTags"`
	Metadata    struct {
		MediaType    string `json:"mediaType"`
		ArtifactType string `json:"artifactType"`
		Children     []struct {
			Digest       string `json:"digest"`
			Architecture string `json:"architecture"`
		} `json:"imageManifests"`
	} `json:"metadata"`
}

type garTag struct {
	Name string `json:"name"`
}

func (c *garClient) versionPage(ctx context.Context, name garName, token string) (list []listedEntry, next string, err error) {
	var answer struct {
		Versions      []garVersion `json:"versions"`
		NextPageToken string       `json:"nextPageToken"`
	}
	if err := c.list(ctx, name.path(c.location, "versions"), url.Values{"view": {"FULL"}}, token, &answer); err != nil {
		return nil, "", err
	}
	for _, v := range answer.Versions {
		if len(v.RelatedTags) >= garRelatedTags {
			if v.RelatedTags, err = c.tags(ctx, name, v.Name); err != nil {
				return nil, "", err
			}
		}
		list = append(list, v.entry())
	}
	return list, answer.NextPageToken, nil
}

// entry returns what the version says. What has a subject and no artifact type
// is given its media type as one by Google.
func (v *garVersion) entry() listedEntry {
	tags := make([]string, 0, len(v.RelatedTags))
	for _, t := range v.RelatedTags {
		tags = append(tags, lastPart(t.Name, "/tags/"))
	}
	artifactType := v.Metadata.ArtifactType
	if artifactType == v.Metadata.MediaType {
		artifactType = ""
	}
	m := newListedEntry(lastPart(v.Name, "/versions/"), v.Metadata.MediaType, artifactType, tags)
	for _, c := range v.Metadata.Children {
		child, err := v1.NewHash(c.Digest)
		if err != nil || c.Architecture == "" {
			// It may be an index of referrers, whose entries are no children: it
			// has to be read.
			m.Children = nil
			break
		}
		m.Children = append(m.Children, child)
	}
	return m
}

// tags returns all tags of a version, which is said to have at most some.
func (c *garClient) tags(ctx context.Context, name garName, version string) ([]garTag, error) {
	var all []garTag
	fetch := func(ctx context.Context, token string) ([]garTag, string, error) {
		var answer struct {
			Tags          []garTag `json:"tags"`
			NextPageToken string   `json:"nextPageToken"`
		}
		query := url.Values{"filter": {`version="` + version + `"`}}
		err := c.list(ctx, name.path(c.location, "tags"), query, token, &answer)
		return answer.Tags, answer.NextPageToken, err
	}
	for page, err := range tokenPages(ctx, "", fetch) {
		if err != nil {
			return nil, fmt.Errorf("listing the tags of %s: %w", plain(version), err)
		}
		if all = slices.Concat(all, page.items); len(all) > maxPageItems {
			return nil, fmt.Errorf("more than %d tags of one image: %w", maxPageItems, ErrTooLarge)
		}
	}
	return all, nil
}

// path returns the path of a collection of the image.
func (n garName) path(location, collection string) []string {
	return []string{"v1", "projects", n.project, "locations", location, "repositories", n.repository, "packages", n.image, collection}
}
