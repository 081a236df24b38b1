// Package huaweitest is Huawei Cloud KMS on loopback: it has real keys, checks
// the signature of every request as the documentation says, and answers faults
// with the words of the real one. What it knows of the real one is in
// docs/keys/huawei.md; nothing of the client under test is used in it.
package huaweitest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// lockAfter is how many wrong signatures in a row lock an access key.
const lockAfter = 5

// maxRequest bounds a request that is read, in bytes.
const maxRequest = 64 << 10

// States of a key, as key_state says them.
const (
	Enabled         = "2"
	Disabled        = "3"
	PendingDeletion = "4"
)

// A Server is the key store of one project. It is safe for concurrent use.
type Server struct {
	URL       string // of the endpoint
	Project   string // id of the only project
	AccessKey string // of the only user at first
	SecretKey string // of the only user at first

	http      *httptest.Server
	mu        sync.Mutex
	keys      map[string]*key
	aliases   map[string]string // alias/NAME to id
	secrets   map[string]string // access key to secret key
	wrong     map[string]int    // access key to wrong signatures in a row
	ahead     time.Duration     // of the server's clock
	bend      func(*Signing)
	intercept func(operation string, w http.ResponseWriter, r *http.Request) bool
}

// A Signing is a signature that is about to be made and that a test may bend.
type Signing struct {
	Key       string // id of the key that signs
	Algorithm string // how
	Answered  string // id of the key that the answer names
}

// New starts a server without keys. The caller closes it.
func New() *Server {
	s := &Server{
		Project:   token(16),
		AccessKey: strings.ToUpper(token(10)),
		SecretKey: token(20),
		keys:      map[string]*key{},
		aliases:   map[string]string{},
		wrong:     map[string]int{},
	}
	s.secrets = map[string]string{s.AccessKey: s.SecretKey}
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s
}

// Close stops the server.
func (s *Server) Close() { s.http.Close() }

// AddKey makes a key of a key_spec and returns its id. A key_spec without a
// signing key, like AES_256, makes a key that encrypts.
func (s *Server) AddKey(spec string) (string, error) {
	k := &key{id: uuid(), spec: spec, usage: "SIGN_VERIFY", state: Enabled}
	if spec == "AES_256" {
		k.usage = "ENCRYPT_DECRYPT"
	} else {
		var err error
		if k.private, err = generate(spec); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
	return k.id, nil
}

// SetAlias makes alias/NAME mean the key id.
func (s *Server) SetAlias(alias, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[alias] = id
}

// SetState changes the key_state of a key.
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
	private, err := generate(was.spec)
	s.keys[id] = &key{id, was.spec, was.usage, was.state, private}
	return err
}

// SetSecret changes the secret key of the user.
func (s *Server) SetSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[s.AccessKey] = secret
}

// SetClock puts the server's clock ahead of the real one.
func (s *Server) SetClock(ahead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = ahead
}

// Intercept lets a test answer requests, which are named "sign", "get-publickey", "describe-key", instead of
// the store: those for which intercept returns true. Several requests can be
// intercepted at once.
func (s *Server) Intercept(intercept func(operation string, w http.ResponseWriter, r *http.Request) bool) {
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

// Refuse answers as KMS itself refuses.
func Refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		write(w, status, map[string]any{"error": map[string]string{"error_code": code, "error_msg": message}})
	}
}

// RefuseAtGate answers as the API gateway before KMS refuses.
func RefuseAtGate(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		write(w, status, map[string]string{"error_code": code, "error_msg": message, "request_id": token(16)})
	}
}

// Throttle answers as the API gateway does above its limit.
func Throttle() http.HandlerFunc {
	return RefuseAtGate(http.StatusTooManyRequests, "APIGW.0308", "The throttling threshold has been reached: policy user over ratelimit")
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the client is gone
	}
	operation := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(operation, w, r) {
		return
	}
	if err := s.authenticate(r, body); err != nil {
		RefuseAtGate(http.StatusUnauthorized, "APIGW.0301", "Incorrect IAM authentication information: "+err.Error())(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1.0/"+s.Project+"/kms/"+operation || r.Header.Get("X-Project-Id") != s.Project {
		RefuseAtGate(http.StatusNotFound, "APIGW.0101", "The API does not exist or has not been published in the environment")(w, r)
		return
	}
	s.serve(w, r, operation, body)
}

func (s *Server) authenticate(r *http.Request, body []byte) error {
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, known := s.secrets[a.access]
	switch {
	case !known:
		return fmt.Errorf("Get secretKey failed,ak:%s,err:ak not exist", a.access) //nolint:staticcheck // the store's words
	case s.wrong[a.access] >= lockAfter:
		return errors.New("AK access failed to reach the limit,forbidden")
	}
	if err := a.check(r, body, secret, time.Now().Add(s.ahead)); err != nil {
		s.wrong[a.access]++
		return err
	}
	s.wrong[a.access] = 0
	return nil
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client sees what is missing
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
