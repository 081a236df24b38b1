package gcptest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"
)

func TestAssertionsThatAreRefused(t *testing.T) {
	s := New(t)
	var file struct {
		ID      string `json:"private_key_id"`
		Private string `json:"private_key"`
		Email   string `json:"client_email"`
	}
	if err := json.Unmarshal(s.CreateServiceAccount(t), &file); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(file.Private))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tests := []struct {
		name           string
		header, claims map[string]any // besides the good ones
		spoil          bool
		want           string
	}{
		{name: "none", want: ""},
		{name: "another algorithm", header: map[string]any{"alg": "none"}, want: "Invalid JWT Signature."},
		{name: "another key", header: map[string]any{"kid": "other"}, want: "Invalid JWT Signature."},
		{name: "another account", claims: map[string]any{"iss": "other@example.com"}, want: "Invalid JWT Signature."},
		{name: "another signature", spoil: true, want: "Invalid JWT Signature."},
		{name: "another audience", claims: map[string]any{"aud": "https://example.com"}, want: "Invalid JWT: wrong audience."},
		{name: "another scope", claims: map[string]any{"scope": "email"}, want: "Invalid OAuth scope."},
		{name: "expired", claims: map[string]any{"exp": now.Unix() - 1}, want: "Invalid JWT: Token must be a short-lived token."},
		{name: "too long", claims: map[string]any{"exp": now.Unix() + 7200}, want: "Invalid JWT: Token must be a short-lived token."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": file.ID}
			claims := map[string]any{
				"iss": file.Email, "aud": s.URL + "/token", "scope": "https://www.googleapis.com/auth/cloudkms",
				"iat": now.Unix(), "exp": now.Unix() + 3600,
			}
			signed := part(t, header, tt.header) + "." + part(t, claims, tt.claims)
			digest := sha256.Sum256([]byte(signed))
			if tt.spoil {
				digest[0] ^= 1
			}
			signature, err := rsa.SignPKCS1v15(rand.Reader, parsed.(*rsa.PrivateKey), crypto.SHA256, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			if got := s.checkAssertion(signed+"."+base64.RawURLEncoding.EncodeToString(signature), now); got != tt.want {
				t.Errorf("refused with %q, want %q", got, tt.want)
			}
		})
	}
	if got := s.checkAssertion("a.b", now); got == "" {
		t.Error("two parts were taken for an assertion")
	}
}

func part(t *testing.T, good, other map[string]any) string {
	t.Helper()
	for name, value := range other {
		good[name] = value
	}
	data, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}
