package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry"
)

// An image is a manifest in a repository of a registry.
type image struct{ registry, repository, digest string }

// An imageRecord is an image as Oracle's clients read it. What a registry does not
// tell (who made it, when, how often it was pulled) is left out.
type imageRecord struct {
	CompartmentID  string   `json:"compartmentId"`
	Digest         string   `json:"digest"`
	DisplayName    string   `json:"displayName"`
	ID             string   `json:"id"`
	LifecycleState string   `json:"lifecycleState"`
	RepositoryID   string   `json:"repositoryId"`
	RepositoryName string   `json:"repositoryName"`
	Version        string   `json:"version,omitempty"`
	FreeformTags   struct{} `json:"freeformTags"`
	DefinedTags    struct{} `json:"definedTags"`
	SystemTags     struct{} `json:"systemTags"`
}

// A wholeImage is what is told of one image.
type wholeImage struct {
	imageRecord
	Layers       []layer        `json:"layers"`
	LayersSize   int64          `json:"layersSizeInBytes"`
	ManifestSize int            `json:"manifestSizeInBytes"`
	Versions     []imageVersion `json:"versions"`
}

type layer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"sizeInBytes"`
}

type imageVersion struct {
	Version string `json:"version"`
}

// recordOf is what lists say of an image; false if it can have no id.
func (h *handler) recordOf(c *call, i image, version string) (imageRecord, bool) {
	id, ok := imageID(i.registry, i.repository, i.digest)
	name := i.repository + "@" + i.digest
	if version != "" {
		name = i.repository + ":" + version
	}
	return imageRecord{CompartmentID: h.compartmentOf(c, i.registry), Digest: i.digest, DisplayName: name, ID: id,
		LifecycleState: "AVAILABLE", RepositoryID: repositoryID(i.registry, i.repository), RepositoryName: i.repository, Version: version}, ok
}

// image returns what the id stands for, or ErrNotFound: also if the caller may not see
// it. It need not be in the registry any more.
func (h *handler) image(ctx context.Context, c *call, id string) (image, error) {
	repository, digest, ok := parseImageID(id)
	if !ok {
		return image{}, fmt.Errorf("image: %w", journal.ErrNotFound)
	}
	r, err := h.repository(ctx, c, repository)
	return image{r.Registry, r.Repository, digest}, err
}

// repository returns what the id stands for, or ErrNotFound: also if the caller may
// not see it.
func (h *handler) repository(ctx context.Context, c *call, id string) (journal.ImageRepository, error) {
	if checkText("id", id, 255) != nil {
		return journal.ImageRepository{}, fmt.Errorf("repository: %w", journal.ErrNotFound)
	}
	r, err := h.Journal.ImageRepository(ctx, id)
	if err == nil && !c.caller.SeesNamespace(r.Registry, r.Repository) {
		err = fmt.Errorf("repository %s: %w", id, journal.ErrNotFound)
	}
	return r, err
}

func isNotFound(err error) bool { return errors.Is(err, journal.ErrNotFound) }

// keep makes the ids of repositories of a registry known, before they are told to
// anybody.
func (h *handler) keep(ctx context.Context, registry string, repositories ...string) error {
	var fresh []journal.ImageRepository
	for _, name := range repositories {
		id := repositoryID(registry, name)
		if _, known := h.kept.Load(id); !known {
			fresh = append(fresh, journal.ImageRepository{ID: id, Registry: registry, Repository: name})
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := h.Journal.KeepImageRepositories(ctx, fresh); err != nil {
		return err
	}
	for _, r := range fresh {
		h.kept.Store(r.ID, true)
	}
	return nil
}

// resolve asks a registry what a tag or digest names.
func (h *handler) resolve(ctx context.Context, name, repository, ref string) (registry.Descriptor, error) {
	r, ok := h.Engine.Registry(name)
	if !ok {
		return registry.Descriptor{}, fmt.Errorf("registry %s: %w", name, registry.ErrNotFound)
	}
	return r.Resolve(ctx, repository, ref)
}

func (h *handler) getImage(ctx context.Context, c *call) (answer, error) {
	i, err := h.image(ctx, c, c.id)
	if err != nil {
		return answer{}, err
	}
	return h.describe(ctx, c, i, "")
}

// describe tells all of an image that is known by a version or by none.
func (h *handler) describe(ctx context.Context, c *call, i image, version string) (answer, error) {
	r, ok := h.Engine.Registry(i.registry)
	if !ok {
		return answer{}, notFound()
	}
	m, err := r.Manifest(ctx, i.repository, i.digest)
	if err != nil {
		return answer{}, registryFault(err, notFound())
	}
	record, ok := h.recordOf(c, i, version)
	if !ok {
		return answer{}, notFound()
	}
	if err := h.keep(ctx, i.registry, i.repository); err != nil {
		return answer{}, err
	}
	whole := wholeImage{imageRecord: record, ManifestSize: len(m.Raw), Layers: layersOf(m.Raw), Versions: []imageVersion{}}
	for _, l := range whole.Layers {
		whole.LayersSize += l.Size
	}
	if version != "" {
		whole.Versions = append(whole.Versions, imageVersion{version})
	}
	return answer{body: whole}, nil
}

// layersOf returns the layers that a manifest names, by digest. An index has none.
func layersOf(raw []byte) []layer {
	var m struct {
		Layers []struct {
			Digest string `json:"digest"`
			Size   int64  `json:"size"`
		} `json:"layers"`
	}
	_ = json.Unmarshal(raw, &m) // a manifest of another kind: it has no layers
	layers := make([]layer, 0, len(m.Layers))
	for _, l := range m.Layers {
		layers = append(layers, layer{l.Digest, l.Size})
	}
	slices.SortFunc(layers, func(a, b layer) int { return strings.Compare(a.Digest, b.Digest) })
	return layers
}

// lookupImage finds an image by NAMESPACE/REPOSITORY:TAG or NAMESPACE/REPOSITORY@DIGEST.
// The namespace is what getConfiguration says; also an instance's id, or the host.
func (h *handler) lookupImage(ctx context.Context, c *call) (answer, error) {
	o, err := parseObject(c.body)
	if err != nil {
		return answer{}, err
	}
	uri, err := o.text("imageUri", 1024)
	if err != nil {
		return answer{}, err
	}
	namespace, rest, ok := strings.Cut(uri, "/")
	repository, ref, version := splitReference(rest)
	if !ok || repository == "" || ref == "" {
		return answer{}, invalid("imageUri", "it is not like namespace/repository:version or namespace/repository@digest")
	}
	name, ok := h.namespace(c, namespace)
	if !ok || !c.caller.SeesNamespace(name, repository) {
		return answer{}, notFound()
	}
	d, err := h.resolve(ctx, name, repository, ref)
	if errors.Is(err, registry.ErrCorrupt) {
		return answer{}, notFound() // no repository or tag can have such a name
	}
	if err != nil {
		return answer{}, registryFault(err, notFound())
	}
	return h.describe(ctx, c, image{name, repository, d.Digest.String()}, version)
}

// splitReference splits REPOSITORY:TAG or REPOSITORY@DIGEST. A digest is no version.
func splitReference(s string) (repository, ref, version string) {
	if repository, digest, ok := strings.Cut(s, "@"); ok {
		if i := strings.LastIndex(repository, ":"); i > strings.LastIndex(repository, "/") {
			repository = repository[:i] // a tag beside a digest says nothing
		}
		return repository, digest, ""
	}
	i := strings.LastIndex(s, ":")
	if i <= strings.LastIndex(s, "/") {
		return s, "", ""
	}
	return s[:i], s[i+1:], s[i+1:]
}

// namespace returns the registry that an image's URI begins with.
func (h *handler) namespace(c *call, said string) (string, bool) {
	if name, err := h.Rights.Registry(c.caller, said); err == nil {
		return name, true
	}
	for _, i := range h.Rights.Instances(c.caller) {
		if r, ok := h.Engine.Registry(i.Registry); ok && r.Host() == said {
			return i.Registry, true
		}
	}
	return "", false
}
