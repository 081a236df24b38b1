package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"time"
)

// canaryPatience is how long signing one canary may take.
const canaryPatience = 30 * time.Second

// Canary signs a random message, which begins with "sealwright key test " and
// means nothing, and verifies the signature: whether a key can be used now.
func Canary(ctx context.Context, s Signer) error {
	ctx, cancel := context.WithTimeout(ctx, canaryPatience)
	defer cancel()
	canary := bytes.NewBufferString("sealwright key test ")
	if _, err := io.CopyN(canary, rand.Reader, 32); err != nil {
		return err
	}
	sig, err := s.Sign(ctx, canary.Bytes())
	if err != nil {
		return err
	}
	return s.Public().Verify(canary.Bytes(), sig)
}
