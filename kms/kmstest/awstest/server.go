// Package awstest is a loopback AWS KMS, as far as signing goes: AWS JSON 1.1,
// Signature Version 4 checked by the published algorithm, and real keys. It
// follows the documentation of the service; it is not the service.
package awstest

import (
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the server is and accepts at first.
const (
	Region    = "eu-west-1"
	AccessKey = "AKIDEXAMPLE"
	SecretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" //nolint:gosec // AWS's published example
	account   = "123456789012"
)

// A Server is a loopback AWS KMS. It is safe for concurrent use.
type Server struct {
	// URL is the endpoint.
	URL string

	mu        sync.Mutex
	keys      map[string]*key   // by ARN
	aliases   map[string]string // alias/NAME to ARN
	secrets   map[string]secret // by access key id
	calls     map[string]int
	intercept func(op string, w http.ResponseWriter, r *http.Request) bool
	alter     func(op string, answer map[string]any)
}

// A secret is what belongs to an access key id.
type secret struct{ key, token string }

// New starts a server that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{
		keys: map[string]*key{}, aliases: map[string]string{}, calls: map[string]int{},
		secrets: map[string]secret{AccessKey: {key: SecretKey}},
	}
	listener := httptest.NewServer(s)
	tb.Cleanup(listener.Close)
	s.URL = listener.URL
	return s
}

// CreateKey makes an enabled key, spec being AWS's word, for instance
// ECC_NIST_P256, and returns its ARN.
func (s *Server) CreateKey(tb testing.TB, spec string) string {
	tb.Helper()
	private, err := generate(spec)
	if err != nil {
		tb.Fatal(err)
	}
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", Region, account, uuid())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn] = &key{spec: spec, private: private, usage: "SIGN_VERIFY", state: "Enabled"}
	return arn
}

// Replace puts new key material behind arn, which AWS never does.
func (s *Server) Replace(tb testing.TB, arn string) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	private, err := generate(s.keys[arn].spec)
	if err != nil {
		tb.Fatal(err)
	}
	s.keys[arn].private = private
}

// SetAlias points alias/NAME to arn.
func (s *Server) SetAlias(alias, arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[alias] = arn
}

// SetState puts a key into a state: Enabled, Disabled, PendingDeletion.
func (s *Server) SetState(arn, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn].state = state
}

// SetUsage says what a key is for: SIGN_VERIFY, ENCRYPT_DECRYPT.
func (s *Server) SetUsage(arn, usage string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn].usage = usage
}

// SetSecret makes key the one secret of the access key id from now on.
func (s *Server) SetSecret(id, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id] = secret{key: key}
}

// Intercept has f see each request that is signed well, named by its operation,
// before it is answered; f returns whether it has answered it.
func (s *Server) Intercept(f func(op string, w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Alter has f change good answers before they are sent.
func (s *Server) Alter(f func(op string, answer map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alter = f
}

// Calls returns how often an operation was asked for.
func (s *Server) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// WriteError answers as AWS JSON 1.1 does.
func WriteError(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"__type": code, "message": message})
}

func write(w http.ResponseWriter, status int, answer map[string]any) {
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(err.Error())
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", uuid())
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return
	}
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		s.serveSTS(w, string(body))
		return
	}
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		WriteError(w, http.StatusBadRequest, "UnknownOperationException", "")
		return
	}
	s.mu.Lock()
	s.calls[op]++
	intercept := s.intercept
	s.mu.Unlock()
	if refused := s.authenticate(r, body, time.Now()); refused != nil {
		WriteError(w, http.StatusBadRequest, refused.code, refused.message)
		return
	}
	if intercept != nil && intercept(op, w, r) {
		return
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		WriteError(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, refused := s.answer(op, in)
	if refused != nil {
		WriteError(w, http.StatusBadRequest, refused.code, refused.message)
		return
	}
	if s.alter != nil {
		s.alter(op, answer)
	}
	write(w, http.StatusOK, answer)
}

// An input has the fields of all requests.
type input struct {
	KeyID            string `json:"KeyId"`
	Message          []byte `json:"Message"`
	MessageType      string `json:"MessageType"`
	SigningAlgorithm string `json:"SigningAlgorithm"`
}

type refusal struct{ code, message string }

func (s *Server) answer(op string, in input) (map[string]any, *refusal) {
	arn, k := s.find(in.KeyID)
	if k == nil {
		return nil, &refusal{"NotFoundException", fmt.Sprintf("Key '%s' does not exist", in.KeyID)}
	}
	switch op {
	case "DescribeKey":
		return map[string]any{"KeyMetadata": k.metadata(arn)}, nil
	case "GetPublicKey":
		return k.publicKey(arn)
	case "Sign":
		return k.sign(arn, in)
	}
	return nil, &refusal{"UnknownOperationException", ""}
}

// find takes a key id, a key ARN, an alias name or an alias ARN.
func (s *Server) find(id string) (string, *key) {
	prefix := fmt.Sprintf("arn:aws:kms:%s:%s:", Region, account)
	id = strings.TrimPrefix(id, prefix)
	if strings.HasPrefix(id, "alias/") {
		arn := s.aliases[id]
		return arn, s.keys[arn]
	}
	arn := prefix + "key/" + strings.TrimPrefix(id, "key/")
	return arn, s.keys[arn]
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// A key is a key of AWS KMS.
type key struct {
	spec, usage, state string
	private            crypto.Signer
}
