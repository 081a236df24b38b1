// Package tencenttest is Tencent Cloud KMS on loopback: it has real keys,
// checks the signature of every request as the documentation says, and answers
// faults with the words of the real one. What it knows of the real one is in
// docs/keys/tencent.md; nothing of the client under test is used in it.
package tencenttest

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// States of a key, as KeyState says them.
const (
	Enabled       = "Enabled"
	Disabled      = "Disabled"
	PendingDelete = "PendingDelete"
	Archived      = "Archived"
)

// A Server is the key store of one account in one region. What Intercept sees
// ("SignByAsymmetricKey", "GetPublicKey", "DescribeKey") need not be signed well.
type Server struct {
	*loopback.Server
	Region    string // the only one
	SecretID  string // of the only user
	SecretKey string // of the only user at first

	made   loopback.Keys
	keys   map[string]*key
	secret string
	ahead  time.Duration // of the server's clock
	bend   func(*Signing)
}

// A Signing is a signature that is about to be made and that a test may bend.
type Signing struct {
	Key       string // id of the key that signs
	Algorithm string // how
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
	s := &Server{Region: "ap-guangzhou", SecretID: "AKID" + loopback.ID(16), SecretKey: loopback.ID(16), keys: map[string]*key{}}
	s.secret = s.SecretKey
	s.Server = loopback.New(s.serve)
	return s
}

// CreateKey makes a key for a KeyUsage and returns its id.
func (s *Server) CreateKey(tb testing.TB, usage string) string {
	tb.Helper()
	k := &key{id: loopback.UUID(), usage: usage, state: Enabled}
	if usage != Encrypt {
		k.private = s.made.New(tb, kindOf(usage))
	}
	s.Do(func() { s.keys[k.id] = k })
	return k.id
}

// SetState changes the KeyState of a key.
func (s *Server) SetState(id, state string) { s.Do(func() { s.keys[id].state = state }) }

// Replace puts another key behind the id of a key, which the real store never
// does.
func (s *Server) Replace(tb testing.TB, id string) {
	tb.Helper()
	s.Do(func() { s.keys[id].private = s.made.New(tb, kindOf(s.keys[id].usage)) })
}

// SetSecret changes the secret key of the user.
func (s *Server) SetSecret(secret string) { s.Do(func() { s.secret = secret }) }

// SetClock puts the server's clock ahead of the real one.
func (s *Server) SetClock(ahead time.Duration) { s.Do(func() { s.ahead = ahead }) }

// Bend lets a test change every signature that is made.
func (s *Server) Bend(change func(*Signing)) { s.Do(func() { s.bend = change }) }

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

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	action := r.Header.Get("X-TC-Action")
	if s.Intercepted(action, w, r) {
		return
	}
	var out map[string]any
	var err error
	s.Do(func() { out, err = s.answer(r, action, body) })
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
	out["RequestId"] = loopback.UUID()
	loopback.WriteJSON(w, http.StatusOK, map[string]any{"Response": out})
}
