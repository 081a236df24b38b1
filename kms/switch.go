package kms

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// ErrDisabled is what signing with a disabled key fails with.
var ErrDisabled = errors.New("key is disabled")

// A Switch turns a key off while it is in use: it is asked before every
// signature. The zero value is on. It is safe for concurrent use.
type Switch struct {
	off  atomic.Bool
	file atomic.Pointer[string]
}

// Set turns the key off, or on as long as there is no file at path. An empty
// path is no file. It holds at once, also for signers that were guarded before.
func (s *Switch) Set(off bool, path string) {
	s.file.Store(&path)
	s.off.Store(off)
}

// Check returns an error that wraps ErrDisabled while the key is off. A file
// whose presence cannot be told counts as present.
func (s *Switch) Check() error {
	if s.off.Load() {
		return fmt.Errorf("%w by the configuration", ErrDisabled)
	}
	path := s.file.Load()
	if path == nil || *path == "" {
		return nil
	}
	switch _, err := os.Lstat(*path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w, as disable_file cannot be looked for: %w", ErrDisabled, err)
	}
	return fmt.Errorf("%w by the file %s", ErrDisabled, *path)
}

// Guard returns signer as one that verifies, but signs only while the switch is
// on: a signature that the key store returns after the switch was turned off is
// dropped.
func (s *Switch) Guard(signer Signer) Signer { return guarded{signer, s} }

type guarded struct {
	Signer
	by *Switch
}

// Sign asks the switch first, and again before the signature leaves.
func (g guarded) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := g.by.Check(); err != nil {
		return nil, err
	}
	signature, err := g.Signer.Sign(ctx, message)
	if err != nil {
		return nil, err
	}
	if err := g.by.Check(); err != nil {
		return nil, err
	}
	return signature, nil
}
