package registry

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	exampleCompartment = "ocid1.compartment.oc1..aaaaaaaaexamplecompartment"
	exampleTenancy     = "ocid1.tenancy.oc1..aaaaaaaaexampletenancy"
	exampleUser        = "ocid1.user.oc1..aaaaaaaaexampleuser"
	exampleFingerprint = "81:75:ff:c2:1a:f7:b0:b3:52:6a:99:78:76:6c:11:8d"
	exampleNamespace   = "axaxnpcrorw5"
)

// ociConfigFile writes a configuration file of the OCI tools with a new key.
func ociConfigFile(t *testing.T, settings string) (path string, key *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	raw := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	path = filepath.Join(dir, "config")
	files := map[string][]byte{
		"key.pem": raw,
		"config":  fmt.Appendf(nil, "[DEFAULT]\nuser=nobody\n\n[signing]\n# who signs\n%s\nkey_file = %s\n", settings, filepath.Join(dir, "key.pem")),
		"token":   []byte("a.session.token\n"),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, key
}

const ociUser = "user=" + exampleUser + "\nfingerprint=" + exampleFingerprint + "\ntenancy=" + exampleTenancy

// ocirAPI is a compartment, and the configuration that finds it.
func ocirAPI(t *testing.T, host string, c *registrytest.Contents) (*registrytest.Server, Config) {
	t.Helper()
	path, key := ociConfigFile(t, ociUser)
	s := registrytest.OCIR(t, c, registrytest.OCIRAPI{
		Compartment: exampleCompartment, Namespace: exampleNamespace,
		KeyID: exampleTenancy + "/" + exampleUser + "/" + exampleFingerprint, Public: &key.PublicKey,
	})
	cfg := config(host)
	cfg.Kind, cfg.API = KindOCIR, "http://"+s.Host
	cfg.Cloud = Cloud{Compartment: exampleCompartment, ConfigFile: path, Profile: "signing"}
	return s, cfg
}

func TestSuiteOCIR(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		api, cfg := ocirAPI(t, s.Host, registrytest.Watch(t, s))
		cfg.PageSize = 10_000 // of tags: this server tells of no further page
		r := open(t, cfg)
		r.(*listed).lister.(*ocirLister).size = 5
		target := suiteTarget(r, s)
		target.API, target.Untagged, target.PageSize = api, true, 5
		target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, ocirPage
		target.Prefix, target.Refuse = exampleNamespace+"/", registrytest.OCIRRefuse
		target.Concerns = func(r *http.Request, repository string) bool {
			return exampleNamespace+"/"+r.URL.Query().Get("repositoryName") == repository
		}
		return target
	})
}

// TestOCIRIdentity: users and sessions, and what is wrong with a file.
func TestOCIRIdentity(t *testing.T) {
	t.Setenv("OCI_CLI_AUTH", "")
	path, _ := ociConfigFile(t, ociUser)
	session, _ := ociConfigFile(t, "tenancy="+exampleTenancy+"\nfingerprint="+exampleFingerprint+"\nsecurity_token_file=TOKEN")
	raw, err := os.ReadFile(session)
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Replace(string(raw), "TOKEN", filepath.Join(filepath.Dir(session), "token"), 1)
	if err := os.WriteFile(session, []byte(named), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, keyID := range map[string]string{path: exampleTenancy + "/" + exampleUser + "/" + exampleFingerprint, session: "ST$a.session.token"} {
		source, err := ociIdentityFile(Cloud{ConfigFile: file, Profile: "signing"})
		if err != nil {
			t.Fatal(err)
		}
		identity, err := source.read()
		if err != nil {
			t.Fatal(err)
		}
		want(t, identity.keyID, keyID, "key id")
	}
	broken := filepath.Join(t.TempDir(), "config")
	for content, said := range map[string]string{
		"":                         "no such profile",
		"[other]":                  "no such profile",
		"[signing]":                "tenancy is missing",
		"[signing]\ntenancy=a/b\n": "tenancy is missing or not valid",
		"[signing]\n" + ociUser:    "key_file is missing",
		"[signing]\n" + ociUser + "\nkey_file=" + broken: "key_file holds no RSA key",
		strings.Repeat("#", maxIdentityFile+1):           "too large",
	} {
		if err := os.WriteFile(broken, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ociIdentityFile(Cloud{ConfigFile: broken, Profile: "signing"}); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%.40q: %v, want %q", content, err, said)
		}
	}
	t.Setenv("OCI_CLI_AUTH", "instance_principal")
	if _, err := ociIdentityFile(Cloud{}); err == nil || !strings.Contains(err.Error(), "instance_principal") {
		t.Errorf("instance principal: %v", err)
	}
}

// TestOCIREndpoint: the region comes from the configuration or the host.
func TestOCIREndpoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, region, want string }{
		{"fra.ocir.io", "", "https://artifacts.eu-frankfurt-1.oci.oraclecloud.com"},
		{"us-phoenix-1.ocir.io", "", "https://artifacts.us-phoenix-1.oci.oraclecloud.com"},
		{"ocir.eu-frankfurt-1.oci.oraclecloud.com", "", "https://artifacts.eu-frankfurt-1.oci.oraclecloud.com"},
		{"registry.example.com", "uk-london-1", "https://artifacts.uk-london-1.oci.oraclecloud.com"},
		{"registry.example.com", "", ""},
	} {
		got, err := ocirEndpoint(Config{Host: c.host, Cloud: Cloud{Region: c.region}})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %s: %s, %v", c.host, c.region, got, err)
		}
	}
}

// TestOCIRTenancy: a tenancy stands for all its compartments.
func TestOCIRTenancy(t *testing.T) {
	t.Parallel()
	for compartment, subtree := range map[string]string{exampleTenancy: "true", exampleCompartment: ""} {
		o := &ocirLister{compartment: compartment, size: 1}
		want(t, o.call("images", "", nil).query.Get("compartmentIdInSubtree"), subtree, compartment)
	}
}

// TestOCIRRefusal: OCI does not say whether something is not there or not to be
// seen; then it is not taken for missing.
func TestOCIRRefusal(t *testing.T) {
	t.Parallel()
	_, cfg := ocirAPI(t, "127.0.0.1:1", &registrytest.Contents{})
	cfg.Cloud.Compartment += "other"
	for _, err := range open(t, cfg).Repositories(t.Context()) {
		if !errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}

// FuzzOCIProfile: a file is read without a fault, and profiles inherit nothing.
func FuzzOCIProfile(f *testing.F) {
	f.Add([]byte("[DEFAULT]\nuser=a\n[signing]\nuser = b\n;user=c\n"))
	f.Add([]byte("user=a"))
	f.Add([]byte("[signing]\r\nUSER=x=y\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		settings, err := ociProfile(raw, "signing")
		if err == nil && !strings.Contains(string(raw), "[signing]") {
			t.Errorf("%v of %q", settings, raw)
		}
	})
}
