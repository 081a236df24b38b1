package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/kms"
)

// openSeal returns what encrypts the secrets of signature keys, nil if the
// configuration has none. A key that a key store has wrapped is unwrapped here, once:
// without it nothing starts, as sinks and events would be left without their proof.
func (o *opener) openSeal(ctx context.Context, c configs.SignatureKeys) (*apig.Seal, error) {
	if c.SealKeyFile == "" {
		return nil, nil //nolint:nilnil // there are no signature keys then
	}
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	var keys [][]byte
	for i, path := range append([]string{c.SealKeyFile}, c.FormerSealKeyFiles...) {
		key, err := o.sealKey(ctx, c.WrappingKey, path, i > 0)
		if err != nil {
			return nil, fmt.Errorf("signature_keys: %w", err)
		}
		keys = append(keys, key)
	}
	seal, err := apig.NewSeal(keys[0], keys[1:]...)
	if err != nil {
		return nil, fmt.Errorf("signature_keys: %w", err)
	}
	return seal, nil
}

// sealKey reads one key. With a wrapping key the current one must be wrapped; a former
// one need not be.
func (o *opener) sealKey(ctx context.Context, by configs.WrappingKey, path string, former bool) ([]byte, error) {
	text, err := readSecret(path, 1)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(text))
	bare := err == nil && len(key) == apig.SealSize
	switch {
	case bare && (former || by.URI == ""):
		return key, nil
	case bare:
		return nil, fmt.Errorf("%s: holds a key that is not wrapped, beside wrapping_key; allowed: what that key has encrypted", path)
	case by.URI == "":
		return nil, fmt.Errorf("%s: is not %d hexadecimal digits, like those of openssl rand -hex %d", path, hex.EncodedLen(apig.SealSize), apig.SealSize)
	}
	if key, err = o.unwrap(ctx, by, string(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func (o *opener) unwrap(ctx context.Context, by configs.WrappingKey, text string) ([]byte, error) {
	scheme, _, _ := strings.Cut(by.URI, ":")
	store, err := o.store(by.Store, scheme, o.stores)
	if err != nil {
		return nil, fmt.Errorf("wrapping_key: %w", err)
	}
	key, err := kms.Unwrap(ctx, by.URI, store, text)
	if err != nil {
		return nil, fmt.Errorf("wrapping_key: %w", err)
	}
	if len(key) != apig.SealSize {
		return nil, fmt.Errorf("holds %d bytes when unwrapped; allowed: %d", len(key), apig.SealSize)
	}
	return key, nil
}
