// Package pkcs11api is what the daemon and sealwright-pkcs11 say to each other:
// HTTP with JSON bodies on a unix socket. The daemon is static and cannot load
// a PKCS#11 module; the helper can, and holds the PIN. Both import this package
// and nothing of each other.
//
// The HTTP status of an answer that is no success tells what kind of fault it
// is, so that a code which one side does not know yet is still understood:
//
//	400  the request is malformed
//	403  the token does not let us in, or the socket's user is another one
//	404  no such token or key
//	409  the key is there but may not sign
//	412  the key is not the one that was asked for, or several are
//	422  the token or the key cannot do what is asked
//	429  every session is busy
//	503  the token is away or fails; it may come back
package pkcs11api

import (
	"encoding/hex"
	"fmt"
	"net/url"

	"github.com/sealwright/sealwright/engine/policy"
)

// The protocol's addresses. A change that an older side would misunderstand
// gets another version in the path.
const (
	KeyPath  = "/v1/key"  // GET with Selector.Query: a Key
	SignPath = "/v1/sign" // POST of a SignRequest: a Signature
)

// DefaultSocket is where the helper listens if nothing else is said.
const DefaultSocket = "/run/sealwright-pkcs11/pkcs11.sock"

// MaxRequest bounds the body of a request, in bytes: it holds a digest and the
// names of a key.
const MaxRequest = 16 << 10

// Codes of faults that are not PKCS#11's own. Those are named as the standard
// does: CKR_PIN_LOCKED.
const (
	CodeRequest   = "BAD_REQUEST"
	CodePeer      = "PEER_DENIED"
	CodeNoKey     = "KEY_NOT_FOUND"
	CodeAmbiguous = "KEY_AMBIGUOUS"
	CodeChanged   = "KEY_CHANGED"
	CodeNoPublic  = "PUBLIC_KEY_NOT_FOUND"
	CodeNotToSign = "KEY_NOT_FOR_SIGNING"
	CodeAlgorithm = "ALGORITHM_NOT_SUPPORTED"
	CodeBusy      = "SESSIONS_BUSY"
	CodeTokens    = "TOKEN_AMBIGUOUS"
	CodeFinalTry  = "PIN_FINAL_TRY"
	CodePINFile   = "PIN_UNREADABLE"
)

// A Selector says which private key is meant: the one that has every attribute
// that is not empty. At least Object or ID is given.
type Selector struct {
	Token        string `json:"token,omitempty"`        // the token's label
	Manufacturer string `json:"manufacturer,omitempty"` // of the token
	Model        string `json:"model,omitempty"`        // of the token
	Serial       string `json:"serial,omitempty"`       // of the token
	Object       string `json:"object,omitempty"`       // CKA_LABEL of the key
	ID           string `json:"id,omitempty"`           // CKA_ID of the key, in lower-case hex
	// PublicKeySHA256 is the lower-case hex SHA-256 of the DER of the public
	// half. A key that was put in the place of another has another one.
	PublicKeySHA256 string `json:"public_key_sha256,omitempty"`
}

// Query returns the selector as the parameters of KeyPath.
func (s Selector) Query() url.Values {
	q := url.Values{}
	for _, f := range s.fields() {
		if *f.value != "" {
			q.Set(f.name, *f.value)
		}
	}
	return q
}

// ParseQuery reads what Query wrote. Parameters that it does not know, or that
// come twice, are an error: ignoring one would select another key.
func ParseQuery(q url.Values) (Selector, error) {
	var s Selector
	known := 0
	for _, f := range s.fields() {
		values := q[f.name]
		if len(values) > 1 {
			return Selector{}, fmt.Errorf("parameter %s is given %d times; allowed: once", f.name, len(values))
		}
		if len(values) == 1 {
			*f.value = values[0]
			known++
		}
	}
	if known != len(q) {
		return Selector{}, fmt.Errorf("%d unknown parameters; allowed: token, manufacturer, model, serial, object, id, public_key_sha256", len(q)-known)
	}
	return s, s.Validate()
}

// Validate reports what of a selector nobody can answer.
func (s Selector) Validate() error {
	if s.Object == "" && s.ID == "" {
		return fmt.Errorf("no key is named; allowed: object, id or both")
	}
	for _, f := range s.fields() {
		if len(*f.value) > maxAttribute {
			return fmt.Errorf("%s has %d bytes; allowed: at most %d", f.name, len(*f.value), maxAttribute)
		}
	}
	if _, err := hex.DecodeString(s.ID); err != nil {
		return fmt.Errorf("id is not hex: %w", err)
	}
	return nil
}

// maxAttribute bounds one attribute, in bytes. A token's own are at most 32,
// labels and ids of keys are rarely longer.
const maxAttribute = 512

type field struct {
	name  string
	value *string
}

func (s *Selector) fields() []field {
	return []field{
		{"token", &s.Token}, {"manufacturer", &s.Manufacturer}, {"model", &s.Model}, {"serial", &s.Serial},
		{"object", &s.Object}, {"id", &s.ID}, {"public_key_sha256", &s.PublicKeySHA256},
	}
}

// A Key is the answer to KeyPath.
type Key struct {
	Token     string `json:"token"`      // label of the token that has it
	Object    string `json:"object"`     // CKA_LABEL
	ID        string `json:"id"`         // CKA_ID in lower-case hex; may be empty
	Kind      string `json:"kind"`       // for messages: "P-256", "RSA-3072"
	PublicKey []byte `json:"public_key"` // DER of the SubjectPublicKeyInfo
	// Algorithms are those that fit the key and that the token has.
	Algorithms []policy.Algorithm `json:"algorithms"`
}

// A SignRequest is the body sent to SignPath.
type SignRequest struct {
	Key       Selector         `json:"key"`
	Algorithm policy.Algorithm `json:"algorithm"`
	Digest    []byte           `json:"digest"` // of the message, by the algorithm's hash
}

// A Signature is the answer to SignPath.
type Signature struct {
	Signature       []byte           `json:"signature"` // ASN.1 DER for ECDSA, else the raw octets
	Algorithm       policy.Algorithm `json:"algorithm"` // that was used
	PublicKeySHA256 string           `json:"public_key_sha256"`
}

// A Fault is the body of every answer that is no success.
type Fault struct {
	Code    string `json:"code"` // CKR_… or one of the codes above
	Message string `json:"message"`
}
