package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// A vaultKey signs with a key of the transit engine of a Vault or OpenBao server.
type vaultKey struct {
	server  *vaultServer
	ref     vaultRef
	version int
	public  *PublicKey
	batches *vaultBatches
}

// openVault opens a key of the transit engine:
//
//	hashivault://[MOUNT/]KEY[?version=N]
//	openbao://[MOUNT/]KEY[?version=N]
//
// MOUNT is where the engine is mounted, "transit" if none is named; it may have
// slashes, so the last part is the key. Without a version the signer takes the
// latest one and stays with it when the key is rotated. The two schemes differ
// in the environment variables that stand in for what the store's configuration
// leaves out: VAULT_ADDR, VAULT_TOKEN and VAULT_NAMESPACE, for openbao first
// BAO_ADDR, BAO_TOKEN and BAO_NAMESPACE.
func openVault(ctx context.Context, cfg Config) (Signer, error) {
	scheme, rest, _ := strings.Cut(cfg.URI, ":")
	ref, err := parseVault(rest)
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", scheme, err)
	}
	if cfg.Algorithm.Family() == policy.SM2 {
		return nil, fmt.Errorf("%s key: %s: %w; allowed: the ECDSA and RSA algorithms", scheme, cfg.Algorithm, ErrUnsupported)
	}
	server, err := vaultServerOf(scheme, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", scheme, err)
	}
	k := &vaultKey{server: server, ref: ref, version: ref.version}
	if err := k.open(ctx, cfg.Algorithm); err != nil {
		return nil, fmt.Errorf("opening %s key %s: %w", scheme, ref, err)
	}
	k.batches = newVaultBatches(k.signAll)
	return k, nil
}

func (k *vaultKey) open(ctx context.Context, alg policy.Algorithm) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if k.version == 0 {
		k.version = d.Latest
	}
	k.public, err = d.public(k.version, alg)
	return err
}

// A vaultDescription is what the transit engine tells of a key.
type vaultDescription struct {
	Type          string                     `json:"type"`
	Latest        int                        `json:"latest_version"`
	MinEncryption int                        `json:"min_encryption_version"` // also the least that signs; 0: any
	SoftDeleted   bool                       `json:"soft_deleted"`
	Keys          map[string]json.RawMessage `json:"keys"` // by version; numbers for keys without a public half
}

// vaultTypes are the types of keys that fit one of our algorithms.
var vaultTypes = []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}

// public returns the public half of one version, if that may sign.
func (d *vaultDescription) public(version int, alg policy.Algorithm) (*PublicKey, error) {
	if !slices.Contains(vaultTypes, d.Type) {
		return nil, fmt.Errorf("the key is of type %q: %w; allowed: %s", plain(d.Type), ErrKeyMismatch, oneOf(vaultTypes))
	}
	if d.SoftDeleted {
		return nil, &StoreError{Kind: ErrKeyState, Message: "the key is soft-deleted"}
	}
	raw, ok := d.Keys[strconv.Itoa(version)]
	if !ok {
		return nil, &StoreError{Kind: ErrNotFound, Message: fmt.Sprintf("the key has no version %d; the latest is %d", version, d.Latest)}
	}
	if version < d.MinEncryption {
		return nil, &StoreError{Kind: ErrKeyState,
			Message: fmt.Sprintf("version %d may not sign: min_encryption_version is %d", version, d.MinEncryption)}
	}
	var half struct {
		PublicKey string `json:"public_key"`
	}
	if err := json.Unmarshal(raw, &half); err != nil {
		return nil, fmt.Errorf("decoding version %d: %w", version, err)
	}
	return ParsePublicKey([]byte(half.PublicKey), alg)
}

func (k *vaultKey) describe(ctx context.Context) (*vaultDescription, error) {
	var d vaultDescription
	request := vaultRequest{op: "public_key", method: http.MethodGet, path: k.ref.mount + "/keys/" + k.ref.name}
	err := k.server.do(ctx, request, func(a *vaultAnswer) error {
		d = vaultDescription{}
		return decodeVault(a.Data, &d)
	})
	return &d, err
}

// fetch implements fetcher.
func (k *vaultKey) fetch(ctx context.Context) (*PublicKey, error) {
	d, err := k.describe(ctx)
	if err != nil {
		return nil, err
	}
	return d.public(k.version, k.public.Algorithm())
}

// Sign waits while an earlier request of this key is under way, and then shares
// one with everybody else who waited.
func (k *vaultKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	return k.batches.sign(ctx, digest)
}

// A vaultSignRequest always is a batch, even of one: an error of an item then
// has a text instead of, as it often would without, a bare "HTTP 500".
type vaultSignRequest struct {
	Batch      []vaultInput `json:"batch_input"`
	Prehashed  bool         `json:"prehashed"`
	Version    int          `json:"key_version"`
	Marshaling string       `json:"marshaling_algorithm"`
	Algorithm  string       `json:"signature_algorithm,omitempty"`
	SaltLength string       `json:"salt_length,omitempty"`
}

type vaultInput struct {
	Input []byte `json:"input"` // JSON has it in base64, which is what Vault wants
}

type vaultOutput struct {
	Signature string `json:"signature"`
	Version   int    `json:"key_version"` // 0 in an error, and from servers that do not tell
	Error     string `json:"error"`
}

// signAll signs digests in one request. It returns one result for each, or an
// error that is everybody's.
func (k *vaultKey) signAll(ctx context.Context, digests [][]byte) ([]vaultResult, error) {
	alg := k.public.Algorithm()
	hash := "sha2-" + strconv.Itoa(8*alg.Hash().Size())
	body := vaultSignRequest{Prehashed: true, Version: k.version, Marshaling: "asn1"}
	switch alg.Family() {
	case policy.RSAPSS:
		body.Algorithm, body.SaltLength = "pss", "hash"
	case policy.RSAPKCS1:
		body.Algorithm = "pkcs1v15"
	}
	for _, digest := range digests {
		body.Batch = append(body.Batch, vaultInput{digest})
	}
	path := k.ref.mount + "/sign/" + k.ref.name + "/" + hash
	var results []vaultResult
	err := k.server.do(ctx, vaultRequest{op: "sign", method: http.MethodPost, path: path, body: body}, func(a *vaultAnswer) error {
		var err error
		results, err = k.results(a, len(digests))
		return err
	})
	return results, err
}

// results reads the answer for n digests. An error that all of them have in
// common is the request's.
func (k *vaultKey) results(a *vaultAnswer, n int) ([]vaultResult, error) {
	var data struct {
		Results []vaultOutput `json:"batch_results"`
	}
	if err := decodeVault(a.Data, &data); err != nil {
		return nil, err
	}
	if len(data.Results) != n {
		return nil, &StoreError{Kind: ErrUnavailable, Message: fmt.Sprintf("%d results for %d digests", len(data.Results), n)}
	}
	results := make([]vaultResult, n)
	failed := 0
	for i, output := range data.Results {
		signature, err := k.signature(output)
		results[i] = vaultResult{signature, err}
		if err != nil {
			failed++
		}
	}
	if failed == n && !slices.ContainsFunc(data.Results, func(o vaultOutput) bool { return o.Error != data.Results[0].Error }) {
		return nil, results[0].err
	}
	return results, nil
}

// signature takes the signature out of "vault:vN:BASE64".
func (k *vaultKey) signature(output vaultOutput) ([]byte, error) {
	if output.Error != "" {
		return nil, &StoreError{Kind: vaultKind(http.StatusBadRequest, output.Error), Message: output.Error}
	}
	parts := strings.Split(output.Signature, ":")
	if len(parts) != 3 {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "the signature is not of the form vault:vN:BASE64"}
	}
	if want := "v" + strconv.Itoa(k.version); parts[1] != want || output.Version != 0 && output.Version != k.version {
		return nil, fmt.Errorf("%w: version %q signed instead of %q", ErrKeyMismatch, plain(parts[1]), want)
	}
	signature, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "the signature is not base64"}
	}
	return signature, nil
}

// Public implements Signer.
func (k *vaultKey) Public() *PublicKey { return k.public }

// Version implements Signer.
func (k *vaultKey) Version() string { return strconv.Itoa(k.version) }

// Close ends the request under way, if there is one, and waits for its end.
func (k *vaultKey) Close() error {
	k.batches.close()
	return nil
}

// decodeVault reads the data of an answer that was to have some.
func decodeVault(data json.RawMessage, out any) error {
	if len(data) == 0 || bytes.Equal(data, []byte("null")) {
		return &StoreError{Kind: ErrUnavailable, Message: "the answer has no data: is the endpoint a Vault server?"}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &StoreError{Kind: ErrUnavailable, Message: "the answer is not of the transit engine: " + err.Error()}
	}
	return nil
}
