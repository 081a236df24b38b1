// Package awstest is a loopback AWS KMS, as far as signing and decrypting go: AWS JSON 1.1,
// Signature Version 4 checked by the published algorithm, and real keys. It
// follows the documentation of the service; it is not the service.
package awstest

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// What the server is and accepts at first.
const (
	Region    = "eu-west-1"
	AccessKey = "AKIDEXAMPLE"
	SecretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" //nolint:gosec // AWS's published example
	account   = "123456789012"
)

// A Server is a loopback AWS KMS. What Intercept sees is signed well.
type Server struct {
	*loopback.Server
	made    loopback.Keys
	keys    map[string]*key   // by ARN
	aliases map[string]string // alias/NAME to ARN
	secrets map[string]secret // by access key id
}

// A secret is what belongs to an access key id.
type secret struct{ key, token string }

// New starts a server that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Offline()
	s.Start(tb)
	return s
}

// Offline returns a server without a network.
func Offline() *Server {
	s := &Server{
		keys: map[string]*key{}, aliases: map[string]string{},
		secrets: map[string]secret{AccessKey: {key: SecretKey}},
	}
	s.Server = loopback.New(s.serve)
	return s
}

// CreateKey makes an enabled key, spec being AWS's word, for instance
// ECC_NIST_P256, and returns its ARN.
func (s *Server) CreateKey(tb testing.TB, spec string) string {
	tb.Helper()
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", Region, account, loopback.UUID())
	made := &key{spec: spec, private: s.made.New(tb, kindOf(spec)), usage: "SIGN_VERIFY", state: "Enabled"}
	s.Do(func() { s.keys[arn] = made })
	return arn
}

// Replace puts new key material behind arn, which AWS never does.
func (s *Server) Replace(tb testing.TB, arn string) {
	tb.Helper()
	s.Do(func() { s.keys[arn].private = s.made.New(tb, kindOf(s.keys[arn].spec)) })
}

// SetAlias points alias/NAME to arn.
func (s *Server) SetAlias(alias, arn string) { s.Do(func() { s.aliases[alias] = arn }) }

// SetState puts a key into a state: Enabled, Disabled, PendingDeletion.
func (s *Server) SetState(arn, state string) { s.Do(func() { s.keys[arn].state = state }) }

// SetUsage says what a key is for: SIGN_VERIFY, ENCRYPT_DECRYPT.
func (s *Server) SetUsage(arn, usage string) { s.Do(func() { s.keys[arn].usage = usage }) }

// SetSecret makes key the one secret of the access key id from now on.
func (s *Server) SetSecret(id, key string) { s.Do(func() { s.secrets[id] = secret{key: key} }) }

// WriteError answers as AWS JSON 1.1 does.
func WriteError(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"__type": code, "message": message})
}

// Throttle answers that there were too many requests.
func Throttle(w http.ResponseWriter) {
	WriteError(w, http.StatusBadRequest, "ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
}

func write(w http.ResponseWriter, status int, answer map[string]any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", loopback.UUID())
	loopback.WriteJSON(w, status, answer)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		s.serveSTS(w, r, string(body))
		return
	}
	if strings.HasPrefix(r.URL.Path, "/latest/") {
		s.serveIMDS(w, r)
		return
	}
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		WriteError(w, http.StatusBadRequest, "UnknownOperationException", "")
		return
	}
	if refused := s.authenticate(r, body, time.Now()); refused != nil {
		WriteError(w, http.StatusBadRequest, refused.code, refused.message)
		return
	}
	if s.Intercepted(op, w, r) {
		return
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		WriteError(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	s.Do(func() {
		answer, refused := s.answer(op, in)
		if refused != nil {
			WriteError(w, http.StatusBadRequest, refused.code, refused.message)
			return
		}
		s.Altered(op, answer)
		write(w, http.StatusOK, answer)
	})
}

// An input has the fields of all requests.
type input struct {
	KeyID            string `json:"KeyId"`
	Message          []byte `json:"Message"`
	MessageType      string `json:"MessageType"`
	SigningAlgorithm string `json:"SigningAlgorithm"`

	Ciphertext          []byte `json:"CiphertextBlob"`
	EncryptionAlgorithm string `json:"EncryptionAlgorithm"`
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
	case "Decrypt":
		return s.decrypt(arn, k, in)
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

// A key is a key of AWS KMS.
type key struct {
	spec, usage, state string
	private            crypto.Signer
}
