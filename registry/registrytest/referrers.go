package registrytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// A ReferrersAPI says how the referrers API of a registry behaves.
type ReferrersAPI struct {
	// PageSize is how many referrers a page has. Default 2.
	PageSize int
	// NoSubject leaves out the header OCI-Subject.
	NoSubject bool
}

// Referrers starts a registry in memory that has the referrers API, as the
// specification wants it: in pages, with artifact types and annotations, and
// filtered when asked to. Its own fallback tags are tags like any other.
func Referrers(t testing.TB, api ReferrersAPI) *Server {
	t.Helper()
	if api.PageSize == 0 {
		api.PageSize = 2
	}
	return start(t, &referrers{
		api:   api,
		inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))),
		lists: map[string][]referrer{},
	})
}

// referrers puts the API before a registry without it.
type referrers struct {
	api   ReferrersAPI
	inner http.Handler

	mu    sync.Mutex
	lists map[string][]referrer // :: repository@subject → in the order they came
}

// A referrer is an entry of a list.
type referrer struct {
	descriptor
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// ServeHTTP implements http.Handler.
func (s *referrers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, kind, ref := split(r.URL.Path)
	switch {
	case kind == "referrers" && r.Method == http.MethodGet:
		s.list(w, r, repository+"@"+ref)
	case kind == "manifests" && r.Method == http.MethodPut:
		s.put(w, r, repository)
	case kind == "manifests" && r.Method == http.MethodDelete:
		s.mu.Lock()
		for key, list := range s.lists {
			s.lists[key] = slices.DeleteFunc(list, func(e referrer) bool {
				return e.Digest == ref && strings.HasPrefix(key, repository+"@")
			})
		}
		s.mu.Unlock()
		s.inner.ServeHTTP(w, r)
	default:
		s.inner.ServeHTTP(w, r)
	}
}

// split takes /v2/REPOSITORY/KIND/REFERENCE apart.
func split(path string) (repository, kind, ref string) {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	if len(parts) < 3 {
		return "", "", ""
	}
	n := len(parts)
	return strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1]
}

func (s *referrers) put(w http.ResponseWriter, r *http.Request, repository string) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	answer := httptest.NewRecorder()
	s.inner.ServeHTTP(answer, r)
	if subject := s.note(repository, r.Header.Get("Content-Type"), raw); subject != "" && answer.Code == http.StatusCreated && !s.api.NoSubject {
		w.Header().Set("OCI-Subject", subject)
	}
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// note lists a manifest under its subject, if it has one, and returns that.
func (s *referrers) note(repository, mediaType string, raw []byte) (subject string) {
	var m struct {
		ArtifactType string            `json:"artifactType"`
		Config       descriptor        `json:"config"`
		Subject      descriptor        `json:"subject"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject.Digest == "" {
		return ""
	}
	sum := sha256.Sum256(raw)
	e := referrer{
		descriptor:   descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(raw)},
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
	if e.ArtifactType == "" {
		e.ArtifactType = m.Config.MediaType
	}
	key := repository + "@" + m.Subject.Digest
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.lists[key], func(have referrer) bool { return have.Digest == e.Digest }) {
		s.lists[key] = append(s.lists[key], e)
	}
	return m.Subject.Digest
}

func (s *referrers) list(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	list := slices.Clone(s.lists[key])
	s.mu.Unlock()
	query := r.URL.Query()
	if wanted := query.Get("artifactType"); wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		list = slices.DeleteFunc(list, func(e referrer) bool { return e.ArtifactType != wanted })
	}
	from := 0
	if last := query.Get("last"); last != "" {
		from, _ = strconv.Atoi(last)
	}
	from = min(from, len(list))
	page := list[from:min(from+s.api.PageSize, len(list))]
	if next := from + s.api.PageSize; next < len(list) {
		query.Set("last", strconv.Itoa(next))
		link := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", link.String()))
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": slices.Concat([]referrer{}, page),
	})
}
