package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestClientCertificates: a caller may have a certificate in place of a token.
func TestClientCertificates(t *testing.T) {
	known, other := certificate(t), certificate(t)
	s := open(t, controltest.Options{Credentials: []door.Credential{{Name: "ops", Role: door.Viewer, CertificateSHA256: sha256.Sum256(known.Certificate[0])}}})
	server := httptest.NewUnstartedServer(s.api)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	for what, c := range map[string]struct {
		with   []tls.Certificate
		token  string
		status int
	}{
		"a certificate":       {[]tls.Certificate{known}, "", http.StatusOK},
		"another":             {[]tls.Certificate{other}, "", http.StatusUnauthorized},
		"none":                {nil, "", http.StatusUnauthorized},
		"with a token":        {[]tls.Certificate{known}, viewer, http.StatusBadRequest},
		"another and a token": {[]tls.Certificate{other}, viewer, http.StatusOK},
		"a token without one": {nil, viewer, http.StatusOK},
	} {
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = c.with
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+api.Prefix+"/policies", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", what, resp.Status, c.status)
		}
	}
}
