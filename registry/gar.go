package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// garTags is how many tags are asked for at once; Google's own tools ask for as
// many.
const garTags = 10000

// A garLister lists Google's registries. Their listing of tags also says every
// manifest with its tags, which is all of a repository in one request. Where it
// does not say all, the API of Artifact Registry is asked.
type garLister struct {
	client *Client
	api    *garClient
}

// openGAR returns the listing of a registry of kind gar, which may be
// LOCATION-docker.pkg.dev or gcr.io. Where no credentials are configured for the
// registry, Google's are used.
func openGAR(client *Client, cfg Config) (manifestLister, error) {
	api, err := newGARClient(client, cfg)
	if err != nil {
		return nil, err
	}
	if anonymous(cfg.Keychain) {
		client.auth.keychain = newCloudKeychain(api.login.name()+", exchanged for an access token", api.login.registryLogin)
	}
	return &garLister{client: client, api: api}, nil
}

func (l *garLister) untagged() string { return "" }

// repositories yields those of the configured project, or else what the
// catalog says.
func (l *garLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	if l.api.project != "" {
		return l.api.repositories(ctx)
	}
	return func(yield func(string, error) bool) {
		for name, err := range l.client.Catalog(ctx) {
			if err != nil && name == "" {
				err = fmt.Errorf("%w; with cloud.project, Artifact Registry's own API lists them", err)
			}
			if !yield(name, err) {
				return
			}
		}
	}
}

// manifests yields the manifests in the order of their digests, where Google's
// listing of tags says all, and a cursor is a digest. Otherwise they come as
// tokenManifests says.
func (l *garLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		if err := checkRepository(repository); err != nil {
			yield(listedManifest{}, err)
			return
		}
		fail := func(err error) error {
			return fmt.Errorf("listing the images of %s/%s: %w", l.client.said, repository, err)
		}
		if !isTokenCursor(after) {
			list, err := l.all(ctx, repository)
			if err == nil {
				yieldAfter(list, after, yield)
				return
			}
			if !errors.Is(err, errPartial) && !errors.Is(err, ErrTooLarge) {
				yield(listedManifest{}, fail(err))
				return
			}
			after = ""
		}
		for m, err := range l.api.manifests(ctx, repository, after) {
			if err != nil {
				err = fail(err)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// yieldAfter yields what sorts behind a digest.
func yieldAfter(list []listedEntry, after string, yield func(listedManifest, error) bool) {
	for _, m := range list {
		if m.fault == nil {
			if m.Cursor = m.Digest.String(); m.Cursor <= after {
				continue
			}
		}
		if !yield(m.listedManifest, m.fault) {
			return
		}
	}
}

// errPartial says that a listing of tags does not say all manifests.
var errPartial = errors.New("listing of tags does not say all manifests")

// A garPage is what Google answers to who lists tags.
type garPage struct {
	Tags      []string `json:"tags"`
	Manifests map[string]struct {
		MediaType string   `json:"mediaType"`
		Tags      []string `json:"tag"`
	} `json:"manifest"`
}

// all reads the manifests of a repository in the order of their digests. It
// fails with errPartial if there are further pages, or tags of no manifest: who
// believes the first page takes a part for the whole.
func (l *garLister) all(ctx context.Context, repository string) ([]listedEntry, error) {
	raw, resp, err := l.client.read(ctx, call{ //nolint:bodyclose // read has closed it
		method: http.MethodGet, scope: repository, limit: maxPageBody,
		url: l.client.url("/v2/"+repository+"/tags/list", url.Values{"n": {strconv.Itoa(garTags)}}),
	})
	if err != nil {
		return nil, err
	}
	page, err := parseGARPage(raw)
	if err != nil {
		return nil, err
	}
	if _, more := nextLink(resp.Header.Values("Link")); more || !page.whole() {
		return nil, errPartial
	}
	return page.entries(), nil
}

func parseGARPage(raw []byte) (*garPage, error) {
	var page garPage
	if err := json.Unmarshal(raw, &page); err != nil {
		return nil, fmt.Errorf("page of tags: %w: %s", ErrCorrupt, jsonFault(err))
	}
	return &page, nil
}

// entries returns the manifests in the order of their digests.
func (p *garPage) entries() []listedEntry {
	list := make([]listedEntry, 0, len(p.Manifests))
	for _, digest := range slices.Sorted(maps.Keys(p.Manifests)) {
		m := p.Manifests[digest]
		list = append(list, newListedEntry(digest, m.MediaType, "", m.Tags))
	}
	return list
}

// whole reports whether each tag is some manifest's.
func (p *garPage) whole() bool {
	if p.Manifests == nil {
		return false
	}
	known := make(map[string]struct{}, len(p.Tags))
	for _, m := range p.Manifests {
		for _, tag := range m.Tags {
			known[tag] = struct{}{}
		}
	}
	return !slices.ContainsFunc(p.Tags, func(tag string) bool {
		_, ok := known[tag]
		return !ok
	})
}
