package oci

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/registry"
)

// maxVisited is how many repositories are looked into for one page.
const maxVisited = 50

// An imagePage is where a page of images begins: in a repository after an artifact, or
// after the repository if it is done.
type imagePage struct {
	Registry   string `json:"r"`
	Repository string `json:"n"`
	Cursor     string `json:"c,omitempty"`
	Done       bool   `json:"d,omitempty"`
}

// An imageList is one page of images in the making.
type imageList struct {
	h *handler
	c *call

	imageID, digest, displayName, version string
	tagged, untagged                      bool
	sorted                                signaturePage

	limit   int
	records []imageRecord
	page    imagePage // of what was listed last
	more    bool
}

func (h *handler) listImages(ctx context.Context, c *call) (answer, error) {
	registries, err := h.compartments(c)
	if err != nil {
		return answer{}, err
	}
	l, repositoryID, repositoryName, err := h.imageFilter(c)
	if err != nil {
		return answer{}, err
	}
	after := imagePage{}
	if _, err := c.query.page(&after); err != nil {
		return answer{}, err
	}
	if l.imageID != "" {
		repository, digest, ok := parseImageID(l.imageID)
		if !ok || l.digest != "" && l.digest != digest || repositoryID != "" && repositoryID != repository {
			registries = nil
		}
		repositoryID, l.digest = repository, digest
	}
	repositories, err := h.repositories(ctx, c, registries, repositoryID, repositoryName)
	if err != nil {
		return answer{}, err
	}
	if l.tagged || l.untagged {
		err = l.list(ctx, repositories, after)
	}
	if err != nil {
		return answer{}, err
	}
	return l.answer()
}

// imageFilter reads which images are wanted.
func (h *handler) imageFilter(c *call) (l *imageList, repositoryID, repositoryName string, err error) {
	l = &imageList{h: h, c: c, tagged: true, untagged: true}
	var state string
	err = c.query.texts(map[string]*string{"imageId": &l.imageID, "imageDigest": &l.digest, "displayName": &l.displayName, "version": &l.version,
		"repositoryId": &repositoryID, "repositoryName": &repositoryName})
	if err != nil {
		return nil, "", "", err
	}
	versioned, there, err := c.query.flag("isVersioned")
	if err != nil {
		return nil, "", "", err
	}
	if there {
		l.tagged, l.untagged = versioned, !versioned
	}
	if l.version != "" {
		l.untagged = false
	}
	if state, err = c.query.word("lifecycleState", "AVAILABLE", "DELETING", "DELETED"); err != nil {
		return nil, "", "", err
	}
	if state != "" && state != "AVAILABLE" {
		l.tagged, l.untagged = false, false
	}
	if l.sorted, err = c.sortedBy(); err != nil {
		return nil, "", "", err
	}
	l.limit, err = c.query.limit()
	return l, repositoryID, repositoryName, err
}

// list goes through the repositories until the page is full.
func (l *imageList) list(ctx context.Context, repositories []repositoryName, after imagePage) error {
	visited := 0
	for _, r := range repositories {
		cursor := ""
		switch place := strings.Compare(r.registry, after.Registry)*2 + strings.Compare(r.name, after.Repository); {
		case place < 0, place == 0 && after.Done:
			continue
		case place == 0:
			cursor = after.Cursor
		}
		if l.more = len(l.records) == l.limit || visited == maxVisited; l.more {
			return nil
		}
		visited++
		if err := l.visit(ctx, r, cursor); err != nil || l.more {
			return err
		}
		l.page = imagePage{Registry: r.registry, Repository: r.name, Done: true}
	}
	return nil
}

// visit lists the images of a repository after a cursor.
func (l *imageList) visit(ctx context.Context, r repositoryName, cursor string) error {
	inventory, ok := l.h.Engine.Registry(r.registry)
	if !ok {
		return nil
	}
	if l.digest != "" && l.version == "" {
		return l.visitDigest(ctx, inventory, r)
	}
	q := registry.Query{Repository: r.name, Untagged: l.untagged, After: cursor}
	if l.tagged {
		q.Tags = func(tag string) bool { return l.version == "" || matches(tag, l.version) }
	}
	for a, err := range inventory.Artifacts(ctx, q) {
		switch {
		case err != nil && a.Repository == "":
			return gone(err)
		case err != nil:
			continue // a tag that names nothing any more
		case len(l.records) == l.limit:
			l.more = true
			return nil
		}
		l.add(image{r.registry, r.name, a.Digest.String()}, a.Tags)
		l.page = imagePage{Registry: r.registry, Repository: r.name, Cursor: a.Cursor}
	}
	return nil
}

func (l *imageList) visitDigest(ctx context.Context, store registry.Store, r repositoryName) error {
	switch _, err := store.Resolve(ctx, r.name, l.digest); {
	case errors.Is(err, registry.ErrCorrupt):
		return nil // no image has such a digest
	case err != nil:
		return gone(err)
	}
	l.add(image{r.registry, r.name, l.digest}, nil)
	return nil
}

// gone passes over what is not in the registry any more.
func gone(err error) error {
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	return registryFault(err, notFound())
}

func (l *imageList) add(i image, tags []string) {
	version := ""
	if len(tags) > 0 {
		version = tags[0]
	}
	record, ok := l.h.recordOf(l.c, i, version)
	if !ok || l.digest != "" && i.digest != l.digest || l.displayName != "" && record.DisplayName != l.displayName {
		return
	}
	if !slices.ContainsFunc(l.records, func(other imageRecord) bool { return other.ID == record.ID }) {
		l.records = append(l.records, record)
	}
}

// answer is the page. Names are sorted in the page alone: a registry lists as it does,
// and does not say when an image came.
func (l *imageList) answer() (answer, error) {
	if l.sorted.SortBy == byName {
		slices.SortStableFunc(l.records, func(a, b imageRecord) int {
			if l.sorted.Order == descending {
				a, b = b, a
			}
			return strings.Compare(a.DisplayName, b.DisplayName)
		})
	}
	if l.records == nil {
		l.records = []imageRecord{}
	}
	a := answer{body: collection{Items: l.records}}
	if !l.more {
		return a, nil
	}
	a.body = collection{Items: l.records, Remaining: 1} // at least: the registry is not counted
	var err error
	a.nextPage, err = pageToken(l.page)
	return a, err
}
