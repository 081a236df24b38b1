package registrytest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What an ACR accepts.
const (
	ACRUser     = "11111111-2222-3333-4444-555555555555" // of a service principal
	ACRPassword = "service-principal-secret"
)

// An ACR is a loopback Azure Container Registry with its token server and its
// own API. Answers have the shape of those recorded in Azure's SDK for
// JavaScript (sdk/containerregistry, 2021 and 2023) and of
// https://learn.microsoft.com/rest/api/containerregistry; it is not the service.
// It is safe for concurrent use.
type ACR struct {
	*Server
	cloudFiller

	Contents *Contents
	// Scheme stands in the challenge's realm. Default http.
	Scheme string
	// EntraToken is the token of Entra ID that can be exchanged.
	EntraToken func(token string) bool
	// RefreshLifetime and AccessLifetime are those of the tokens it gives out.
	// Default 3 hours and 75 minutes.
	RefreshLifetime, AccessLifetime time.Duration

	refresh tickets
	access  tickets
	mu      sync.Mutex
	scopes  map[string][]string // of access tokens
	asked   []string            // scopes, in order
}

// NewACR starts an empty one.
func NewACR(t testing.TB) *ACR {
	t.Helper()
	a := &ACR{
		Server: Memory(t), Scheme: "http", EntraToken: func(string) bool { return false },
		RefreshLifetime: 3 * time.Hour, AccessLifetime: 75 * time.Minute, scopes: map[string][]string{},
	}
	a.Contents = Watch(t, a.Server)
	registry := a.handler
	a.cloudFiller = cloudFiller{registry, a.Contents, ""}
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(registry, w, r) })
	return a
}

// RevokeAccess ends all access tokens, RevokeRefresh all refresh tokens.
func (a *ACR) RevokeAccess() { a.access.revoke() }

// RevokeRefresh ends all refresh tokens.
func (a *ACR) RevokeRefresh() { a.refresh.revoke() }

// Exchanges returns how many refresh tokens were given out.
func (a *ACR) Exchanges() int { return a.refresh.issued() }

// Scopes returns the scopes that tokens were asked for, in order.
func (a *ACR) Scopes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

func (a *ACR) serve(registry http.Handler, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/oauth2/exchange" && r.Method == http.MethodPost:
		a.exchange(w, r)
		return
	case r.URL.Path == "/oauth2/token":
		a.token(w, r)
		return
	}
	scope := acrScope(r)
	if !a.permitted(r, scope) {
		_, _ = io.Copy(io.Discard, r.Body)
		challenge := fmt.Sprintf(`Bearer realm="%s://%s/oauth2/token",service=%q`, a.Scheme, r.Host, r.Host)
		if scope != "" {
			challenge += fmt.Sprintf(`,scope=%q`, scope)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization for more information."))
		return
	}
	api, own := strings.CutPrefix(r.URL.Path, "/acr/v1/")
	name, manifests := strings.CutSuffix(api, "/_manifests")
	switch {
	case !own:
		registry.ServeHTTP(w, r)
	case api == "_catalog":
		a.catalog(w, r)
	case manifests:
		a.manifests(w, r, name)
	default:
		cloudAnswer(w, http.StatusNotFound, denied("NOT_FOUND", "not found"))
	}
}

// acrScope is what a request needs: one of repository:NAME:ACTION, or of the
// catalog; "" if any token will do.
func acrScope(r *http.Request) string {
	if api, own := strings.CutPrefix(r.URL.Path, "/acr/v1/"); own {
		if api == "_catalog" {
			return "registry:catalog:*"
		}
		return "repository:" + strings.TrimSuffix(api, "/_manifests") + ":metadata_read"
	}
	name, kind, _ := split(r.URL.Path)
	switch {
	case r.URL.Path == "/v2/":
		return ""
	case kind == "uploads":
		name = strings.TrimSuffix(name, "/blobs")
	case strings.HasSuffix(name, "/blobs/uploads"): // a slash at the end
		name = strings.TrimSuffix(name, "/blobs/uploads")
	}
	if i := strings.Index(name, "/blobs"); i > 0 {
		name = name[:i]
	}
	action := map[string]string{http.MethodGet: "pull", http.MethodHead: "pull", http.MethodDelete: "delete"}[r.Method]
	if action == "" {
		action = "push"
	}
	return "repository:" + name + ":" + action
}

func (a *ACR) permitted(r *http.Request, scope string) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !a.access.good(token) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return scope == "" || slices.ContainsFunc(a.scopes[token], func(has string) bool {
		kind, actions := has[:strings.LastIndex(has, ":")], has[strings.LastIndex(has, ":")+1:]
		want := scope[strings.LastIndex(scope, ":")+1:]
		return scope == kind+":"+want && slices.Contains(strings.Split(actions, ","), want)
	})
}

// exchange gives a refresh token, a JSON web token that says when it ends, for a
// token of Entra ID.
func (a *ACR) exchange(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("grant_type") != "access_token" || r.PostFormValue("service") != r.Host {
		cloudAnswer(w, http.StatusBadRequest, denied("BAD_REQUEST", "bad grant"))
		return
	}
	if !a.EntraToken(r.PostFormValue("access_token")) {
		cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "AADSTS token "+r.PostFormValue("access_token")+" is not valid"))
		return
	}
	claims := fmt.Sprintf(`{"grant_type":"refresh_token","exp":%d}`, time.Now().Add(a.RefreshLifetime).Unix())
	prefix := "header." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"
	cloudAnswer(w, http.StatusOK, map[string]string{"refresh_token": a.refresh.issue(prefix, a.RefreshLifetime)})
}

// token gives an access token for a refresh token, or a user and a password. It
// does not say when it ends.
func (a *ACR) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	good := user == ACRUser && password == ACRPassword
	if r.Method == http.MethodPost {
		good = r.PostFormValue("grant_type") == "refresh_token" && a.refresh.good(r.PostFormValue("refresh_token"))
	}
	if !good || r.FormValue("service") != r.Host {
		cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "authentication required"))
		return
	}
	scopes := strings.Fields(strings.Join(r.Form["scope"], " "))
	token := a.access.issue("access", a.AccessLifetime)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.scopes[token] = scopes
	a.asked = append(a.asked, scopes...)
	cloudAnswer(w, http.StatusOK, map[string]string{"access_token": token})
}

// acrPage cuts a list as n and last say, and sets the link to the rest. An entry
// is named by its key with mark before it.
func acrPage[T any](w http.ResponseWriter, r *http.Request, list []T, mark string, key func(T) string) []T {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n <= 0 {
		n = 100
	}
	page, more := behind(list, key, strings.TrimPrefix(r.FormValue("last"), mark), n)
	if !more {
		return page
	}
	path := "/acr/v1/" + strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(r.URL.Path, "/_manifests"), "/acr/v1/"), "/", "%2F")
	if strings.HasSuffix(r.URL.Path, "/_manifests") {
		path += "/_manifests"
	}
	w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s&n=%d&orderby=>; rel="next"`, path, url.QueryEscape(mark+key(page[n-1])), n))
	return page
}

func (a *ACR) catalog(w http.ResponseWriter, r *http.Request) {
	names := acrPage(w, r, a.Contents.Repositories(), "", func(name string) string { return name })
	cloudAnswer(w, http.StatusOK, map[string]any{"repositories": names})
}

func (a *ACR) manifests(w http.ResponseWriter, r *http.Request, repository string) {
	if !a.Contents.Has(repository) {
		cloudAnswer(w, http.StatusNotFound, denied("NAME_UNKNOWN", "repository name not known to registry"))
		return
	}
	list := []any{}
	for _, m := range acrPage(w, r, a.Contents.Manifests(repository), "sha256:", func(m Manifest) string { return m.Digest.Hex }) {
		list = append(list, acrManifest(m))
	}
	cloudAnswer(w, http.StatusOK, map[string]any{"registry": r.Host, "imageName": repository, "manifests": list})
}

func acrManifest(m Manifest) map[string]any {
	at := m.Pushed.UTC().Format("2006-01-02T15:04:05.0000000Z")
	manifest := map[string]any{
		"digest": m.Digest.String(), "imageSize": m.ImageSize, "createdTime": at, "lastUpdateTime": at, "mediaType": m.MediaType,
		"changeableAttributes": map[string]bool{"deleteEnabled": true, "writeEnabled": true, "readEnabled": true, "listEnabled": true},
	}
	if m.ConfigType != "" {
		manifest["architecture"], manifest["os"], manifest["configMediaType"] = "amd64", "linux", m.ConfigType
	}
	if m.ArtifactType != "" {
		manifest["artifactType"] = m.ArtifactType
	}
	if len(m.Tags) > 0 {
		manifest["tags"] = m.Tags
	}
	return manifest
}
