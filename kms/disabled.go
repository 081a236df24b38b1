package kms

import (
	"context"
	"errors"
)

// ErrDisabled is what signing with a disabled key fails with.
var ErrDisabled = errors.New("key is disabled by the configuration")

// Disabled returns s as a key that verifies but does not sign.
func Disabled(s Signer) Signer { return disabled{s} }

type disabled struct{ Signer }

// Sign refuses.
func (disabled) Sign(context.Context, []byte) ([]byte, error) { return nil, ErrDisabled }
