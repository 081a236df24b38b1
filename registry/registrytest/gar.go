package registrytest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a GAR has: one project, in one place.
const (
	GARProject    = "test-project"
	GARLocation   = "us-west4"
	GARRepository = "test-repo"
)

// A GARListing is how much a GAR's listing of tags says.
type GARListing int

// The listings of tags that Google's registries have been seen to give.
const (
	GARWhole GARListing = iota // every manifest, whatever the size of a page
	GARPaged                   // a page of tags with their manifests, and a link to the next
	GARCut                     // all tags, and the manifests of some
	GARBare                    // tags alone, as the distribution specification has it
)

// A GAR is a loopback Artifact Registry, with its token server, the listing of
// tags as https://github.com/google/go-containerregistry/blob/main/pkg/v1/google
// reads it, and its API as https://cloud.google.com/artifact-registry/docs/reference/rest
// describes it; it is not the service. It is safe for concurrent use.
type GAR struct {
	*Server
	cloudFiller

	Contents *Contents
	Listing  GARListing
	// PageSize is that of GARPaged.
	PageSize int
	// Scheme stands in the challenge's realm. Default http.
	Scheme string
	// Lifetime is how long access tokens are good. Default an hour.
	Lifetime time.Duration
	// Login reports whether an access token may be given for that assertion of a
	// service account.
	Login func(assertion string) bool

	access tickets // Google's
	bearer tickets // the registry's
}

// NewGAR starts an empty one.
func NewGAR(t testing.TB) *GAR {
	t.Helper()
	g := &GAR{Server: Memory(t), Scheme: "http", Lifetime: time.Hour, Login: func(string) bool { return true }}
	g.Contents = Watch(t, g.Server)
	registry := g.handler
	g.cloudFiller = cloudFiller{registry, g.Contents, GARProject + "/" + GARRepository + "/"}
	g.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(registry, w, r) })
	return g
}

// AccessToken returns a new access token.
func (g *GAR) AccessToken() string { return g.access.issue("ya29", g.Lifetime) }

// Logins returns how many access tokens were given out.
func (g *GAR) Logins() int { return g.access.issued() }

// Revoke ends all tokens.
func (g *GAR) Revoke() {
	g.access.revoke()
	g.bearer.revoke()
}

func (g *GAR) serve(registry http.Handler, w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.URL.Path == "/token" && r.Method == http.MethodPost, strings.HasPrefix(r.URL.Path, "/computeMetadata/v1/"):
		g.login(w, r)
	case r.URL.Path == "/v2/token":
		g.exchange(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		if !g.access.good(token) {
			GARError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
			return
		}
		g.api(w, r)
	case !g.bearer.good(token):
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s/v2/token",service=%q`, g.Scheme, r.Host, r.Host))
		cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "authentication failed"))
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		g.tags(w, r, strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list"))
	default:
		registry.ServeHTTP(w, r)
	}
}

// login gives an access token to a service account, or to the machine.
func (g *GAR) login(w http.ResponseWriter, r *http.Request) {
	machine := r.Method == http.MethodGet && r.Header.Get("Metadata-Flavor") == "Google"
	if !machine && !g.Login(r.PostFormValue("assertion")) {
		cloudAnswer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT: " + r.PostFormValue("assertion")})
		return
	}
	cloudAnswer(w, http.StatusOK, map[string]any{"access_token": g.AccessToken(), "token_type": "Bearer", "expires_in": int(g.Lifetime.Seconds())})
}

// exchange gives a token of the registry for an access token, or for the key of
// a service account.
func (g *GAR) exchange(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	key := user == "_json_key"
	if user == "_json_key_base64" {
		raw, err := base64.StdEncoding.DecodeString(password)
		key, password = err == nil, string(raw)
	}
	if good := user == "oauth2accesstoken" && g.access.good(password) || key && strings.Contains(password, `"service_account"`); !good {
		cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "authentication failed"))
		return
	}
	cloudAnswer(w, http.StatusOK, map[string]any{"token": g.bearer.issue("bearer", g.Lifetime), "expires_in": int(g.Lifetime.Seconds())})
}

// tags is the distribution API's listing with what Google adds to it.
func (g *GAR) tags(w http.ResponseWriter, r *http.Request, repository string) {
	if !g.Contents.Has(repository) {
		cloudAnswer(w, http.StatusNotFound, denied("NAME_UNKNOWN", "Requested entity was not found."))
		return
	}
	tags := []string{}
	for tag := range g.Contents.Tags(repository) {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	if g.Listing == GARPaged {
		begin, _ := slices.BinarySearch(tags, r.FormValue("last")+"\x00")
		if tags = tags[begin:]; len(tags) > g.PageSize {
			tags = tags[:g.PageSize]
			w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repository, g.PageSize, tags[len(tags)-1]))
		}
	}
	answer := map[string]any{"name": repository, "tags": tags}
	if g.Listing != GARBare {
		answer["child"], answer["manifest"] = []string{}, g.extension(repository, tags)
	}
	cloudAnswer(w, http.StatusOK, answer)
}

func (g *GAR) extension(repository string, tags []string) map[string]any {
	manifests := map[string]any{}
	for i, m := range g.Contents.Manifests(repository) {
		if g.Listing == GARPaged && !slices.ContainsFunc(m.Tags, func(tag string) bool { return slices.Contains(tags, tag) }) {
			continue
		}
		if g.Listing == GARCut && i%2 == 1 {
			continue
		}
		at := strconv.FormatInt(m.Pushed.UnixMilli(), 10)
		manifests[m.Digest.String()] = map[string]any{
			"imageSizeBytes": strconv.FormatInt(m.ImageSize, 10), "layerId": "", "mediaType": m.MediaType,
			"tag": append([]string{}, m.Tags...), "timeCreatedMs": "0", "timeUploadedMs": at,
		}
	}
	return manifests
}

// GARError answers as Google's APIs do.
func GARError(w http.ResponseWriter, status int, code, message string) {
	cloudAnswer(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": code}})
}

// api answers what lists resources.
func (g *GAR) api(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/"), "/")
	home := []string{"projects", GARProject, "locations", GARLocation, "repositories"}
	if r.Method != http.MethodGet || len(parts) < len(home) || !slices.Equal(parts[:len(home)], home) {
		GARError(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission denied on resource (or it may not exist).")
		return
	}
	parent := strings.TrimPrefix(strings.TrimSuffix(r.URL.EscapedPath(), "/"+parts[len(parts)-1]), "/v1/")
	switch rest := parts[len(home):]; {
	case len(rest) == 0:
		g.list(w, r, "repositories", g.repositories())
	case len(rest) == 2 && rest[0] == GARRepository && rest[1] == "packages":
		g.list(w, r, "packages", g.packages(parent))
	case len(rest) == 4 && rest[0] == GARRepository && rest[1] == "packages":
		image, _ := url.PathUnescape(rest[2])
		g.image(w, r, rest[3], parent, GARProject+"/"+GARRepository+"/"+image)
	default:
		GARError(w, http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
	}
}

// A garResource is one entry of a listing.
type garResource struct {
	key    string
	fields func() map[string]any
}

func (g *GAR) list(w http.ResponseWriter, r *http.Request, field string, all []garResource) {
	size, err := strconv.Atoi(r.FormValue("pageSize"))
	if err != nil || size <= 0 {
		size = 100
	}
	page, next, ok := cloudPage(all, func(e garResource) string { return e.key }, r.FormValue("pageToken"), min(size, 1000))
	if !ok {
		GARError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Request contains an invalid argument.")
		return
	}
	list := []any{}
	for _, e := range page {
		list = append(list, e.fields())
	}
	answer := map[string]any{field: list}
	if next != "" {
		answer["nextPageToken"] = next
	}
	cloudAnswer(w, http.StatusOK, answer)
}

// repositories are that of the images, and others that no image is written to.
func (g *GAR) repositories() (list []garResource) {
	for name, kind := range map[string][2]string{
		GARRepository: {"DOCKER", "STANDARD_REPOSITORY"}, "a-java": {"MAVEN", "STANDARD_REPOSITORY"},
		"a-mirror": {"DOCKER", "REMOTE_REPOSITORY"}, "a-view": {"DOCKER", "VIRTUAL_REPOSITORY"},
	} {
		list = append(list, garResource{name, func() map[string]any {
			return map[string]any{
				"name":   "projects/" + GARProject + "/locations/" + GARLocation + "/repositories/" + name,
				"format": kind[0], "mode": kind[1],
			}
		}})
	}
	return list
}

func (g *GAR) packages(parent string) (list []garResource) {
	for _, name := range g.Contents.Repositories() {
		if image, ok := strings.CutPrefix(name, GARProject+"/"+GARRepository+"/"); ok {
			list = append(list, garResource{image, func() map[string]any {
				return map[string]any{"name": parent + "/packages/" + url.PathEscape(image)}
			}})
		}
	}
	return list
}

func (g *GAR) image(w http.ResponseWriter, r *http.Request, collection, parent, repository string) {
	if !g.Contents.Has(repository) {
		GARError(w, http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
		return
	}
	version := func(digest string) string { return parent + "/versions/" + digest }
	var list []garResource
	switch collection {
	case "versions":
		manifests := g.Contents.Manifests(repository)
		list = make([]garResource, 0, len(manifests))
		for i := range manifests {
			list = append(list, garResource{shuffled(manifests[i]), func() map[string]any {
				return garVersion(manifests[i], parent, r.FormValue("view") == "FULL")
			}})
		}
	case "tags":
		for tag, digest := range g.Contents.Tags(repository) {
			if r.FormValue("filter") == `version="`+version(digest)+`"` {
				list = append(list, garResource{tag, func() map[string]any {
					return map[string]any{"name": parent + "/tags/" + tag, "version": version(digest)}
				}})
			}
		}
	}
	g.list(w, r, collection, list)
}

// garVersion is a manifest, with at most 100 of its tags. Only the full view has
// its metadata.
func garVersion(m Manifest, parent string, full bool) map[string]any {
	name := parent + "/versions/" + m.Digest.String()
	version := map[string]any{"name": name, "createTime": m.Pushed.UTC().Format(time.RFC3339Nano), "updateTime": m.Pushed.UTC().Format(time.RFC3339Nano)}
	if !full {
		return version
	}
	tags := []any{}
	for _, tag := range m.Tags[:min(len(m.Tags), 100)] {
		tags = append(tags, map[string]string{"name": parent + "/tags/" + tag, "version": name})
	}
	metadata := map[string]any{"imageSizeBytes": strconv.FormatInt(m.ImageSize, 10), "mediaType": m.MediaType, "name": strings.Replace(name, "/packages/", "/dockerImages/", 1)}
	switch {
	case m.ArtifactType != "":
		metadata["artifactType"] = m.ArtifactType
	case m.Subject.Hex != "":
		metadata["artifactType"] = m.MediaType
	}
	if m.IsIndex() {
		metadata["imageManifests"] = garChildren(m)
	}
	version["relatedTags"], version["metadata"] = tags, metadata
	return version
}

func garChildren(m Manifest) []any {
	var index struct {
		Manifests []struct {
			descriptor
			Platform struct{ Architecture, OS string } `json:"platform"`
		} `json:"manifests"`
	}
	_ = json.Unmarshal(m.Raw, &index)
	children := []any{}
	for _, child := range index.Manifests {
		children = append(children, map[string]string{
			"digest": child.Digest, "mediaType": child.MediaType, "architecture": child.Platform.Architecture, "os": child.Platform.OS,
		})
	}
	return children
}
