package gcptest

import (
	"encoding/json"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// kindOf is the kind of key that an algorithm needs.
func kindOf(algorithm string) string {
	for part, kind := range map[string]string{
		"_P256_": "P-256", "_P384_": "P-384", "_2048_": "RSA-2048", "_3072_": "RSA-3072", "_4096_": "RSA-4096",
	} {
		if strings.Contains(algorithm, part) {
			return kind
		}
	}
	return ""
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
	text, err := loopback.PublicPEM(v.private)
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "INTERNAL", err.Error()}
	}
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
	alg := loopback.Algorithm{Hash: loopback.HashOf(v.algorithm), PSS: strings.HasPrefix(v.algorithm, "RSA_SIGN_PSS")}
	digest := asked.Digest["sha"+strconv.Itoa(8*alg.Size())]
	if len(asked.Digest) != 1 || len(digest) != alg.Size() {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "Digest is of the wrong kind or length for " + v.algorithm + "."}
	}
	if asked.DigestCrc32C != "" && asked.DigestCrc32C != strconv.FormatUint(uint64(checksum(digest)), 10) {
		return nil, &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "The checksum in field digest_crc32c did not match the data in field digest."}
	}
	signature, err := alg.Sign(v.private, digest)
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "INTERNAL", err.Error()}
	}
	return map[string]any{
		"signature": signature, "signatureCrc32c": strconv.FormatUint(uint64(checksum(signature)), 10),
		"verifiedDigestCrc32c": asked.DigestCrc32C != "", "name": in.name, "protectionLevel": 2,
	}, nil
}
