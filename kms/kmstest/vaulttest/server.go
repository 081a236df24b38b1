// Package vaulttest is a server that speaks what kms uses of the API of Vault
// and OpenBao: the transit engine's keys, signatures and decryption, logins by AppRole and
// Kubernetes, renewal of tokens, namespaces. Keys are real, tokens and leases
// are checked, and refusals have the words of the real servers. Faults can be
// injected.
package vaulttest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// A Server answers for Vault. Its exported fields are set before it gets its
// first request. What Intercept sees ("login", "renew", "keys", "sign", "decrypt") need not
// have a good token.
type Server struct {
	*loopback.Server
	// Token is a token that never expires.
	Token string
	// Namespace is the only one there is. Default: the root, which has no name.
	Namespace string

	made    loopback.Keys
	keys    map[string]*key // by MOUNT/NAME
	tokens  map[string]*token
	logins  []login
	bend    func(*Output)
	batches []int
}

// New starts a server with no keys that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Offline()
	s.Start(tb)
	return s
}

// Offline returns a server without a network.
func Offline() *Server {
	s := &Server{Token: "hvs." + rand.Text(), keys: map[string]*key{}, tokens: map[string]*token{}}
	s.tokens[s.Token] = &token{}
	s.Server = loopback.New(s.serve)
	return s
}

// Bend has f change every result of a signature. Nil ends that.
func (s *Server) Bend(f func(*Output)) { s.Do(func() { s.bend = f }) }

// Batches returns how many digests each request for signatures had, in the
// order of the answers.
func (s *Server) Batches() (sizes []int) {
	s.Do(func() { sizes = slices.Clone(s.batches) })
	return sizes
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if s.Intercepted(operationOf(r), w, r) {
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case !ok, r.Header.Get("X-Vault-Request") != "true":
		Fail(w, http.StatusBadRequest, "the X-Vault-Request header or /v1/ is missing")
	case r.Header.Get("X-Vault-Namespace") != s.Namespace:
		Fail(w, http.StatusNotFound, "no handler for route \""+path+"\". route entry not found.")
	case strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login"):
		s.Do(func() { s.serveLogin(w, r, path, body) })
	default:
		s.Do(func() { s.serveKnown(w, r, path, body) })
	}
}

// serveKnown serves those who have a token.
func (s *Server) serveKnown(w http.ResponseWriter, r *http.Request, path string, body []byte) {
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
		s.sign(w, body, mount, strings.TrimPrefix(rest, "sign/"))
	case r.Method == http.MethodPost && strings.HasPrefix(rest, "decrypt/"):
		s.decrypt(w, body, mount+"/"+strings.TrimPrefix(rest, "decrypt/"))
	default:
		Fail(w, http.StatusNotFound, "no handler for route \""+path+"\". route entry not found.")
	}
}

func operationOf(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.URL.Path, "/login"):
		return "login"
	case strings.HasSuffix(r.URL.Path, "/renew-self"):
		return "renew"
	case strings.Contains(r.URL.Path, "/sign/"):
		return "sign"
	case strings.Contains(r.URL.Path, "/decrypt/"):
		return "decrypt"
	}
	return "keys"
}

// cutMount finds the engine's mount: what is before its first path.
func cutMount(path string) (mount, rest string) {
	for _, verb := range []string{"/keys/", "/sign/", "/decrypt/"} {
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
	loopback.WriteJSON(w, status, map[string]any{"errors": words})
}

func succeed(w http.ResponseWriter, field string, value any) {
	loopback.WriteJSON(w, http.StatusOK, map[string]any{"request_id": rand.Text(), "lease_id": "", "warnings": nil, field: value})
}
