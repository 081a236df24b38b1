package registrytest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An OCIRAPI is what the API of Oracle's Container Registry needs to know. Paths,
// parameters and fields are those of version 20160918 (ListContainerRepositories,
// ListContainerImages): nothing is listed of a repository that is not there, an
// image has one entry with its most recent version, and pages have opaque names.
type OCIRAPI struct {
	Compartment string
	Namespace   string // of the tenancy, before each repository's name
	KeyID       string
	Public      *rsa.PublicKey
	// Recent says which of an image's tags is listed. Nil: the last.
	Recent func(tags []string) string
}

// OCIR starts the API before contents.
func OCIR(t testing.TB, c *Contents, api OCIRAPI) *Server {
	t.Helper()
	if api.Recent == nil {
		api.Recent = func(tags []string) string { return tags[len(tags)-1] }
	}
	return start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("opc-request-id", "0123456789ABCDEF0123456789ABCDEF")
		switch query := r.URL.Query(); {
		case !api.signed(r):
			ocirError(w, http.StatusUnauthorized, "NotAuthenticated", "The required information to complete authentication was not provided or was incorrect.")
		case r.Method != http.MethodGet:
			ocirError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "")
		case query.Get("compartmentId") != api.Compartment:
			OCIRRefuse(w, r)
		case r.URL.Path == "/20160918/container/repositories":
			api.page(w, r, api.repositories(c, query.Get("displayName")))
		case r.URL.Path == "/20160918/container/images":
			api.page(w, r, api.images(c, query.Get("repositoryName"), query.Get("isVersioned")))
		default:
			ocirError(w, http.StatusNotFound, "NotFound", "")
		}
	}))
}

var ocirAuthorization = regexp.MustCompile(`^Signature version="1",headers="([^"]+)",keyId="([^"]+)",algorithm="rsa-sha256",signature="([^"]+)"$`)

// signed verifies the signature over the headers that it names, which must be
// those that OCI asks for.
func (api OCIRAPI) signed(r *http.Request) bool {
	parts := ocirAuthorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil || parts[2] != api.KeyID {
		return false
	}
	names := strings.Split(parts[1], " ")
	var lines []string
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "(request-target)":
			value = strings.ToLower(r.Method) + " " + r.URL.RequestURI()
		}
		lines = append(lines, name+": "+value)
	}
	for _, name := range []string{"date", "host", "(request-target)"} {
		if !slices.Contains(names, name) {
			return false
		}
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if age := time.Since(date); err != nil || age < -5*time.Minute || age > 5*time.Minute {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(parts[3])
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return err == nil && rsa.VerifyPKCS1v15(api.Public, crypto.SHA256, sum[:], signature) == nil
}

func ocirError(w http.ResponseWriter, status int, code, message string) {
	respond(w, status, map[string]string{"code": code, "message": message})
}

// OCIRRefuse answers that a permission is missing, or a resource: OCI does not
// say which.
func OCIRRefuse(w http.ResponseWriter, _ *http.Request) {
	ocirError(w, http.StatusNotFound, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
}

func (api OCIRAPI) repositories(c *Contents, displayName string) []any {
	list := []any{}
	for _, full := range c.Repositories() {
		name, inside := strings.CutPrefix(full, api.Namespace+"/")
		if !inside || displayName != "" && displayName != name {
			continue
		}
		list = append(list, map[string]any{
			"compartmentId": api.Compartment, "displayName": name, "namespace": api.Namespace, "id": "ocid1.containerrepo." + name,
			"imageCount": len(c.Manifests(full)), "isPublic": false, "lifecycleState": "AVAILABLE",
		})
	}
	return list
}

func (api OCIRAPI) images(c *Contents, repository, isVersioned string) []any {
	list := []any{}
	for _, m := range newestFirst(c.Manifests(api.Namespace + "/" + repository)) {
		if isVersioned != "" && isVersioned != strconv.FormatBool(len(m.Tags) > 0) {
			continue
		}
		entry := map[string]any{
			"compartmentId": api.Compartment, "digest": m.Digest.String(), "displayName": repository + ":unknown@" + m.Digest.String(),
			"id": "ocid1.containerimage." + m.Digest.Hex, "lifecycleState": "AVAILABLE", "repositoryName": repository,
		}
		if len(m.Tags) > 0 {
			version := api.Recent(m.Tags)
			entry["version"], entry["displayName"] = version, repository+":"+version
		}
		list = append(list, entry)
	}
	return list
}

// page answers with a page whose next one is named after the entry it begins at
// the earliest: what is deleted moves nothing over it.
func (api OCIRAPI) page(w http.ResponseWriter, r *http.Request, all []any) {
	limit, ok := number(r, "limit", 100)
	if !ok || limit < 1 || limit > 1000 {
		ocirError(w, http.StatusBadRequest, "InvalidParameter", "limit")
		return
	}
	from := 0
	if token := r.URL.Query().Get("page"); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		left, err2 := strconv.Atoi(string(raw))
		if err != nil || err2 != nil {
			ocirError(w, http.StatusBadRequest, "InvalidParameter", "page")
			return
		}
		from = max(0, len(all)-left)
	}
	list := window(all, from, limit)
	if end := from + len(list); end < len(all) {
		w.Header().Set("opc-next-page", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(len(all)-end))))
	}
	respond(w, http.StatusOK, map[string]any{"items": slices.Concat([]any{}, list), "remainingItemsCount": 0})
}
