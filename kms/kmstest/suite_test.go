package kmstest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// A broken signer signs with a real key, and breaks one rule.
type broken struct {
	public func() *kms.PublicKey
	sign   func(ctx context.Context, message []byte) ([]byte, error)
	closed bool
}

func (b *broken) Sign(ctx context.Context, message []byte) ([]byte, error) {
	return b.sign(ctx, message)
}
func (b *broken) Public() *kms.PublicKey { return b.public() }
func (b *broken) Version() string        { return "" }
func (b *broken) Close() error           { b.closed = true; return nil }

// correct returns a signer that keeps every rule, for a test to break one.
func correct(t *testing.T, key crypto.Signer, alg policy.Algorithm) *broken {
	t.Helper()
	public, err := kms.NewPublicKey(key.Public(), alg)
	if err != nil {
		t.Fatal(err)
	}
	b := &broken{public: func() *kms.PublicKey { return public }}
	b.sign = func(ctx context.Context, message []byte) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if b.closed {
			return nil, kms.ErrClosed
		}
		var opts crypto.SignerOpts = alg.Hash()
		if alg.Family() == policy.RSAPSS {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.Hash()}
		}
		return crypto.SignMessage(key, rand.Reader, message, opts)
	}
	return b
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSuiteAcceptsACorrectSigner(t *testing.T) {
	ec, rsa := ecKey(t), rsaKey(t)
	t.Run("ECDSA", func(t *testing.T) {
		Suite(t, func(t *testing.T) kms.Signer { return correct(t, ec, policy.ECDSASHA256) })
	})
	t.Run("RSA-PSS", func(t *testing.T) {
		Suite(t, func(t *testing.T) kms.Signer { return correct(t, rsa, policy.RSAPSSSHA256) })
	})
}

// Each signer breaks one rule; the check named for it has to see that.
func TestSuiteRefusesABrokenSigner(t *testing.T) {
	ec, other, rsaKey := ecKey(t), ecKey(t), rsaKey(t)
	type signer = func([]byte) ([]byte, error)
	// change replaces the signature of a correct signer.
	change := func(with func(message []byte, sign signer) ([]byte, error)) func(*broken) {
		return func(b *broken) {
			sign := b.sign
			b.sign = func(ctx context.Context, message []byte) ([]byte, error) {
				return with(message, func(m []byte) ([]byte, error) { return sign(ctx, m) })
			}
		}
	}
	tests := []struct {
		name, check string
		rsa         bool
		breakIt     func(*broken)
	}{
		{"signs with another key", "round trip", false, change(func(m []byte, _ signer) ([]byte, error) {
			return crypto.SignMessage(other, rand.Reader, m, crypto.SHA256)
		})},
		{"signs with another hash", "round trip", false, change(func(m []byte, _ signer) ([]byte, error) {
			return crypto.SignMessage(ec, rand.Reader, m, crypto.SHA384)
		})},
		{"cuts signatures", "round trip", false, change(func(m []byte, sign signer) ([]byte, error) {
			s, err := sign(m)
			return s[:len(s)-1], err
		})},
		{"ignores an empty message", "empty message", false, change(func(m []byte, sign signer) ([]byte, error) {
			if len(m) == 0 {
				return nil, nil
			}
			return sign(m)
		})},
		{"cuts messages at 4096 bytes", "large message", false, change(func(m []byte, sign signer) ([]byte, error) {
			return sign(m[:min(len(m), 4096)])
		})},
		{"returns r‖s", "format", false, change(func(m []byte, _ signer) ([]byte, error) {
			return make([]byte, 64), nil
		})},
		{"uses the longest salt", "format", true, change(func(m []byte, _ signer) ([]byte, error) {
			opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}
			return crypto.SignMessage(rsaKey, rand.Reader, m, opts)
		})},
		{"uses PKCS#1 for PSS", "round trip", true, change(func(m []byte, _ signer) ([]byte, error) {
			return crypto.SignMessage(rsaKey, rand.Reader, m, crypto.SHA256)
		})},
		{"changes its key", "public key", false, func(b *broken) {
			keys := []*kms.PublicKey{b.public(), correct(t, other, policy.ECDSASHA256).public()}
			var calls int
			b.public = func() *kms.PublicKey { calls++; return keys[min(calls/3, 1)] }
		}},
		{"writes into the message", "message is kept", false, change(func(m []byte, sign signer) ([]byte, error) {
			defer clear(m)
			return sign(bytes.Clone(m))
		})},
		{"answers one caller with another's signature", "concurrency", false, func(b *broken) {
			sign, first := b.sign, make(chan []byte, 1)
			b.sign = func(ctx context.Context, m []byte) ([]byte, error) {
				select {
				case first <- m:
				default:
					m = []byte("another's")
				}
				return sign(ctx, m)
			}
		}},
		{"ignores its context", "cancelled", false, func(b *broken) {
			sign := b.sign
			b.sign = func(_ context.Context, m []byte) ([]byte, error) { return sign(context.Background(), m) }
		}},
		{"signs after Close", "closed", false, func(b *broken) {
			sign := b.sign
			b.sign = func(ctx context.Context, m []byte) ([]byte, error) { b.closed = false; return sign(ctx, m) }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := correct(t, ec, policy.ECDSASHA256)
			if tt.rsa {
				b = correct(t, rsaKey, policy.RSAPSSSHA256)
			}
			tt.breakIt(b)
			for _, c := range checks {
				if c.name == tt.check {
					if err := c.run(t.Context(), b); err == nil {
						t.Errorf("check %q let it pass", c.name)
					}
					return
				}
			}
			t.Fatalf("there is no check %q", tt.check)
		})
	}
}

// Verify is what tampering tries, so only a signer whose signatures do not
// depend on the message could break it; this one's do not verify at all.
func TestTamperingNeedsAValidSignature(t *testing.T) {
	b := correct(t, ecKey(t), policy.ECDSASHA256)
	b.sign = func(context.Context, []byte) ([]byte, error) { return []byte{1, 2, 3}, nil }
	if err := tampering(t.Context(), b); err == nil {
		t.Error("a signature that never verifies passed")
	}
}
