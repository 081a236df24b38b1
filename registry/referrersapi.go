package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxReferrersBody  = 8 << 20 // bytes of one page
	maxReferrersPages = 256     // of one listing
)

// A referrersAPI is a Store of a registry that may have the referrers API.
type referrersAPI interface {
	// referrersPage reads the page at from, which is nil for the first one.
	// An answer by which the registry has no API is an absentAPI.
	referrersPage(ctx context.Context, repository string, subject v1.Hash, from *url.URL) (*referrersPage, error)
	// putReferrer writes a manifest under its digest and returns the header
	// OCI-Subject: the subject under which the registry lists it.
	putReferrer(ctx context.Context, repository, digest, mediaType string, raw []byte) (listed string, err error)
}

// A referrersPage is one answer of the referrers API.
type referrersPage struct {
	entries []json.RawMessage
	next    *url.URL // nil: this was the last
}

// pages calls each with the entries of every page.
func pages(ctx context.Context, api referrersAPI, repository string, subject v1.Hash, each func([]json.RawMessage) error) error {
	var loop loopDetector
	var from *url.URL
	for range maxReferrersPages {
		p, err := api.referrersPage(ctx, repository, subject, from)
		if err != nil {
			return err
		}
		if err := each(p.entries); err != nil {
			return err
		}
		if from = p.next; from == nil {
			return nil
		}
		if loop.seen(from) {
			return fmt.Errorf("pages go round in a circle: %w", ErrTooLarge)
		}
	}
	return fmt.Errorf("more than %d pages: %w", maxReferrersPages, ErrTooLarge)
}

// referrersPage implements referrersAPI. The registry is not asked to filter by
// type: many ignore it, and one filter is not enough for several types.
func (c *Client) referrersPage(ctx context.Context, repository string, subject v1.Hash, from *url.URL) (*referrersPage, error) {
	first := from == nil
	if first {
		from = c.url("/v2/"+repository+"/referrers/"+subject.String(), nil)
	}
	raw, resp, err := c.read(ctx, call{ //nolint:bodyclose // read closes it
		method: http.MethodGet,
		url:    from,
		scope:  repository,
		header: http.Header{"Accept": {string(types.OCIImageIndex)}},
		limit:  maxReferrersBody,
	})
	if first {
		err = orAbsent(err)
	}
	if err != nil {
		return nil, err
	}
	said := resp.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(said); err != nil || mediaType != string(types.OCIImageIndex) {
		if first {
			return nil, &absentAPI{status: resp.StatusCode, mediaType: said}
		}
		return nil, fmt.Errorf("page of %q, want an OCI index: %w", plain(said), ErrCorrupt)
	}
	index, err := parseIndex(raw)
	if err == nil && index.member("manifests") == nil {
		err = fmt.Errorf("it lists no manifests: %w", ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("page of referrers: %w", err)
	}
	p := &referrersPage{entries: index.entries}
	if target, found := nextLink(resp.Header.Values("Link")); found {
		if p.next, err = c.homeURL(from, target); err != nil {
			return nil, fmt.Errorf("next page: %w", err)
		}
	}
	return p, nil
}

// An absentAPI is an answer without a list of referrers: the registry has no
// referrers API, or knows too little of the subject to say.
type absentAPI struct {
	status    int
	codes     []string
	mediaType string // of a success
}

// Error implements error.
func (a *absentAPI) Error() string {
	text := fmt.Sprintf("it answered %d %s", a.status, http.StatusText(a.status))
	if a.mediaType != "" || a.status == http.StatusOK {
		text += fmt.Sprintf(" with %q, no OCI index", plain(a.mediaType))
	}
	for _, code := range a.codes {
		text += ", " + code
	}
	return text
}

// nameUnknown reports that the registry does not know the repository.
func (a *absentAPI) nameUnknown() bool {
	return slices.Contains(a.codes, string(ggcr.NameUnknownErrorCode))
}

// sure reports whether the answer shows that there is no API: registries that
// have it should list nothing of what they do not know, but some say so
// instead.
func (a *absentAPI) sure() bool {
	return !a.nameUnknown() && !slices.Contains(a.codes, string(ggcr.ManifestUnknownErrorCode))
}

// orAbsent turns an error of a registry without the API into absentAPI.
func orAbsent(err error) error {
	var answer *ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	absent := &absentAPI{status: answer.Status, codes: answer.Codes}
	switch answer.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return absent
	case http.StatusBadRequest: // the path was taken for something else, or refused without a reason
		if len(answer.Codes) == 0 || refusedWith(err, ggcr.UnsupportedErrorCode, ggcr.NameInvalidErrorCode) {
			return absent
		}
	}
	return err
}
