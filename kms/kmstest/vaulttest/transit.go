package vaulttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// A key of the transit engine.
type key struct {
	kind          string
	versions      []crypto.Signer // version 1 first
	minEncryption int
	softDeleted   bool
	minVersion    int      // older ones are not shown
	data          [32]byte // what aes256-gcm96 encrypts with is made of
}

// CreateKey makes a key of one version at MOUNT/NAME, of one of the types
// ecdsa-p256, ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096 and
// aes256-gcm96, which has no public half.
func (s *Server) CreateKey(t testing.TB, path, kind string) {
	t.Helper()
	s.AddKey(path, kind, s.generate(t, kind))
}

// AddKey puts a private key at MOUNT/NAME as its version 1.
func (s *Server) AddKey(path, kind string, private crypto.Signer) {
	k := &key{kind: kind, versions: []crypto.Signer{private}, minVersion: 1}
	_, _ = rand.Read(k.data[:]) // it does not fail
	s.Do(func() { s.keys[path] = k })
}

// Rotate adds a version.
func (s *Server) Rotate(t testing.TB, path string) {
	t.Helper()
	s.Do(func() {
		k := s.keys[path]
		k.versions = append(k.versions, s.generate(t, k.kind))
	})
}

// Replace puts another key behind a version.
func (s *Server) Replace(t testing.TB, path string, version int) {
	t.Helper()
	s.Do(func() {
		k := s.keys[path]
		k.versions[version-1] = s.generate(t, k.kind)
	})
}

// SetMinEncryption lets no older version sign.
func (s *Server) SetMinEncryption(path string, version int) {
	s.Do(func() { s.keys[path].minEncryption = version })
}

// SetMinVersion no longer shows older versions.
func (s *Server) SetMinVersion(path string, version int) {
	s.Do(func() { s.keys[path].minVersion = version })
}

// SoftDelete sets whether the key is soft-deleted.
func (s *Server) SoftDelete(path string, deleted bool) {
	s.Do(func() { s.keys[path].softDeleted = deleted })
}

// Delete removes the key.
func (s *Server) Delete(path string) { s.Do(func() { delete(s.keys, path) }) }

func (s *Server) generate(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	if kind == "aes256-gcm96" {
		return nil
	}
	return s.made.New(t, strings.NewReplacer("ecdsa-p", "P-", "rsa-", "RSA-").Replace(kind))
}

// describe answers GET keys/NAME. It is called inside Do.
func (s *Server) describe(w http.ResponseWriter, path string) {
	k, ok := s.keys[path]
	if !ok {
		Fail(w, http.StatusNotFound)
		return
	}
	versions := map[string]any{}
	for i, private := range k.versions {
		if i+1 < k.minVersion {
			continue
		}
		if private == nil {
			versions[strconv.Itoa(i+1)] = 1577836800
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			Fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		versions[strconv.Itoa(i+1)] = map[string]any{
			"creation_time": "2020-01-01T00:00:00Z", "name": k.kind, "public_key": string(block),
		}
	}
	succeed(w, "data", map[string]any{
		"type": k.kind, "latest_version": len(k.versions), "min_available_version": 0, "min_decryption_version": k.minVersion,
		"min_encryption_version": k.minEncryption, "soft_deleted": k.softDeleted, "supports_signing": k.versions[0] != nil,
		"keys": versions,
	})
}

// An Output is the result for one digest.
type Output struct {
	Signature string `json:"signature,omitempty"`
	Version   int    `json:"key_version"`
	Error     string `json:"error,omitempty"`
	Reference string `json:"reference"`
}

// An input is what a request for signatures says. Fields of the wrong type are
// refused, as are requests without a batch, which the adapter never sends.
type input struct {
	Batch []struct {
		Input string `json:"input"`
	} `json:"batch_input"`
	Prehashed  bool   `json:"prehashed"`
	Version    int    `json:"key_version"`
	Marshaling string `json:"marshaling_algorithm"`
	Algorithm  string `json:"signature_algorithm"`
	SaltLength string `json:"salt_length"`
	hash       crypto.Hash
}

var hashes = map[string]crypto.Hash{"sha2-256": crypto.SHA256, "sha2-384": crypto.SHA384, "sha2-512": crypto.SHA512}

// sign answers POST sign/NAME/HASH. It is called inside Do.
func (s *Server) sign(w http.ResponseWriter, body []byte, mount, rest string) {
	name, hash, _ := strings.Cut(rest, "/")
	var in input
	err := json.Unmarshal(body, &in)
	k := s.keys[mount+"/"+name]
	in.hash = hashes[hash]
	switch {
	case err != nil:
		Fail(w, http.StatusBadRequest, "failed to parse JSON input: "+err.Error())
	case in.hash == 0:
		Fail(w, http.StatusBadRequest, fmt.Sprintf("invalid hash algorithm %q", hash))
	case k == nil:
		Fail(w, http.StatusBadRequest, "signing key not found")
	case k.versions[0] == nil:
		Fail(w, http.StatusBadRequest, "key type "+k.kind+" does not support signing")
	case len(in.Batch) == 0:
		Fail(w, http.StatusBadRequest, "missing batch input to process")
	default:
		s.batches = append(s.batches, len(in.Batch))
		results := make([]Output, len(in.Batch))
		for i, item := range in.Batch {
			results[i] = k.output(&in, item.Input)
			if s.bend != nil {
				s.bend(&results[i])
			}
		}
		succeed(w, "data", map[string]any{"batch_results": results})
	}
}

func (k *key) output(in *input, encoded string) Output {
	version := in.Version
	if version == 0 {
		version = len(k.versions)
	}
	signature, err := k.signature(in, version, encoded)
	if err != nil {
		return Output{Error: err.Error()}
	}
	return Output{Signature: fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(signature)), Version: version}
}

func (k *key) signature(in *input, version int, encoded string) ([]byte, error) {
	digest, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		return nil, fmt.Errorf("unable to decode input as base64: %w", err)
	case k.softDeleted:
		return nil, errors.New("refusing to use soft-deleted key")
	case version > len(k.versions):
		return nil, errors.New("requested version for signing is higher than the latest key version")
	case k.minEncryption > 0 && version < k.minEncryption:
		return nil, errors.New("requested version for signing is less than the minimum encryption key version")
	case !in.Prehashed:
		h := in.hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	private := k.versions[version-1]
	if _, ok := private.(*ecdsa.PrivateKey); ok {
		return private.Sign(rand.Reader, digest, crypto.Hash(0))
	}
	switch in.Algorithm {
	case "", "pss":
		salt := rsa.PSSSaltLengthAuto
		if in.SaltLength == "hash" {
			salt = rsa.PSSSaltLengthEqualsHash
		}
		return private.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: salt, Hash: in.hash})
	case "pkcs1v15":
		return private.Sign(rand.Reader, digest, in.hash)
	}
	return nil, fmt.Errorf("unsupported rsa signature algorithm %s", in.Algorithm)
}
