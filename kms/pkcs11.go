package kms

import (
	"context"
	"fmt"
	"slices"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A pkcs11Key signs with a private key of a PKCS#11 token, which the helper
// sealwright-pkcs11 has at hand.
type pkcs11Key struct {
	helper   *pkcs11Helper
	selector pkcs11api.Selector // pinned to the id and the public half
	public   *PublicKey
}

// openPKCS11 opens a key of a PKCS#11 token. Its URI is that of RFC 7512:
//
//	pkcs11:token=release;object=signing;id=%01
//
// with object, id or both, and, to be sure of the token that the helper serves,
// token, serial, manufacturer and model. A PIN or a module in the URI is
// refused: both are the helper's. An object has no versions; the key's CKA_ID
// stands for one, and a signer stays with the key that it was opened with.
func openPKCS11(ctx context.Context, cfg Config) (Signer, error) {
	selector, err := parsePKCS11(cfg.URI)
	if err != nil {
		return nil, err
	}
	helper := newPKCS11Helper(cfg.Store)
	k := &pkcs11Key{helper: helper, selector: selector}
	if err := k.open(ctx, cfg.Algorithm); err != nil {
		helper.close()
		return nil, fmt.Errorf("opening the PKCS#11 key: %w", err)
	}
	return k, nil
}

func (k *pkcs11Key) open(ctx context.Context, alg policy.Algorithm) error {
	found, err := k.helper.key(ctx, k.selector)
	if err != nil {
		return err
	}
	if k.public, err = pkcs11Public(found, alg); err != nil {
		return err
	}
	if alg = k.public.Algorithm(); !slices.Contains(found.Algorithms, alg) {
		return fmt.Errorf("%w: %s with the %s key of token %s; allowed: %v", ErrUnsupported, alg, plain(found.Kind), plain(found.Token), found.Algorithms)
	}
	// Labels and ids may come to name another key; what it is does not change.
	k.selector.ID, k.selector.PublicKeySHA256 = found.ID, k.public.Fingerprint()
	return nil
}

func (k *pkcs11Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	alg := k.public.Algorithm()
	answer, err := k.helper.sign(ctx, pkcs11api.SignRequest{Key: k.selector, Algorithm: alg, Digest: digest})
	switch {
	case err != nil:
		return nil, err
	case answer.Algorithm != alg:
		return nil, fmt.Errorf("%w: the helper signed with %s, not with %s", ErrKeyMismatch, plain(string(answer.Algorithm)), alg)
	case answer.PublicKeySHA256 != k.public.Fingerprint():
		return nil, fmt.Errorf("%w: the helper signed with another key", ErrKeyMismatch)
	}
	return answer.Signature, nil
}

func (k *pkcs11Key) Public() *PublicKey { return k.public }

// Version is the key's CKA_ID in hex; "" if it has none.
func (k *pkcs11Key) Version() string { return k.selector.ID }

func (k *pkcs11Key) Close() error {
	k.helper.close()
	return nil
}

// fetch asks for the key without its public half, so that another key in its
// place is told and not only missed.
func (k *pkcs11Key) fetch(ctx context.Context) (*PublicKey, error) {
	named := k.selector
	named.PublicKeySHA256 = ""
	found, err := k.helper.key(ctx, named)
	if err != nil {
		return nil, err
	}
	// Another key may need another algorithm.
	for _, alg := range append([]policy.Algorithm{k.public.Algorithm()}, found.Algorithms...) {
		if public, err := pkcs11Public(found, alg); err == nil {
			return public, nil
		}
	}
	return nil, fmt.Errorf("the %s key in its place: %w", plain(found.Kind), ErrKeyMismatch)
}

// pkcs11Public returns the public half of a key for use with alg.
func pkcs11Public(found pkcs11api.Key, alg policy.Algorithm) (*PublicKey, error) {
	key, err := parseSPKI(found.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key: %w", err)
	}
	return NewPublicKey(key, alg)
}
