//go:build cgo

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
)

const (
	userPIN  = "48151623"
	install  = "install it with: .ci/tools.sh softhsm (Debian: apt-get install softhsm2)"
	tokenTag = "release"
)

// softHSM returns SoftHSM's module.
func softHSM(t testing.TB) string {
	t.Helper()
	for _, pattern := range []string{os.Getenv("SOFTHSM2_MODULE"), "/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	t.Fatalf("there is no libsofthsm2.so; %s", install)
	return ""
}

// A hsm is a directory of SoftHSM tokens.
type hsm struct{ conf string }

// newHSM returns SoftHSM without a token.
func newHSM(t testing.TB) hsm {
	t.Helper()
	dir := t.TempDir()
	h := hsm{filepath.Join(dir, "softhsm2.conf")}
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens"))
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700), os.WriteFile(h.conf, []byte(conf), 0o600)); err != nil {
		t.Fatal(err)
	}
	return h
}

// newTestToken returns SoftHSM with the token "release" that has these keys.
func newTestToken(t testing.TB, keys ...newKey) hsm {
	t.Helper()
	h := newHSM(t)
	h.initToken(t, tokenTag)
	h.change(t, changes{Make: keys})
	return h
}

// env is the environment of a process that uses the tokens. A process with the
// race detector would wait a second for no reason when it ends.
func (h hsm) env() []string {
	return append(os.Environ(), "SOFTHSM2_CONF="+h.conf, "GORACE=atexit_sleep_ms=0")
}

func (h hsm) initToken(t testing.TB, label string) {
	t.Helper()
	util, err := exec.LookPath("softhsm2-util")
	if err != nil {
		t.Fatalf("%v; %s", err, install)
	}
	cmd := exec.Command(util, "--module", softHSM(t), "--init-token", "--free", "--label", label, "--so-pin", "00000000", "--pin", userPIN)
	cmd.Env = h.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
}

// A newKey is a key pair to be made.
type newKey struct {
	Kind         string // P-256, P-384, P-521, RSA-2048, RSA-3072
	Label, ID    string // id in hex
	NotToSign    bool
	Always       bool // CKA_ALWAYS_AUTHENTICATE
	NoPublic     bool // the public key object is deleted
	Certificate  bool // and a certificate put in its place
	OtherLabel   string
	OtherPublics int // further public keys with the same id
}

// changes are what a run of keygen does to the token "release".
type changes struct {
	Module string
	Delete []string // labels
	Make   []newKey
}

// change changes the token in another process, as an administrator would.
func (h hsm) change(t testing.TB, c changes) {
	t.Helper()
	c.Module = softHSM(t)
	work, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(h.env(), asKeygen+"="+string(work))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("changing the token: %v\n%s", err, out)
	}
}

func keygen(work string) int {
	var c changes
	err := json.Unmarshal([]byte(work), &c)
	if err == nil {
		err = c.do()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c changes) do() error {
	m := pkcs11.New(c.Module)
	if m == nil {
		return errors.New("loading the module")
	}
	if err := m.Initialize(); err != nil {
		return err
	}
	defer func() { _ = m.Finalize() }()
	slots, err := m.GetSlotList(true)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if info, err := m.GetTokenInfo(slot); err != nil || info.Label != tokenTag {
			continue
		}
		s, err := m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return err
		}
		if err := m.Login(s, pkcs11.CKU_USER, userPIN); err != nil {
			return err
		}
		return c.within(workbench{m, s})
	}
	return errors.New("no token")
}

func (c changes) within(w workbench) error {
	for _, label := range c.Delete {
		if err := w.delete(label); err != nil {
			return fmt.Errorf("deleting %s: %w", label, err)
		}
	}
	for _, k := range c.Make {
		if err := w.generate(k); err != nil {
			return fmt.Errorf("making %+v: %w", k, err)
		}
	}
	return nil
}

// A workbench is a session that may change the token.
type workbench struct {
	m *pkcs11.Ctx
	s pkcs11.SessionHandle
}

func (w workbench) delete(label string) error {
	if err := w.m.FindObjectsInit(w.s, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}); err != nil {
		return err
	}
	found, _, err := w.m.FindObjects(w.s, 100)
	if err := errors.Join(err, w.m.FindObjectsFinal(w.s)); err != nil {
		return err
	}
	for _, o := range found {
		if err := w.m.DestroyObject(w.s, o); err != nil {
			return err
		}
	}
	return nil
}

func (w workbench) generate(k newKey) error {
	id, err := hex.DecodeString(k.ID)
	if err != nil {
		return err
	}
	label := k.Label
	if k.OtherLabel != "" {
		label = k.OtherLabel
	}
	common := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_ID, id)}
	mechanism, kind := kindAttributes(k.Kind)
	public := append(append(kind, pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)), common...)
	private := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, !k.NotToSign), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, k.Always), pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label)}, common...)
	pub, priv, err := w.m.GenerateKeyPair(w.s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public, private)
	if err != nil {
		return err
	}
	for range k.OtherPublics {
		_, otherPrivate, err := w.m.GenerateKeyPair(w.s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public, private)
		if err := errors.Join(err, w.m.DestroyObject(w.s, otherPrivate)); err != nil {
			return err
		}
	}
	if k.Certificate {
		if err := w.certify(pub, priv, id); err != nil {
			return err
		}
	}
	if k.NoPublic || k.Certificate {
		return w.m.DestroyObject(w.s, pub)
	}
	return nil
}

func kindAttributes(kind string) (mechanism uint, attributes []*pkcs11.Attribute) {
	curves := map[string]asn1.ObjectIdentifier{"P-256": {1, 2, 840, 10045, 3, 1, 7}, "P-384": {1, 3, 132, 0, 34}, "P-521": {1, 3, 132, 0, 35}}
	if oid, ok := curves[kind]; ok {
		params, _ := asn1.Marshal(oid) // of a constant
		return pkcs11.CKM_EC_KEY_PAIR_GEN, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params)}
	}
	bits := map[string]int{"RSA-2048": 2048, "RSA-3072": 3072}[kind]
	return pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, bits), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})}
}

// certify puts a certificate for a P-256 key on the token, as smart cards have.
func (w workbench) certify(pub, _ pkcs11.ObjectHandle, id []byte) error {
	der, err := objects{w.m, w.s}.publicDER(pub)
	if err != nil {
		return err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signing"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key, ca)
	if err != nil {
		return err
	}
	_, err = w.m.CreateObject(w.s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_ID, id), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "certificate"),
		pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, []byte("signing")), pkcs11.NewAttribute(pkcs11.CKA_VALUE, cert)})
	return err
}
