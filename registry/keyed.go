package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
)

// repositoryKey is the name of a repository in the sense of Artifactory and of
// Nexus, which holds many of ours.
var repositoryKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// A keyed server holds our repositories in a repository of its own, which has a
// key: Artifactory and Nexus do.
type keyed struct {
	api    *vendorAPI
	said   string // the registry, for errors
	size   int    // of a page
	key    string
	prefix string // of our names: "", or the key and a slash
}

// openKeyed logs in to the API with a token, or as the registry is logged in to.
// Images are named by the key if the API is served by the registry's host, and
// not if the repository has a host or port of its own.
func openKeyed(c *Client, cfg Config, usual string) (keyed, error) {
	k := keyed{said: cfg.Host, size: pageSize(cfg, artifactoryRows), key: cfg.Cloud.Project}
	var faults []error
	if !repositoryKey.MatchString(k.key) {
		faults = append(faults, fmt.Errorf("cloud.project: %q: want the name of the repository that holds the images", plain(k.key)))
	}
	var err error
	k.api, err = newVendorAPI(c, cfg, usual)
	if err := errors.Join(append(faults, err)...); err != nil {
		return keyed{}, err
	}
	if k.api.isAt(c) {
		k.prefix = k.key + "/"
	}
	k.api.credentials = c.login(cfg, bearer)
	return k, nil
}

// KeyInNames reports whether images of an Artifactory or Nexus that is configured
// like this are named KEY/IMAGE, and not IMAGE: the API is at the registry's host.
func (cfg Config) KeyInNames() bool {
	base, err := apiURL(cfg, "https://"+cfg.Host)
	return err == nil && (cfg.API == "" || sameHost(base.Host, cfg.Host, base.Scheme))
}

// image returns the name of a repository without the key.
func (k keyed) image(repository string) (string, error) {
	if err := checkRepository(repository); err != nil {
		return "", err
	}
	image, found := strings.CutPrefix(repository, k.prefix)
	if !found {
		return "", fmt.Errorf("repository %s is not in %s: %w", repository, k.key, ErrNotFound)
	}
	return image, nil
}

// catalog yields the repositories that the distribution API lists at a place of
// the vendor's API.
func (k keyed) catalog(ctx context.Context, segments ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range tokenPages(ctx, "", k.fetchCatalog(segments)) {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of %s: %w", k.said, err))
				return
			}
			for _, name := range page.items {
				if !yield(k.prefix+name, checkRepository(k.prefix+name)) {
					return
				}
			}
		}
	}
}

// fetchCatalog fetches the page after the name that is the token. A full page is
// followed by another one, whether the answer says so or not; a server that does
// not know how to begin after a name sends the first page again.
func (k keyed) fetchCatalog(segments []string) fetchTokenPage[string] {
	var first string
	return func(ctx context.Context, after string) ([]string, string, error) {
		var answer struct {
			Repositories []string `json:"repositories"`
		}
		call := vendorCall{segments: segments, query: listing{size: k.size, after: after}.query()}
		header, err := k.api.ask(ctx, call, &answer)
		if err != nil {
			return nil, "", err
		}
		names := answer.Repositories
		_, more := nextLink(header.Values("Link"))
		switch {
		case len(names) == 0, after != "" && names[0] == first:
			return nil, "", nil
		case len(names) < k.size && !more:
			return names, "", nil
		case after == "":
			first = names[0]
		}
		return names, names[len(names)-1], nil
	}
}
