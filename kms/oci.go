package kms

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/keymanagement"

	"github.com/sealwright/sealwright/engine/policy"
)

// An ociKey signs with one version of one key in an OCI vault.
type ociKey struct {
	*ociClient
	id        string
	version   string
	public    *PublicKey
	algorithm keymanagement.SignDataDetailsSigningAlgorithmEnum
}

// openOCI opens a key in a vault of Oracle Cloud Infrastructure. Its URI is
//
//	ocikms://ocid1.key.REALM.REGION.VAULT.ID[?version=ocid1.keyversion.…]
//
// Without a version it is the one that is current now; rotating the key later
// does not change what signs. The hosts follow from the OCID, unless the key
// store names another region or an endpoint.
func openOCI(ctx context.Context, cfg Config) (Signer, error) {
	ref, err := parseOCI(cfg.URI)
	if err != nil {
		return nil, err
	}
	if cfg.Algorithm != "" {
		if _, err := vendorName("an OCI vault", ociAlgorithms(), cfg.Algorithm); err != nil {
			return nil, err
		}
	}
	client, err := newOCIClient(cfg.Store, ref)
	if err != nil {
		return nil, fmt.Errorf("setting up the OCI vault: %w", err)
	}
	key, err := client.open(ctx, ref, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the OCI key %s: %w", ref.id, err)
	}
	return key, nil
}

// open finds out which version signs and whether it can do so with alg.
func (c *ociClient) open(ctx context.Context, ref ociRef, alg policy.Algorithm) (*ociKey, error) {
	current, err := c.describe(ctx, ref.id)
	if err != nil {
		return nil, fmt.Errorf("describing the key: %w", err)
	}
	k := &ociKey{ociClient: c, id: ref.id, version: ref.version}
	if k.version == "" {
		k.version = current
	}
	if k.public, err = k.publicKey(ctx, alg); err != nil {
		return nil, err
	}
	k.algorithm, err = vendorName("an OCI vault", ociAlgorithms(), k.public.Algorithm())
	return k, err
}

// describe returns the key's current version and refuses a key that may not
// sign.
func (c *ociClient) describe(ctx context.Context, id string) (string, error) {
	request := keymanagement.GetKeyRequest{KeyId: &id}
	var out keymanagement.GetKeyResponse
	if err := c.get(ctx, "describe", "/20180608/keys/{keyId}", request, &out); err != nil {
		return "", err
	}
	switch {
	case valueOf(out.Id) != id || !ociVersionRE.MatchString(valueOf(out.CurrentKeyVersion)) || out.KeyShape == nil:
		return "", notUnderstood("it describes no key or another one")
	case out.LifecycleState != keymanagement.KeyLifecycleStateEnabled:
		return "", &StoreError{Kind: ErrKeyState, Code: "lifecycleState", Message: fmt.Sprintf("is %s; allowed: ENABLED", out.LifecycleState)}
	case out.KeyShape.Algorithm == keymanagement.KeyShapeAlgorithmAes:
		return "", fmt.Errorf("%w: it is an AES key; allowed: RSA, ECDSA", ErrKeyMismatch)
	}
	return *out.CurrentKeyVersion, nil
}

func (k *ociKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	request := keymanagement.GetKeyVersionRequest{KeyId: &k.id, KeyVersionId: &k.version}
	var out keymanagement.GetKeyVersionResponse
	if err := k.get(ctx, "public_key", "/20180608/keys/{keyId}/keyVersions/{keyVersionId}", request, &out); err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	switch state := out.LifecycleState; {
	case valueOf(out.Id) != k.version || valueOf(out.KeyId) != k.id:
		return nil, fmt.Errorf("reading the public key: %w: the answer is about another version", ErrKeyMismatch)
	case state != "" && state != keymanagement.KeyVersionLifecycleStateEnabled:
		return nil, fmt.Errorf("reading the public key: %w",
			&StoreError{Kind: ErrKeyState, Code: "lifecycleState of the version", Message: fmt.Sprintf("is %s; allowed: ENABLED", state)})
	}
	public, err := ParsePublicKey([]byte(valueOf(out.PublicKey)), alg)
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	return public, nil
}

// Sign always sends a digest: the vault takes messages of up to 4096 bytes only.
func (k *ociKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	request := keymanagement.SignRequest{SignDataDetails: keymanagement.SignDataDetails{
		Message:          common.String(base64.StdEncoding.EncodeToString(digest)),
		KeyId:            &k.id,
		KeyVersionId:     &k.version,
		SigningAlgorithm: k.algorithm,
		MessageType:      keymanagement.SignDataDetailsMessageTypeDigest,
	}}
	var out keymanagement.SignResponse
	if err := k.post(ctx, "sign", "/20180608/sign", request, &out); err != nil {
		return nil, err
	}
	switch {
	case valueOf(out.KeyId) != k.id || valueOf(out.KeyVersionId) != k.version:
		return nil, fmt.Errorf("%w: the vault signed with another version", ErrKeyMismatch)
	case string(out.SigningAlgorithm) != string(k.algorithm):
		return nil, fmt.Errorf("%w: the vault signed with %s, not %s", ErrKeyMismatch, plain(string(out.SigningAlgorithm)), k.algorithm)
	}
	return decodeSignature(valueOf(out.Signature))
}

func (k *ociKey) Public() *PublicKey { return k.public }

// Version is the OCID of the key version.
func (k *ociKey) Version() string { return k.version }

// Close does nothing: connections belong to the store.
func (k *ociKey) Close() error { return nil }

// fetch implements fetcher.
func (k *ociKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

// ociAlgorithms is what OCI vaults call our algorithms. They have no SM2.
func ociAlgorithms() map[policy.Algorithm]keymanagement.SignDataDetailsSigningAlgorithmEnum {
	return map[policy.Algorithm]keymanagement.SignDataDetailsSigningAlgorithmEnum{
		policy.ECDSASHA256:    keymanagement.SignDataDetailsSigningAlgorithmEcdsaSha256,
		policy.ECDSASHA384:    keymanagement.SignDataDetailsSigningAlgorithmEcdsaSha384,
		policy.RSAPSSSHA256:   keymanagement.SignDataDetailsSigningAlgorithmSha256RsaPkcsPss,
		policy.RSAPSSSHA384:   keymanagement.SignDataDetailsSigningAlgorithmSha384RsaPkcsPss,
		policy.RSAPSSSHA512:   keymanagement.SignDataDetailsSigningAlgorithmSha512RsaPkcsPss,
		policy.RSAPKCS1SHA256: keymanagement.SignDataDetailsSigningAlgorithmSha256RsaPkcs1V15,
		policy.RSAPKCS1SHA384: keymanagement.SignDataDetailsSigningAlgorithmSha384RsaPkcs1V15,
		policy.RSAPKCS1SHA512: keymanagement.SignDataDetailsSigningAlgorithmSha512RsaPkcs1V15,
	}
}
