package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An authority issues certificates.
type authority struct {
	h    *house
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (h *house) authority() *authority {
	h.t.Helper()
	a := &authority{h: h}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test's authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.issue(template)
	return a
}

// issue signs a certificate, by itself if the authority has none yet.
func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.h.t.Fatal(err)
	}
	parent, by := template, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.h.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.h.t.Fatal(err)
	}
	return cert, key
}

// files issues NAME.crt and NAME.key for a subject, valid until then, and returns both.
// All are alike but for that and their keys.
func (a *authority) files(name, subject string, until time.Time) tls.Certificate {
	a.h.t.Helper()
	cert, key := a.issue(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: subject}, NotBefore: until.Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.h.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: cert.Raw}, ".key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(a.h.path(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.h.t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(a.h.path(name+".crt"), a.h.path(name+".key"))
	if err != nil {
		a.h.t.Fatal(err)
	}
	return pair
}

// asks asks over a connection of its own, with a client certificate and a token, and
// returns the status.
func (a *authority) asks(url, token string, with ...tls.Certificate) int {
	a.h.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	// Not Certificates, of which none is sent that the server does not ask for.
	config := &tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(with) == 0 {
			return &tls.Certificate{}, nil
		}
		return &with[0], nil
	}}
	req, err := http.NewRequestWithContext(a.h.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		a.h.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		a.h.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestClientCertificatesOfADaemon: the certificate in certificate_file is the caller, and
// no other one, whoever issued it. Without one a token counts.
func TestClientCertificatesOfADaemon(t *testing.T) {
	t.Parallel()
	h, url := listening(t, `[{name: ops, role: viewer, certificate_file: known.crt}, {name: team, role: viewer, token_file: limited.token}]`)
	url = "https" + strings.TrimPrefix(url, "http")
	h.write(h.read(localConfig) + "tls: {cert_file: server.crt, key_file: server.key}\n")
	issuer, another, later := h.authority(), h.authority(), time.Now().Add(time.Hour)
	issuer.files("server", "sealwright", later)
	known, alike, foreign := issuer.files("known", "ops", later), issuer.files("alike", "ops", later), another.files("foreign", "ops", later)
	expired := another.files("expired", "ops", time.Now().Add(-time.Minute))
	d := h.start()
	check := func(what string, status int, token string, with ...tls.Certificate) {
		t.Helper()
		for _, path := range []string{"/api/v1/policies", "/metrics"} {
			if got := issuer.asks(url+path, token, with...); got != status {
				t.Errorf("%s, %s: %d, want %d", what, path, got, status)
			}
		}
	}
	const granted, refused = http.StatusOK, http.StatusUnauthorized
	check("the certificate", granted, "", known)
	check("another one by the same authority", refused, "", alike)
	check("one by an unknown authority", refused, "", foreign)
	check("none", refused, "")
	check("a token without one", granted, limitedToken)
	check("a token with an unknown one", granted, limitedToken, foreign)
	for path, status := range map[string]int{"/api/v1/policies": http.StatusBadRequest, "/metrics": refused} { // who of the two is it?
		if got := issuer.asks(url+path, limitedToken, known); got != status {
			t.Errorf("a token with the certificate, %s: %d, want %d", path, got, status)
		}
	}

	for i, next := range []struct {
		name   string
		with   tls.Certificate
		status int
	}{{"foreign", foreign, granted}, {"expired", expired, refused}} {
		h.replace("certificate_file: "+[]string{"known", "foreign"}[i], "certificate_file: "+next.name)
		d.signal(syscall.SIGHUP)
		d.log.await(t, "configuration reloaded", i+1)
		check("after a reload, "+next.name, next.status, "", next.with)
		check("after a reload, the former one", refused, "", known)
	}
	d.stop()
	h.replace("expired.crt", "known.key")
	if _, said := h.run(exitUsage, "run"); !strings.Contains(said, fmt.Sprintf("access %q: certificate_file: ", "ops")) {
		t.Errorf("said: %s", said)
	}
}
