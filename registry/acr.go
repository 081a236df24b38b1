package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// An acrLister lists Azure Container Registry by its own API, which is at the
// registry's host and takes the registry's tokens, with a scope of its own.
type acrLister struct {
	client *Client
}

// openACR returns the listing of a registry of kind acr. Where no credentials
// are configured for the registry, a token of Entra ID is exchanged for those.
func openACR(client *Client, cfg Config) (manifestLister, error) {
	if anonymous(cfg.Keychain) {
		login, err := newACRLogin(client, cfg)
		if err != nil {
			return nil, err
		}
		client.auth.keychain = newCloudKeychain("Entra ID credentials of the environment, exchanged for a token of the registry", login.registryLogin)
	}
	return &acrLister{client}, nil
}

func (l *acrLister) untagged() string { return "" }

func (l *acrLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		catalog := listing{scope: catalogScope, field: "repositories", path: "/acr/v1/_catalog", size: l.pageSize()}
		for name, err := range l.client.names(ctx, catalog, l.client.page) {
			if err != nil {
				err = fmt.Errorf("listing the repositories of %s: %w", l.client.said, err)
			} else {
				err = checkRepository(name)
			}
			if !yield(name, err) {
				return
			}
		}
	}
}

func (l *acrLister) pageSize() int { return min(l.client.pageSize, vendorPage) }

// manifests yields the manifests in the order of their digests, which is what
// Azure lists by unless told otherwise. A cursor is a digest, and the listing
// goes on behind it even if it has gone. By time, which Azure knows too, a
// manifest that gets a tag meanwhile would change its place, and with it what
// comes after it.
func (l *acrLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		if err := checkRepository(repository); err != nil {
			yield(listedManifest{}, err)
			return
		}
		for page, err := range tokenPages(ctx, after, l.pages(repository)) {
			if err != nil {
				yield(listedManifest{}, fmt.Errorf("listing the manifests of %s/%s: %w", l.client.said, repository, err))
				return
			}
			for _, m := range page.items {
				if m.fault == nil {
					m.Cursor = m.Digest.String()
				}
				if !yield(m.listedManifest, m.fault) {
					return
				}
			}
		}
	}
}

// pages returns how to get the page behind a digest, which is its token.
func (l *acrLister) pages(repository string) fetchTokenPage[listedEntry] {
	return func(ctx context.Context, after string) ([]listedEntry, string, error) {
		query := url.Values{"n": {strconv.Itoa(l.pageSize())}}
		if after != "" {
			query.Set("last", after)
		}
		at := l.client.url("/acr/v1/"+repository+"/_manifests", query)
		raw, resp, err := l.client.read(ctx, call{method: http.MethodGet, url: at, scope: metadataPrefix + repository, limit: maxPageBody}) //nolint:bodyclose // read has closed it
		if err != nil {
			return nil, "", err
		}
		list, err := acrPage(raw)
		if err != nil {
			return nil, "", err
		}
		next, err := l.next(at, resp.Header)
		return list, next, err
	}
}

// next returns the digest that the next page begins behind.
func (l *acrLister) next(from *url.URL, header http.Header) (string, error) {
	target, found := nextLink(header.Values("Link"))
	if !found {
		return "", nil
	}
	u, err := l.client.homeURL(from, target)
	if err != nil {
		return "", fmt.Errorf("next page: %w", err)
	}
	last := u.Query().Get("last")
	if last == "" {
		return "", fmt.Errorf("next page has no beginning: %w", ErrCorrupt)
	}
	return last, nil
}

func acrPage(raw []byte) ([]listedEntry, error) {
	var answer struct {
		Manifests []struct {
			Digest       string   `json:"digest"`
			MediaType    string   `json:"mediaType"`
			ConfigType   string   `json:"configMediaType"`
			ArtifactType string   `json:"artifactType"`
			Tags         []string `json:"tags"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("page of manifests: %w: %s", ErrCorrupt, jsonFault(err))
	}
	list := make([]listedEntry, 0, len(answer.Manifests))
	for _, m := range answer.Manifests {
		artifactType := m.ArtifactType
		if artifactType == "" {
			artifactType = m.ConfigType
		}
		list = append(list, newListedEntry(m.Digest, m.MediaType, artifactType, m.Tags))
	}
	return list, nil
}
