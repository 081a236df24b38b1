package kms

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealwright/sealwright/engine/policy"
)

// An awsKey signs with an asymmetric key of AWS KMS. Such keys have no versions
// and are never rotated in place: the ARN is the key for ever.
type awsKey struct {
	*awsClient
	arn       string
	public    *PublicKey
	algorithm types.SigningAlgorithmSpec
}

// openAWS opens a key of AWS KMS. Its URI is, as cosign writes it, one of
//
//	awskms:///arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
//	awskms:///1234abcd-12ab-34cd-56ef-1234567890ab
//	awskms:///arn:aws:kms:eu-west-1:123456789012:alias/release
//	awskms:///alias/release
//	awskms://kms.example.com/alias/release
//
// where the last one names the endpoint, which is asked by HTTPS. An alias is
// resolved here, once: moving it later does not change what signs. The region
// is the ARN's, else the key store's, else the one the AWS environment names.
//
// The requests are our own and not sigstore's, whose AWS provider signs with
// whatever algorithm the service lists first.
func openAWS(ctx context.Context, cfg Config) (Signer, error) {
	ref, err := parseAWS(cfg.URI)
	if err != nil {
		return nil, err
	}
	client, err := newAWSClient(ctx, cfg.Store, ref)
	if err != nil {
		return nil, fmt.Errorf("setting up AWS KMS: %w", err)
	}
	key, err := client.open(ctx, ref.key, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the AWS KMS key %s: %w", ref.key, err)
	}
	return key, nil
}

// open finds out which key id means and whether it can sign with alg.
func (c *awsClient) open(ctx context.Context, id string, alg policy.Algorithm) (*awsKey, error) {
	key, err := c.describe(ctx, id)
	if err != nil {
		return nil, err
	}
	k := &awsKey{awsClient: c, arn: aws.ToString(key.Arn)}
	if k.public, err = k.publicKey(ctx, alg); err != nil {
		return nil, err
	}
	k.algorithm = awsAlgorithms()[k.public.Algorithm()]
	if !slices.Contains(key.SigningAlgorithms, k.algorithm) {
		return nil, fmt.Errorf("%s is %w: the key has %s", k.public.Algorithm(), ErrUnsupported, joinAWS(key.SigningAlgorithms))
	}
	return k, nil
}

// describe resolves id, which may be an alias, and refuses a key that may not
// sign.
func (c *awsClient) describe(ctx context.Context, id string) (*types.KeyMetadata, error) {
	var out *awskms.DescribeKeyOutput
	err := c.call(ctx, "describe", func(ctx context.Context) (err error) {
		out, err = c.sdk.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: aws.String(id)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("describing the key: %w", err)
	}
	key := out.KeyMetadata
	if key == nil || !awsKeyARN.MatchString(aws.ToString(key.Arn)) {
		return nil, notUnderstood("it names no key")
	}
	switch {
	case key.KeyUsage != types.KeyUsageTypeSignVerify:
		return nil, &StoreError{Kind: ErrKeyState, Code: "KeyUsage", Message: fmt.Sprintf("is %s; allowed: SIGN_VERIFY", key.KeyUsage)}
	case key.KeyState != types.KeyStateEnabled:
		return nil, &StoreError{Kind: ErrKeyState, Code: "KeyState", Message: fmt.Sprintf("is %s; allowed: Enabled", key.KeyState)}
	}
	return key, nil
}

func (k *awsKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	var out *awskms.GetPublicKeyOutput
	err := k.call(ctx, "public_key", func(ctx context.Context) (err error) {
		out, err = k.sdk.GetPublicKey(ctx, &awskms.GetPublicKeyInput{KeyId: aws.String(k.arn)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	if got := aws.ToString(out.KeyId); got != "" && got != k.arn {
		return nil, fmt.Errorf("reading the public key: %w: the answer is about %s", ErrKeyMismatch, plain(got))
	}
	key, err := parseSPKI(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key: %w", err)
	}
	return NewPublicKey(key, alg)
}

// Sign sends the digest, so that a message may have any size.
func (k *awsKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	var out *awskms.SignOutput
	err = k.call(ctx, "sign", func(ctx context.Context) (err error) {
		out, err = k.sdk.Sign(ctx, &awskms.SignInput{
			KeyId:            aws.String(k.arn),
			Message:          digest,
			MessageType:      types.MessageTypeDigest,
			SigningAlgorithm: k.algorithm,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing with the AWS KMS key %s: %w", k.arn, err)
	}
	if got := aws.ToString(out.KeyId); got != "" && got != k.arn {
		return nil, fmt.Errorf("AWS KMS signed with %s instead of %s: %w", plain(got), k.arn, ErrKeyMismatch)
	}
	if out.SigningAlgorithm != "" && out.SigningAlgorithm != k.algorithm {
		return nil, fmt.Errorf("AWS KMS signed with %s instead of %s: %w", plain(string(out.SigningAlgorithm)), k.algorithm, ErrKeyMismatch)
	}
	return out.Signature, nil
}

func (k *awsKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

func (k *awsKey) Public() *PublicKey { return k.public }

// Version is the key's ARN: it names the key material for ever.
func (k *awsKey) Version() string { return k.arn }

// Close does nothing: connections are the store's.
func (k *awsKey) Close() error { return nil }

// awsAlgorithms is what AWS KMS calls our algorithms; it has all of them. SM2
// exists in the regions in China alone.
func awsAlgorithms() map[policy.Algorithm]types.SigningAlgorithmSpec {
	return map[policy.Algorithm]types.SigningAlgorithmSpec{
		policy.ECDSASHA256:    types.SigningAlgorithmSpecEcdsaSha256,
		policy.ECDSASHA384:    types.SigningAlgorithmSpecEcdsaSha384,
		policy.RSAPSSSHA256:   types.SigningAlgorithmSpecRsassaPssSha256,
		policy.RSAPSSSHA384:   types.SigningAlgorithmSpecRsassaPssSha384,
		policy.RSAPSSSHA512:   types.SigningAlgorithmSpecRsassaPssSha512,
		policy.RSAPKCS1SHA256: types.SigningAlgorithmSpecRsassaPkcs1V15Sha256,
		policy.RSAPKCS1SHA384: types.SigningAlgorithmSpecRsassaPkcs1V15Sha384,
		policy.RSAPKCS1SHA512: types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
		policy.SM2SM3:         types.SigningAlgorithmSpecSm2dsa,
	}
}

func joinAWS(algorithms []types.SigningAlgorithmSpec) string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return plain(strings.Join(names, ", "))
}
