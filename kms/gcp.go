package kms

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sealwright/sealwright/engine/policy"
)

// A gcpKey signs with one version of a key of Google Cloud KMS.
type gcpKey struct {
	*gcpClient
	name   string // of the version, from projects/ on
	public *PublicKey
}

// openGCP opens a key of Google Cloud KMS. Its URI is, as cosign writes it,
//
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V
//
// where the last collection may be called versions, too. Without a version the
// newest enabled one is taken, once: a rotation later does not change what
// signs.
//
// Google's own client is used here, through REST, and not sigstore's provider
// around it: that one looks for the version and its public key again every five
// minutes, with a context that never ends, and retries by itself over a
// connection of its own.
func openGCP(ctx context.Context, cfg Config) (Signer, error) {
	parent, version, err := parseGCP(cfg.URI)
	if err != nil {
		return nil, err
	}
	client, err := newGCPClient(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("setting up Google Cloud KMS: %w", err)
	}
	key, err := client.open(ctx, parent, version, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the Google Cloud KMS key %s: %w", parent, err)
	}
	return key, nil
}

func (c *gcpClient) open(ctx context.Context, parent, number string, alg policy.Algorithm) (*gcpKey, error) {
	if alg != "" && !slices.Contains(slices.Collect(maps.Values(gcpAlgorithms())), alg) {
		return nil, fmt.Errorf("%s is %w; allowed: %s", alg, ErrUnsupported, allowedGCP())
	}
	version, err := c.version(ctx, parent, number)
	if err != nil {
		return nil, err
	}
	if version.State != kmspb.CryptoKeyVersion_ENABLED {
		return nil, &StoreError{Kind: ErrKeyState, Code: "state", Message: fmt.Sprintf("version is %s; allowed: ENABLED", version.State)}
	}
	signs, ok := gcpAlgorithms()[version.Algorithm]
	switch {
	case !ok:
		return nil, &StoreError{Kind: ErrKeyState, Code: "algorithm", Message: fmt.Sprintf("is %s; allowed: %s", version.Algorithm, allowedGCP())}
	case alg != "" && alg != signs:
		return nil, fmt.Errorf("the version signs with %s and not with %s: %w", signs, alg, ErrKeyMismatch)
	}
	k := &gcpKey{gcpClient: c, name: version.Name}
	if k.public, err = k.publicKey(ctx, signs); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *gcpKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	var out *kmspb.PublicKey
	err := k.call(ctx, "public_key", func(ctx context.Context) (err error) {
		out, err = k.sdk.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: k.name})
		if err == nil && out.PemCrc32C != nil && out.PemCrc32C.Value != castagnoli([]byte(out.Pem)) {
			return errCorrupted("public key")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	if out.Name != "" && out.Name != k.name || gcpAlgorithms()[out.Algorithm] != alg {
		return nil, fmt.Errorf("reading the public key: %w: the answer is about %s, %s", ErrKeyMismatch, plain(out.Name), out.Algorithm)
	}
	return ParsePublicKey([]byte(out.Pem), alg)
}

// Sign sends the digest, so that a message may have any size, and has both
// sides check that what arrived is what was sent.
func (k *gcpKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	request, err := k.request(message)
	if err != nil {
		return nil, err
	}
	var out *kmspb.AsymmetricSignResponse
	err = k.call(ctx, "sign", func(ctx context.Context) (err error) {
		if out, err = k.sdk.AsymmetricSign(ctx, request); err != nil {
			return err
		}
		switch {
		case out.Name != k.name:
			return fmt.Errorf("the answer is about %q: %w", plain(out.Name), ErrKeyMismatch)
		case !out.VerifiedDigestCrc32C:
			return errCorrupted("digest")
		case out.SignatureCrc32C.GetValue() != castagnoli(out.Signature):
			return errCorrupted("signature")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("signing with the Google Cloud KMS key %s: %w", k.name, err)
	}
	return out.Signature, nil
}

func (k *gcpKey) request(message []byte) (*kmspb.AsymmetricSignRequest, error) {
	sum, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	digest := &kmspb.Digest{}
	switch len(sum) {
	case 32:
		digest.Digest = &kmspb.Digest_Sha256{Sha256: sum}
	case 48:
		digest.Digest = &kmspb.Digest_Sha384{Sha384: sum}
	case 64:
		digest.Digest = &kmspb.Digest_Sha512{Sha512: sum}
	}
	return &kmspb.AsymmetricSignRequest{Name: k.name, Digest: digest, DigestCrc32C: wrapperspb.Int64(castagnoli(sum))}, nil
}

// castagnoli is the checksum that Google's API goes with.
func castagnoli(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// errCorrupted is tried again, as Google asks its callers to.
func errCorrupted(what string) error {
	return &StoreError{Kind: ErrUnavailable, Code: "crc32c", Message: "the " + what + " was corrupted on the way"}
}

func (k *gcpKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

func (k *gcpKey) Public() *PublicKey { return k.public }

// Version is the version's number.
func (k *gcpKey) Version() string { return k.name[strings.LastIndexByte(k.name, '/')+1:] }

// Close does nothing: connections are the store's.
func (k *gcpKey) Close() error { return nil }

// gcpAlgorithms is how versions sign that we can use. A version has one
// algorithm; there is none for SM2 or RSA with SHA-384.
func gcpAlgorithms() map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]policy.Algorithm {
	return map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]policy.Algorithm{
		kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256:        policy.ECDSASHA256,
		kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384:        policy.ECDSASHA384,
		kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256:   policy.RSAPSSSHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256:   policy.RSAPSSSHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256:   policy.RSAPSSSHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512:   policy.RSAPSSSHA512,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256: policy.RSAPKCS1SHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256: policy.RSAPKCS1SHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256: policy.RSAPKCS1SHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512: policy.RSAPKCS1SHA512,
	}
}

func allowedGCP() string {
	return oneOf([]string{
		string(policy.ECDSASHA256), string(policy.ECDSASHA384), string(policy.RSAPSSSHA256), string(policy.RSAPSSSHA512),
		string(policy.RSAPKCS1SHA256), string(policy.RSAPKCS1SHA512),
	})
}
