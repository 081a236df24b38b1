// Package alibabatest is a loopback server that follows Alibaba Cloud KMS's
// documented API as far as signing needs it: it checks the signatures of
// requests, has real keys, and answers with the documented errors.
package alibabatest

import (
	"crypto"
	"net/http"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// What the server lets in. AccessKey is the public half; Secret is the secret
// one until SetSecret.
const (
	AccessKey = "LTAI5tExampleExampleExam"
	Secret    = "examplesecretexamplesecretexam"
)

// A Server is a KMS with keys of its own. What Intercept sees, by its action,
// need not be signed well.
type Server struct {
	*loopback.Server
	made     loopback.Keys
	accepted string // the secret
	keys     map[string]*key
	aliases  map[string]string
	nonces   map[string]bool
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
	s := &Server{accepted: Secret, keys: map[string]*key{}, aliases: map[string]string{}, nonces: map[string]bool{}}
	s.Server = loopback.New(s.serve)
	return s
}

// CreateKey makes an enabled key and returns its id. spec is RSA_2048, RSA_3072,
// EC_P256, EC_SM2 or Aliyun_AES_256.
func (s *Server) CreateKey(t testing.TB, spec string) string {
	t.Helper()
	usage := "SIGN/VERIFY"
	if spec == "Aliyun_AES_256" {
		usage = "ENCRYPT/DECRYPT"
	}
	k := &key{id: "key-" + loopback.ID(8), spec: spec, state: "Enabled", usage: usage}
	s.Do(func() { s.keys[k.id] = k })
	s.Rotate(t, k.id)
	return k.id
}

// Rotate adds a version to a key and returns the version's id.
func (s *Server) Rotate(t testing.TB, id string) string {
	t.Helper()
	v := version{id: id + "-" + loopback.ID(8)}
	s.Do(func() {
		k := s.keys[id]
		v.made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*len(k.versions)) // versions are a week apart
		v.pair = s.pair(t, k.spec)
		k.versions = append(k.versions, v)
	})
	return v.id
}

// Replace puts another key pair behind the newest version of a key.
func (s *Server) Replace(t testing.TB, id string) {
	t.Helper()
	s.Do(func() {
		k := s.keys[id]
		k.versions[len(k.versions)-1].pair = s.pair(t, k.spec)
	})
}

// pair makes a key pair of a key spec; nil for a symmetric one.
func (s *Server) pair(t testing.TB, spec string) crypto.Signer {
	t.Helper()
	if spec == "Aliyun_AES_256" {
		return nil
	}
	return s.made.New(t, map[string]string{"RSA_2048": "RSA-2048", "RSA_3072": "RSA-3072", "EC_P256": "P-256", "EC_SM2": "SM2"}[spec])
}

// SetState changes a key's state: Enabled, Disabled, PendingDeletion,
// PendingImport or Unavailable.
func (s *Server) SetState(id, state string) { s.Do(func() { s.keys[id].state = state }) }

// SetPrimary names the primary version, which only some keys have.
func (s *Server) SetPrimary(id, version string) { s.Do(func() { s.keys[id].primary = version }) }

// SetAlias binds alias/name to a key.
func (s *Server) SetAlias(name, id string) { s.Do(func() { s.aliases["alias/"+name] = id }) }

// SetSecret changes the secret that is accepted.
func (s *Server) SetSecret(secret string) { s.Do(func() { s.accepted = secret }) }

func (s *Server) secret() (secret string) {
	s.Do(func() { secret = s.accepted })
	return secret
}

func (s *Server) fresh(nonce string) (fresh bool) {
	s.Do(func() {
		fresh = nonce != "" && !s.nonces[nonce]
		s.nonces[nonce] = true
	})
	return fresh
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
		"RequestId": loopback.ID(8), "HostId": "kms.cn-hangzhou.aliyuncs.com", "Code": code, "Message": message,
		"Recommend": "https://api.alibabacloud.com/troubleshoot?q=" + code,
	})
}

func write(w http.ResponseWriter, status int, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	loopback.WriteJSON(w, status, answer)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	action := r.Header.Get("X-Acs-Action")
	if s.Intercepted(action, w, r) {
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
	var answer map[string]any
	var no *refusal
	s.Do(func() { answer, no = s.act(action, r.URL.Query().Get) })
	if no != nil {
		Refuse(w, no.status, no.code, no.message)
		return
	}
	answer["RequestId"] = loopback.ID(8)
	write(w, http.StatusOK, answer)
}
