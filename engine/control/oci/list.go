package oci

import (
	"context"
	"slices"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
)

// What lists are sorted by, and how.
const (
	byTime, byName        = "TIMECREATED", "DISPLAYNAME"
	ascending, descending = "ASC", "DESC"
)

// A collection is a page of a list.
type collection struct {
	Items     any   `json:"items"`
	Remaining int64 `json:"remainingItemsCount"`
}

// A signaturePage is where a page of signatures begins: after that place.
type signaturePage struct {
	SortBy string `json:"s"`
	Order  string `json:"o"`
	Micros int64  `json:"m"`
	Name   string `json:"n"`
	Number int64  `json:"i"`
}

func (h *handler) listSignatures(ctx context.Context, c *call) (answer, error) {
	registries, err := h.compartments(c)
	if err != nil {
		return answer{}, err
	}
	f, found, err := h.signatureFilter(ctx, c, registries)
	if err != nil {
		return answer{}, err
	}
	page, err := c.sorting(&f)
	if err != nil {
		return answer{}, err
	}
	if len(registries) == 0 || !found {
		return answer{body: collection{Items: []signature{}}}, nil
	}
	f.Namespaces = c.caller.Namespaces
	list, rest, err := h.Journal.ImageSignatures(ctx, f)
	if err != nil {
		return answer{}, err
	}
	items := make([]signature, len(list))
	for i, s := range list {
		items[i] = summaryOf(s)
	}
	a := answer{body: collection{Items: items, Remaining: rest}}
	if rest > 0 {
		last := list[len(list)-1].Place()
		page.Micros, page.Name, page.Number = last.Micros, last.Name, last.Number
		a.nextPage, err = pageToken(page)
	}
	return a, err
}

// signatureFilter reads what of the registries is to be listed. found is false if that
// can be nothing.
func (h *handler) signatureFilter(ctx context.Context, c *call, registries []string) (f journal.ImageSignatureFilter, found bool, err error) {
	var repositoryID, repositoryName string
	err = c.query.texts(map[string]*string{"imageId": &f.ImageID, "repositoryId": &repositoryID, "repositoryName": &repositoryName,
		"imageDigest": &f.Digest, "displayName": &f.DisplayName, "kmsKeyId": &f.KeyID, "kmsKeyVersionId": &f.KeyVersionID})
	if err != nil {
		return f, false, err
	}
	if f.Algorithm, err = c.query.word("signingAlgorithm", message.Algorithms()...); err != nil {
		return f, false, err
	}
	f.Registries = registries
	f.Repository, f.Prefix = splitPrefix(repositoryName)
	if repositoryID == "" {
		return f, true, nil
	}
	r, err := h.repository(ctx, c, repositoryID)
	switch {
	case isNotFound(err):
		return f, false, nil
	case err != nil:
		return f, false, err
	case repositoryName != "" && !matches(r.Repository, repositoryName), !slices.Contains(registries, r.Registry):
		return f, false, nil
	}
	f.Registries, f.Repository, f.Prefix = []string{r.Registry}, r.Repository, false
	return f, true, nil
}

// sorting reads how a list of signatures is sorted, and where the page begins.
func (c *call) sorting(f *journal.ImageSignatureFilter) (signaturePage, error) {
	page, err := c.sortedBy()
	if err != nil {
		return page, err
	}
	if f.Limit, err = c.query.limit(); err != nil {
		return page, err
	}
	f.ByName, f.Descending = page.SortBy == byName, page.Order == descending
	var after signaturePage
	there, err := c.query.page(&after)
	if err != nil || !there {
		return page, err
	}
	if after.SortBy != page.SortBy || after.Order != page.Order {
		return page, invalid("page", "it is of a list that is sorted in another way")
	}
	f.After = &journal.ImageSignaturePlace{Micros: after.Micros, Name: after.Name, Number: after.Number}
	return page, nil
}

// sortedBy reads sortBy and sortOrder. Names begin with the first, times with the last.
func (c *call) sortedBy() (page signaturePage, err error) {
	if page.SortBy, err = c.query.word("sortBy", byTime, byName); err != nil {
		return page, err
	}
	if page.Order, err = c.query.word("sortOrder", ascending, descending); err != nil {
		return page, err
	}
	if page.SortBy == "" {
		page.SortBy = byTime
	}
	if page.Order == "" {
		page.Order = ascending
		if page.SortBy == byTime {
			page.Order = descending
		}
	}
	return page, nil
}
