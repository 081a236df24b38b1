package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	gitlabPage = 100 // the most that GitLab lists at once
	gitlabHost = "registry.gitlab.com"
)

// gitlabPath is the path or the number of a group or project.
var gitlabPath = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`)

// A gitlabLister lists the repositories of a GitLab group or project. GitLab's
// own API says no digest but of one tag at a time, so its tags are listed and
// resolved by the distribution API.
type gitlabLister struct {
	api    *vendorAPI
	said   string // the registry, for errors
	size   int    // of a page
	within string // the group or project
	client *Client
}

var (
	_ manifestLister = (*gitlabLister)(nil)
	_ tagResolver    = (*gitlabLister)(nil)
)

// openGitLab returns the listing of a registry of kind gitlab. Its group or
// project is cfg.Cloud.Project. Its API is at cfg.API, or at the host without the
// port, as GitLab sets it up.
func openGitLab(c *Client, cfg Config) (manifestLister, error) {
	g := &gitlabLister{said: cfg.Host, size: pageSize(cfg, gitlabPage), within: strings.Trim(cfg.Cloud.Project, "/"), client: c}
	usual, err := gitlabEndpoint(cfg)
	faults := []error{err}
	if !gitlabPath.MatchString(g.within) {
		faults = append(faults, fmt.Errorf("cloud.project: %q: want the path or id of a group or project", plain(cfg.Cloud.Project)))
	}
	cfg.API = strings.TrimSuffix(strings.TrimRight(cfg.API, "/"), "/api/v4")
	g.api, err = newVendorAPI(c, cfg, usual)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	g.api.diagnose = gitlabDiagnostics
	g.api.credentials = c.loginAs(cfg,
		func(token string) (key, value string) { return "Private-Token", token },
		func(account *authn.AuthConfig) (key, value string) { return "Private-Token", account.Password })
	return g, nil
}

func gitlabEndpoint(cfg Config) (string, error) {
	host, _, port := strings.Cut(cfg.Host, ":")
	switch {
	case cfg.API != "":
		return "", nil
	case strings.EqualFold(cfg.Host, gitlabHost):
		return "https://gitlab.com", nil
	case port:
		return "https://" + host, nil
	default:
		return "", errors.New("api: want the URL of GitLab, like https://gitlab.example.com: the registry's host does not tell it")
	}
}

// gitlabDiagnostics reads the shapes of GitLab's errors; a message may also be an
// object, which is left out.
func gitlabDiagnostics(body []byte) []diagnostic {
	var said struct {
		Message     any    `json:"message"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	message, _ := said.Message.(string)
	if said.Description != "" {
		message = said.Description
	}
	return []diagnostic{{Code: said.Error, Message: message}}
}

func (g *gitlabLister) untagged() string {
	return "GitLab lists tags, and no artifact without one"
}

// resolvesTags implements tagResolver.
func (g *gitlabLister) resolvesTags() (tellsSome bool) { return false }

// A gitlabRepository is a repository as GitLab lists it.
type gitlabRepository struct {
	Path string `json:"path"` // the full name
}

// repositories lists those of a group and the groups in it, or of a project.
func (g *gitlabLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		kind, first, err := g.first(ctx)
		if err != nil {
			yield("", fmt.Errorf("listing the repositories of %s: %w", g.said, err))
			return
		}
		list := numberedListing[gitlabRepository]{
			size: g.size,
			key:  func(r gitlabRepository) string { return r.Path },
			fetch: func(ctx context.Context, page int) (numberedPage[gitlabRepository], error) {
				if page == 0 && first != nil {
					p := *first
					first = nil
					return p, nil
				}
				return g.page(ctx, kind, page)
			},
		}
		for name, err := range namesOf(ctx, list, g.said) {
			if !yield(name, err) {
				return
			}
		}
	}
}

// first finds out whether there is a group or a project of that name.
func (g *gitlabLister) first(ctx context.Context) (kind string, first *numberedPage[gitlabRepository], err error) {
	for _, kind = range []string{"groups", "projects"} {
		p, found := g.page(ctx, kind, 0)
		if !errors.Is(found, ErrNotFound) {
			return kind, &p, found
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", kind, found))
	}
	return "", nil, err
}

func (g *gitlabLister) page(ctx context.Context, kind string, page int) (numberedPage[gitlabRepository], error) {
	call := vendorCall{
		segments: []string{"api", "v4", kind, g.within, "registry", "repositories"},
		query:    url.Values{"per_page": {strconv.Itoa(g.size)}, "page": {strconv.Itoa(page + 1)}},
	}
	var answer []gitlabRepository
	header, err := g.api.ask(ctx, call, &answer)
	return numberedPage[gitlabRepository]{answer, gitlabTotal(header)}, err
}

// gitlabTotal is 0 for long listings: GitLab does not count them.
func gitlabTotal(header http.Header) int {
	total, err := strconv.Atoi(header.Get("X-Total"))
	if err != nil || total < 0 {
		return 0
	}
	return total
}

// manifests yields a manifest once for each of its tags, at the cost of a HEAD.
func (g *gitlabLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		every := func(string) bool { return true }
		for a, err := range g.client.tagged(ctx, Query{Repository: repository, Tags: every, After: after}) {
			m := listedManifest{Descriptor: a.Descriptor, Tags: a.Tags, Cursor: a.Cursor}
			if err != nil && a.Repository != "" {
				m.Digest = v1.Hash{Algorithm: "invalid", Hex: strings.Join(a.Tags, " ")}
			}
			if !yield(m, err) {
				return
			}
		}
	}
}
