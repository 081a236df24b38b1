package registrytest

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The account of a Harbor.
const (
	HarborUser     = "robot$team+sealwright"
	HarborPassword = "robot-secret"
)

// A Harbor is a loopback Harbor: a registry with Harbor's API v2.0 before it, as
// its api/v2.0/swagger.yaml describes it and its src/pkg/artifact/dao answers it
// (version 2.14). The API takes a basic login; the registry takes the tokens that
// the same login gets.
type Harbor struct {
	*Server
	cloudFiller

	Contents *Contents
}

// NewHarbor starts one that is empty. Any project is there.
func NewHarbor(t testing.TB) *Harbor {
	t.Helper()
	h := &Harbor{Server: Memory(t)}
	h.Contents = Watch(t, h.Server)
	registry := h.handler
	h.cloudFiller = cloudFiller{registry, h.Contents, ""}
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		authorised := user == HarborUser && password == HarborPassword
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/") && r.Header.Get("Authorization") == "Bearer "+harborToken:
			registry.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/v2/"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+h.Host+`/service/token",service="harbor-registry"`)
			harborError(w, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized to access repository")
		case r.URL.Path == "/api/v2.0/ping": // of anybody
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, "Pong")
		case !authorised:
			harborError(w, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")
		case r.URL.Path == "/service/token":
			respond(w, http.StatusOK, map[string]any{"token": harborToken, "expires_in": 1800, "issued_at": "2026-01-02T03:04:05Z"})
		default:
			h.serve(w, r)
		}
	})
	return h
}

const harborToken = "harbor-token"

// HarborForbids answers as Harbor does where an account has no permission.
func HarborForbids(w http.ResponseWriter, _ *http.Request) {
	harborError(w, http.StatusForbidden, "FORBIDDEN", "forbidden")
}

// HarborConcerns reports whether a request is for the artifacts of a repository.
func HarborConcerns(r *http.Request, repository string) bool {
	project, name, _ := strings.Cut(repository, "/")
	return r.URL.EscapedPath() == "/api/v2.0/projects/"+project+"/repositories/"+url.PathEscape(url.PathEscape(name))+"/artifacts"
}

func harborError(w http.ResponseWriter, status int, code, message string) {
	respond(w, status, map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

// serve takes the path apart as it was sent: a name's slashes are escaped twice,
// so that one level is taken away on the way to Harbor, by its own router.
func (h *Harbor) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v2.0/"), "/")
	for i, part := range parts {
		for range 2 {
			var err error
			if part, err = url.PathUnescape(part); err != nil {
				harborError(w, http.StatusBadRequest, "BAD_REQUEST", "path")
				return
			}
		}
		parts[i] = part
	}
	switch {
	case r.Method != http.MethodGet:
		harborError(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "")
	case slices.Equal(parts, []string{"repositories"}):
		h.listRepositories(w, r)
	case len(parts) == 4 && parts[0] == "projects" && parts[2] == "repositories":
		if !h.Contents.Has(parts[1] + "/" + parts[3]) {
			harborError(w, http.StatusNotFound, "NOT_FOUND", "repository "+parts[1]+"/"+parts[3]+" not found")
			return
		}
		respond(w, http.StatusOK, map[string]any{"name": parts[1] + "/" + parts[3]})
	case len(parts) == 5 && parts[0] == "projects" && parts[2] == "repositories" && parts[4] == "artifacts":
		h.listArtifacts(w, r, parts[1]+"/"+parts[3])
	default:
		harborError(w, http.StatusNotFound, "NOT_FOUND", "path "+r.URL.Path+" was not found")
	}
}

// A harborRow is an entry of a listing with its number.
type harborRow struct {
	id     int64
	answer map[string]any
}

func (h *Harbor) listRepositories(w http.ResponseWriter, r *http.Request) {
	var rows []harborRow
	for i, name := range h.Contents.Repositories() {
		id := int64(i + 7)
		rows = append(rows, harborRow{id, map[string]any{
			"id": id, "name": name, "project_id": 1, "artifact_count": len(h.Contents.Manifests(name)),
			"creation_time": "2026-01-02T03:04:05.678Z", "pull_count": 0, "update_time": "2026-01-02T03:04:05.678Z",
		}})
	}
	harborPage(w, r, "repository_id", rows)
}

// listArtifacts leaves out the children of indexes that have no tag, and
// accessories: what has a subject, and cosign's signatures.
func (h *Harbor) listArtifacts(w http.ResponseWriter, r *http.Request, repository string) {
	list := h.Contents.Manifests(repository)
	children := map[string]bool{}
	for _, m := range list {
		for _, child := range m.Children {
			children[child.String()] = true
		}
	}
	var rows []harborRow
	for _, m := range list {
		accessory := m.Subject.Hex != "" || slices.ContainsFunc(m.Tags, cosignTag.MatchString)
		if accessory || len(m.Tags) == 0 && children[m.Digest.String()] {
			continue
		}
		rows = append(rows, harborArtifact(repository, m))
	}
	harborPage(w, r, "id", rows)
}

// cosignTag is what Harbor knows cosign's signatures by.
var cosignTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}\.sig$`)

// harborArtifact has the fields that Harbor sends, of which some are left out
// when they are empty.
func harborArtifact(repository string, m Manifest) harborRow {
	id := m.Number
	answer := map[string]any{
		"id": id, "type": "IMAGE", "digest": m.Digest.String(), "size": m.ImageSize,
		"media_type": cmp.Or(m.ConfigType, m.MediaType), "manifest_media_type": m.MediaType,
		"project_id": 1, "repository_id": 7, "repository_name": repository,
		"push_time": m.Pushed.UTC().Format(time.RFC3339Nano), "pull_time": "0001-01-01T00:00:00.000Z",
		"labels": nil, "accessories": nil, "icon": "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06",
		"addition_links": map[string]any{"build_history": map[string]any{"absolute": false, "href": "/api/v2.0/"}},
	}
	if m.ArtifactType != "" {
		answer["artifact_type"] = m.ArtifactType
	}
	var tags, references []any
	for i, tag := range m.Tags {
		tags = append(tags, map[string]any{"id": i + 1, "artifact_id": id, "repository_id": 7, "name": tag, "immutable": false})
	}
	for i, child := range m.Children {
		references = append(references, map[string]any{"parent_id": id, "child_id": i + 1, "child_digest": child.String(), "urls": nil})
	}
	answer["tags"], answer["references"] = tags, references
	return harborRow{id, answer}
}

var harborRange = regexp.MustCompile(`^(\w+)=\[(\d*)~(\d*)\]$`)

// harborPage answers with a page, sorted and filtered by the number if asked to;
// without, the newest are first.
func harborPage(w http.ResponseWriter, r *http.Request, key string, rows []harborRow) {
	query := r.URL.Query()
	page, ok := number(r, "page", 1)
	size, sizeOK := number(r, "page_size", 10)
	if !ok || !sizeOK || page < 1 || size < -1 || size > 100 {
		harborError(w, http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", "validation failure list: page_size in query should be less than or equal to 100")
		return
	}
	if m := harborRange.FindStringSubmatch(query.Get("q")); m != nil && m[1] == key {
		least, _ := strconv.ParseInt(m[2], 10, 64)
		rows = slices.DeleteFunc(rows, func(row harborRow) bool { return row.id < least })
	} else if query.Get("q") != "" && m == nil {
		harborError(w, http.StatusBadRequest, "BAD_REQUEST", `the query string must contain "=" and the key/value cannot be empty`)
		return
	}
	slices.SortFunc(rows, func(a, b harborRow) int { return cmp.Compare(a.id, b.id) })
	if query.Get("sort") != key {
		slices.Reverse(rows)
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(len(rows)))
	if page*size < len(rows) {
		query.Set("page", strconv.Itoa(page+1))
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, query.Encode()))
	}
	var answer []map[string]any
	for _, row := range window(rows, (page-1)*size, size) {
		answer = append(answer, row.answer)
	}
	if answer == nil {
		answer = []map[string]any{}
	}
	respond(w, http.StatusOK, answer)
}
