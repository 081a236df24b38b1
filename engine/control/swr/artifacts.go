package swr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/registry"
)

const (
	// maxArtifacts is how many artifacts of a repository are listed, counted once for
	// each tag: with most registries, each costs a request.
	maxArtifacts = 2000
	// maxListings is how many repositories are listed at once, so that this does not
	// crowd out what is signed.
	maxListings = 2
	listingTime = time.Minute

	helmConfig = "application/vnd.cncf.helm.config.v1+json"
)

// An artifact is one as SWR shows it.
type artifact struct {
	ID                int32         `json:"id"`
	Digest            string        `json:"digest"`
	RepositoryID      int32         `json:"repository_id"`
	RepositoryName    string        `json:"repository_name"`
	Type              string        `json:"type"`
	NamespaceID       int32         `json:"namespace_id"`
	MediaType         string        `json:"media_type"` // of the config
	ManifestMediaType string        `json:"manifest_media_type"`
	Size              int64         `json:"size"`
	Tags              []artifactTag `json:"tags"`
}

type artifactTag struct {
	ID           int32  `json:"id"`
	RepositoryID int32  `json:"repository_id"`
	ArtifactID   int32  `json:"artifact_id"`
	Name         string `json:"name"`
}

// repository is the full name of the one in the path.
func (c *call) repository() string { return c.namespace + "/" + c.path["repository_name"] }

func artifactID(registry, repository, digest string) int32 {
	return derived("artifact", registry, repository, digest)
}

func (a *API) listArtifacts(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	kind, err := c.choice("type", "IMAGE", "CHART")
	if err != nil {
		return nil, err
	}
	contains, err := c.one("tags")
	if err != nil {
		return nil, err
	}
	r, ok := a.Engine.Registry(c.registry)
	if !ok {
		return nil, notFound()
	}
	ctx, leave, err := a.queue(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	tags, err := a.collect(ctx, r, c.repository(), contains)
	if err != nil {
		return nil, err
	}
	digests := slices.Sorted(maps.Keys(tags))
	list, total, err := describe(digests, offset, limit, kind, func(digest string) (artifact, error) {
		return c.artifact(ctx, r, digest, tags[digest])
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Artifacts []artifact `json:"artifacts"`
		Total     int        `json:"total"`
	}{list, total}, nil
}

// queue waits until it is the caller's turn to list artifacts.
func (a *API) queue(ctx context.Context) (context.Context, func(), error) {
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case a.listings <- struct{}{}:
	}
	ctx, cancel := context.WithTimeout(ctx, listingTime)
	return ctx, func() { cancel(); <-a.listings }, nil
}

// collect returns the tags of all artifacts of a repository, or of those that have a
// tag which contains a text. Signatures are no artifacts.
func (a *API) collect(ctx context.Context, r registry.Registry, repository, contains string) (map[string][]string, error) {
	query := registry.Query{Repository: repository, Untagged: contains == "",
		Tags: func(tag string) bool { return strings.Contains(tag, contains) }}
	all := map[string][]string{}
	n := 0
	for one, err := range r.Artifacts(ctx, query) {
		if n++; n > a.limits.artifacts {
			return nil, invalid("repository_name", fmt.Sprintf("has more than %d artifacts", a.limits.artifacts), "a smaller repository, or tags that fewer have")
		}
		if err != nil && one.Digest.Hex == "" && one.Repository == "" {
			return nil, fmt.Errorf("listing the artifacts of %s: %w", repository, err)
		}
		if err != nil || one.Digest.Hex == "" {
			continue // it cannot be named
		}
		digest := one.Digest.String()
		all[digest] = append(all[digest], one.Tags...)
	}
	return all, nil
}

// describe returns one page of the artifacts of a kind, and how many there are. All
// have to be read only if a kind is asked for.
func describe(digests []string, offset, limit int, kind string, read func(string) (artifact, error)) ([]artifact, int, error) {
	total := len(digests)
	if kind == "" {
		digests, offset = paged(digests, offset, limit), 0
	}
	list := []artifact{}
	for _, digest := range digests {
		one, err := read(digest)
		if err != nil {
			return nil, 0, err
		}
		if kind == "" || one.Type == kind {
			list = append(list, one)
		}
	}
	if kind != "" {
		total = len(list)
	}
	return paged(list, offset, limit), total, nil
}

// artifact reads what there is to say about one. One that was deleted meanwhile is
// shown without that.
func (c *call) artifact(ctx context.Context, r registry.Registry, digest string, tags []string) (artifact, error) {
	id, repository := artifactID(c.registry, c.repository(), digest), derived("repository", c.registry, c.repository())
	out := artifact{ID: id, Digest: digest, RepositoryID: repository, RepositoryName: c.path["repository_name"], Type: "IMAGE",
		NamespaceID: namespaceID(c.registry, c.namespace), Tags: []artifactTag{}}
	slices.Sort(tags)
	for _, tag := range slices.Compact(tags) {
		out.Tags = append(out.Tags, artifactTag{ID: derived("tag", c.registry, c.repository(), tag), RepositoryID: repository, ArtifactID: id, Name: tag})
	}
	m, err := r.Manifest(ctx, c.repository(), digest)
	if errors.Is(err, registry.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("reading %s@%s: %w", c.repository(), digest, err)
	}
	out.ManifestMediaType = m.MediaType
	out.MediaType, out.Size = contents(m.Raw)
	if out.MediaType == helmConfig {
		out.Type = "CHART"
	}
	return out, nil
}

// contents returns the media type of a manifest's config, and the size of all that
// it names, with its own. Whoever pushed it said so.
func contents(raw []byte) (mediaType string, size int64) {
	type entry struct {
		MediaType string `json:"mediaType"`
		Size      int64  `json:"size"`
	}
	var m struct {
		Config    entry   `json:"config"`
		Layers    []entry `json:"layers"`
		Manifests []entry `json:"manifests"`
	}
	size = int64(len(raw))
	if json.Unmarshal(raw, &m) != nil {
		return "", size // it is listed all the same
	}
	for _, e := range slices.Concat([]entry{m.Config}, m.Layers, m.Manifests) {
		if e.Size > 0 {
			size += min(e.Size, math.MaxInt64-size)
		}
	}
	return m.Config.MediaType, size
}
