//go:build interop

package main_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// An issuer is a certificate authority of the test.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	// file has its certificate, PEM.
	file string
}

func newIssuer(t *testing.T, dir, name string) *issuer {
	t.Helper()
	key := newP256(t)
	cert := certify(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key.Public(), nil, key)
	return &issuer{cert, key, writeCertificates(t, dir, name+".pem", cert)}
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify returns a certificate for public, signed by the key of parent (nil:
// by itself). It is valid from an hour ago until tomorrow and a week after.
func certify(t *testing.T, wanted *x509.Certificate, public crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	wanted.SerialNumber = serial
	wanted.Subject.Organization, wanted.Subject.Country, wanted.Subject.Province = []string{"Example"}, []string{"DE"}, []string{"Berlin"}
	wanted.NotBefore, wanted.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(8*24*time.Hour)
	if parent == nil {
		parent = wanted
	}
	der, err := x509.CreateCertificate(rand.Reader, wanted, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writeCertificates(t *testing.T, dir, name string, certs ...*x509.Certificate) string {
	t.Helper()
	var content []byte
	for _, c := range certs {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return writeFile(t, dir, name, string(content), 0o600)
}

// certifyFile writes NAME-chain.pem: a certificate for code signing with the
// key in NAME.pub, and its issuer's.
func (i *issuer) certifyFile(t *testing.T, dir, name string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(readFile(t, filepath.Join(dir, name+".pub"))))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	leaf := certify(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}, public, i.cert, i.key)
	return writeCertificates(t, dir, name+"-chain.pem", leaf, i.cert)
}

// tsaConfig is openssl's configuration of a timestamp authority; %[1]s is its
// directory.
const tsaConfig = `[tsa]
default_tsa = court
[court]
serial = %[1]s/serial
signer_cert = %[1]s/tsa.pem
signer_key = %[1]s/tsa.key
certs = %[2]s
signer_digest = sha256
digests = sha256, sha384, sha512
default_policy = 1.2.3.4.1
accuracy = secs:1
ess_cert_id_alg = sha256
`

// startTSA starts a timestamp authority: openssl answers behind an HTTP server.
// It returns its URL and its chain as cosign wants it, leaf first.
func startTSA(t *testing.T, root *issuer) (url, chain string) {
	t.Helper()
	dir := t.TempDir()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	key := newP256(t)
	cert := certify(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "clock"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}, // x509 would not make it critical
	}, key.Public(), root.cert, root.key)
	writeCertificates(t, dir, "tsa.pem", cert)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "tsa.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
	writeFile(t, dir, "serial", "01\n", 0o600)
	clock := &tsa{t: t, dir: dir, config: writeFile(t, dir, "tsa.cnf", fmt.Sprintf(tsaConfig, dir, root.file), 0o600),
		openssl: program{path: tool(t, "OPENSSL")}}
	server := httptest.NewServer(clock)
	t.Cleanup(server.Close)
	return server.URL, writeCertificates(t, dir, "chain.pem", cert, root.cert)
}

// A tsa lets openssl answer what is asked for by HTTP.
type tsa struct {
	t           *testing.T
	dir, config string
	openssl     program

	mu sync.Mutex // openssl keeps its serial number in a file
}

// ServeHTTP implements http.Handler.
func (a *tsa) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	query, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	asked, answer := filepath.Join(a.dir, "query"), filepath.Join(a.dir, "reply")
	if err := os.WriteFile(asked, query, 0o600); err != nil {
		a.t.Error(err)
	}
	if o := a.openssl.run(a.t, "ts", "-reply", "-config", a.config, "-queryfile", asked, "-out", answer); o.code != 0 {
		a.t.Errorf("openssl: %s", o)
	}
	reply, err := os.ReadFile(answer)
	if err != nil {
		a.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(reply)
}
