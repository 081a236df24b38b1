package kms

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// maxTencentRaw is how long a message may be that Tencent Cloud KMS digests
// itself, in bytes.
const maxTencentRaw = 4096

// tencentDigest is how long a digest is that Tencent Cloud KMS signs, in bytes:
// it takes no other.
const tencentDigest = 32

// A tencentKey signs with an asymmetric key of Tencent Cloud KMS. Such keys have
// no versions: a new key material is a new key with a new id.
type tencentKey struct {
	*tencentClient
	id        string
	public    *PublicKey
	algorithm string
}

// openTencent opens a key of Tencent Cloud KMS. Its URI is
//
//	tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3
//
// with the id of the key and nothing else: aliases are no names in this API,
// and asymmetric keys have no versions. Region and endpoint are the key
// store's, or the environment's.
func openTencent(ctx context.Context, cfg Config) (Signer, error) {
	id, err := parseTencent(cfg.URI)
	if err != nil {
		return nil, err
	}
	client, err := newTencentClient(cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("setting up Tencent Cloud KMS: %w", err)
	}
	key, err := client.open(ctx, id, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the Tencent Cloud KMS key %s: %w", id, err)
	}
	return key, nil
}

// open finds out whether the key can sign with alg.
func (c *tencentClient) open(ctx context.Context, id string, alg policy.Algorithm) (*tencentKey, error) {
	if alg != "" { // no request is needed to know
		if _, err := vendorName("Tencent Cloud KMS", tencentAlgorithms(), alg); err != nil {
			return nil, err
		}
	}
	if err := c.describe(ctx, id); err != nil {
		return nil, err
	}
	k := &tencentKey{tencentClient: c, id: id}
	var err error
	if k.public, err = k.publicKey(ctx, alg); err != nil {
		return nil, err
	}
	k.algorithm, err = vendorName("Tencent Cloud KMS", tencentAlgorithms(), k.public.Algorithm())
	return k, err
}

// describe returns an error if there is no such key or it may not sign.
func (c *tencentClient) describe(ctx context.Context, id string) error {
	var out struct {
		KeyMetadata struct{ KeyId, KeyState, KeyUsage string }
	}
	if err := c.call(ctx, "describe", "DescribeKey", map[string]any{"KeyId": id}, &out); err != nil {
		return fmt.Errorf("describing the key: %w", err)
	}
	key := out.KeyMetadata
	switch {
	case key.KeyId == "":
		return notUnderstood("it names no key")
	case key.KeyId != id:
		return fmt.Errorf("describing the key: %w: the answer is about %s", ErrKeyMismatch, plain(key.KeyId))
	case !strings.HasPrefix(key.KeyUsage, "ASYMMETRIC_SIGN_VERIFY_"):
		return &StoreError{Kind: ErrKeyState, Code: "KeyUsage", Message: fmt.Sprintf("is %q; allowed: ASYMMETRIC_SIGN_VERIFY_SM2, ..._ECC, ..._ECDSA384, ..._RSA_2048", key.KeyUsage)}
	case key.KeyState != "Enabled":
		return &StoreError{Kind: ErrKeyState, Code: "KeyState", Message: fmt.Sprintf("is %q; allowed: Enabled", key.KeyState)}
	}
	return nil
}

// publicKey reads the key's public half: PublicKey and not PublicKeyPem, whose
// body has been seen encoded twice.
func (k *tencentKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	var out struct{ KeyId, PublicKey string }
	if err := k.call(ctx, "public_key", "GetPublicKey", map[string]any{"KeyId": k.id}, &out); err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	if out.KeyId != "" && out.KeyId != k.id {
		return nil, fmt.Errorf("reading the public key: %w: the answer is about %s", ErrKeyMismatch, plain(out.KeyId))
	}
	return parseTencentPublic(out.PublicKey, alg)
}

func parseTencentPublic(text string, alg policy.Algorithm) (*PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, notUnderstood("its public key is no base64")
	}
	return ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), alg)
}

// Sign sends the digest if Tencent takes it, so that a message may have any
// size, else the message itself.
func (k *tencentKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	kind, content := "DIGEST", message
	switch digest, err := k.public.digest(message); {
	case err != nil:
		return nil, fmt.Errorf("digesting the message: %w", err)
	case len(digest) == tencentDigest:
		content = digest
	case len(message) > maxTencentRaw:
		return nil, fmt.Errorf("signing a message of %d bytes with %s is %w: Tencent Cloud KMS takes digests of %d bytes alone, this one has %d, and messages of at most %d bytes",
			len(message), k.public.Algorithm(), ErrUnsupported, tencentDigest, len(digest), maxTencentRaw)
	default:
		kind = "RAW"
	}
	var out struct{ Signature string }
	err := k.call(ctx, "sign", "SignByAsymmetricKey", map[string]any{
		"KeyId":       k.id,
		"Algorithm":   k.algorithm,
		"MessageType": kind,
		"Message":     base64.StdEncoding.EncodeToString(content),
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("signing with the Tencent Cloud KMS key %s: %w", k.id, err)
	}
	return decodeSignature(out.Signature)
}

func (k *tencentKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

func (k *tencentKey) Public() *PublicKey { return k.public }

// Version is the key's id: it names the key material for ever.
func (k *tencentKey) Version() string { return k.id }

// Close does nothing: connections are the store's.
func (k *tencentKey) Close() error { return nil }

// tencentAlgorithms is what Tencent Cloud KMS calls our algorithms. It names no
// RSA algorithm with a longer hash.
func tencentAlgorithms() map[policy.Algorithm]string {
	return map[policy.Algorithm]string{
		policy.ECDSASHA256:    "ECC_P256_R1",
		policy.ECDSASHA384:    "ECDSA384_SHA384",
		policy.RSAPSSSHA256:   "RSA_PSS_SHA_256",
		policy.RSAPKCS1SHA256: "RSA_PKCS1_SHA_256",
		policy.SM2SM3:         "SM2DSA",
	}
}
