package registrytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A Zot is a loopback zot: a registry with zot's listings and its search before
// it, as zot answers them (pkg/api/routes.go and pkg/extensions/search, version
// 2.1.20), and a storage directory as zot would have it.
type Zot struct {
	*Server
	cloudFiller

	Contents *Contents
	// Search is whether the search extension is there. Set before use.
	Search bool
	// Knows reports whether the search knows a tag. Nil: all but signatures', of
	// which zot's does not.
	Knows func(tag string) bool
}

// NewZot starts one that is empty.
func NewZot(t testing.TB) *Zot {
	t.Helper()
	z := &Zot{Server: Memory(t), Search: true, Knows: func(tag string) bool { return !signatureTag.MatchString(tag) }}
	z.Contents = Watch(t, z.Server)
	z.Root = t.TempDir()
	registry := z.handler
	z.cloudFiller = cloudFiller{registry, z.Contents, ""}
	z.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, kind, last := split(r.URL.Path)
		switch {
		case r.URL.Path == "/v2/_catalog":
			catalogPage(w, r, z.Contents.Repositories())
		case kind == "tags" && last == "list":
			z.tags(w, r, repository)
		case r.URL.Path == "/v2/_oci/ext/discover":
			z.extensions(w)
		case r.URL.Path == "/v2/_zot/ext/search":
			z.search(w, r)
		default:
			z.supersede(w, r, registry)
			if kind == "manifests" && (r.Method == http.MethodPut || r.Method == http.MethodDelete) {
				if err := z.store(repository); err != nil {
					t.Errorf("storage of zot: %v", err)
				}
			}
		}
	})
	return z
}

// extensions lists zot's own, or none if none is enabled.
func (z *Zot) extensions(w http.ResponseWriter) {
	list := []map[string]any{}
	if z.Search {
		list = append(list, map[string]any{
			"name": "_zot", "url": "https://github.com/project-zot/zot/blob/v2.1.20/pkg/extensions/_zot.md",
			"description": "zot registry extensions", "endpoints": []string{"/v2/_zot/ext/search"},
		})
	}
	respond(w, http.StatusOK, map[string]any{"extensions": list})
}

// tags lists tags as zot does: nothing behind a tag that is not there.
func (z *Zot) tags(w http.ResponseWriter, r *http.Request, repository string) {
	names := make([]string, 0, 16)
	for tag := range z.Contents.Tags(repository) {
		names = append(names, tag)
	}
	slices.Sort(names)
	from := 0
	if last := r.URL.Query().Get("last"); last != "" {
		at, found := slices.BinarySearch(names, last)
		if !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		from = at + 1
	}
	n, ok := number(r, "n", len(names))
	if !ok || !z.Contents.Has(repository) {
		respond(w, http.StatusNotFound, map[string]any{"errors": []any{map[string]string{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}}})
		return
	}
	page := window(names, from, n)
	if from+n < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repository, n, page[len(page)-1]))
	}
	respond(w, http.StatusOK, map[string]any{"name": repository, "tags": page})
}

var zotQuery = regexp.MustCompile(`^\{ImageList\(repo:"([^"]*)",requestedPage:\{limit:(\d+),offset:(\d+),sortBy:ALPHABETIC_ASC\}\)` +
	`\{Page\{TotalCount\}Results\{RepoName Tag Digest MediaType Manifests\{ArtifactType\}\}\}\}$`)

// search answers the one query of GraphQL that it understands. A limit of 0 is
// none, and a repository that is not there has no images.
func (z *Zot) search(w http.ResponseWriter, r *http.Request) {
	if !z.Search {
		http.NotFound(w, r)
		return
	}
	q := zotQuery.FindStringSubmatch(r.URL.Query().Get("query"))
	if q == nil {
		respond(w, http.StatusUnprocessableEntity, map[string]any{"errors": []any{map[string]any{"message": "unexpected query"}}, "data": nil})
		return
	}
	images := z.images(q[1])
	slices.SortFunc(images, func(a, b zotImage) int { return strings.Compare(a.Tag, b.Tag) })
	limit, _ := strconv.Atoi(q[2])
	offset, _ := strconv.Atoi(q[3])
	page := window(images, offset, limit)
	respond(w, http.StatusOK, map[string]any{"data": map[string]any{"ImageList": map[string]any{
		"Page": map[string]int{"TotalCount": len(images)}, "Results": slices.Concat([]zotImage{}, page),
	}}})
}

// A zotImage is a tag as the search answers it.
type zotImage struct {
	RepoName, Tag, Digest, MediaType string
	Manifests                        []zotArtifactType
}

type zotArtifactType struct{ ArtifactType string }

// images returns what the search knows of a repository. It says that docker's
// images and lists are OCI's; only the type of their configs tells.
func (z *Zot) images(repository string) (images []zotImage) {
	list := z.Contents.Manifests(repository)
	types := map[string]zotArtifactType{}
	for _, m := range list {
		types[m.Digest.String()] = zotArtifactType{cmp.Or(m.ArtifactType, m.ConfigType)}
	}
	for _, m := range list {
		image := zotImage{RepoName: repository, Digest: m.Digest.String(), MediaType: mediaManifest, Manifests: []zotArtifactType{types[m.Digest.String()]}}
		if m.IsIndex() {
			image.MediaType, image.Manifests = mediaIndex, nil
			for _, child := range m.Children {
				image.Manifests = append(image.Manifests, types[child.String()])
			}
		}
		for _, tag := range m.Tags {
			if image.Tag = tag; z.Knows(tag) {
				images = append(images, image)
			}
		}
	}
	return images
}

// supersede deletes the manifest that a tag named alone before it was written
// again: zot takes the tag's entry in its index for the new one, and serves what
// has no entry no more.
func (z *Zot) supersede(w http.ResponseWriter, r *http.Request, registry http.Handler) {
	repository, _, tag := split(r.URL.Path)
	old := z.Contents.Tags(repository)[tag]
	registry.ServeHTTP(w, r)
	tags := z.Contents.Tags(repository)
	if r.Method != http.MethodPut || old == "" || tags[tag] == old {
		return
	}
	for _, digest := range tags {
		if digest == old {
			return
		}
	}
	gone := httptest.NewRequestWithContext(r.Context(), http.MethodDelete, "/v2/"+repository+"/manifests/"+old, nil)
	registry.ServeHTTP(httptest.NewRecorder(), gone)
}

// store writes a repository's layout: zot's index has an entry for each tag, and
// one for each manifest whose tags were deleted, or that never had one.
func (z *Zot) store(repository string) error {
	dir := filepath.Join(z.Root, repository)
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	type entry struct {
		descriptor
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	entries := []entry{}
	for _, m := range z.Contents.Manifests(repository) {
		file := filepath.Join(blobs, m.Digest.Hex)
		if _, err := os.Stat(file); err != nil {
			if err := os.WriteFile(file, m.Raw, 0o644); err != nil {
				return err
			}
		}
		e := entry{descriptor: descriptor{MediaType: m.MediaType, Digest: m.Digest.String(), Size: int(m.Size)}}
		if len(m.Tags) == 0 {
			entries = append(entries, e)
		}
		for _, tag := range m.Tags {
			e.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
			entries = append(entries, e)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": entries})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)
}
