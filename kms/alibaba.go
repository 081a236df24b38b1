package kms

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// An alibabaKey signs with one version of one key of Alibaba Cloud KMS.
type alibabaKey struct {
	*alibabaClient
	id        string
	version   string
	public    *PublicKey
	algorithm string // Alibaba's name
}

// openAlibaba opens a key of Alibaba Cloud KMS. Its URI is one of
//
//	alikms://KEY_ID[?version=VERSION_ID]
//	alikms://alias/NAME[?version=VERSION_ID]
//
// An alias is resolved here, once, and without a version it is the primary or
// else the newest one: what happens to them later does not change what signs.
func openAlibaba(ctx context.Context, cfg Config) (Signer, error) {
	key, version, err := parseAlibaba(cfg.URI)
	if err != nil {
		return nil, err
	}
	if cfg.Algorithm != "" {
		if _, err := vendorName("Alibaba Cloud KMS", alibabaAlgorithms(), cfg.Algorithm); err != nil {
			return nil, err
		}
	}
	client, err := newAlibabaClient(cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("setting up Alibaba Cloud KMS: %w", err)
	}
	signer, err := client.open(ctx, key, version, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the Alibaba Cloud key %s: %w", key, err)
	}
	return signer, nil
}

// open finds out which key and version sign and whether they can do so with alg.
func (c *alibabaClient) open(ctx context.Context, key, version string, alg policy.Algorithm) (*alibabaKey, error) {
	id, primary, err := c.describe(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("describing the key: %w", err)
	}
	k := &alibabaKey{alibabaClient: c, id: id, version: cmp.Or(version, primary)}
	if k.version == "" {
		if k.version, err = c.newest(ctx, id); err != nil {
			return nil, fmt.Errorf("listing the versions of the key: %w", err)
		}
	}
	if k.public, err = k.publicKey(ctx, alg); err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	k.algorithm, err = vendorName("Alibaba Cloud KMS", alibabaAlgorithms(), k.public.Algorithm())
	return k, err
}

// describe resolves key, which may be an alias, and refuses one that may not
// sign. Only some keys have a primary version.
func (c *alibabaClient) describe(ctx context.Context, key string) (id, primary string, err error) {
	var out struct {
		KeyMetadata struct{ KeyID, KeyState, KeyUsage, PrimaryKeyVersion string }
	}
	if err := c.ask(ctx, "describe", "DescribeKey", map[string]string{"KeyId": key}, &out); err != nil {
		return "", "", err
	}
	switch said := out.KeyMetadata; {
	case !alibabaIDRE.MatchString(said.KeyID):
		return "", "", notUnderstood("it describes no key")
	case said.KeyState != "Enabled":
		return "", "", &StoreError{Kind: ErrKeyState, Code: "KeyState", Message: "is " + said.KeyState + "; allowed: Enabled"}
	case said.KeyUsage != "SIGN/VERIFY":
		return "", "", &StoreError{Kind: ErrKeyState, Code: "KeyUsage", Message: "is " + said.KeyUsage + "; allowed: SIGN/VERIFY"}
	case said.PrimaryKeyVersion != "" && !alibabaIDRE.MatchString(said.PrimaryKeyVersion):
		return "", "", notUnderstood("it names no primary version")
	}
	return out.KeyMetadata.KeyID, out.KeyMetadata.PrimaryKeyVersion, nil
}

const (
	alibabaPage  = 100 // versions, the most that fit
	alibabaPages = 10  // a key has at most 50 versions; this ends a listing that does not
)

// newest returns the version of a key that was made last.
func (c *alibabaClient) newest(ctx context.Context, id string) (string, error) {
	var version string
	var made time.Time
	for page, seen := 1, 0; page <= alibabaPages; page++ {
		var out struct {
			KeyVersions struct {
				KeyVersion []struct{ KeyVersionID, CreationDate string }
			}
			TotalCount int
		}
		if err := c.ask(ctx, "versions", "ListKeyVersions", map[string]string{
			"KeyId": id, "PageNumber": strconv.Itoa(page), "PageSize": strconv.Itoa(alibabaPage),
		}, &out); err != nil {
			return "", err
		}
		for _, v := range out.KeyVersions.KeyVersion {
			at, err := time.Parse(time.RFC3339, v.CreationDate)
			if err != nil || !alibabaIDRE.MatchString(v.KeyVersionID) {
				return "", notUnderstood("it lists a version without id or date")
			}
			if version == "" || at.After(made) {
				version, made = v.KeyVersionID, at
			}
		}
		if seen += len(out.KeyVersions.KeyVersion); seen >= out.TotalCount || len(out.KeyVersions.KeyVersion) == 0 {
			break
		}
	}
	if version == "" {
		return "", &StoreError{Kind: ErrNotFound, Message: "the key has no version"}
	}
	return version, nil
}

func (k *alibabaKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	var out struct{ KeyID, KeyVersionID, PublicKey string }
	if err := k.ask(ctx, "public_key", "GetPublicKey", map[string]string{"KeyId": k.id, "KeyVersionId": k.version}, &out); err != nil {
		return nil, err
	}
	if out.KeyID != k.id || out.KeyVersionID != k.version {
		return nil, fmt.Errorf("%w: the answer is about another version", ErrKeyMismatch)
	}
	return ParsePublicKey([]byte(out.PublicKey), alg)
}

// Sign sends a digest: KMS takes nothing else. For SM2 it is SM3(Z_A‖M).
func (k *alibabaKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	var out struct{ KeyID, KeyVersionID, Value string }
	if err := k.ask(ctx, "sign", "AsymmetricSign", map[string]string{
		"KeyId": k.id, "KeyVersionId": k.version, "Algorithm": k.algorithm,
		"Digest": base64.StdEncoding.EncodeToString(digest),
	}, &out); err != nil {
		return nil, err
	}
	if out.KeyID != k.id || out.KeyVersionID != k.version {
		return nil, fmt.Errorf("%w: KMS signed with another version", ErrKeyMismatch)
	}
	return decodeSignature(out.Value)
}

func (k *alibabaKey) Public() *PublicKey { return k.public }

// Version is the id of the key version.
func (k *alibabaKey) Version() string { return k.version }

// Close does nothing: connections belong to the store.
func (k *alibabaKey) Close() error { return nil }

// fetch implements fetcher.
func (k *alibabaKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

// alibabaAlgorithms is what KMS calls our algorithms. It has no others.
func alibabaAlgorithms() map[policy.Algorithm]string {
	return map[policy.Algorithm]string{
		policy.ECDSASHA256:    "ECDSA_SHA_256",
		policy.RSAPSSSHA256:   "RSA_PSS_SHA_256",
		policy.RSAPKCS1SHA256: "RSA_PKCS1_SHA_256",
		policy.SM2SM3:         "SM2DSA",
	}
}
