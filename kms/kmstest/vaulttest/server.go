// Package vaulttest is a server that speaks what kms uses of the API of Vault
// and OpenBao: the transit engine's keys and signatures, logins by AppRole and
// Kubernetes, renewal of tokens, namespaces. Keys are real, tokens and leases
// are checked, and refusals have the words of the real servers. Faults can be
// injected.
package vaulttest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxBody bounds a request, in bytes. The real servers allow 32 MiB.
const maxBody = 1 << 20

// A Server is safe for concurrent use. Its exported fields are set before it
// gets its first request.
type Server struct {
	// Token is a token that never expires.
	Token string
	// Namespace is the only one there is. Default: the root, which has no name.
	Namespace string

	mu        sync.Mutex
	keys      map[string]*key // by MOUNT/NAME
	tokens    map[string]*token
	logins    []login
	intercept func(http.ResponseWriter, *http.Request) bool
	alter     func(*Output)
	batches   []int
}

// New returns a server with no keys.
func New() *Server {
	s := &Server{Token: "hvs." + rand.Text(), keys: map[string]*key{}, tokens: map[string]*token{}}
	s.tokens[s.Token] = &token{}
	return s
}

// Start serves on a loopback port until the test ends, and returns the URL.
func (s *Server) Start(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// RoundTrip serves a request without a network, in the caller's goroutine: what
// a test in synctest's time needs. An interceptor that panics with
// http.ErrAbortHandler breaks the connection.
func (s *Server) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, fmt.Errorf("connection reset: %v", p)
		}
	}()
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

// Intercept has f see every request first. If it returns true, it has answered.
// Nil ends that.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Alter has f change every result of a signature. Nil ends that.
func (s *Server) Alter(f func(*Output)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alter = f
}

// Batches returns how many digests each request for signatures had, in the
// order of the answers.
func (s *Server) Batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.batches...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A server notices that a client has left only once the body is read, and
	// some interceptors wait for that.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		Fail(w, http.StatusRequestEntityTooLarge, "http: request body too large")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case !ok, r.Header.Get("X-Vault-Request") != "true":
		Fail(w, http.StatusBadRequest, "the X-Vault-Request header or /v1/ is missing")
	case r.Header.Get("X-Vault-Namespace") != s.Namespace:
		Fail(w, http.StatusNotFound, "no handler for route \""+path+"\". route entry not found.")
	case strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login"):
		s.serveLogin(w, r, path)
	default:
		s.serveKnown(w, r, path)
	}
}

// serveKnown serves those who have a token.
func (s *Server) serveKnown(w http.ResponseWriter, r *http.Request, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	token, ok := s.tokens[r.Header.Get("X-Vault-Token")]
	if !ok || !token.expires.IsZero() && !now.Before(token.expires) {
		Fail(w, http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		return
	}
	if path == "auth/token/renew-self" {
		s.renew(w, r, token)
		return
	}
	if token.denied {
		Fail(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
		return
	}
	mount, rest := cutMount(path)
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(rest, "keys/"):
		s.describe(w, mount+"/"+strings.TrimPrefix(rest, "keys/"))
	case r.Method == http.MethodPost && strings.HasPrefix(rest, "sign/"):
		s.sign(w, r, mount, strings.TrimPrefix(rest, "sign/"))
	default:
		Fail(w, http.StatusNotFound, "no handler for route \""+path+"\". route entry not found.")
	}
}

// cutMount finds the engine's mount: what is before its first path.
func cutMount(path string) (mount, rest string) {
	for _, verb := range []string{"/keys/", "/sign/"} {
		if before, after, ok := strings.Cut(path, verb); ok {
			return before, strings.Trim(verb, "/") + "/" + after
		}
	}
	return "", path
}

// Fail answers an error as the real servers do.
func Fail(w http.ResponseWriter, status int, words ...string) {
	if words == nil {
		words = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, map[string]any{"errors": words})
}

func succeed(w http.ResponseWriter, field string, value any) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, map[string]any{"request_id": rand.Text(), "lease_id": "", "warnings": nil, field: value})
}

func writeJSON(w http.ResponseWriter, value any) {
	_ = json.NewEncoder(w).Encode(value) // the client has left: nobody to be told
}
