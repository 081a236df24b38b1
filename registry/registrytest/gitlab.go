package registrytest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A GitLabAPI is what the API of GitLab needs to know. Paths, parameters, fields
// and headers are those of version 4's documentation (container registry API,
// REST API pagination).
type GitLabAPI struct {
	Groups, Projects []string // paths
	Token            string
	Uncounted        bool // no X-Total, as for more than 10,000 entries
}

// GitLab starts the API before contents.
func GitLab(t testing.TB, c *Contents, api GitLabAPI) *Server {
	t.Helper()
	return start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, one := strings.CutPrefix(r.URL.EscapedPath(), "/api/v4/")
		rest, two := strings.CutSuffix(rest, "/registry/repositories")
		kind, escaped, _ := strings.Cut(rest, "/")
		name, err := url.PathUnescape(escaped)
		known := map[string][]string{"groups": api.Groups, "projects": api.Projects}[kind]
		switch {
		case r.Header.Get("Private-Token") != api.Token:
			respond(w, http.StatusUnauthorized, map[string]string{"message": "401 Unauthorized"})
		case !one || !two || err != nil || strings.Contains(escaped, "/"):
			respond(w, http.StatusNotFound, map[string]string{"error": "404 Not Found"})
		case !slices.Contains(known, name):
			respond(w, http.StatusNotFound, map[string]string{"message": "404 " + kind + " Not Found"})
		default:
			api.repositories(w, r, c, name)
		}
	}))
}

func (api GitLabAPI) repositories(w http.ResponseWriter, r *http.Request, c *Contents, within string) {
	page, one := number(r, "page", 1)
	size, two := number(r, "per_page", 20)
	if !one || !two || page < 1 || size < 1 {
		respond(w, http.StatusBadRequest, map[string]string{"error": "page is invalid"})
		return
	}
	size = min(size, 100)
	all := []map[string]any{}
	for i, full := range newestFirst(c.Repositories()) {
		if full == within || strings.HasPrefix(full, within+"/") {
			all = append(all, map[string]any{
				"id": i, "name": strings.TrimPrefix(strings.TrimPrefix(full, within), "/"), "path": full,
				"project_id": 9, "location": "registry.example.com/" + full,
			})
		}
	}
	if !api.Uncounted {
		w.Header().Set("X-Total", strconv.Itoa(len(all)))
	}
	w.Header().Set("X-Page", strconv.Itoa(page))
	w.Header().Set("X-Per-Page", strconv.Itoa(size))
	respond(w, http.StatusOK, window(all, (page-1)*size, size))
}
