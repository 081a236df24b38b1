package kms

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"github.com/sealwright/sealwright/engine/policy"
)

// maxPluginKey bounds a key's name in bytes: it is a command line argument.
const maxPluginKey = 2048

// A pluginKey signs with a key that a program of the user's knows.
type pluginKey struct {
	store  *Store
	name   string // KeyResourceID
	public *PublicKey
}

// openPlugin opens a key of sigstore's key store plugin protocol. Its URI is
//
//	plugin:KEY_RESOURCE_ID
//
// with what the plugin calls its key, as it is: cosign's acme://my/key is
// plugin:my/key with the plugin sigstore-kms-acme. The program is the one whose
// path the key store's configuration names; none is looked for on PATH. The
// protocol names the hash and not the padding of RSA: a plugin that signs by
// another algorithm than the configured one is found out by its signature.
func openPlugin(ctx context.Context, cfg Config) (Signer, error) {
	name := strings.TrimPrefix(cfg.URI, "plugin:")
	switch {
	case name == "" || len(name) > maxPluginKey || strings.HasPrefix(name, "//"):
		return nil, fmt.Errorf("key URI of %d bytes; allowed: plugin:KEY_RESOURCE_ID without \"//\", of at most %d bytes", len(cfg.URI), maxPluginKey)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return nil, errors.New("key URI is not text; allowed: plugin:KEY_RESOURCE_ID in UTF-8 without control characters")
	case cfg.Algorithm.Family() == policy.SM2:
		return nil, fmt.Errorf("%w: %s by a plugin, whose protocol has no SM3; allowed: ECDSA, RSA-PSS, RSA PKCS#1", ErrUnsupported, cfg.Algorithm)
	}
	k := &pluginKey{store: cfg.Store, name: name}
	var err error
	if k.public, err = k.publicKey(ctx, cfg.Algorithm); err != nil {
		return nil, fmt.Errorf("opening the plugin's key: %w", err)
	}
	if k.public.Algorithm().Family() == policy.SM2 {
		return nil, fmt.Errorf("%w: an SM2 key of a plugin, whose protocol has no SM3", ErrUnsupported)
	}
	return k, nil
}

func (k *pluginKey) Public() *PublicKey { return k.public }

// Version is empty: the protocol tells none.
func (k *pluginKey) Version() string { return "" }

// Close does nothing: no program runs between calls.
func (k *pluginKey) Close() error { return nil }

func (k *pluginKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

func (k *pluginKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	hash := alg.Hash()
	if alg == "" {
		hash = crypto.SHA256 // a public key has no hash, but the protocol wants one
	}
	method := &common.MethodArgs{MethodName: common.PublicKeyMethodName,
		PublicKey: &common.PublicKeyArgs{PublicKeyOptions: &common.PublicKeyOptions{}}}
	answer, err := k.ask(ctx, "public_key", pluginCall{hash: hash, method: method})
	if err != nil {
		return nil, err
	}
	if answer.PublicKey == nil {
		return nil, fmt.Errorf("%w: the plugin's answer has no public key", ErrUnsupported)
	}
	return ParsePublicKey(answer.PublicKey.PublicKeyPEM, alg)
}

func (k *pluginKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	hash := k.public.Algorithm().Hash()
	method := &common.MethodArgs{MethodName: common.SignMessageMethodName, SignMessage: &common.SignMessageArgs{
		SignOptions: &common.SignOptions{MessageOptions: common.MessageOptions{HashFunc: &hash}}}}
	// The message and not its digest, because that is what cosign sends and
	// every plugin therefore knows.
	answer, err := k.ask(ctx, "sign", pluginCall{hash: hash, method: method, input: message})
	if err != nil {
		return nil, err
	}
	if answer.SignMessage == nil || len(answer.SignMessage.Signature) == 0 {
		return nil, fmt.Errorf("%w: the plugin's answer has no signature", ErrUnsupported)
	}
	return answer.SignMessage.Signature, k.checkAlgorithm(message, answer.SignMessage.Signature)
}

// checkAlgorithm returns an error if signature is good by another algorithm than
// the key's: the protocol could not say which one it has to be.
func (k *pluginKey) checkAlgorithm(message, signature []byte) error {
	if k.public.Verify(message, signature) == nil {
		return nil
	}
	candidates, err := Candidates(k.public.PEM())
	if err != nil {
		return nil // whoever checks the signature says what is wrong with it
	}
	for _, other := range candidates {
		if other.Verify(message, signature) == nil {
			return fmt.Errorf("%w: the plugin signs this key's messages with %s, not with the configured %s", ErrUnsupported, other.Algorithm(), k.public.Algorithm())
		}
	}
	return nil
}
