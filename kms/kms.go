// Package kms is what signs: a Signer for one version of one key, wherever the
// key lives. Open picks the adapter by the scheme of the key's URI; an unknown
// scheme is an error, never a program on PATH.
package kms

import (
	"context"
	"errors"

	"github.com/sealwright/sealwright/engine/policy"
)

// A Signer signs with one version of one key and knows its public half. Every
// implementation passes the suite in kmstest. A Signer is safe for concurrent
// use.
type Signer interface {
	// Sign returns a signature over message (the message itself, not a
	// digest of it) in the form that the key's algorithm fixes: ASN.1 DER for
	// ECDSA and SM2, the raw octets for RSA. It obeys ctx. The signature has
	// been verified with Public before it is returned.
	Sign(ctx context.Context, message []byte) ([]byte, error)
	// Public returns the public half and the algorithm. It does no I/O and
	// always returns the same key.
	Public() *PublicKey
	// Version is the key store's name of the key version that signs, as far as
	// the store has versions, else "". It does no I/O and never changes.
	Version() string
	// Close releases what the signer holds; signing after it fails with
	// ErrClosed. Closing again does nothing.
	Close() error
}

// Config says which key to open and what is expected of it.
type Config struct {
	// URI names the key: "file:/path/to/key.pem" or a scheme of a key store,
	// with "?version=V" where the store has versions and one is wanted that is
	// not the current one.
	URI string
	// Store is where the key is. Nil for file: keys; else required. All keys of
	// one store share one *Store, and with it its budget.
	Store *Store
	// Algorithm is how the key must sign. Empty means the key's usual one:
	// P-256 ECDSA_SHA_256, P-384 ECDSA_SHA_384, SM2 SM2DSA_SM3; an RSA key has
	// no usual one and needs it.
	Algorithm policy.Algorithm
	// PublicKeySHA256 pins the key: lower-case hex SHA-256 of its DER
	// SubjectPublicKeyInfo. Empty means no pin.
	PublicKeySHA256 string
	// Password opens an encrypted private key. Nil means there is none.
	Password func() ([]byte, error)
}

// Errors that callers branch on.
var (
	// ErrScheme: the URI's scheme is unknown or not in this build.
	ErrScheme = errors.New("key store not in this build")
	// ErrKeyMismatch: the key is not of the kind the algorithm needs, or not
	// the pinned one.
	ErrKeyMismatch = errors.New("key does not match its configuration")
	// ErrPassword: the private key is encrypted and no or a wrong password
	// was given.
	ErrPassword = errors.New("private key needs its password")
	// ErrInvalidSignature: a signature does not verify.
	ErrInvalidSignature = errors.New("signature does not verify")
	// ErrUnsupported: the key store cannot do what is asked, for instance sign
	// with the algorithm.
	ErrUnsupported = errors.New("not supported by the key store")
	// ErrNotFound: the key store has no such key or version.
	ErrNotFound = errors.New("no such key in the key store")
	// ErrKeyState: the key is there but may not sign, or unwrap: disabled at the
	// store, not yet active, about to be deleted, made for another use.
	ErrKeyState = errors.New("key store does not let the key be used")
	// ErrDenied: the key store does not know us or does not permit it.
	ErrDenied = errors.New("denied by the key store")
	// ErrThrottled: the key store asks for fewer requests; it is tried again
	// until the caller's deadline.
	ErrThrottled = errors.New("throttled by the key store")
	// ErrUnavailable: network, 5xx, or the circuit breaker is open after many of
	// them; it is tried again until the caller's deadline.
	ErrUnavailable = errors.New("key store unavailable")
	// ErrClosed: the signer was closed before it was asked to sign.
	ErrClosed = errors.New("signer is closed")
)
