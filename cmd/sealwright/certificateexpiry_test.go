package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// certified writes a certificate that expires then, and its key.
func certified(t *testing.T, dir, name string, expires time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wanted := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, wanted, wanted, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestCertificatesExpire: when the certificates of connections expire is told: of the one
// that is shown, also when it was renewed, and of the callers that a configuration has.
func TestCertificatesExpire(t *testing.T) {
	dir, first, renewed := t.TempDir(), time.Unix(2000000000, 0), time.Unix(2100000000, 0)
	certFile, keyFile := certified(t, dir, "server", first)
	callerFile, _ := certified(t, dir, "caller", time.Unix(1900000000, 0))
	l, err := control.ListenAt(t.Context(), control.ListenOptions{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Log: zap.NewNop(), Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	d := &service{rights: rights.New(rights.Options{Log: zap.NewNop()})}
	if d.door, err = door.New(door.Config{}); err != nil {
		t.Fatal(err)
	}
	want := func(listening, caller int) {
		t.Helper()
		var text strings.Builder
		if caller > 0 {
			fmt.Fprintf(&text, "# HELP sealwright_access_certificate_expiry_timestamp_seconds When the certificate of a caller expires, in Unix time.\n"+
				"# TYPE sealwright_access_certificate_expiry_timestamp_seconds gauge\nsealwright_access_certificate_expiry_timestamp_seconds{caller=\"team\"} %d\n", caller)
		}
		if listening > 0 {
			fmt.Fprintf(&text, "# HELP sealwright_tls_certificate_expiry_timestamp_seconds When the first certificate expires of those that listen shows, in Unix time.\n"+
				"# TYPE sealwright_tls_certificate_expiry_timestamp_seconds gauge\nsealwright_tls_certificate_expiry_timestamp_seconds %d\n", listening)
		}
		if err := testutil.CollectAndCompare(&d.certificates, strings.NewReader(text.String())); err != nil {
			t.Error(err)
		}
	}
	want(0, 0)
	d.certificates.listen(l)
	want(2000000000, 0)
	access := configs.Access{Name: "team", Role: configs.Viewer, CertificateFile: callerFile}
	if err := d.admit(&configs.Config{Access: []configs.Access{access, {Name: "other", Role: configs.Viewer, TokenSHA256: strings.Repeat("5e", 32)}}}); err != nil {
		t.Fatal(err)
	}
	certified(t, dir, "server", renewed)
	if err := os.Chtimes(certFile, renewed, renewed); err != nil { // in another second than before
		t.Fatal(err)
	}
	want(2100000000, 1900000000)
	if err := d.admit(&configs.Config{}); err != nil {
		t.Fatal(err)
	}
	want(2100000000, 0)
}

// TestDoctorConnections: certificates of connections that have expired are failures, and
// those that soon will are warnings.
func TestDoctorConnections(t *testing.T) {
	dir := t.TempDir()
	var c configs.Config
	c.TLS.CertFile, _ = certified(t, dir, "server", time.Now().Add(7*24*time.Hour))
	old, _ := certified(t, dir, "old", time.Now().Add(-time.Hour))
	good, _ := certified(t, dir, "good", time.Now().Add(365*24*time.Hour))
	c.Access = []configs.Access{{Name: "old", CertificateFile: old}, {Name: "good", CertificateFile: good}, {Name: "gone", CertificateFile: dir + "/gone.crt"}, {Name: "token"}}
	d := &doctor{app: &app{out: io.Discard, output: "text"}, config: &c}
	d.connections()
	var got []string
	for _, f := range d.found {
		got = append(got, f.Subject+": "+string(f.State))
	}
	if said := strings.Join(got, ", "); said != "tls: warn, access old: FAIL, access good: ok, access gone: FAIL" {
		t.Errorf("%s: %+v", said, d.found)
	}
}
