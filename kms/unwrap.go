package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Unwrap decrypts a data key that a symmetric key of a key store has wrapped, in the
// form that the store's own tools print: the transit engine's "vault:vN:BASE64", AWS's
// ciphertext in base64. uri names the wrapping key as the URI of a signing key would;
// those of awskms, hashivault and openbao can unwrap. Which version of the key wrapped
// is in the ciphertext, so uri names none. Errors wrap the package's sentinels;
// [ErrKeyMismatch] means that another key wrapped, or that the text is damaged. They
// quote neither the text nor what it holds.
func Unwrap(ctx context.Context, uri string, store *Store, wrapped string) ([]byte, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	switch scheme {
	case "hashivault", "openbao":
		return unwrapVault(ctx, scheme, rest, store, wrapped)
	case "awskms":
		return unwrapAWS(ctx, uri, store, wrapped)
	}
	return nil, fmt.Errorf("wrapping key URI: %w; allowed: awskms://, hashivault://, openbao://", ErrScheme)
}

// notWrapped is about a text that is no ciphertext of the store.
func notWrapped(problem string) error {
	return fmt.Errorf("%w: the wrapped key %s", ErrKeyMismatch, problem)
}

func unwrapVault(ctx context.Context, scheme, rest string, store *Store, wrapped string) ([]byte, error) {
	ref, err := parseVault(rest)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s key: %w", scheme, err)
	case ref.version != 0:
		return nil, fmt.Errorf("%s key: the URI of a wrapping key names no version, which the ciphertext does", scheme)
	case !strings.HasPrefix(wrapped, "vault:"):
		return nil, notWrapped("is not of the form vault:vN:BASE64")
	}
	server, err := vaultServerOf(scheme, store)
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", scheme, err)
	}
	var key struct {
		Plaintext []byte `json:"plaintext"`
	}
	request := vaultRequest{op: "unwrap", method: http.MethodPost, path: ref.mount + "/decrypt/" + ref.name, body: map[string]string{"ciphertext": wrapped}}
	err = server.do(ctx, request, func(a *vaultAnswer) error {
		if decodeVault(a.Data, &key) != nil { // whose error might quote it
			return &StoreError{Kind: ErrUnavailable, Message: "the answer is not of the transit engine"}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unwrapping with the %s key %s: %w", scheme, ref, err)
	}
	return key.Plaintext, nil
}

func unwrapAWS(ctx context.Context, uri string, store *Store, wrapped string) ([]byte, error) {
	ref, err := parseAWS(uri)
	if err != nil {
		return nil, err
	}
	blob, err := base64.StdEncoding.DecodeString(wrapped)
	if err != nil || len(blob) == 0 {
		return nil, notWrapped("is not base64")
	}
	client, err := newAWSClient(ctx, store, ref)
	if err != nil {
		return nil, fmt.Errorf("setting up AWS KMS: %w", err)
	}
	var out *awskms.DecryptOutput
	err = client.call(ctx, "unwrap", func(ctx context.Context) (err error) {
		// With the key's name, AWS decrypts nothing that another key encrypted.
		out, err = client.sdk.Decrypt(ctx, &awskms.DecryptInput{KeyId: aws.String(ref.key), CiphertextBlob: blob, EncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unwrapping with the AWS KMS key %s: %w", ref.key, err)
	}
	if got := aws.ToString(out.KeyId); awsKeyARN.MatchString(ref.key) && got != ref.key {
		return nil, fmt.Errorf("AWS KMS unwrapped with %s instead of %s: %w", plain(got), ref.key, ErrKeyMismatch)
	}
	return out.Plaintext, nil
}
