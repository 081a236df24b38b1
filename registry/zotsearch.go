package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	zotSearchPath = "/v2/_zot/ext/search"
	// zotPatience is how long the search is waited for: without it, each tag
	// costs a HEAD, and nothing else is lost.
	zotPatience = 30 * time.Second
	// zotAbsence is how long a search that is not there is not asked for.
	zotAbsence = time.Hour
)

// A zotSearch is zot's search extension, which many a zot does not have.
type zotSearch struct {
	client *Client
	size   int // of a page
	now    func() time.Time
	absent atomic.Int64 // until when, in Unix seconds
}

func newZotSearch(c *Client) *zotSearch {
	return &zotSearch{client: c, size: c.pageSize, now: time.Now}
}

// hints returns what the search knows of a repository.
func (s *zotSearch) hints(repository string) *zotHints {
	off := checkRepository(repository) != nil || s.now().Unix() < s.absent.Load()
	return &zotHints{search: s, repository: repository, number: -1, pages: 1, off: off}
}

// A zotImage is a tag as the search lists it. The size that it could tell is the
// image's.
type zotImage struct {
	Repository string `json:"RepoName"`
	Tag        string `json:"Tag"`
	Digest     string `json:"Digest"`
	MediaType  string `json:"MediaType"`
	// Manifests are the image itself, or what an index names.
	Manifests []struct {
		ArtifactType string `json:"ArtifactType"` // else media type of the config
	} `json:"Manifests"`
}

// docker reports whether it is one of docker's images or lists, of which the
// search says that they are OCI's.
func (i zotImage) docker() bool {
	for _, m := range i.Manifests {
		if strings.HasPrefix(m.ArtifactType, "application/vnd.docker.") {
			return true
		}
	}
	return false
}

// page asks for one page of a repository's tags, in their order, and for how many
// tags there are.
func (s *zotSearch) page(ctx context.Context, repository string, number int) ([]zotImage, int, error) {
	query := fmt.Sprintf(`{ImageList(repo:%q,requestedPage:{limit:%d,offset:%d,sortBy:ALPHABETIC_ASC})`+
		`{Page{TotalCount}Results{RepoName Tag Digest MediaType Manifests{ArtifactType}}}}`, repository, s.size, number*s.size)
	raw, _, err := s.client.read(ctx, call{ //nolint:bodyclose // read closes it
		method: http.MethodGet, url: s.client.url(zotSearchPath, url.Values{"query": {query}}), scope: repository, limit: maxPageBody,
	})
	if err != nil {
		return nil, 0, err
	}
	return decodeZotPage(raw, repository, s.size)
}

// decodeZotPage refuses pages that are not what was asked for: those of a search
// that does not sort are of no use.
func decodeZotPage(raw []byte, repository string, size int) ([]zotImage, int, error) {
	var answer struct {
		Data struct {
			List struct {
				Page    struct{ TotalCount int }
				Results []zotImage
			} `json:"ImageList"`
		} `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, 0, fmt.Errorf("answer of the search is not the JSON it should be: %w: %s", ErrCorrupt, jsonFault(err))
	}
	if len(answer.Errors) > 0 {
		return nil, 0, fmt.Errorf("search: %w: %s", ErrRejected, plain(answer.Errors[0].Message))
	}
	list, total := answer.Data.List.Results, answer.Data.List.Page.TotalCount
	strange := func(image zotImage) bool { return image.Repository != repository }
	if len(list) > size || total < len(list) || slices.ContainsFunc(list, strange) || !slices.IsSortedFunc(list, compareZotImages) {
		return nil, 0, fmt.Errorf("page of the search is not what was asked for: %w", ErrCorrupt)
	}
	return list, total, nil
}

func compareZotImages(a, b zotImage) int { return strings.Compare(a.Tag, b.Tag) }

// zotHints are what the search knows of one repository's tags, of which it holds
// a page. They are asked for in the order of the tags, by one goroutine. What
// they do not know, or not yet, is found out in another way.
type zotHints struct {
	search     *zotSearch
	repository string
	number     int // of the page; -1: none
	page       []zotImage
	pages      int // as the last answer said
	off        bool
}

// known implements knownTag.
func (h *zotHints) known(ctx context.Context, tag string) (Descriptor, bool) {
	if h.off || !h.seek(ctx, tag) {
		return Descriptor{}, false
	}
	i, found := slices.BinarySearchFunc(h.page, zotImage{Tag: tag}, compareZotImages)
	if !found || h.page[i].docker() {
		return Descriptor{}, false
	}
	digest, err := v1.NewHash(h.page[i].Digest)
	if mediaType := listedType(h.page[i].MediaType); err == nil && mediaType != "" {
		return Descriptor{Digest: digest, MediaType: mediaType}, true
	}
	return Descriptor{}, false
}

// seek gets the page in which a tag would be. It tries the one behind the last
// one first, and divides what comes after that, as when a listing goes on.
func (h *zotHints) seek(ctx context.Context, tag string) bool {
	if h.number >= 0 && h.side(tag) <= 0 {
		return h.side(tag) == 0
	}
	next := h.number + 1
	for low, high := next, h.pages-1; low <= high && h.load(ctx, next); next = low + (high-low)/2 {
		switch side := h.side(tag); {
		case side == 0:
			return true
		case side < 0:
			high = min(next, h.pages) - 1
		default:
			low, high = next+1, h.pages-1
		}
	}
	return false
}

// side tells whether a tag comes before the page (-1), behind it (1) or neither.
// Everything comes before a page that is empty.
func (h *zotHints) side(tag string) int {
	switch {
	case len(h.page) == 0 || tag < h.page[0].Tag:
		return -1
	case tag > h.page[len(h.page)-1].Tag:
		return 1
	default:
		return 0
	}
}

func (h *zotHints) load(ctx context.Context, number int) bool {
	ctx, cancel := context.WithTimeout(ctx, zotPatience)
	defer cancel()
	page, total, err := h.search.page(ctx, h.repository, number)
	if err != nil {
		h.off = true
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnsupported) {
			h.search.absent.Store(h.search.now().Add(zotAbsence).Unix())
		}
		return false
	}
	h.number, h.page = number, page
	h.pages = (total + h.search.size - 1) / h.search.size
	return true
}
