// Package gcptest is a loopback Google Cloud KMS, as far as signing goes: its
// REST API, a token endpoint that checks the assertions of service accounts, a
// metadata server, and real keys. It follows the documentation of the service;
// it is not the service.
package gcptest

import (
	"crypto"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// KeyRing is where keys are.
const KeyRing = "projects/acme-prod/locations/europe-west3/keyRings/signing"

// Numbers of the API.
const (
	Enabled          = 1
	Disabled         = 2
	DestroyScheduled = 4
)

// A Server is a loopback Google Cloud KMS. What Intercept sees has a good token;
// it sees requests for tokens too ("token", "metadata").
type Server struct {
	*loopback.Server
	// PageSize bounds pages of versions.
	PageSize int

	made     loopback.Keys
	versions map[string]*version // by resource name
	accounts map[string]account  // by private key id
	tokens   map[string]bool
	metadata bool
}

// New starts a server that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Offline()
	s.Start(tb)
	return s
}

// Offline returns a server without a network.
func Offline() *Server {
	s := &Server{PageSize: 2, versions: map[string]*version{}, accounts: map[string]account{}, tokens: map[string]bool{}}
	s.Server = loopback.New(s.serve)
	return s
}

// A version is a version of a key.
type version struct {
	private   crypto.Signer
	algorithm string
	state     int
}

// CreateVersion adds the next version to a key, which is made if need be, and
// returns its resource name. The algorithm is Google's word, for instance
// EC_SIGN_P256_SHA256.
func (s *Server) CreateVersion(tb testing.TB, key, algorithm string) (name string) {
	tb.Helper()
	private := s.made.New(tb, kindOf(algorithm))
	s.Do(func() {
		parent := KeyRing + "/cryptoKeys/" + key
		name = fmt.Sprintf("%s/cryptoKeyVersions/%d", parent, len(s.of(parent))+1)
		s.versions[name] = &version{private, algorithm, Enabled}
	})
	return name
}

// Replace puts a new key behind a version, which Google never does.
func (s *Server) Replace(tb testing.TB, name string) {
	tb.Helper()
	s.Do(func() { s.versions[name].private = s.made.New(tb, kindOf(s.versions[name].algorithm)) })
}

// SetState puts a version into a state.
func (s *Server) SetState(name string, state int) { s.Do(func() { s.versions[name].state = state }) }

// ServeMetadata switches the metadata server on.
func (s *Server) ServeMetadata() { s.Do(func() { s.metadata = true }) }

// ForgetTokens makes all tokens invalid that were handed out.
func (s *Server) ForgetTokens() { s.Do(func() { clear(s.tokens) }) }

// WriteError answers as Google's REST APIs do.
func WriteError(w http.ResponseWriter, code int, status, message string) {
	loopback.WriteJSON(w, code, map[string]any{"error": map[string]any{"code": code, "message": message, "status": status}})
}

// Throttle answers that there were too many requests.
func Throttle(w http.ResponseWriter) {
	WriteError(w, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Asymmetric cryptographic requests'.")
}

// operations are the REST paths of what a signer needs.
var operations = []struct {
	op, method string
	path       *regexp.Regexp
}{
	{"AsymmetricSign", http.MethodPost, regexp.MustCompile(`^/v1/(projects/.+/cryptoKeyVersions/\d+):asymmetricSign$`)},
	{"GetPublicKey", http.MethodGet, regexp.MustCompile(`^/v1/(projects/.+/cryptoKeyVersions/\d+)/publicKey$`)},
	{"GetCryptoKeyVersion", http.MethodGet, regexp.MustCompile(`^/v1/(projects/.+/cryptoKeyVersions/\d+)$`)},
	{"ListCryptoKeyVersions", http.MethodGet, regexp.MustCompile(`^/v1/(projects/.+/cryptoKeys/[^/]+)/cryptoKeyVersions$`)},
	{"token", http.MethodPost, regexp.MustCompile(`^(/token)$`)},
	{"metadata", http.MethodGet, regexp.MustCompile(`^(/computeMetadata/v1/instance/service-accounts/default/token)$`)},
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	for _, o := range operations {
		if match := o.path.FindStringSubmatch(r.URL.Path); match != nil && r.Method == o.method {
			s.admit(w, r, request{o.op, match[1], r.URL.Query(), body})
			return
		}
	}
	http.NotFound(w, r)
}

// A request is one that the API knows.
type request struct {
	op, name string
	query    map[string][]string
	body     []byte
}

func (s *Server) admit(w http.ResponseWriter, r *http.Request, in request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	known := in.op == "token" || in.op == "metadata"
	s.Do(func() { known = known || s.tokens[token] })
	if !known {
		WriteError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token.")
		return
	}
	if s.Intercepted(in.op, w, r) {
		return
	}
	s.Do(func() {
		switch in.op {
		case "token":
			s.serveToken(w, in.body)
			return
		case "metadata":
			s.serveMetadata(w, r)
			return
		}
		answer, refused := s.answer(in)
		if refused != nil {
			WriteError(w, refused.code, refused.status, refused.message)
			return
		}
		s.Altered(in.op, answer)
		loopback.WriteJSON(w, http.StatusOK, answer)
	})
}

type refusal struct {
	code            int
	status, message string
}

func (s *Server) answer(in request) (map[string]any, *refusal) {
	if in.op == "ListCryptoKeyVersions" {
		return s.list(in)
	}
	v := s.versions[in.name]
	if v == nil {
		return nil, &refusal{http.StatusNotFound, "NOT_FOUND", "CryptoKeyVersion " + in.name + " not found."}
	}
	switch {
	case in.op == "GetCryptoKeyVersion":
		return v.describe(in.name), nil
	case v.state != Enabled:
		return nil, &refusal{http.StatusBadRequest, "FAILED_PRECONDITION", in.name + " is not enabled, current state is: DISABLED."}
	case in.op == "GetPublicKey":
		return v.publicKey(in.name)
	}
	return v.sign(in)
}

// of returns the names of a key's versions, oldest first.
func (s *Server) of(parent string) []string {
	var names []string
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s/cryptoKeyVersions/%d", parent, i)
		if s.versions[name] == nil {
			return names
		}
		names = append(names, name)
	}
}

// list answers page by page, in the order of text: 1, 10, 11, 2.
func (s *Server) list(in request) (map[string]any, *refusal) {
	names := s.of(in.name)
	if len(names) == 0 {
		return nil, &refusal{http.StatusNotFound, "NOT_FOUND", "CryptoKey " + in.name + " not found."}
	}
	slices.Sort(names)
	filter := strings.Join(in.query["filter"], "")
	if filter != "" && filter != "state=ENABLED" {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid filter."}
	}
	var all []map[string]any
	for _, name := range names {
		if v := s.versions[name]; filter == "" || v.state == Enabled {
			all = append(all, v.describe(name))
		}
	}
	start, _ := strconv.Atoi(strings.Join(in.query["pageToken"], "")) // none is 0
	end := min(start+s.PageSize, len(all))
	answer := map[string]any{"cryptoKeyVersions": all[min(start, end):end], "totalSize": len(all)}
	if end < len(all) {
		answer["nextPageToken"] = strconv.Itoa(end)
	}
	return answer, nil
}
