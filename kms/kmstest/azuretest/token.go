package azuretest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// CreateCertificate makes a certificate the client's only one, and returns it
// and its private key as PEM.
func (s *Server) CreateCertificate(tb testing.TB) []byte {
	tb.Helper()
	key, err := s.made.RSA(2048)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	thumbprint := sha256.Sum256(certificate)
	s.Do(func() {
		clear(s.clients)
		// In plain base64, which Microsoft's clients write here against RFC 7515.
		s.clients[base64.StdEncoding.EncodeToString(thumbprint[:])] = key.Public()
	})
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
}

// serveToken is the client credentials grant with a secret or an assertion.
func (s *Server) serveToken(w http.ResponseWriter, body []byte) {
	form, err := url.ParseQuery(string(body))
	switch {
	case err != nil || form.Get("grant_type") != "client_credentials" || !strings.Contains(form.Get("scope"), resource+"/.default"):
		loopback.WriteJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": "AADSTS900144"})
	case form.Get("client_id") != Client:
		loopback.WriteJSON(w, http.StatusBadRequest, map[string]any{"error": "unauthorized_client", "error_description": "AADSTS700016: Application was not found in the directory."})
	case !s.identifies(form):
		loopback.WriteJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
	default:
		s.handOut(w)
	}
}

func (s *Server) handOut(w http.ResponseWriter) {
	token := loopback.ID(16)
	s.tokens[token] = true
	loopback.WriteJSON(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 3599, "resource": resource,
	})
}

func (s *Server) identifies(form url.Values) bool {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return form.Get("client_secret") == s.secret
	}
	assertion := form.Get("client_assertion")
	return assertion == FederatedToken || s.checkAssertion(assertion, time.Now()) == nil
}

// checkAssertion checks a JWT that a client has signed with its certificate.
func (s *Server) checkAssertion(jwt string, now time.Time) error {
	var header struct {
		Algorithm  string `json:"alg"`
		Thumbprint string `json:"x5t#S256"`
	}
	var claims struct {
		Audience string `json:"aud"`
		Issuer   string `json:"iss"`
		Expires  int64  `json:"exp"`
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return errors.New("malformed")
	}
	public, ok := s.clients[header.Thumbprint].(*rsa.PublicKey)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if !ok || err != nil || header.Algorithm != "PS256" || claims.Issuer != Client ||
		claims.Audience != s.URL+"/"+Tenant+"/oauth2/v2.0/token" || now.Unix() > claims.Expires {
		return errors.New("not the client's")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, nil)
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// serveManaged is the endpoint of a managed identity in App Service.
func (s *Server) serveManaged(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Identity-Header") != IdentityHeader || r.URL.Query().Get("resource") != resource {
		loopback.WriteJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": "who are you?"})
		return
	}
	s.handOut(w)
}
