// Package ocitest is a loopback server that follows the documented API of
// OCI's vaults as far as signing needs it: it checks the signatures of
// requests, has real keys, and answers with the documented errors. It is also
// the metadata service of an instance and the service that trades the
// instance's certificate for a token.
package ocitest

import (
	"crypto"
	"crypto/md5" //nolint:gosec // OCI's fingerprints are MD5
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// Who may use the vault.
const (
	Tenancy = "ocid1.tenancy.oc1..aaaaaaaaexampletenancy"
	User    = "ocid1.user.oc1..aaaaaaaaexampleuser"
)

// vault is the part of names that all keys of the server's vault share.
const vault = "oc1.iad.afnexamplevault"

// A Server is a vault with keys of its own. What Intercept sees (GetKey,
// GetKeyVersion, Sign, Token, Metadata) need not be signed well.
type Server struct {
	*loopback.Server
	made     loopback.Keys
	users    map[string]*rsa.PublicKey // by key id
	keys     map[string]*key
	instance *instance
	tokens   int
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
	s := &Server{users: map[string]*rsa.PublicKey{}, keys: map[string]*key{}}
	s.Server = loopback.New(s.serve)
	return s
}

// AddUser makes an API key of User, lets it in, and writes a configuration
// file, in a new directory, whose profile has it. It returns the file's path.
func (s *Server) AddUser(t testing.TB, profile string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	s.WriteUser(t, file, profile, true)
	return file
}

// WriteUser writes such a file to a path. A user who is not known is refused.
func (s *Server) WriteUser(t testing.TB, file, profile string, known bool) {
	t.Helper()
	pair, err := s.made.RSA(2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(filepath.Dir(file), profile+".pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(keyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fingerprint(t, &pair.PublicKey)
	config := fmt.Sprintf("# made by a test\n[OTHER]\nuser=nobody\n\n[%s]\nuser=%s\nfingerprint=%s\ntenancy=%s\nregion=us-ashburn-1\nkey_file = %s\n",
		profile, User, sum, Tenancy, keyFile)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if known {
		s.Do(func() { s.users[Tenancy+"/"+User+"/"+sum] = &pair.PublicKey })
	}
}

// Forget lets nobody in who was let in so far.
func (s *Server) Forget() { s.Do(func() { clear(s.users) }) }

func fingerprint(t testing.TB, public *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(der) //nolint:gosec // see the import
	return colons(sum[:])
}

func colons(sum []byte) string { return strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":") }

// CreateKey makes an enabled key and returns its OCID. shape is RSA_2048,
// NIST_P256, NIST_P384, NIST_P521 or AES_256.
func (s *Server) CreateKey(t testing.TB, shape string) string {
	t.Helper()
	k := &key{id: "ocid1.key." + vault + "." + randomID(), shape: shape, state: "ENABLED"}
	s.Do(func() { s.keys[k.id] = k })
	s.Rotate(t, k.id)
	return k.id
}

// Rotate makes a new version of a key the current one and returns its OCID.
func (s *Server) Rotate(t testing.TB, id string) string {
	t.Helper()
	v := &version{id: "ocid1.keyversion." + vault + "." + randomID()[:12] + "." + randomID(), state: "ENABLED"}
	s.Do(func() {
		k := s.keys[id]
		v.pair = s.pair(t, k.shape)
		k.versions = append(k.versions, v)
	})
	return v.id
}

// Replace puts another key pair behind the current version of a key.
func (s *Server) Replace(t testing.TB, id string) {
	t.Helper()
	s.Do(func() {
		k := s.keys[id]
		k.versions[len(k.versions)-1].pair = s.pair(t, k.shape)
	})
}

func (s *Server) pair(t testing.TB, name string) crypto.Signer {
	t.Helper()
	of, err := shapeOf(name)
	if err != nil {
		t.Fatal(err)
	}
	if of.kind == "" {
		return nil
	}
	return s.made.New(t, of.kind)
}

// SetState changes the lifecycle state of a key.
func (s *Server) SetState(id, state string) { s.Do(func() { s.keys[id].state = state }) }

// SetVersionState changes the lifecycle state of a key's current version.
func (s *Server) SetVersionState(id, state string) {
	s.Do(func() {
		versions := s.keys[id].versions
		versions[len(versions)-1].state = state
	})
}

// A refusal is an error answer.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, message string) *refusal { return &refusal{status, code, message} }

// Refuse answers as a vault does when it refuses.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"code": code, "message": message})
}

func write(w http.ResponseWriter, status int, answer map[string]any) {
	w.Header().Set("Opc-Request-Id", randomID())
	loopback.WriteJSON(w, status, answer)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	operation := operationOf(r)
	if s.Intercepted(operation, w, r) {
		return
	}
	switch operation {
	case "Metadata":
		s.serveMetadata(w, r)
		return
	case "Token":
		s.serveToken(w, r, body)
		return
	}
	if err := s.authenticate(r, body); err != nil {
		Refuse(w, http.StatusUnauthorized, "NotAuthenticated", "The required information to complete authentication was not provided or was incorrect.")
		return
	}
	var answer map[string]any
	var no *refusal
	s.Do(func() { answer, no = s.act(operation, r, body) })
	if no != nil {
		Refuse(w, no.status, no.code, no.message)
		return
	}
	write(w, http.StatusOK, answer)
}

func (s *Server) authenticate(r *http.Request, body []byte) error {
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	var public *rsa.PublicKey
	s.Do(func() { public = s.users[a.keyID] })
	if public == nil {
		return fmt.Errorf("nobody has the key id %s", a.keyID)
	}
	return verify(r, body, a, public, true, time.Now())
}

func operationOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "opc":
		return "Metadata"
	case r.Method == http.MethodPost && r.URL.Path == "/v1/x509":
		return "Token"
	case r.Method == http.MethodPost && r.URL.Path == "/20180608/sign":
		return "Sign"
	case r.Method == http.MethodGet && len(parts) == 3 && parts[0] == "20180608" && parts[1] == "keys":
		return "GetKey"
	case r.Method == http.MethodGet && len(parts) == 5 && parts[0] == "20180608" && parts[1] == "keys" && parts[3] == "keyVersions":
		return "GetKeyVersion"
	}
	return ""
}

func randomID() string { return "a" + loopback.ID(16) }
