package gcptest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// An account is a service account with one key.
type account struct {
	email  string
	public *rsa.PublicKey
}

// CreateServiceAccount returns the JSON file of a new service account's key.
func (s *Server) CreateServiceAccount(tb testing.TB) []byte {
	tb.Helper()
	key, err := s.made.RSA(2048)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	id := loopback.ID(20)
	email := "signer@acme-prod.iam.gserviceaccount.com"
	s.Do(func() { s.accounts[id] = account{email, &key.PublicKey} })
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "acme-prod", "private_key_id": id,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": email, "client_id": "123", "token_uri": s.URL + "/token",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// ForgetServiceAccounts deletes the keys of all service accounts.
func (s *Server) ForgetServiceAccounts() { s.Do(func() { clear(s.accounts) }) }

// serveToken is RFC 7523's grant, as Google's token endpoint has it.
func (s *Server) serveToken(w http.ResponseWriter, body []byte) {
	form, err := url.ParseQuery(string(body))
	refused := "Unsupported grant."
	if err == nil && form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refused = s.checkAssertion(form.Get("assertion"), time.Now())
	}
	if refused != "" {
		loopback.WriteJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": refused})
		return
	}
	s.handOut(w)
}

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	if !s.metadata || r.Header.Get("Metadata-Flavor") != "Google" || !strings.Contains(r.URL.Query().Get("scopes"), "cloudkms") {
		http.NotFound(w, r)
		return
	}
	s.handOut(w)
}

func (s *Server) handOut(w http.ResponseWriter) {
	token := "ya29." + loopback.ID(20)
	s.tokens[token] = true
	loopback.WriteJSON(w, http.StatusOK, map[string]any{"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
}

// checkAssertion checks a JWT that a service account has signed with RS256. It
// returns what is wrong, in Google's words.
func (s *Server) checkAssertion(jwt string, now time.Time) string {
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return "Invalid JWT: malformed."
	}
	signer, known := s.accounts[header.KeyID]
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || !known || header.Algorithm != "RS256" || claims.Issuer != signer.email ||
		rsa.VerifyPKCS1v15(signer.public, crypto.SHA256, digest[:], signature) != nil {
		return "Invalid JWT Signature."
	}
	scopes := []string{"https://www.googleapis.com/auth/cloudkms", "https://www.googleapis.com/auth/cloud-platform"}
	switch {
	case claims.Audience != s.URL+"/token":
		return "Invalid JWT: wrong audience."
	case !slices.Contains(scopes, claims.Scope):
		return "Invalid OAuth scope."
	case now.Unix() > claims.Expires || claims.Issued > now.Unix()+60 || claims.Expires-claims.Issued > 3600+60:
		return "Invalid JWT: Token must be a short-lived token."
	}
	return ""
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
