package ocitest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"
)

// An instance is what a virtual machine of OCI knows of itself.
type instance struct {
	pair *rsa.PrivateKey
	leaf []byte // DER
}

// MetadataURL is the base URL of the instance's metadata service.
func (s *Server) MetadataURL() string { return s.URL + "/opc/v2" }

// AddInstance makes the server the metadata service of an instance of Tenancy.
func (s *Server) AddInstance(t testing.TB) {
	t.Helper()
	pair, err := s.made.RSA(2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ocid1.instance.oc1.iad.example", OrganizationalUnit: []string{"opc-certtype:instance", "opc-tenant:" + Tenancy}},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, &pair.PublicKey, pair)
	if err != nil {
		t.Fatal(err)
	}
	s.Do(func() { s.instance = &instance{pair, leaf} })
}

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	var i *instance
	s.Do(func() { i = s.instance })
	if i == nil || r.Header.Get("Authorization") != "Bearer Oracle" {
		http.NotFound(w, r)
		return
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.leaf})
	file, ok := map[string][]byte{
		"/opc/v2/instance/region":           []byte("us-ashburn-1"),
		"/opc/v2/identity/cert.pem":         certificate,
		"/opc/v2/identity/intermediate.pem": certificate,
		"/opc/v2/identity/key.pem":          pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(i.pair)}),
	}[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(file) // the client may have gone
}

// serveToken trades the instance's certificate for a token and lets in
// whoever signs with the key that the token is for.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, body []byte) {
	var token string
	var err error
	s.Do(func() { token, err = s.trade(r, body) })
	if err != nil {
		Refuse(w, http.StatusUnauthorized, "NotAuthenticated", err.Error())
		return
	}
	write(w, http.StatusOK, map[string]any{"token": token})
}

func (s *Server) trade(r *http.Request, body []byte) (string, error) {
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return "", err
	}
	if s.instance == nil {
		return "", fmt.Errorf("there is no instance")
	}
	sum := sha256.Sum256(s.instance.leaf)
	if want := Tenancy + "/fed-x509-sha256/" + colons(sum[:]); a.keyID != want {
		return "", fmt.Errorf("key id %s, want %s", a.keyID, want)
	}
	if err := verify(r, body, a, &s.instance.pair.PublicKey, false, time.Now()); err != nil {
		return "", err
	}
	var asked struct{ Certificate, PublicKey, FingerprintAlgorithm string }
	if err := json.Unmarshal(body, &asked); err != nil {
		return "", err
	}
	leaf, err := base64.StdEncoding.DecodeString(asked.Certificate)
	if err != nil || !bytes.Equal(leaf, s.instance.leaf) || asked.FingerprintAlgorithm != "SHA256" {
		return "", fmt.Errorf("another certificate than the instance's")
	}
	der, err := base64.StdEncoding.DecodeString(asked.PublicKey)
	if err != nil {
		return "", err
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return "", err
	}
	rsaPublic, ok := public.(*rsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("session key of type %T", public)
	}
	s.tokens++
	token := fmt.Sprintf("header.session%d.signature", s.tokens)
	s.users["ST$"+token] = rsaPublic
	return token, nil
}
