package kms

import (
	"crypto"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

// JWK returns the key as a JSON Web Key (RFC 7517) with use, alg, and the
// SHA-256 thumbprint of RFC 7638 as kid. JOSE knows no SM2: [ErrUnsupported].
func (p *PublicKey) JWK() ([]byte, error) {
	alg, ok := map[policy.Algorithm]jose.SignatureAlgorithm{
		policy.ECDSASHA256: jose.ES256, policy.ECDSASHA384: jose.ES384,
		policy.RSAPSSSHA256: jose.PS256, policy.RSAPSSSHA384: jose.PS384, policy.RSAPSSSHA512: jose.PS512,
		policy.RSAPKCS1SHA256: jose.RS256, policy.RSAPKCS1SHA384: jose.RS384, policy.RSAPKCS1SHA512: jose.RS512,
	}[p.algorithm]
	if !ok {
		return nil, fmt.Errorf("a JSON Web Key of %s: %w", p.algorithm, ErrUnsupported)
	}
	key := jose.JSONWebKey{Key: p.key, Algorithm: string(alg), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("computing the key's thumbprint: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return key.MarshalJSON()
}
