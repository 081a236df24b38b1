package door

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func clientCertificate(t *testing.T, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ci"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestCertificate: who has the private key of a known certificate is its caller, over
// a real connection.
func TestCertificate(t *testing.T) {
	t.Parallel()
	known, stranger := clientCertificate(t, time.Now().Add(time.Hour)), clientCertificate(t, time.Now().Add(time.Hour))
	expired := clientCertificate(t, time.Now().Add(-24*time.Hour))
	credential := func(name string, c tls.Certificate) Credential {
		return Credential{Name: name, Role: Viewer, CertificateSHA256: sha256.Sum256(c.Certificate[0])}
	}
	d := open(t, Config{Credentials: []Credential{credential("known", known), credential("expired", expired)}})
	var caller Caller
	var err error
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { caller, _, err = d.Own(r) }))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	defer s.Close()
	for what, c := range map[string]struct {
		with []tls.Certificate
		name string
		want error
	}{
		"known": {[]tls.Certificate{known}, "known", nil}, "stranger": {[]tls.Certificate{stranger}, "", ErrUnknown},
		"expired": {[]tls.Certificate{expired}, "", ErrClock}, "none": {nil, "", ErrNoCredentials},
	} {
		transport := s.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = c.with
		resp, sendErr := (&http.Client{Transport: transport}).Get(s.URL)
		if sendErr != nil {
			t.Fatal(sendErr)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if caller.Name != c.name || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", what, caller, err)
		}
	}
	if _, _, err := d.Certificate(httptest.NewRequest(http.MethodGet, "/", nil)); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("without TLS: %v", err)
	}
	if _, err := New(Config{Credentials: []Credential{credential("a", known), credential("b", known)}}); err == nil {
		t.Error("two callers with one certificate")
	}
}
