// Package huaweitest is Huawei Cloud KMS on loopback: it has real keys, checks
// the signature of every request as the documentation says, and answers faults
// with the words of the real one. What it knows of the real one is in
// docs/keys/huawei.md; nothing of the client under test is used in it.
package huaweitest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// lockAfter is how many wrong signatures in a row lock an access key.
const lockAfter = 5

// States of a key, as key_state says them.
const (
	Enabled         = "2"
	Disabled        = "3"
	PendingDeletion = "4"
)

// A Server is the key store of one project. What Intercept sees ("sign",
// "get-publickey", "describe-key") need not be signed well.
type Server struct {
	*loopback.Server
	Project   string // id of the only project
	AccessKey string // of the only user at first
	SecretKey string // of the only user at first

	made    loopback.Keys
	keys    map[string]*key
	aliases map[string]string // alias/NAME to id
	secrets map[string]string // access key to secret key
	wrong   map[string]int    // access key to wrong signatures in a row
	ahead   time.Duration     // of the server's clock
	bend    func(*Signing)
}

// A Signing is a signature that is about to be made and that a test may bend.
type Signing struct {
	Key       string // id of the key that signs
	Algorithm string // how
	Answered  string // id of the key that the answer names
}

// New starts a server without keys that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Offline()
	s.Start(tb)
	return s
}

// Offline returns a server without a network.
func Offline() *Server {
	s := &Server{
		Project:   loopback.ID(16),
		AccessKey: strings.ToUpper(loopback.ID(10)),
		SecretKey: loopback.ID(20),
		keys:      map[string]*key{},
		aliases:   map[string]string{},
		wrong:     map[string]int{},
	}
	s.secrets = map[string]string{s.AccessKey: s.SecretKey}
	s.Server = loopback.New(s.serve)
	return s
}

// CreateKey makes a key of a key_spec and returns its id. A key_spec without a
// signing key, like AES_256, makes a key that encrypts.
func (s *Server) CreateKey(tb testing.TB, spec string) string {
	tb.Helper()
	k := &key{id: loopback.UUID(), spec: spec, usage: "SIGN_VERIFY", state: Enabled}
	if spec == "AES_256" {
		k.usage = "ENCRYPT_DECRYPT"
	} else {
		k.private = s.made.New(tb, kindOf(spec))
	}
	s.Do(func() { s.keys[k.id] = k })
	return k.id
}

// SetAlias makes alias/NAME mean the key id.
func (s *Server) SetAlias(alias, id string) { s.Do(func() { s.aliases[alias] = id }) }

// SetState changes the key_state of a key.
func (s *Server) SetState(id, state string) { s.Do(func() { s.keys[id].state = state }) }

// Replace puts another key behind the id of a key, which the real store never
// does.
func (s *Server) Replace(tb testing.TB, id string) {
	tb.Helper()
	s.Do(func() { s.keys[id].private = s.made.New(tb, kindOf(s.keys[id].spec)) })
}

// SetSecret changes the secret key of the user.
func (s *Server) SetSecret(secret string) { s.Do(func() { s.secrets[s.AccessKey] = secret }) }

// SetClock puts the server's clock ahead of the real one.
func (s *Server) SetClock(ahead time.Duration) { s.Do(func() { s.ahead = ahead }) }

// Bend lets a test change every signature that is made.
func (s *Server) Bend(change func(*Signing)) { s.Do(func() { s.bend = change }) }

// Refuse answers as KMS itself refuses.
func Refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		loopback.WriteJSON(w, status, map[string]any{"error": map[string]string{"error_code": code, "error_msg": message}})
	}
}

// RefuseAtGate answers as the API gateway before KMS refuses.
func RefuseAtGate(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		loopback.WriteJSON(w, status, map[string]string{"error_code": code, "error_msg": message, "request_id": loopback.ID(16)})
	}
}

// Throttle answers as the API gateway does above its limit.
func Throttle() http.HandlerFunc {
	return RefuseAtGate(http.StatusTooManyRequests, "APIGW.0308", "The throttling threshold has been reached: policy user over ratelimit")
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	operation := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if s.Intercepted(operation, w, r) {
		return
	}
	var denied error
	s.Do(func() { denied = s.authenticate(r, body) })
	if denied != nil {
		RefuseAtGate(http.StatusUnauthorized, "APIGW.0301", "Incorrect IAM authentication information: "+denied.Error())(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1.0/"+s.Project+"/kms/"+operation || r.Header.Get("X-Project-Id") != s.Project {
		RefuseAtGate(http.StatusNotFound, "APIGW.0101", "The API does not exist or has not been published in the environment")(w, r)
		return
	}
	s.answer(w, r, operation, body)
}

func (s *Server) authenticate(r *http.Request, body []byte) error {
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
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
