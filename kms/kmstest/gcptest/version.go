package gcptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that algorithms names
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
)

func generate(algorithm string) (crypto.Signer, error) {
	switch {
	case algorithm == "EC_SIGN_P256_SHA256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algorithm == "EC_SIGN_P384_SHA384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case strings.Contains(algorithm, "_2048"):
		return rsa.GenerateKey(rand.Reader, 2048)
	case strings.Contains(algorithm, "_3072"):
		return rsa.GenerateKey(rand.Reader, 3072)
	case strings.Contains(algorithm, "_4096"):
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("algorithm %q; allowed: EC_SIGN_P256_SHA256, EC_SIGN_P384_SHA384, RSA_…_2048, …_3072, …_4096", algorithm)
}

// number is what the API calls an algorithm in answers with enum-encoding=int.
func number(algorithm string) int32 {
	return kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm_value[algorithm]
}

func (v *version) describe(name string) map[string]any {
	return map[string]any{
		"name": name, "state": v.state, "protectionLevel": 2, "algorithm": number(v.algorithm),
		"createTime": "2026-01-02T03:04:05.678Z", "generateTime": "2026-01-02T03:04:05.678Z",
	}
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func (v *version) publicKey(name string) (map[string]any, *refusal) {
	der, err := x509.MarshalPKIXPublicKey(v.private.Public())
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "INTERNAL", err.Error()}
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string]any{
		"name": name, "pem": string(text), "algorithm": number(v.algorithm),
		"pemCrc32c": strconv.FormatUint(uint64(checksum(text)), 10), "protectionLevel": 2,
	}, nil
}

func (v *version) sign(in request) (map[string]any, *refusal) {
	var asked struct {
		Digest       map[string][]byte `json:"digest"`
		DigestCrc32C string            `json:"digestCrc32c"`
	}
	if err := json.Unmarshal(in.body, &asked); err != nil {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", err.Error()}
	}
	hash, field := hashOf(v.algorithm)
	digest := asked.Digest[field]
	if len(asked.Digest) != 1 || len(digest) != hash.Size() {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "Digest is of the wrong kind or length for " + v.algorithm + "."}
	}
	if asked.DigestCrc32C != "" && asked.DigestCrc32C != strconv.FormatUint(uint64(checksum(digest)), 10) {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "The checksum in field digest_crc32c did not match the data in field digest."}
	}
	var opts crypto.SignerOpts = hash
	if strings.HasPrefix(v.algorithm, "RSA_SIGN_PSS") {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := v.private.Sign(rand.Reader, digest, opts)
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "INTERNAL", err.Error()}
	}
	return map[string]any{
		"signature": signature, "signatureCrc32c": strconv.FormatUint(uint64(checksum(signature)), 10),
		"verifiedDigestCrc32c": asked.DigestCrc32C != "", "name": in.name, "protectionLevel": 2,
	}, nil
}

func hashOf(algorithm string) (crypto.Hash, string) {
	switch {
	case strings.HasSuffix(algorithm, "SHA384"):
		return crypto.SHA384, "sha384"
	case strings.HasSuffix(algorithm, "SHA512"):
		return crypto.SHA512, "sha512"
	}
	return crypto.SHA256, "sha256"
}
