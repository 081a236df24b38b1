package registrytest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An ArtifactoryAPI is what the API of JFrog Artifactory needs to know. Queries
// (AQL), paths of manifests and their properties are those of the vendor's
// documentation: a tag is a directory with a manifest.json, or a
// list.manifest.json for an index, and so is the digest of what was pushed by it.
type ArtifactoryAPI struct {
	Key           string // of the repository
	Prefix        string // of the names in Contents: "" or the key and a slash
	Authorization string // header that is wanted
	// CountsRows is whether a query's limit counts items with each of their
	// properties for one, as some versions do.
	CountsRows bool
	// Twice is whether tagged manifests are in a directory of their digest too.
	Twice bool
}

var aql = regexp.MustCompile(`^items\.find\((\{.*\})\)\.include\(([^)]*)\)\.sort\(\{"\$asc":\[([^\]]*)\]\}\)\.limit\((\d+)\)$`)

// Artifactory starts the API before contents, below /artifactory.
func Artifactory(t testing.TB, c *Contents, api ArtifactoryAPI) *Server {
	t.Helper()
	return start(t, api.Handler(c))
}

// Handler returns the API, for a Server that is the registry too.
func (api ArtifactoryAPI) Handler(c *Contents) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /artifactory/api/docker/"+api.Key+"/v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		catalogPage(w, r, inside(c, api.Prefix))
	})
	mux.HandleFunc("POST /artifactory/api/search/aql", func(w http.ResponseWriter, r *http.Request) { api.search(w, r, c) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != api.Authorization {
			artifactoryError(w, http.StatusUnauthorized, "Bad credentials")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// inside returns the names of repositories without a prefix.
func inside(c *Contents, prefix string) (names []string) {
	for _, full := range c.Repositories() {
		if name, found := strings.CutPrefix(full, prefix); found {
			names = append(names, name)
		}
	}
	return names
}

func artifactoryError(w http.ResponseWriter, status int, message string) {
	respond(w, status, map[string]any{"errors": []any{map[string]any{"status": status, "message": message}}})
}

// ArtifactoryRefuse answers that a permission is missing.
func ArtifactoryRefuse(w http.ResponseWriter, _ *http.Request) {
	artifactoryError(w, http.StatusForbidden, "Not enough permissions to search")
}

func (api ArtifactoryAPI) search(w http.ResponseWriter, r *http.Request, c *Contents) {
	raw, err := io.ReadAll(r.Body)
	parts := aql.FindSubmatch(raw)
	if err != nil || parts == nil || r.Header.Get("Content-Type") != "text/plain" {
		artifactoryError(w, http.StatusBadRequest, "Failed to parse query")
		return
	}
	var criteria map[string]any
	decoder := json.NewDecoder(bytes.NewReader(parts[1]))
	if decoder.Decode(&criteria) != nil {
		artifactoryError(w, http.StatusBadRequest, "Failed to parse query")
		return
	}
	limit, _ := strconv.Atoi(string(parts[4]))
	sorted := strings.Split(strings.ReplaceAll(string(parts[3]), `"`, ""), ",")
	items := api.items(c)
	slices.SortStableFunc(items, func(a, b map[string]any) int {
		for _, field := range sorted {
			if d := strings.Compare(a[field].(string), b[field].(string)); d != 0 {
				return d
			}
		}
		return 0
	})
	results, rows := []map[string]any{}, 0
	for _, item := range items {
		if !fits(item, criteria) {
			continue
		}
		properties, _ := item["properties"].([]map[string]string)
		if api.CountsRows && rows+len(properties) > limit {
			item["properties"] = properties[:limit-rows]
			properties = properties[:limit-rows]
		}
		if rows++; api.CountsRows {
			rows += max(1, len(properties)) - 1
		}
		if len(properties) > 0 || !api.CountsRows {
			results = append(results, item)
		}
		if rows >= limit {
			break
		}
	}
	respond(w, http.StatusOK, map[string]any{"results": results, "range": map[string]int{
		"start_pos": 0, "end_pos": len(results), "total": len(results), "limit": limit,
	}})
}

// items are the files of all manifests.
func (api ArtifactoryAPI) items(c *Contents) (items []map[string]any) {
	for _, image := range inside(c, api.Prefix) {
		for _, m := range c.Manifests(api.Prefix + image) {
			for _, tag := range m.Tags {
				items = append(items, api.item(image, tag, m))
			}
			if len(m.Tags) == 0 || api.Twice {
				items = append(items, api.item(image, "sha256__"+m.Digest.Hex, m))
			}
		}
	}
	return items
}

func (api ArtifactoryAPI) item(image, directory string, m Manifest) map[string]any {
	name, artifactType := "manifest.json", m.ConfigType
	if m.IsIndex() {
		name = "list.manifest.json"
	}
	if m.ArtifactType != "" {
		artifactType = m.ArtifactType
	}
	return map[string]any{
		"repo": api.Key, "path": image + "/" + directory, "name": name, "size": m.Size, "sha256": m.Digest.Hex,
		"depth": strconv.Itoa(strings.Count(image, "/") + 3),
		"properties": []map[string]string{
			{"key": "docker.manifest", "value": directory}, {"key": "docker.manifest.digest", "value": m.Digest.String()},
			{"key": "docker.manifest.type", "value": m.MediaType}, {"key": "docker.repoName", "value": image},
			{"key": "oci.artifact.type", "value": artifactType}, {"key": "sha256", "value": m.Digest.Hex},
		},
	}
}

// fits reports whether an item meets all criteria of a query.
func fits(item, criteria map[string]any) bool {
	for field, wanted := range criteria {
		list, _ := wanted.([]any)
		each := func(one any) bool {
			o, _ := one.(map[string]any)
			return fits(item, o)
		}
		met := false
		switch field {
		case "$and":
			met = !slices.ContainsFunc(list, func(one any) bool { return !each(one) })
		case "$or":
			met = slices.ContainsFunc(list, each)
		default:
			met = fieldFits(item[field], wanted)
		}
		if !met {
			return false
		}
	}
	return true
}

func fieldFits(value, wanted any) bool {
	text, _ := value.(string)
	comparisons, ok := wanted.(map[string]any)
	if !ok {
		return text == wanted
	}
	for operator, operand := range comparisons {
		with, _ := operand.(string)
		switch operator {
		case "$gt":
			ok = text > with
		case "$match": // whose * means anything, slashes too
			ok, _ = path.Match(strings.ReplaceAll(with, "/", "|"), strings.ReplaceAll(text, "/", "|"))
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}
