// Package azuretest is a loopback Azure Key Vault, as far as signing goes, with
// the authority that hands out its tokens and real keys. It follows the
// documentation of the service; it is not the service.
package azuretest

import (
	"crypto"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// What the authority knows at first.
const (
	Tenant = "11111111-2222-3333-4444-555555555555"
	Client = "66666666-7777-8888-9999-000000000000"
	Secret = "a-client-secret"
	// FederatedToken is what a workload exchanges for a token.
	FederatedToken = "a.workload.token"
	// IdentityHeader is what a managed identity shows.
	IdentityHeader = "a-managed-identity"
	resource       = "https://vault.azure.net"
)

// A Server is a loopback Azure Key Vault and authority. What Intercept sees of
// the vault's ("key", "sign") has a good token; it sees "token" too.
type Server struct {
	*loopback.Server
	made      loopback.Keys
	keys      map[string][]*version // by name, oldest first
	tokens    map[string]bool
	clients   map[string]crypto.PublicKey // by the thumbprint of their certificate
	secret    string
	challenge *string // nil: the usual one
}

// New starts a server, with HTTPS, that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Offline()
	s.StartTLS(tb)
	return s
}

// Offline returns a server without a network.
func Offline() *Server {
	s := &Server{keys: map[string][]*version{}, tokens: map[string]bool{}, clients: map[string]crypto.PublicKey{}, secret: Secret}
	s.Server = loopback.New(s.serve)
	return s
}

// CreateVersion adds a version to a key, which is made if need be, and returns
// its id. The kind is P-256, P-384 or RSA-2048, -3072, -4096.
func (s *Server) CreateVersion(tb testing.TB, name, kind string) string {
	tb.Helper()
	v := &version{id: loopback.ID(16), private: s.made.New(tb, kind), enabled: true, ops: []string{"sign", "verify"}}
	s.Do(func() { s.keys[name] = append(s.keys[name], v) })
	return v.id
}

// Replace puts a new key of the kind behind the newest version, which Azure
// never does.
func (s *Server) Replace(tb testing.TB, name, kind string) {
	tb.Helper()
	private := s.made.New(tb, kind)
	s.newest(name, func(v *version) { v.private = private })
}

// Disable disables the newest version.
func (s *Server) Disable(name string) { s.newest(name, func(v *version) { v.enabled = false }) }

// SetOperations says what the newest version may be used for.
func (s *Server) SetOperations(name string, ops ...string) {
	s.newest(name, func(v *version) { v.ops = ops })
}

// SetValidity says when the newest version is valid; zero times are no bounds.
func (s *Server) SetValidity(name string, from, until time.Time) {
	s.newest(name, func(v *version) { v.from, v.until = from, until })
}

func (s *Server) newest(name string, change func(*version)) {
	s.Do(func() { change(s.keys[name][len(s.keys[name])-1]) })
}

// SetChallenge replaces what requests without a token are told.
func (s *Server) SetChallenge(challenge string) { s.Do(func() { s.challenge = &challenge }) }

// ForgetTokens makes all tokens invalid that were handed out.
func (s *Server) ForgetTokens() { s.Do(func() { clear(s.tokens) }) }

// WriteError answers as Key Vault does; an empty inner code is left out.
func WriteError(w http.ResponseWriter, status int, code, inner, message string) {
	refused := map[string]any{"code": code, "message": message}
	if inner != "" {
		refused["innererror"] = map[string]any{"code": inner}
	}
	loopback.WriteJSON(w, status, map[string]any{"error": refused})
}

// Throttle answers that there were too many requests.
func Throttle(w http.ResponseWriter) {
	WriteError(w, http.StatusTooManyRequests, "Throttled", "", "Request was not processed because too many requests were received.")
}

var operations = []struct {
	op, method string
	path       *regexp.Regexp
}{
	{"key", http.MethodGet, regexp.MustCompile(`^/keys/([0-9A-Za-z-]+)/([0-9a-f]*)$`)},
	{"sign", http.MethodPost, regexp.MustCompile(`^/keys/([0-9A-Za-z-]+)/([0-9a-f]+)/sign$`)},
	{"discovery", http.MethodGet, regexp.MustCompile(`^/(` + Tenant + `)/v2.0/(\.well-known)/openid-configuration$`)},
	{"token", http.MethodPost, regexp.MustCompile(`^/(` + Tenant + `)/oauth2/(v2.0)/token$`)},
	{"managed", http.MethodGet, regexp.MustCompile(`^/(msi)/(token)$`)},
}

// A request is one that the API knows.
type request struct {
	op, name, version string
	body              []byte
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	for _, o := range operations {
		if match := o.path.FindStringSubmatch(r.URL.Path); match != nil && r.Method == o.method {
			s.answer(w, r, request{o.op, match[1], match[2], body})
			return
		}
	}
	http.NotFound(w, r)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, in request) {
	if (in.op == "key" || in.op == "sign") && !s.known(r) {
		w.Header().Set("WWW-Authenticate", s.challenging())
		WriteError(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	if s.Intercepted(in.op, w, r) {
		return
	}
	s.Do(func() {
		switch in.op {
		case "discovery":
			at := s.URL + "/" + Tenant
			loopback.WriteJSON(w, http.StatusOK, map[string]any{
				"issuer": at + "/v2.0", "authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token",
			})
		case "token":
			s.serveToken(w, in.body)
		case "managed":
			s.serveManaged(w, r)
		default:
			s.serveVault(w, r, in)
		}
	})
}

// known reports whether a request has a token.
func (s *Server) known(r *http.Request) (known bool) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.Do(func() { known = s.tokens[token] })
	return known
}

func (s *Server) challenging() string {
	challenge := fmt.Sprintf(`Bearer authorization="%s/%s", resource="%s"`, s.URL, Tenant, resource)
	s.Do(func() {
		if s.challenge != nil {
			challenge = *s.challenge
		}
	})
	return challenge
}

func (s *Server) serveVault(w http.ResponseWriter, r *http.Request, in request) {
	if r.URL.Query().Get("api-version") == "" {
		WriteError(w, http.StatusBadRequest, "BadParameter", "", "api-version must be specified")
		return
	}
	v := s.find(in.name, in.version)
	if v == nil {
		WriteError(w, http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) "+in.name+" was not found in this key vault.")
		return
	}
	kid := fmt.Sprintf("%s/keys/%s/%s", s.URL, in.name, v.id)
	answer := v.describe(kid)
	if in.op == "sign" {
		var refused *refusal
		if answer, refused = v.sign(kid, in.body); refused != nil {
			WriteError(w, refused.status, refused.code, refused.inner, refused.message)
			return
		}
	}
	s.Altered(in.op, answer)
	loopback.WriteJSON(w, http.StatusOK, answer)
}

// find returns the version with the id, or the newest.
func (s *Server) find(name, id string) *version {
	versions := s.keys[name]
	for i := range versions {
		if v := versions[len(versions)-1-i]; id == "" || v.id == id {
			return v
		}
	}
	return nil
}
