package registrytest

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
)

// An SWRAPI is what the API of Huawei Cloud SWR Enterprise Edition needs to
// know. Paths, parameters, limits and fields are those of the vendor's API
// reference (api-swr2: ListInstanceRepositories, ListInstanceArtifacts), where
// both listings come newest first.
type SWRAPI struct {
	Project, Instance    string
	AccessKey, SecretKey string
}

var (
	swrArtifacts = regexp.MustCompile(`^/v2/([^/]+)/instances/([^/]+)/namespaces/([^/]+)/repositories/(.+)/artifacts$`)
	swrList      = regexp.MustCompile(`^/v2/([^/]+)/instances/([^/]+)/repositories$`)
)

// SWR starts the API before contents. It checks signatures with the vendor's own
// library, and takes all spellings of a name with slashes that are in use.
func SWR(t testing.TB, c *Contents, api SWRAPI) *Server {
	t.Helper()
	return start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !api.signed(r) {
			swrError(w, http.StatusUnauthorized, "APIGW.0301", "Incorrect IAM authentication information: verify aksk signature fail")
			return
		}
		parts, list := swrArtifacts.FindStringSubmatch(r.URL.Path), swrList.FindStringSubmatch(r.URL.Path)
		switch {
		case parts != nil && parts[1] == api.Project && parts[2] == api.Instance:
			swrListArtifacts(w, r, c, parts[3]+"/"+strings.ReplaceAll(parts[4], "%2F", "/"))
		case list != nil && list[1] == api.Project && list[2] == api.Instance:
			swrListRepositories(w, r, c)
		default:
			swrError(w, http.StatusNotFound, "SVCSTG.SWR.4040000", "not found")
		}
	}))
}

// signed asks the vendor's library what the signature should be.
func (api SWRAPI) signed(r *http.Request) bool {
	said := r.Header.Get("Authorization")
	_, names, _ := strings.Cut(said, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	b := request.NewHttpRequestBuilder().WithMethod(r.Method).WithEndpoint("http://" + r.Host).WithPath(r.URL.Path)
	for name, values := range r.URL.Query() {
		b.AddQueryParam(name, reflect.ValueOf(values[0]))
	}
	for name := range strings.SplitSeq(names, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		b.AddHeaderParam(http.CanonicalHeaderKey(name), value)
	}
	want, err := signer.Sign(b.Build(), api.AccessKey, api.SecretKey)
	return err == nil && said == want["Authorization"] && r.Header.Get("X-Project-Id") == api.Project
}

func swrError(w http.ResponseWriter, status int, code, message string) {
	respond(w, status, map[string]string{"error_code": code, "error_msg": message, "encoded_authorization_message": ""})
}

// swrWindow reads offset and limit, which have rules of their own.
func swrWindow(w http.ResponseWriter, r *http.Request) (offset, limit int, ok bool) {
	offset, one := number(r, "offset", 0)
	limit, two := number(r, "limit", 10)
	if !one || !two || limit < 1 || limit > 100 || offset < 0 || offset%limit != 0 {
		swrError(w, http.StatusBadRequest, "SVCSTG.SWR.4000014", "invalid parameter: offset or limit")
		return 0, 0, false
	}
	return offset, limit, true
}

func swrListRepositories(w http.ResponseWriter, r *http.Request, c *Contents) {
	offset, limit, ok := swrWindow(w, r)
	if !ok {
		return
	}
	all := newestFirst(c.Repositories())
	list := []map[string]any{}
	for i, full := range window(all, offset, limit) {
		namespace, name, _ := strings.Cut(full, "/")
		list = append(list, map[string]any{
			"id": offset + i, "name": name, "namespace_name": namespace, "namespace_id": 1,
			"tag_count": len(c.Tags(full)), "artifact_count": len(c.Manifests(full)), "pull_count": 0,
		})
	}
	respond(w, http.StatusOK, map[string]any{"repositories": list, "total": len(all)})
}

func swrListArtifacts(w http.ResponseWriter, r *http.Request, c *Contents, repository string) {
	offset, limit, ok := swrWindow(w, r)
	if !ok {
		return
	}
	if !c.Has(repository) {
		swrError(w, http.StatusNotFound, "SVCSTG.SWR.4040010", "repository not found")
		return
	}
	all := newestFirst(c.Manifests(repository))
	list := []map[string]any{}
	for i, m := range window(all, offset, limit) {
		tags := []map[string]any{}
		for n, tag := range m.Tags {
			tags = append(tags, map[string]any{"id": n, "name": tag, "push_time": m.Pushed, "pull_time": nil})
		}
		mediaType := m.ConfigType
		if m.IsIndex() {
			mediaType = m.MediaType
		}
		list = append(list, map[string]any{
			"id": offset + i, "digest": m.Digest.String(), "type": "IMAGE", "media_type": mediaType,
			"manifest_media_type": m.MediaType, "size": m.ImageSize, "push_time": m.Pushed, "tags": tags,
			"repository_name": repository[strings.IndexByte(repository, '/')+1:],
		})
	}
	respond(w, http.StatusOK, map[string]any{"artifacts": list, "total": len(all)})
}
