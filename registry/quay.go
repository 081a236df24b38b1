package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
)

const (
	quayPage = 100 // the most that Quay lists at once
	quayPath = "/api/v1"
)

// A quayLister lists the tags of a Quay, or of quay.io, with its API v1.
type quayLister struct {
	api       *vendorAPI
	said      string // the registry, for errors
	size      int    // of a page
	namespace string // "": all of the token's user
}

var _ manifestLister = (*quayLister)(nil)

// openQuay returns the listing of a registry of kind quay. Its API is at cfg.API,
// or at the host itself. It knows neither users nor robots, but OAuth tokens:
// cfg.Cloud.Secret has one. If cfg.Cloud.Project is set, only that namespace is
// listed.
func openQuay(c *Client, cfg Config) (manifestLister, error) {
	base := c.scheme + "://" + c.host.RegistryStr()
	if cfg.API != "" {
		base = strings.TrimSuffix(strings.TrimRight(cfg.API, "/"), quayPath)
	}
	cfg.API = base + quayPath
	q := &quayLister{said: cfg.Host, size: max(leastQuayPage, pageSize(cfg, quayPage)), namespace: cfg.Cloud.Project}
	var err error
	q.api, err = newVendorAPI(c, cfg, "")
	faults := []error{err}
	if cfg.Cloud.Secret == nil {
		faults = append(faults, errors.New("cloud.secret_file: want the file of an OAuth token with the scopes repo:read and user:read: Quay's API takes no other login"))
	}
	if q.namespace != "" && (checkRepository(q.namespace) != nil || strings.Contains(q.namespace, "/")) {
		faults = append(faults, fmt.Errorf("cloud.project: %q: want a namespace: an organization or a user", plain(q.namespace)))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	q.api.diagnose = quayDiagnostics
	q.api.credentials = c.login(cfg, bearer)
	return q, nil
}

// quayDiagnostics reads Quay's problems (RFC 7807), and the shorter form that
// some of its answers have.
func quayDiagnostics(body []byte) []diagnostic {
	var said struct {
		Type    string `json:"error_type"`
		Detail  string `json:"detail"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	if said.Detail == "" {
		said.Detail = said.Message
	}
	return []diagnostic{{Code: said.Type, Message: said.Detail}}
}

func (q *quayLister) untagged() string {
	return "Quay lists tags, and soon deletes what has none"
}

// repositories lists those of the configured namespace, or of the token's user
// and of the user's organizations. A namespace that may not be listed is an error
// of its own.
func (q *quayLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		namespaces, err := q.namespaces(ctx)
		if err != nil {
			yield("", fmt.Errorf("listing the namespaces of %s: %w", q.said, err))
			return
		}
		for _, namespace := range namespaces {
			for name, err := range q.within(ctx, namespace) {
				if !yield(name, err) || ctx.Err() != nil {
					return
				}
			}
		}
	}
}

func (q *quayLister) namespaces(ctx context.Context) ([]string, error) {
	if q.namespace != "" {
		return []string{q.namespace}, nil
	}
	var user struct {
		Name          string `json:"username"`
		Organizations []struct {
			Name string `json:"name"`
		} `json:"organizations"`
	}
	if _, err := q.api.ask(ctx, vendorCall{segments: []string{"user", ""}}, &user); err != nil {
		return nil, err
	}
	if user.Name == "" {
		return nil, fmt.Errorf("the answer names no user: %w", ErrCorrupt)
	}
	names := []string{user.Name}
	for _, o := range user.Organizations {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// A quayRepository is a repository as Quay lists it.
type quayRepository struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (q *quayLister) within(ctx context.Context, namespace string) iter.Seq2[string, error] {
	fetch := func(ctx context.Context, token string) ([]quayRepository, string, error) {
		query := url.Values{"namespace": {namespace}}
		if token != "" {
			query.Set("next_page", token)
		}
		var answer struct {
			Repositories []quayRepository `json:"repositories"`
			Next         string           `json:"next_page"`
		}
		_, err := q.api.ask(ctx, vendorCall{segments: []string{"repository"}, query: query}, &answer)
		return answer.Repositories, answer.Next, err
	}
	return func(yield func(string, error) bool) {
		for page, err := range tokenPages(ctx, "", fetch) {
			if err != nil {
				err = fmt.Errorf("listing the repositories of %s in %s: %w", plain(namespace), q.said, err)
				concerns := namespace
				if !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrNotFound) || q.namespace != "" {
					concerns = ""
				}
				yield(concerns, err)
				return
			}
			for _, r := range page.items {
				name := r.Namespace + "/" + r.Name
				if !yield(name, checkRepository(name)) {
					return
				}
			}
		}
	}
}

// manifests yields a manifest once for each of its tags, the newest tag first.
func (q *quayLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		err := q.walk(ctx, repository, after, yield)
		if err != nil && !errors.Is(err, errStopped) {
			yield(listedManifest{}, fmt.Errorf("listing the tags of %s/%s: %w", q.said, repository, err))
		}
	}
}

func (q *quayLister) walk(ctx context.Context, repository, after string, yield func(listedManifest, error) bool) error {
	if err := checkRepository(repository); err != nil {
		return err
	}
	w := newQuayWalk(after, q.size)
	for !w.done {
		number, limit := w.window()
		page, err := q.page(ctx, repository, number, limit)
		if err != nil {
			return err
		}
		tags, err := w.turn(page, number, limit)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			m, err := tag.item.listed()
			if err == nil && checkTag(tag.item.Name) == nil {
				m.Cursor = tag.cursor
			}
			if !yield(m, err) {
				return errStopped
			}
		}
	}
	return nil
}

// page asks for a page of the tags that are in force. Pages are counted from 1.
func (q *quayLister) page(ctx context.Context, repository string, number, limit int) (quayTags, error) {
	segments := append([]string{"repository"}, strings.Split(repository, "/")...)
	call := vendorCall{segments: append(segments, "tag", ""), query: url.Values{
		"onlyActiveTags": {"true"}, "page": {fmt.Sprint(number)}, "limit": {fmt.Sprint(limit)},
	}}
	var page quayTags
	if _, err := q.api.ask(ctx, call, &page); err != nil {
		return quayTags{}, err
	}
	return page, nil
}

// quayTags is a page of tags.
type quayTags struct {
	Tags []quayTag `json:"tags"`
	More bool      `json:"has_additional"`
}

// A quayTag is a tag as Quay lists it. Its size, which is not read, is that of the
// layers.
type quayTag struct {
	Name   string `json:"name"`
	Digest string `json:"manifest_digest"`
	Index  bool   `json:"is_manifest_list"`
	Start  int64  `json:"start_ts"` // when it began to name this manifest, in Unix seconds
}

// listed returns what is listed, or with a digest that is not valid what is
// wrong with it. Which type of image or index it is, Quay does not say.
func (t quayTag) listed() (listedManifest, error) {
	digest, err := listedDigest(t.Digest)
	return listedManifest{Descriptor: Descriptor{Digest: digest}, Image: !t.Index, Tags: []string{t.Name}}, err
}
