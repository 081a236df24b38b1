package kms

import (
	"context"
	"encoding/base64"
	"fmt"

	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2/model"

	"github.com/sealwright/sealwright/engine/policy"
)

// A huaweiKey signs with an asymmetric key of Huawei Cloud KMS. Such keys have
// no versions: a new key material is a new key with a new id.
type huaweiKey struct {
	*huaweiClient
	id        string
	public    *PublicKey
	algorithm model.SignRequestBodySigningAlgorithm
}

// openHuawei opens a key of Huawei Cloud KMS (DEW). Its URI is one of
//
//	huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f
//	huaweikms://alias/release
//
// An alias is resolved here, once: moving it later does not change what signs.
// There is no "?version=": the API's "sequence" is a request's serial number
// and no version of a key. Region, endpoint and project are the key store's,
// or the environment's.
func openHuawei(ctx context.Context, cfg Config) (Signer, error) {
	name, err := parseHuawei(cfg.URI)
	if err != nil {
		return nil, err
	}
	client, err := newHuaweiClient(cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("setting up Huawei Cloud KMS: %w", err)
	}
	key, err := client.open(ctx, name, cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the Huawei Cloud KMS key %s: %w", name, err)
	}
	return key, nil
}

// open finds out which key name means and whether it can sign with alg.
func (c *huaweiClient) open(ctx context.Context, name string, alg policy.Algorithm) (*huaweiKey, error) {
	k := &huaweiKey{huaweiClient: c}
	var err error
	if k.id, err = c.describe(ctx, name); err != nil {
		return nil, err
	}
	if k.public, err = k.publicKey(ctx, alg); err != nil {
		return nil, err
	}
	k.algorithm, err = vendorName("Huawei Cloud KMS", huaweiAlgorithms(), k.public.Algorithm())
	return k, err
}

// describe returns the id of the key that name means, if it may sign.
func (c *huaweiClient) describe(ctx context.Context, name string) (string, error) {
	var key model.KeyDetails
	err := c.call(ctx, "describe", func(sdk *huaweikms.KmsClient) error {
		out, err := sdk.ListKeyDetail(&model.ListKeyDetailRequest{Body: &model.OperateKeyRequestBody{KeyId: name}})
		if err == nil && out.KeyInfo != nil {
			key = *out.KeyInfo
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("describing the key: %w", err)
	}
	id := valueOf(key.KeyId)
	if !huaweiID.MatchString(id) {
		return "", notUnderstood("it names no key")
	}
	if huaweiID.MatchString(name) && id != name {
		return "", fmt.Errorf("describing the key: %w: the answer is about %s", ErrKeyMismatch, id)
	}
	return id, huaweiMaySign(key)
}

// huaweiMaySign returns an error if the key's use or state forbids signing.
func huaweiMaySign(key model.KeyDetails) error {
	var usage, spec string
	if key.KeyUsage != nil {
		usage = key.KeyUsage.Value()
	}
	if key.KeySpec != nil {
		spec = key.KeySpec.Value()
	}
	states := map[string]string{"1": "waits to be activated", "3": "is disabled", "4": "is to be deleted", "5": "waits for its key material"}
	state := valueOf(key.KeyState)
	switch {
	case usage != "SIGN_VERIFY":
		return &StoreError{Kind: ErrKeyState, Code: "key_usage", Message: fmt.Sprintf("is %q of a key of %q; allowed: SIGN_VERIFY", usage, spec)}
	case states[state] != "":
		return &StoreError{Kind: ErrKeyState, Code: "key_state " + state, Message: "the key " + states[state]}
	case state != "2":
		return &StoreError{Kind: ErrKeyState, Code: "key_state", Message: fmt.Sprintf("is %q; allowed: 2 (enabled)", state)}
	}
	return nil
}

// publicKey reads the key's public half. Huawei writes RSA keys as PKCS#1 under
// a PUBLIC KEY header, and ends lines with CRLF.
func (k *huaweiKey) publicKey(ctx context.Context, alg policy.Algorithm) (*PublicKey, error) {
	var id, pem string
	err := k.call(ctx, "public_key", func(sdk *huaweikms.KmsClient) error {
		out, err := sdk.ShowPublicKey(&model.ShowPublicKeyRequest{Body: &model.OperateKeyRequestBody{KeyId: k.id}})
		if err == nil {
			id, pem = valueOf(out.KeyId), valueOf(out.PublicKey)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	if id != "" && id != k.id {
		return nil, fmt.Errorf("reading the public key: %w: the answer is about %s", ErrKeyMismatch, plain(id))
	}
	return ParsePublicKey([]byte(pem), alg)
}

// Sign sends the digest, so that a message may have any size.
func (k *huaweiKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	kind := model.GetSignRequestBodyMessageTypeEnum().DIGEST
	var id, signature string
	err = k.call(ctx, "sign", func(sdk *huaweikms.KmsClient) error {
		out, err := sdk.Sign(&model.SignRequest{Body: &model.SignRequestBody{
			KeyId:            k.id,
			Message:          base64.StdEncoding.EncodeToString(digest),
			SigningAlgorithm: k.algorithm,
			MessageType:      &kind,
		}})
		if err == nil {
			id, signature = valueOf(out.KeyId), valueOf(out.Signature)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing with the Huawei Cloud KMS key %s: %w", k.id, err)
	}
	if id != "" && id != k.id {
		return nil, fmt.Errorf("signing with the Huawei Cloud KMS key %s: %w: the answer is about %s", k.id, ErrKeyMismatch, plain(id))
	}
	return decodeSignature(signature)
}

func (k *huaweiKey) fetch(ctx context.Context) (*PublicKey, error) {
	return k.publicKey(ctx, k.public.Algorithm())
}

func (k *huaweiKey) Public() *PublicKey { return k.public }

// Version is the key's id: it names the key material for ever.
func (k *huaweiKey) Version() string { return k.id }

// Close does nothing: connections are the store's.
func (k *huaweiKey) Close() error { return nil }

// huaweiAlgorithms is what Huawei Cloud KMS calls our algorithms; it has all of
// them.
func huaweiAlgorithms() map[policy.Algorithm]model.SignRequestBodySigningAlgorithm {
	names := model.GetSignRequestBodySigningAlgorithmEnum()
	return map[policy.Algorithm]model.SignRequestBodySigningAlgorithm{
		policy.ECDSASHA256:    names.ECDSA_SHA_256,
		policy.ECDSASHA384:    names.ECDSA_SHA_384,
		policy.RSAPSSSHA256:   names.RSASSA_PSS_SHA_256,
		policy.RSAPSSSHA384:   names.RSASSA_PSS_SHA_384,
		policy.RSAPSSSHA512:   names.RSASSA_PSS_SHA_512,
		policy.RSAPKCS1SHA256: names.RSASSA_PKCS1_V1_5_SHA_256,
		policy.RSAPKCS1SHA384: names.RSASSA_PKCS1_V1_5_SHA_384,
		policy.RSAPKCS1SHA512: names.RSASSA_PKCS1_V1_5_SHA_512,
		policy.SM2SM3:         names.SM2_DSA_SM3,
	}
}
