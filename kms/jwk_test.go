package kms_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

func parseDER(t *testing.T, der []byte) any {
	t.Helper()
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestJWK(t *testing.T) {
	s := openNew(t)
	raw, err := s.Public().JWK()
	if err != nil {
		t.Fatal(err)
	}
	var jwk struct{ Kty, Crv, X, Y, Use, Alg, Kid string }
	if err := json.Unmarshal(raw, &jwk); err != nil {
		t.Fatal(err)
	}
	if jwk.Kty != "EC" || jwk.Crv != "P-256" || jwk.Use != "sig" || jwk.Alg != "ES256" || len(jwk.Kid) != 43 {
		t.Errorf("%s", raw)
	}
	candidates, err := kms.Candidates(s.Public().PEM())
	if err != nil || len(candidates) != 1 {
		t.Fatal(candidates, err)
	}
	public := parseDER(t, s.Public().DER()).(*ecdsa.PublicKey)
	for text, want := range map[string]*big.Int{jwk.X: public.X, jwk.Y: public.Y} { //nolint:staticcheck // what a JWK holds
		got, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || new(big.Int).SetBytes(got).Cmp(want) != 0 {
			t.Errorf("coordinate %q: %v", text, err)
		}
	}
}

func TestSM2HasNoJWK(t *testing.T) {
	_, public, err := kms.Generate(policy.SM2SM3, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := kms.ParsePublicKey(public, "")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := p.JWK(); !errors.Is(err, kms.ErrUnsupported) {
		t.Errorf("got %s, %v", raw, err)
	}
}
