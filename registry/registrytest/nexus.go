package registrytest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A NexusAPI is what the REST API of Sonatype Nexus Repository 3 needs to know.
// Paths, parameters and fields are those of the vendor's documentation: a search
// for assets has pages of a size of its own and a continuation token, and a
// manifest is an asset under each of its tags and under its digest.
type NexusAPI struct {
	Repository    string // in the sense of Nexus
	Prefix        string // of the names in Contents: "" or the repository and a slash
	Authorization string // header that is wanted
	PageSize      *int   // nil: 50
	Old           bool   // no sizes, and no SHA-256 for tags
}

// Nexus starts the API before contents.
func Nexus(t testing.TB, c *Contents, api NexusAPI) *Server {
	t.Helper()
	return start(t, api.Handler(c))
}

// Handler returns the API, for a Server that is the registry too.
func (api NexusAPI) Handler(c *Contents) http.Handler {
	if api.PageSize == nil {
		usual := 50
		api.PageSize = &usual
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repository/"+api.Repository+"/v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		catalogPage(w, r, inside(c, api.Prefix))
	})
	mux.HandleFunc("GET /service/rest/v1/search/assets", func(w http.ResponseWriter, r *http.Request) { api.search(w, r, c) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != api.Authorization {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// search has tokens that name what comes after an asset, however many went.
func (api NexusAPI) search(w http.ResponseWriter, r *http.Request, c *Contents) {
	query := r.URL.Query()
	if query.Get("repository") != api.Repository || query.Get("format") != "docker" || query.Get("sort") != "version" {
		respond(w, http.StatusBadRequest, []map[string]string{{"id": "*", "message": "this server knows one repository, by version"}})
		return
	}
	image := query.Get("docker.imageName")
	assets := api.assets(c, image)
	from := 0
	if token := query.Get("continuationToken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			respond(w, http.StatusBadRequest, []map[string]string{{"id": "continuationToken", "message": "Malformed token"}})
			return
		}
		from, _ = slices.BinarySearchFunc(assets, string(after)+"\x00", func(a map[string]any, path string) int {
			return strings.Compare(a["path"].(string), path)
		})
	}
	list := window(assets, from, *api.PageSize)
	answer := map[string]any{"items": slices.Concat([]map[string]any{}, list), "continuationToken": nil}
	if end := from + len(list); end < len(assets) {
		answer["continuationToken"] = base64.RawURLEncoding.EncodeToString([]byte(list[len(list)-1]["path"].(string)))
	}
	respond(w, http.StatusOK, answer)
}

// assets are an image's manifests and a blob, and those of images with a name
// that begins with its, in the order of their paths.
func (api NexusAPI) assets(c *Contents, wanted string) (assets []map[string]any) {
	for _, image := range inside(c, api.Prefix) {
		if image != wanted && !strings.HasPrefix(image, wanted+"/") {
			continue
		}
		assets = append(assets, map[string]any{"path": "v2/-/blobs/sha256:" + strconv.Itoa(len(image)), "format": "docker"})
		for _, m := range c.Manifests(api.Prefix + image) {
			for _, ref := range append([]string{m.Digest.String()}, m.Tags...) {
				asset := map[string]any{
					"path": "v2/" + image + "/manifests/" + ref, "repository": api.Repository, "format": "docker",
					"contentType": m.MediaType, "fileSize": m.Size, "checksum": map[string]string{"sha256": m.Digest.Hex},
				}
				if api.Old {
					asset["fileSize"], asset["checksum"] = 0, map[string]string{"sha1": "0"}
				}
				assets = append(assets, asset)
			}
		}
	}
	slices.SortFunc(assets, func(a, b map[string]any) int { return strings.Compare(a["path"].(string), b["path"].(string)) })
	return assets
}
