package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	harborPage = 100 // the most that Harbor lists at once
	harborPath = "/api/v2.0"
)

// A harborLister lists what is in a Harbor, of version 2.2 or newer, with its API
// v2.0. The registry's own login is used, as users and robot accounts have one
// for both.
type harborLister struct {
	api  *vendorAPI
	said string // the registry, for errors
	size int    // of a page
}

var _ manifestLister = (*harborLister)(nil)

// openHarbor returns the listing of a registry of kind harbor. Its API is at
// cfg.API, or at the host itself.
func openHarbor(c *Client, cfg Config) (manifestLister, error) {
	usual := c.scheme + "://" + c.host.RegistryStr()
	cfg.API = strings.TrimSuffix(strings.TrimRight(cmp.Or(cfg.API, usual), "/"), harborPath) + harborPath
	api, err := newVendorAPI(c, cfg, "")
	if err != nil {
		return nil, err
	}
	api.diagnose = harborDiagnostics
	api.credentials = c.login(Config{}, bearer)
	return &harborLister{api: api, said: cfg.Host, size: pageSize(cfg, harborPage)}, nil
}

// harborDiagnostics reads Harbor's errors, which have the shape of those of the
// distribution API.
func harborDiagnostics(body []byte) []diagnostic {
	var said struct {
		Errors []diagnostic `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	return said.Errors
}

// untagged is always possible, but for what refers to another artifact: see
// docs/registries/harbor.md.
func (h *harborLister) untagged() string { return "" }

// A harborEntry is an entry of any of Harbor's listings. Its number is given out
// when it is made, and never again.
type harborEntry interface{ number() int64 }

// A harborRepository is a repository as Harbor lists it.
type harborRepository struct {
	ID   int64  `json:"id"`
	Name string `json:"name"` // with the project
}

func (r harborRepository) number() int64 { return r.ID }

// A harborArtifact is a manifest as Harbor lists it. Its size, which is not read,
// is the image's.
type harborArtifact struct {
	ID           int64  `json:"id"`
	Digest       string `json:"digest"`
	MediaType    string `json:"manifest_media_type"`
	ConfigType   string `json:"media_type"`    // media type of the config
	ArtifactType string `json:"artifact_type"` // the manifest's; left out by old versions
	Tags         []struct {
		Name string `json:"name"`
	} `json:"tags"`
	References []struct {
		Child string `json:"child_digest"`
	} `json:"references"`
}

func (a harborArtifact) number() int64 { return a.ID }

// repositories yields the repositories that the account may see, in the order
// they were made: all for an administrator, else those of its projects and of
// public ones.
func (h *harborLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		listing := harborListing{key: "repository_id", segments: []string{"repositories"}}
		for r, err := range harborEntries[harborRepository](ctx, h, listing) {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of %s: %w", h.said, err))
				return
			}
			if !yield(r.Name, checkRepository(r.Name)) {
				return
			}
		}
	}
}

// manifests yields the manifests of a repository in the order they first came.
// The cursor is Harbor's number of the manifest, so that nothing that comes or
// goes meanwhile moves another.
func (h *harborLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		err := h.walk(ctx, repository, after, yield)
		if err != nil && !errors.Is(err, errStopped) {
			yield(listedManifest{}, fmt.Errorf("listing the artifacts of %s/%s: %w", h.said, repository, err))
		}
	}
}

func (h *harborLister) walk(ctx context.Context, repository, after string, yield func(listedManifest, error) bool) error {
	segments, err := harborSegments(repository)
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(after, 10, 64)
	if err != nil {
		last = 0 // "", or a cursor of another kind: from the first on
	}
	empty := last == 0
	listing := harborListing{key: "id", segments: append(segments, "artifacts"), after: last, query: url.Values{
		"with_tag": {"true"}, "with_label": {"false"}, "with_accessory": {"false"}, "with_scan_overview": {"false"},
	}}
	for a, err := range harborEntries[harborArtifact](ctx, h, listing) {
		if err != nil {
			return err
		}
		empty = false
		if !yield(a.listed()) {
			return errStopped
		}
	}
	if !empty {
		return nil
	}
	_, _, err = h.api.read(ctx, vendorCall{segments: segments}) // nothing is listed of what is not there, either
	return err
}

// harborSegments returns the path of a repository. The API wants the slashes in
// its name escaped twice.
func harborSegments(repository string) ([]string, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	project, name, found := strings.Cut(repository, "/")
	if !found {
		return nil, fmt.Errorf("want PROJECT/NAME, as all repositories of Harbor are called: %w", ErrNotFound)
	}
	return []string{"projects", project, "repositories", url.PathEscape(name)}, nil
}

// listed returns what is listed, or with a digest that is not valid what is
// wrong with it.
func (a harborArtifact) listed() (listedManifest, error) {
	kind := a.ArtifactType
	if kind == "" {
		kind = a.ConfigType
	}
	digest, err := listedDigest(a.Digest)
	m := listedManifest{
		Descriptor:   Descriptor{Digest: digest, MediaType: listedType(a.MediaType)},
		ArtifactType: listedArtifactType(kind),
		Cursor:       strconv.FormatInt(a.ID, 10),
	}
	for _, tag := range a.Tags {
		m.Tags = append(m.Tags, tag.Name)
	}
	for _, reference := range a.References {
		child, childErr := v1.NewHash(reference.Child)
		if childErr != nil {
			m.Children = nil // then the index itself is asked
			break
		}
		m.Children = append(m.Children, child)
	}
	return m, err
}

// A harborListing is one of Harbor's listings.
type harborListing struct {
	key      string // what the entries' number is called in queries
	segments []string
	query    url.Values
	after    int64 // number of the entry before the first
}

// harborEntries yields the entries of a listing. Pages are not asked for by their
// number, because what goes would move others to pages that were read: each
// begins behind the last entry of the one before.
func harborEntries[T harborEntry](ctx context.Context, h *harborLister, l harborListing) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for {
			var page []T
			header, err := h.api.ask(ctx, vendorCall{segments: l.segments, query: l.values(h.size)}, &page)
			if err != nil {
				yield(none, err)
				return
			}
			after := l.after
			for _, e := range page {
				if e.number() <= after {
					yield(none, fmt.Errorf("entry %d comes after %d, want them in order, as Harbor 2.2 and newer has them: %w", e.number(), after, ErrCorrupt))
					return
				}
				after = e.number()
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if l.after = after; len(page) == 0 || harborRest(header, len(page)) == 0 {
				return
			}
		}
	}
}

func (l harborListing) values(size int) url.Values {
	query := url.Values{
		"q": {fmt.Sprintf("%s=[%d~]", l.key, l.after+1)}, "sort": {l.key},
		"page": {"1"}, "page_size": {strconv.Itoa(size)},
	}
	for key, values := range l.query {
		query[key] = values
	}
	return query
}

// harborRest returns how many entries come after a page of n. If the answer does
// not say, there may be more.
func harborRest(header http.Header, n int) int {
	total, err := strconv.Atoi(header.Get("X-Total-Count"))
	if err != nil || total < 0 {
		return 1
	}
	return max(0, total-n)
}
