package azuretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// A version is a version of a key.
type version struct {
	id          string
	private     crypto.Signer
	enabled     bool
	ops         []string
	from, until time.Time
}

type refusal struct {
	status               int
	code, inner, message string
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// describe is a key bundle, RFC 7517 with attributes.
func (v *version) describe(kid string) map[string]any {
	key := map[string]any{"kid": kid, "key_ops": v.ops}
	switch public := v.private.Public().(type) {
	case *ecdsa.PublicKey:
		point, _ := public.Bytes() // of a generated key never fails
		half := len(point) / 2
		key["kty"], key["crv"] = "EC", public.Curve.Params().Name
		key["x"], key["y"] = encode(point[1:1+half]), encode(point[1+half:])
	case *rsa.PublicKey:
		key["kty"], key["n"], key["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	attributes := map[string]any{"enabled": v.enabled, "created": 1.7e9, "updated": 1.7e9, "recoveryLevel": "Recoverable"}
	if !v.from.IsZero() {
		attributes["nbf"] = v.from.Unix()
	}
	if !v.until.IsZero() {
		attributes["exp"] = v.until.Unix()
	}
	return map[string]any{"key": key, "attributes": attributes}
}

func (v *version) sign(kid string, body []byte) (map[string]any, *refusal) {
	var asked struct{ Alg, Value string }
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, &refusal{http.StatusBadRequest, "BadParameter", "", err.Error()}
	}
	digest, err := base64.RawURLEncoding.DecodeString(asked.Value)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "BadParameter", "", err.Error()}
	}
	switch {
	case !v.enabled:
		return nil, &refusal{http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key."}
	case !slices.Contains(v.ops, "sign"):
		return nil, &refusal{http.StatusForbidden, "Forbidden", "KeyOperationForbidden", "Operation sign is not permitted on this key."}
	}
	signature, err := v.signature(asked.Alg, digest)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "BadParameter", "", err.Error()}
	}
	return map[string]any{"kid": kid, "value": encode(signature)}, nil
}

// signature is RFC 7518's: r‖s for ECDSA.
func (v *version) signature(alg string, digest []byte) ([]byte, error) {
	how := loopback.Algorithm{Hash: loopback.HashOf(alg), PSS: strings.HasPrefix(alg, "PS")}
	if how.Hash == 0 || len(digest) != how.Size() {
		return nil, fmt.Errorf("invalid length of 'value': %d bytes", len(digest))
	}
	if key, ok := v.private.(*ecdsa.PrivateKey); ok {
		if want := map[string]string{"ES256": "P-256", "ES384": "P-384"}[alg]; want != key.Curve.Params().Name {
			return nil, fmt.Errorf("key and signing algorithm are incompatible: %s", alg)
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	}
	if alg[:1] == "P" || alg[:1] == "R" {
		return how.Sign(v.private, digest)
	}
	return nil, fmt.Errorf("key and signing algorithm are incompatible: %s", alg)
}
