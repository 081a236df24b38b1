// Package alibabatest is a loopback server that follows Alibaba Cloud KMS's
// documented API as far as signing needs it: it checks the signatures of
// requests, has real keys, and answers with the documented errors.
package alibabatest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// What the server lets in. AccessKey is the public half; Secret is the secret
// one until SetSecret.
const (
	AccessKey = "LTAI5tExampleExampleExam"
	Secret    = "examplesecretexamplesecretexam"
)

// A Server is a KMS with keys of its own.
type Server struct {
	// URL is where it listens.
	URL string

	mu        sync.Mutex
	accepted  string // the secret
	keys      map[string]*key
	aliases   map[string]string
	nonces    map[string]bool
	intercept func(action string, w http.ResponseWriter, r *http.Request) bool
	lie       func(action string, answer map[string]any)
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{accepted: Secret, keys: map[string]*key{}, aliases: map[string]string{}, nonces: map[string]bool{}}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.URL = listener.URL
	return s
}

// AddKey makes an enabled key and returns its id. spec is RSA_2048, RSA_3072,
// EC_P256, EC_SM2 or Aliyun_AES_256.
func (s *Server) AddKey(t testing.TB, spec string) string {
	t.Helper()
	usage := "SIGN/VERIFY"
	if spec == "Aliyun_AES_256" {
		usage = "ENCRYPT/DECRYPT"
	}
	k := &key{id: "key-" + randomID(), spec: spec, state: "Enabled", usage: usage}
	s.mu.Lock()
	s.keys[k.id] = k
	s.mu.Unlock()
	s.Rotate(t, k.id)
	return k.id
}

// Rotate adds a version to a key and returns the version's id.
func (s *Server) Rotate(t testing.TB, id string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[id]
	pair, err := newPair(k.spec)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*len(k.versions)) // versions are a week apart
	k.versions = append(k.versions, version{id: id + "-" + randomID(), made: made, pair: pair})
	return k.versions[len(k.versions)-1].id
}

// Swap puts another key pair behind the newest version of a key.
func (s *Server) Swap(t testing.TB, id string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[id]
	pair, err := newPair(k.spec)
	if err != nil {
		t.Fatal(err)
	}
	k.versions[len(k.versions)-1].pair = pair
}

// SetState changes a key's state: Enabled, Disabled, PendingDeletion,
// PendingImport or Unavailable.
func (s *Server) SetState(id, state string) { s.change(func() { s.keys[id].state = state }) }

// SetPrimary names the primary version, which only some keys have.
func (s *Server) SetPrimary(id, version string) { s.change(func() { s.keys[id].primary = version }) }

// SetAlias binds alias/name to a key.
func (s *Server) SetAlias(name, id string) { s.change(func() { s.aliases["alias/"+name] = id }) }

// SetSecret changes the secret that is accepted.
func (s *Server) SetSecret(secret string) { s.change(func() { s.accepted = secret }) }

// Intercept lets f answer requests instead of the server, before they are
// authenticated; f returns false to leave one alone. Nil ends that.
func (s *Server) Intercept(f func(action string, w http.ResponseWriter, r *http.Request) bool) {
	s.change(func() { s.intercept = f })
}

// Lie lets f change what successful answers say. Nil ends that.
func (s *Server) Lie(f func(action string, answer map[string]any)) { s.change(func() { s.lie = f }) }

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Server) secret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

func (s *Server) fresh(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.nonces[nonce]
	s.nonces[nonce] = true
	return nonce != "" && !used
}

// A refusal is an error answer.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, message string) *refusal { return &refusal{status, code, message} }

// Refuse answers as KMS does when it refuses.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{
		"RequestId": randomID(), "HostId": "kms.cn-hangzhou.aliyuncs.com", "Code": code, "Message": message,
		"Recommend": "https://api.alibabacloud.com/troubleshoot?q=" + code,
	})
}

func write(w http.ResponseWriter, status int, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := r.Header.Get("X-Acs-Action")
	// Before all else: only when the body is read does the server see a client leave.
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(action, w, r) {
		return
	}
	if no := s.authenticate(r, body); no != nil {
		Refuse(w, no.status, no.code, no.message)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("X-Acs-Version") != "2016-01-20" {
		Refuse(w, http.StatusNotFound, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
		return
	}
	answer, no := s.act(action, r.URL.Query().Get)
	if no != nil {
		Refuse(w, no.status, no.code, no.message)
		return
	}
	answer["RequestId"] = randomID()
	write(w, http.StatusOK, answer)
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return fmt.Sprintf("%x", b)
}
