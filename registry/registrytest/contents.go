package registrytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Contents knows what a Server holds, so that a vendor's API that stands
// before it can list that. It learns it from the manifests that are written and
// deleted, and is safe for concurrent use.
type Contents struct {
	now func() time.Time

	mu           sync.Mutex
	numbers      int64 // given out
	repositories map[string]*holding
}

// A Manifest is one manifest of a repository, with what any vendor's listing
// says of it.
type Manifest struct {
	Number       int64 // of the Contents; each manifest has another, later ones a higher one
	Digest       v1.Hash
	MediaType    string
	ArtifactType string // the manifest's own; "" if it says none
	ConfigType   string // media type of the config; "" for an index
	Size         int64  // of the manifest, in bytes
	ImageSize    int64  // of the manifest, its config and its layers, in bytes
	Pushed       time.Time
	Tags         []string  // sorted
	Children     []v1.Hash // of an index, in its order
	Subject      v1.Hash   // zero if it refers to none
	Raw          []byte
}

// IsIndex reports whether the manifest is an index.
func (m Manifest) IsIndex() bool {
	return m.MediaType == mediaIndex || m.MediaType == mediaDockerList
}

// A holding is what one repository has.
type holding struct {
	manifests []Manifest        // in the order they came first; Tags is not kept here
	has       map[string]bool   // digests
	tags      map[string]string // to digests
	set       map[string]time.Time
	listed    []Manifest // manifests with their tags; nil if that has to be made anew
}

// Watch returns what s holds from now on. It is called before anything is
// written to s. A deleted manifest takes its tags along, also where the registry
// behind s would leave them.
func Watch(t testing.TB, s *Server) *Contents {
	t.Helper()
	c := &Contents{now: time.Now, repositories: map[string]*holding{}}
	s.handler = c.watch(s.handler)
	return c
}

// Repositories returns the names of the repositories to which a manifest was
// ever written, sorted.
func (c *Contents) Repositories() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.repositories))
}

// Has reports whether a manifest was ever written to the repository.
func (c *Contents) Has(repository string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.repositories[repository] != nil
}

// Manifests returns the manifests of a repository in the order they came, the
// first first. The caller must not change what it gets.
func (c *Contents) Manifests(repository string) []Manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.repositories[repository]
	if h == nil {
		return nil
	}
	if h.listed == nil {
		tags := map[string][]string{}
		for _, tag := range slices.Sorted(maps.Keys(h.tags)) {
			tags[h.tags[tag]] = append(tags[h.tags[tag]], tag)
		}
		h.listed = slices.Clone(h.manifests)
		for i := range h.listed {
			h.listed[i].Tags = tags[h.listed[i].Digest.String()]
		}
	}
	return h.listed
}

// Tags returns the tags of a repository and the digests they name. The caller
// may change what it gets.
func (c *Contents) Tags(repository string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.repositories[repository]; h != nil {
		return maps.Clone(h.tags)
	}
	return nil
}

// TagSet returns when a tag began to name what it names. It is zero for one that
// is not there.
func (c *Contents) TagSet(repository, tag string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.repositories[repository]; h != nil && h.tags[tag] != "" {
		return h.set[tag]
	}
	return time.Time{}
}

func (c *Contents) watch(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, kind, ref := split(r.URL.Path)
		if kind != "manifests" || r.Method != http.MethodPut && r.Method != http.MethodDelete {
			inner.ServeHTTP(w, r)
			return
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		inner.ServeHTTP(answer, r)
		switch {
		case answer.status >= http.StatusMultipleChoices:
		case r.Method == http.MethodPut:
			c.put(repository, ref, r.Header.Get("Content-Type"), raw)
		default:
			for _, tag := range c.remove(repository, ref) {
				also := r.Clone(r.Context())
				also.URL.Path = "/v2/" + repository + "/manifests/" + tag
				inner.ServeHTTP(httptest.NewRecorder(), also)
			}
		}
	})
}

// A statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (c *Contents) put(repository, ref, mediaType string, raw []byte) {
	m := describe(mediaType, raw)
	if digest, err := v1.NewHash(ref); err == nil {
		m.Digest = digest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.repositories[repository]
	if h == nil {
		h = &holding{has: map[string]bool{}, tags: map[string]string{}, set: map[string]time.Time{}}
		c.repositories[repository] = h
	}
	h.listed = nil
	if digest := m.Digest.String(); !h.has[digest] {
		c.numbers++
		m.Number, m.Pushed, h.has[digest] = c.numbers, c.now(), true
		h.manifests = append(h.manifests, m)
	}
	if digest := m.Digest.String(); !strings.Contains(ref, ":") && h.tags[ref] != digest {
		h.tags[ref], h.set[ref] = digest, c.now()
	}
}

// remove forgets a tag, or a manifest with its tags, which it returns.
func (c *Contents) remove(repository, ref string) (tags []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.repositories[repository]
	if h == nil {
		return nil
	}
	h.listed = nil
	if !strings.Contains(ref, ":") {
		delete(h.tags, ref)
		return nil
	}
	delete(h.has, ref)
	h.manifests = slices.DeleteFunc(h.manifests, func(m Manifest) bool { return m.Digest.String() == ref })
	for tag, digest := range h.tags {
		if digest == ref {
			delete(h.tags, tag)
			tags = append(tags, tag)
		}
	}
	return tags
}

// describe returns what raw says of itself, by its SHA-256.
func describe(mediaType string, raw []byte) Manifest {
	var said struct {
		MediaType    string       `json:"mediaType"`
		ArtifactType string       `json:"artifactType"`
		Config       descriptor   `json:"config"`
		Layers       []descriptor `json:"layers"`
		Manifests    []descriptor `json:"manifests"`
		Subject      descriptor   `json:"subject"`
	}
	_ = json.Unmarshal(raw, &said) // what is no JSON says nothing
	sum := sha256.Sum256(raw)
	m := Manifest{
		Digest:       v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
		MediaType:    mediaType,
		ArtifactType: said.ArtifactType,
		ConfigType:   said.Config.MediaType,
		Size:         int64(len(raw)),
		ImageSize:    int64(len(raw) + said.Config.Size),
		Raw:          raw,
	}
	if m.MediaType == "" {
		m.MediaType = said.MediaType
	}
	for _, layer := range said.Layers {
		m.ImageSize += int64(layer.Size)
	}
	for _, child := range said.Manifests {
		if digest, err := v1.NewHash(child.Digest); err == nil {
			m.Children = append(m.Children, digest)
		}
	}
	if subject, err := v1.NewHash(said.Subject.Digest); err == nil {
		m.Subject = subject
	}
	return m
}
