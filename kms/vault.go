package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// A vault signs with a key of the transit engine of a Vault or OpenBao server.
type vault struct {
	server  *vaultServer
	key     vaultKey
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
	key, err := parseVaultKey(rest)
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
	v := &vault{server: server, key: key, version: key.version}
	if err := v.open(ctx, cfg.Algorithm); err != nil {
		return nil, fmt.Errorf("opening %s key %s: %w", scheme, key, err)
	}
	v.batches = newVaultBatches(v.signAll)
	return v, nil
}

func (v *vault) open(ctx context.Context, alg policy.Algorithm) error {
	d, err := v.describe(ctx)
	if err != nil {
		return err
	}
	if v.version == 0 {
		v.version = d.Latest
	}
	v.public, err = d.public(v.version, alg)
	return err
}

// A vaultKey is what a URI names. Version 0 is the latest one.
type vaultKey struct {
	mount, name string
	version     int
}

func (k vaultKey) String() string { return k.mount + "/" + k.name }

const vaultURI = "allowed: //[MOUNT/]KEY[?version=N] of letters, digits, _ - . and for MOUNT /"

var (
	vaultPartRE    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`) // what Vault takes for a key's name
	vaultVersionRE = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
)

// parseVaultKey reads a key's URI without its scheme.
func parseVaultKey(rest string) (vaultKey, error) {
	path, query, hasQuery := strings.Cut(rest, "?")
	path, ok := strings.CutPrefix(path, "//")
	if !ok {
		return vaultKey{}, errors.New("the URI does not begin with //; " + vaultURI)
	}
	key := vaultKey{mount: "transit", name: path}
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		key.mount, key.name = path[:slash], path[slash+1:]
	}
	for _, part := range append(strings.Split(key.mount, "/"), key.name) {
		if len(part) > 255 || !vaultPartRE.MatchString(part) {
			return vaultKey{}, errors.New("a part of the URI's path is empty or has characters that are not allowed; " + vaultURI)
		}
	}
	if hasQuery {
		version, ok := strings.CutPrefix(query, "version=")
		if !ok || !vaultVersionRE.MatchString(version) {
			return vaultKey{}, errors.New("the URI's query is not a version of 1 or more; " + vaultURI)
		}
		key.version, _ = strconv.Atoi(version) // the pattern leaves only what fits
	}
	return key, nil
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

func (v *vault) describe(ctx context.Context) (*vaultDescription, error) {
	var d vaultDescription
	request := vaultRequest{op: "public_key", method: http.MethodGet, path: v.key.mount + "/keys/" + v.key.name}
	err := v.server.do(ctx, request, func(a *vaultAnswer) error {
		d = vaultDescription{}
		return decodeVault(a.Data, &d)
	})
	return &d, err
}

// fetch implements fetcher.
func (v *vault) fetch(ctx context.Context) (*PublicKey, error) {
	d, err := v.describe(ctx)
	if err != nil {
		return nil, err
	}
	return d.public(v.version, v.public.Algorithm())
}

// Sign waits while an earlier request of this key is under way, and then shares
// one with everybody else who waited.
func (v *vault) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest, err := v.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	return v.batches.sign(ctx, digest)
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
func (v *vault) signAll(ctx context.Context, digests [][]byte) ([]vaultResult, error) {
	alg := v.public.Algorithm()
	hash := "sha2-" + strconv.Itoa(8*alg.Hash().Size())
	body := vaultSignRequest{Prehashed: true, Version: v.version, Marshaling: "asn1"}
	switch alg.Family() {
	case policy.RSAPSS:
		body.Algorithm, body.SaltLength = "pss", "hash"
	case policy.RSAPKCS1:
		body.Algorithm = "pkcs1v15"
	}
	for _, digest := range digests {
		body.Batch = append(body.Batch, vaultInput{digest})
	}
	path := v.key.mount + "/sign/" + v.key.name + "/" + hash
	var results []vaultResult
	err := v.server.do(ctx, vaultRequest{op: "sign", method: http.MethodPost, path: path, body: body}, func(a *vaultAnswer) error {
		var err error
		results, err = v.results(a, len(digests))
		return err
	})
	return results, err
}

// results reads the answer for n digests. An error that all of them have in
// common is the request's.
func (v *vault) results(a *vaultAnswer, n int) ([]vaultResult, error) {
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
		signature, err := v.signature(output)
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
func (v *vault) signature(output vaultOutput) ([]byte, error) {
	if output.Error != "" {
		return nil, &StoreError{Kind: vaultKind(http.StatusBadRequest, output.Error), Message: output.Error}
	}
	parts := strings.Split(output.Signature, ":")
	if len(parts) != 3 {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "the signature is not of the form vault:vN:BASE64"}
	}
	if want := "v" + strconv.Itoa(v.version); parts[1] != want || output.Version != 0 && output.Version != v.version {
		return nil, fmt.Errorf("%w: version %q signed instead of %q", ErrKeyMismatch, plain(parts[1]), want)
	}
	signature, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "the signature is not base64"}
	}
	return signature, nil
}

// Public implements Signer.
func (v *vault) Public() *PublicKey { return v.public }

// Version implements Signer.
func (v *vault) Version() string { return strconv.Itoa(v.version) }

// Close ends the request under way, if there is one, and waits for its end.
func (v *vault) Close() error {
	v.batches.close()
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
