// Package tencenttest is Tencent Cloud KMS on loopback: it has real keys,
// checks the signature of every request as the documentation says, and answers
// faults with the words of the real one. What it knows of the real one is in
// docs/keys/tencent.md; nothing of the client under test is used in it.
package tencenttest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// maxRequest bounds a request that is read, in bytes.
const maxRequest = 64 << 10

// States of a key, as KeyState says them.
const (
	Enabled       = "Enabled"
	Disabled      = "Disabled"
	PendingDelete = "PendingDelete"
	Archived      = "Archived"
)

// A Server is the key store of one account in one region. It is safe for
// concurrent use.
type Server struct {
	URL       string // of the endpoint
	Region    string // the only one
	SecretID  string // of the only user
	SecretKey string // of the only user at first

	http      *httptest.Server
	mu        sync.Mutex
	keys      map[string]*key
	secret    string
	ahead     time.Duration // of the server's clock
	bend      func(*Signing)
	intercept func(action string, w http.ResponseWriter, r *http.Request) bool
}

// A Signing is a signature that is about to be made and that a test may bend.
type Signing struct {
	Key       string // id of the key that signs
	Algorithm string // how
}

// New starts a server without keys. The caller closes it.
func New() *Server {
	s := &Server{
		Region:    "ap-guangzhou",
		SecretID:  "AKID" + token(16),
		SecretKey: token(16),
		keys:      map[string]*key{},
	}
	s.secret = s.SecretKey
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s
}

// Close stops the server.
func (s *Server) Close() { s.http.Close() }

// AddKey makes a key for a KeyUsage and returns its id.
func (s *Server) AddKey(usage string) (string, error) {
	private, err := generate(usage)
	if err != nil {
		return "", err
	}
	k := &key{id: uuid(), usage: usage, state: Enabled, private: private}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
	return k.id, nil
}

// SetState changes the KeyState of a key.
func (s *Server) SetState(id, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id].state = state
}

// Swap puts another key behind the id of a key, which the real store never does.
func (s *Server) Swap(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.keys[id]
	private, err := generate(was.usage)
	s.keys[id] = &key{id, was.usage, was.state, private}
	return err
}

// SetSecret changes the secret key of the user.
func (s *Server) SetSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// SetClock puts the server's clock ahead of the real one.
func (s *Server) SetClock(ahead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = ahead
}

// Intercept lets a test answer requests, which are named "SignByAsymmetricKey", "GetPublicKey", "DescribeKey", instead of
// the store: those for which intercept returns true. Several requests can be
// intercepted at once.
func (s *Server) Intercept(intercept func(action string, w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = intercept
}

// Bend lets a test change every signature that is made.
func (s *Server) Bend(change func(*Signing)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bend = change
}

// Refuse answers as the API refuses: with status 200.
func Refuse(code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{"Error": map[string]string{"Code": code, "Message": message}})
	}
}

// Throttle answers as the API does above its limit.
func Throttle() http.HandlerFunc {
	return Refuse("RequestLimitExceeded", "Your current request times equals to `101` in a second, which exceeds the frequency limit `100` for a second.")
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the client is gone
	}
	action := r.Header.Get("X-TC-Action")
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(action, w, r) {
		return
	}
	out, err := s.answer(r, action, body)
	var told *apiError
	switch {
	case errors.As(err, &told):
		Refuse(told.code, told.message)(w, r)
	case err != nil:
		Refuse("InternalError", "An internal error has occurred.")(w, r)
	default:
		write(w, out)
	}
}

func (s *Server) answer(r *http.Request, action string, body []byte) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	if a.id != s.SecretID {
		return nil, &apiError{"AuthFailure.SecretIdNotFound", "The SecretId is not found, please ensure that your SecretId is correct."}
	}
	if err := a.check(r, body, s.secret, time.Now().Add(s.ahead)); err != nil {
		return nil, err
	}
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/json":
		return nil, &apiError{"UnsupportedProtocol", "The request protocol is not supported."}
	case r.Header.Get("X-TC-Version") != "2019-01-18":
		return nil, &apiError{"NoSuchVersion", "The API version is not found."}
	case r.Header.Get("X-TC-Region") != s.Region:
		return nil, &apiError{"UnsupportedRegion", "The region is not supported by the API."}
	}
	return s.act(action, body)
}

// write wraps an answer in the envelope.
func write(w http.ResponseWriter, out map[string]any) {
	out["RequestId"] = uuid()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"Response": out}) // the client sees what is missing
}

func token(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func uuid() string {
	t := token(16)
	return strings.Join([]string{t[:8], t[8:12], t[12:16], t[16:20], t[20:]}, "-")
}
