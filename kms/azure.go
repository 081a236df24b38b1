package kms

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sealwright/sealwright/engine/policy"
)

// An azureKey signs with one version of a key of Azure Key Vault.
type azureKey struct {
	*azureClient
	name, version string
	public        *PublicKey
	algorithm     azkeys.SignatureAlgorithm
}

// openAzure opens a key of Azure Key Vault or Managed HSM. Its URI is, as cosign
// writes it,
//
//	azurekms://VAULT.vault.azure.net/KEY
//	azurekms://VAULT.vault.azure.net/KEY/VERSION
//
// Without a version the current one is taken, once: a rotation later does not
// change what signs.
//
// Microsoft's own client is used here and not sigstore's provider around it:
// that one has no RSA-PSS, chooses the hash by the key's size, signs with
// whichever version is current, and takes no transport.
func openAzure(ctx context.Context, cfg Config) (Signer, error) {
	host, name, version, err := parseAzure(cfg.URI)
	if err != nil {
		return nil, err
	}
	client, err := newAzureClient(cfg.Store, host)
	if err != nil {
		return nil, fmt.Errorf("setting up Azure Key Vault: %w", err)
	}
	key, err := client.open(ctx, name, version, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the Azure key %s of %s: %w", name, host, err)
	}
	return key, nil
}

// open finds out which version signs and whether it can sign with alg.
func (c *azureClient) open(ctx context.Context, name, version string, alg policy.Algorithm) (*azureKey, error) {
	if alg != "" { // no request is needed to know
		if _, err := vendorName("Azure Key Vault", azureAlgorithms(), alg); err != nil {
			return nil, err
		}
	}
	bundle, err := c.key(ctx, name, version)
	if err != nil {
		return nil, err
	}
	if err := azureMaySign(bundle, time.Now()); err != nil {
		return nil, err
	}
	k := &azureKey{azureClient: c, name: name, version: bundle.Key.KID.Version()}
	if k.public, err = azurePublicKey(bundle.Key, alg); err != nil {
		return nil, err
	}
	k.algorithm, err = vendorName("Azure Key Vault", azureAlgorithms(), k.public.Algorithm())
	return k, err
}

// key reads a version, or the current one if version is empty.
func (c *azureClient) key(ctx context.Context, name, version string) (azkeys.KeyBundle, error) {
	var out azkeys.GetKeyResponse
	err := c.call(ctx, "public_key", func(ctx context.Context, sdk *azkeys.Client) (err error) {
		out, err = sdk.GetKey(ctx, name, version, nil)
		return err
	})
	switch {
	case err != nil:
		return azkeys.KeyBundle{}, fmt.Errorf("reading the key: %w", err)
	case out.Key == nil || out.Key.KID == nil || !azureKeyID.MatchString(string(*out.Key.KID)):
		return azkeys.KeyBundle{}, notUnderstood("it names no version of a key")
	case out.Key.KID.Name() != name || version != "" && out.Key.KID.Version() != version:
		return azkeys.KeyBundle{}, fmt.Errorf("reading the key: %w: the answer is about %q", ErrKeyMismatch, plain(string(*out.Key.KID)))
	}
	return out.KeyBundle, nil
}

// azureKeyID keeps from Microsoft's code what it would panic on.
var azureKeyID = regexp.MustCompile(`^https?://[^/]+/keys/[0-9A-Za-z-]+/[0-9A-Za-z]+$`)

func azureMaySign(bundle azkeys.KeyBundle, now time.Time) error {
	signs := func(op *azkeys.KeyOperation) bool { return op != nil && *op == azkeys.KeyOperationSign }
	refused := func(code, message string) error {
		return &StoreError{Kind: ErrKeyState, Code: code, Message: message}
	}
	if !slices.ContainsFunc(bundle.Key.KeyOps, signs) {
		return refused("key_ops", "do not allow to sign")
	}
	state := bundle.Attributes
	switch {
	case state == nil:
		return nil
	case state.Enabled != nil && !*state.Enabled:
		return refused("enabled", "is false")
	case state.NotBefore != nil && now.Before(*state.NotBefore):
		return refused("nbf", "the key is valid from "+state.NotBefore.UTC().Format(time.RFC3339)+" on")
	case state.Expires != nil && !now.Before(*state.Expires):
		return refused("exp", "the key was valid until "+state.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// Sign sends the digest, so that a message may have any size.
func (k *azureKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	var out azkeys.SignResponse
	err = k.call(ctx, "sign", func(ctx context.Context, sdk *azkeys.Client) (err error) {
		out, err = sdk.Sign(ctx, k.name, k.version, azkeys.SignParameters{Algorithm: &k.algorithm, Value: digest}, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing with the Azure key %s: %w", k.name, err)
	}
	if out.KID == nil || !azureKeyID.MatchString(string(*out.KID)) || out.KID.Name() != k.name || out.KID.Version() != k.version {
		return nil, fmt.Errorf("Azure signed with another key than version %s of %s: %w", k.version, k.name, ErrKeyMismatch) //nolint:staticcheck // a name
	}
	if k.public.Algorithm().Family() != policy.ECDSA {
		return out.Result, nil
	}
	return derOfPair(out.Result)
}

func (k *azureKey) fetch(ctx context.Context) (*PublicKey, error) {
	bundle, err := k.key(ctx, k.name, k.version)
	if err != nil {
		return nil, err
	}
	return azurePublicKey(bundle.Key, k.public.Algorithm())
}

func (k *azureKey) Public() *PublicKey { return k.public }

// Version is the version's id, 32 hex digits.
func (k *azureKey) Version() string { return k.version }

// Close does nothing: connections are the store's.
func (k *azureKey) Close() error { return nil }

// azureAlgorithms is what Azure calls our algorithms, RFC 7518's words. It has
// no SM2.
func azureAlgorithms() map[policy.Algorithm]azkeys.SignatureAlgorithm {
	return map[policy.Algorithm]azkeys.SignatureAlgorithm{
		policy.ECDSASHA256:    azkeys.SignatureAlgorithmES256,
		policy.ECDSASHA384:    azkeys.SignatureAlgorithmES384,
		policy.RSAPSSSHA256:   azkeys.SignatureAlgorithmPS256,
		policy.RSAPSSSHA384:   azkeys.SignatureAlgorithmPS384,
		policy.RSAPSSSHA512:   azkeys.SignatureAlgorithmPS512,
		policy.RSAPKCS1SHA256: azkeys.SignatureAlgorithmRS256,
		policy.RSAPKCS1SHA384: azkeys.SignatureAlgorithmRS384,
		policy.RSAPKCS1SHA512: azkeys.SignatureAlgorithmRS512,
	}
}
