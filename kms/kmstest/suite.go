// Package kmstest is the suite that every kms.Signer passes, wherever its key
// lives. An adapter's test calls Suite with a function that opens the adapter.
package kmstest

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// Suite checks that the signers that open returns keep the contract of
// kms.Signer. open is called once for each check and must return a signer for
// the same key each time; Suite closes what it opened.
func Suite(t *testing.T, open func(t *testing.T) kms.Signer) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			if err := c.run(t.Context(), s); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("closing the signer: %v", err)
			}
		})
	}
}

// A check returns what of the contract a signer breaks. Checks are functions
// and not subtests, so that they can be tried on signers that are broken.
type check struct {
	name string
	run  func(context.Context, kms.Signer) error
}

var checks = []check{
	{"round trip", roundTrip},
	{"empty message", func(ctx context.Context, s kms.Signer) error { return signAndVerify(ctx, s, []byte{}) }},
	{"large message", func(ctx context.Context, s kms.Signer) error {
		return signAndVerify(ctx, s, bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	}},
	{"tampering", tampering},
	{"format", format},
	{"public key", publicKey},
	{"message is kept", messageIsKept},
	{"concurrency", concurrency},
	{"cancelled", cancelled},
	{"closed", closed},
}

// orNone lets a missing error be wrapped like one.
func orNone(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

func message() []byte {
	return []byte(`{"critical":{"identity":{"docker-reference":"registry.example.com/library/app"}}}`)
}

func signAndVerify(ctx context.Context, s kms.Signer, message []byte) error {
	signature, err := s.Sign(ctx, message)
	if err != nil {
		return fmt.Errorf("signing %d bytes: %w", len(message), err)
	}
	if err := s.Public().Verify(message, signature); err != nil {
		return fmt.Errorf("verifying the signature of %d bytes: %w", len(message), err)
	}
	return nil
}

func roundTrip(ctx context.Context, s kms.Signer) error {
	// More than one, because a signature may have a leading zero or a high bit
	// that some encoding mistreats.
	for i := range 16 {
		if err := signAndVerify(ctx, s, fmt.Appendf(message(), "%d", i)); err != nil {
			return err
		}
	}
	return nil
}

func tampering(ctx context.Context, s kms.Signer) error {
	signed := message()
	signature, err := s.Sign(ctx, signed)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if err := s.Public().Verify(signed, signature); err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	for _, tampered := range []struct {
		what               string
		message, signature []byte
	}{
		{"a changed message", flip(signed, 0), signature},
		{"a longer message", append(bytes.Clone(signed), 0), signature},
		{"an empty message", nil, signature},
		{"a changed signature", signed, flip(signature, len(signature)-1)},
		{"a changed first octet", signed, flip(signature, 0)},
		{"a shorter signature", signed, signature[:len(signature)-1]},
		{"a longer signature", signed, append(bytes.Clone(signature), 0)},
		{"no signature", signed, nil},
	} {
		err := s.Public().Verify(tampered.message, tampered.signature)
		if !errors.Is(err, kms.ErrInvalidSignature) {
			return fmt.Errorf("%s: Verify returned another error than ErrInvalidSignature: %w", tampered.what, orNone(err))
		}
	}
	return nil
}

// format checks what other people's verifiers rely on.
func format(ctx context.Context, s kms.Signer) error {
	signature, err := s.Sign(ctx, message())
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	public := s.Public()
	switch public.Algorithm().Family() {
	case policy.ECDSA, policy.SM2:
		return strictDER(signature)
	case policy.RSAPSS:
		salt, err := saltLength(public, message(), signature)
		if err != nil {
			return fmt.Errorf("measuring the salt: %w", err)
		}
		if want := public.Algorithm().Hash().Size(); salt != want {
			return fmt.Errorf("salt of %d bytes, want the digest's %d", salt, want)
		}
		fallthrough
	case policy.RSAPKCS1:
		if want := (public.Bits() + 7) / 8; len(signature) != want {
			return fmt.Errorf("signature of %d bytes, want the modulus's %d", len(signature), want)
		}
		return nil
	}
	return fmt.Errorf("algorithm %q has no known format", public.Algorithm())
}

func strictDER(signature []byte) error {
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &pair)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("signature is no ASN.1 pair of integers: %x", signature)
	}
	again, err := asn1.Marshal(pair)
	if err != nil {
		return fmt.Errorf("encoding the pair again: %w", err)
	}
	if !bytes.Equal(again, signature) || pair.R.Sign() <= 0 || pair.S.Sign() <= 0 {
		return fmt.Errorf("signature is not DER of two positive integers: %x", signature)
	}
	return nil
}

func publicKey(ctx context.Context, s kms.Signer) error {
	before, version := s.Public(), s.Version()
	if err := signAndVerify(ctx, s, message()); err != nil {
		return err
	}
	after := s.Public()
	if before.Fingerprint() != after.Fingerprint() || before.Algorithm() != after.Algorithm() {
		return errors.New("Public changed after signing")
	}
	if s.Version() != version {
		return errors.New("Version changed after signing")
	}
	again, err := kms.ParsePublicKey(before.PEM(), before.Algorithm())
	if err != nil {
		return fmt.Errorf("reading Public's PEM: %w", err)
	}
	if again.Fingerprint() != before.Fingerprint() || !bytes.Equal(again.DER(), before.DER()) || again.Bits() != before.Bits() {
		return errors.New("the key read from Public's PEM is another one")
	}
	candidates, err := kms.Candidates(before.PEM())
	if err != nil {
		return fmt.Errorf("listing the algorithms of Public's PEM: %w", err)
	}
	same := func(p *kms.PublicKey) bool { return p.Algorithm() == before.Algorithm() }
	if !slices.ContainsFunc(candidates, same) {
		return fmt.Errorf("%s is not among the key's candidate algorithms", before.Algorithm())
	}
	return nil
}

func messageIsKept(ctx context.Context, s kms.Signer) error {
	given := message()
	if _, err := s.Sign(ctx, given); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if !bytes.Equal(given, message()) {
		return errors.New("Sign wrote into its message")
	}
	return nil
}

// concurrency has 64 callers sign different messages at once; the race
// detector sees what the signatures do not show.
func concurrency(ctx context.Context, s kms.Signer) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range 64 {
		group.Go(func() error { return signAndVerify(ctx, s, fmt.Appendf(message(), "%d", i)) })
	}
	return group.Wait()
}

func cancelled(ctx context.Context, s kms.Signer) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	signature, err := s.Sign(ctx, message())
	if !errors.Is(err, context.Canceled) || signature != nil {
		return fmt.Errorf("a cancelled context should yield context.Canceled alone, not %d bytes and: %w", len(signature), orNone(err))
	}
	return nil
}

func closed(ctx context.Context, s kms.Signer) error {
	if err := s.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	signature, err := s.Sign(ctx, message())
	if !errors.Is(err, kms.ErrClosed) || signature != nil {
		return fmt.Errorf("signing after Close should yield ErrClosed alone, not %d bytes and: %w", len(signature), orNone(err))
	}
	if s.Public() == nil {
		return errors.New("Public is gone after Close")
	}
	return nil
}
