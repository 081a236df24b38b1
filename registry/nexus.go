package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A nexusLister lists a Docker repository of Sonatype Nexus Repository 3 by its
// search.
type nexusLister struct {
	keyed
	client *Client
}

var _ manifestLister = (*nexusLister)(nil)

// openNexus returns the listing of a registry of kind nexus. Its repository's
// name is cfg.Cloud.Project; its API is at the host itself, unless cfg.API says
// else, as it must where the repository has a port of its own.
func openNexus(c *Client, cfg Config) (manifestLister, error) {
	k, err := openKeyed(c, cfg, scheme(cfg.Insecure)+"://"+cfg.Host)
	if err != nil {
		return nil, err
	}
	k.api.diagnose = nexusDiagnostics
	return &nexusLister{keyed: k, client: c}, nil
}

func nexusDiagnostics(body []byte) []diagnostic {
	var said []struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	list := make([]diagnostic, 0, len(said))
	for _, e := range said {
		list = append(list, diagnostic{Message: e.Message})
	}
	return list
}

func (n *nexusLister) untagged() string { return "" }

func (n *nexusLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return n.catalog(ctx, "repository", n.key, "v2", "_catalog")
}

// A nexusAsset is a file of an image: a manifest under one of its tags or under
// its digest, or a blob.
type nexusAsset struct {
	Path        string `json:"path"` // v2/IMAGE/manifests/REFERENCE
	ContentType string `json:"contentType"`
	Size        int64  `json:"fileSize"` // 0 in old versions
	Checksum    struct {
		SHA256 string `json:"sha256"`
	} `json:"checksum"`
}

// manifests yields a manifest once for each of its tags, and once without any
// for its digest. Nexus has pages of a size of its own, named by tokens.
func (n *nexusLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		image, err := n.image(repository)
		if err != nil {
			yield(listedManifest{}, err)
			return
		}
		found := false
		for m, err := range tokenManifests(ctx, after, n.fetch(repository, image)) {
			found = found || err == nil
			if err != nil && !isEntry(m) {
				err = fmt.Errorf("searching the manifests of %s/%s: %w", n.said, repository, err)
			}
			if !yield(m, err) || err != nil && !isEntry(m) {
				return
			}
		}
		if !found && after == "" {
			yield(listedManifest{}, fmt.Errorf("no manifest of %s/%s is known to the search: %w", n.said, repository, ErrNotFound))
		}
	}
}

func (n *nexusLister) fetch(repository, image string) fetchTokenPage[listedEntry] {
	return func(ctx context.Context, token string) ([]listedEntry, string, error) {
		query := url.Values{
			"repository": {n.key}, "format": {"docker"}, "docker.imageName": {image},
			"sort": {"version"}, "direction": {"asc"},
		}
		if token != "" {
			query.Set("continuationToken", token)
		}
		var answer struct {
			Items []nexusAsset `json:"items"`
			Next  string       `json:"continuationToken"`
		}
		call := vendorCall{segments: []string{"service", "rest", "v1", "search", "assets"}, query: query}
		if _, err := n.api.ask(ctx, call, &answer); err != nil {
			return nil, "", err
		}
		var entries []listedEntry
		for _, asset := range answer.Items {
			ref, found := strings.CutPrefix(strings.TrimPrefix(asset.Path, "/"), "v2/"+image+"/manifests/")
			if !found {
				continue // a blob, or another image
			}
			entry, err := n.entry(ctx, repository, ref, asset)
			if err != nil {
				return nil, "", err
			}
			entries = append(entries, entry)
		}
		return entries, answer.Next, nil
	}
}

// entry returns the manifest that an asset is. Assets from old versions may have
// no SHA-256; then their tag is resolved.
func (n *nexusLister) entry(ctx context.Context, repository, ref string, asset nexusAsset) (listedEntry, error) {
	digest, err := v1.NewHash(ref)
	if err == nil {
		e := newListedEntry(ref, asset.ContentType, "", nil)
		if e.Size = asset.Size; asset.Checksum.SHA256 != "" && asset.Checksum.SHA256 != digest.Hex && digest.Algorithm == "sha256" {
			e.fault = fmt.Errorf("manifest %s has SHA-256 %s: %w", digest, plain(asset.Checksum.SHA256), ErrCorrupt)
		}
		return e, nil
	}
	if asset.Checksum.SHA256 != "" || checkTag(ref) != nil {
		e := newListedEntry("sha256:"+asset.Checksum.SHA256, asset.ContentType, "", []string{ref})
		e.Size = asset.Size
		return e, nil
	}
	d, err := n.client.Resolve(ctx, repository, ref)
	if ctx.Err() != nil {
		return listedEntry{}, ctx.Err()
	}
	e := listedEntry{listedManifest: listedManifest{Descriptor: d, Tags: []string{ref}}}
	if err != nil {
		e.fault = err
		e.Digest = v1.Hash{Algorithm: "invalid", Hex: ref}
	}
	return e, nil
}
