package registrytest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a Quay accepts: a robot's login for images, a token of its owner for the
// API.
const (
	QuayRobot    = "team+sealwright"
	QuayPassword = "robot-token"
	QuayToken    = "oauth-token"
)

// A Quay is a loopback Quay: a registry with Quay's API v1 before it, as its
// endpoints/api answers it (3.16). The token's user is "team", of the
// organizations "other" and "third".
type Quay struct {
	*Server
	cloudFiller

	Contents *Contents
	// RepositoryPage is how many repositories a page has. Default 100.
	RepositoryPage int
}

// NewQuay starts one that is empty.
func NewQuay(t testing.TB) *Quay {
	t.Helper()
	q := &Quay{Server: Memory(t), RepositoryPage: 100}
	q.Contents = Watch(t, q.Server)
	registry := q.handler
	q.cloudFiller = cloudFiller{registry, q.Contents, ""}
	q.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/api/v1/discovery": // of anybody
			respond(w, http.StatusOK, map[string]any{"swagger": "2.0", "host": q.Host, "basePath": "/", "schemes": []string{"http"},
				"info": map[string]any{"version": "v1", "title": "Quay Frontend"}, "paths": map[string]any{}})
		case strings.HasPrefix(r.URL.Path, "/api/v1/") && r.Header.Get("Authorization") == "Bearer "+QuayToken:
			q.serve(w, r)
		case strings.HasPrefix(r.URL.Path, "/api/v1/"):
			quayProblem(w, http.StatusUnauthorized, "invalid_token", "Requires authentication")
		case r.URL.Path == "/v2/auth" && user == QuayRobot && password == QuayPassword:
			respond(w, http.StatusOK, map[string]any{"token": QuayToken + " of v2"})
		case r.Header.Get("Authorization") == "Bearer "+QuayToken+" of v2":
			registry.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+q.Host+`/v2/auth",service="`+q.Host+`"`)
			respond(w, http.StatusUnauthorized, map[string]any{"errors": []any{map[string]any{"code": "UNAUTHORIZED", "detail": map[string]any{}, "message": "access to the requested resource is not authorized"}}})
		}
	})
	return q
}

// QuayForbids answers as Quay does where a token's user has no permission.
func QuayForbids(w http.ResponseWriter, _ *http.Request) {
	quayProblem(w, http.StatusForbidden, "insufficient_scope", "Unauthorized")
}

func quayProblem(w http.ResponseWriter, status int, kind, detail string) {
	respond(w, status, map[string]any{
		"detail": detail, "error_message": detail, "error_type": kind, "title": kind, "status": status,
		"type": "http://quay.example.com/api/v1/error/" + kind,
	})
}

func (q *Quay) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	repository, isTags := strings.CutSuffix(strings.TrimPrefix(path, "repository/"), "/tag/")
	switch {
	case path == "user/":
		respond(w, http.StatusOK, map[string]any{
			"anonymous": false, "username": "team", "avatar": map[string]string{"name": "team"},
			"organizations": []any{map[string]any{"name": "other", "public": false}, map[string]any{"name": "third", "public": false}},
		})
	case path == "repository":
		q.repositories(w, r)
	case isTags && q.Contents.Has(repository):
		q.tags(w, r, repository)
	default:
		quayProblem(w, http.StatusNotFound, "not_found", "Not Found")
	}
}

// repositories lists those of a namespace, which is wanted.
func (q *Quay) repositories(w http.ResponseWriter, r *http.Request) {
	namespace := r.URL.Query().Get("namespace")
	if namespace == "" {
		quayProblem(w, http.StatusBadRequest, "invalid_request", "namespace, starred or public are required for this API call")
		return
	}
	var list []map[string]any
	for _, name := range q.Contents.Repositories() {
		if rest, found := strings.CutPrefix(name, namespace+"/"); found {
			list = append(list, map[string]any{
				"namespace": namespace, "name": rest, "description": nil, "is_public": false, "kind": "image", "state": "NORMAL", "is_starred": false,
			})
		}
	}
	from := 0
	if token, err := base64.URLEncoding.DecodeString(r.URL.Query().Get("next_page")); err == nil && len(token) > 0 {
		from, _ = strconv.Atoi(string(token))
	}
	answer := map[string]any{"repositories": slices.Concat([]map[string]any{}, window(list, from, q.RepositoryPage))}
	if from += q.RepositoryPage; from < len(list) {
		answer["next_page"] = base64.URLEncoding.EncodeToString([]byte(strconv.Itoa(from)))
	}
	respond(w, http.StatusOK, answer)
}

// tags lists the newest first, by the millisecond, though it says the second; of
// the same age by their names.
func (q *Quay) tags(w http.ResponseWriter, r *http.Request, repository string) {
	page, pageOK := number(r, "page", 1)
	limit, limitOK := number(r, "limit", 50)
	if !pageOK || !limitOK || r.URL.Query().Get("onlyActiveTags") != "true" {
		quayProblem(w, http.StatusBadRequest, "invalid_request", "page, limit or onlyActiveTags")
		return
	}
	page, limit = max(1, page), min(100, max(1, limit))
	type row struct {
		name string
		set  time.Time
		of   Manifest
	}
	var rows []row
	for _, m := range q.Contents.Manifests(repository) {
		for _, tag := range m.Tags {
			rows = append(rows, row{tag, q.Contents.TagSet(repository, tag), m})
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.set.UnixMilli(), a.set.UnixMilli()), cmp.Compare(a.name, b.name))
	})
	tags := []map[string]any{}
	for _, row := range window(rows, (page-1)*limit, limit) {
		tag := map[string]any{
			"name": row.name, "reversion": false, "start_ts": row.set.Unix(), "manifest_digest": row.of.Digest.String(),
			"is_manifest_list": row.of.IsIndex(), "size": row.of.ImageSize, "last_modified": row.set.UTC().Format(time.RFC1123Z),
		}
		if row.of.IsIndex() {
			tag["size"], tag["is_sparse"], tag["child_manifest_count"] = nil, false, len(row.of.Children)
		}
		tags = append(tags, tag)
	}
	respond(w, http.StatusOK, map[string]any{"tags": tags, "page": page, "has_additional": page*limit < len(rows)})
}
