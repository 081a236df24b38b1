package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/signature"
)

// A Key is an opened key with its certificate, or why it could not be opened.
type Key struct {
	// Signer is nil when Err is set.
	Signer kms.Signer
	// Err is why the key cannot be used: its policies fail with it, the others
	// go on.
	Err error
	// Certificates is the chain of the key's certificate, leaf first, for the
	// Notary Project's formats.
	Certificates []*x509.Certificate
	// Window is how long the leaf must still be valid when it signs.
	Window time.Duration
	// Aliases are other names of the key, such as a vendor's id of it.
	Aliases []string
}

// usable returns why a policy's key must not be used at the time now.
func (b *bound) usable(now time.Time) error {
	if b.key.Err != nil {
		return fmt.Errorf("%w %s: %w", errKey, b.Key, b.key.Err)
	}
	if b.from.Err != nil {
		return fmt.Errorf("%w: the old key: %w", errKey, b.from.Err)
	}
	for _, f := range b.SignatureFormats() {
		if f.IsNotation() {
			return b.key.Certified(now)
		}
	}
	return nil
}

// Certified returns why nothing is to be signed with the key's certificate at
// the time now: there is none, it is another key's, or one of its chain is not
// valid then or for at least Window after. The error wraps
// [signature.ErrCertificate].
func (k *Key) Certified(now time.Time) error {
	if len(k.Certificates) == 0 {
		return fmt.Errorf("%w: the key has none", signature.ErrCertificate)
	}
	leaf := k.Certificates[0]
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, k.Signer.Public().DER()) {
		return fmt.Errorf("%w: it is of another key: %w", signature.ErrCertificate, kms.ErrKeyMismatch)
	}
	for _, c := range k.Certificates {
		switch left := c.NotAfter.Sub(now); {
		case now.Before(c.NotBefore):
			return fmt.Errorf("%w: %s is valid from %s", signature.ErrCertificate, c.Subject, c.NotBefore.UTC().Format(time.RFC3339))
		case left <= 0:
			return fmt.Errorf("%w: %s expired at %s", signature.ErrCertificate, c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		case left < k.Window:
			return fmt.Errorf("%w: %s expires at %s, sooner than certificate_window allows (%s)",
				signature.ErrCertificate, c.Subject, c.NotAfter.UTC().Format(time.RFC3339), k.Window)
		}
	}
	return nil
}

// signing returns the key as signature formats use it.
func (k *Key) signing() signature.Key {
	public := k.Signer.Public()
	return signature.Key{Verifier: public, Algorithm: public.Algorithm(), PublicKey: public.DER(),
		Certificates: k.Certificates, Sign: k.Signer.Sign}
}

// stopsAll reports whether an error of one signature will be that of every
// other by the same key, so that an execution need not go on.
func stopsAll(err error) bool {
	for _, e := range []error{kms.ErrDisabled, kms.ErrKeyMismatch, kms.ErrKeyState, kms.ErrNotFound, kms.ErrDenied, kms.ErrUnsupported, signature.ErrCertificate} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// counted tells of each use of the policy's key.
func (r *run) counted(sign signFunc) signFunc {
	if r.engine.opts.KeyUsed == nil {
		return sign
	}
	return func(ctx context.Context, message []byte) ([]byte, error) {
		begin := time.Now()
		sig, err := sign(ctx, message)
		r.engine.opts.KeyUsed(r.policy.Key, time.Since(begin), err)
		return sig, err
	}
}

type signFunc = func(ctx context.Context, message []byte) ([]byte, error)
