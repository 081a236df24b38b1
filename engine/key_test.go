package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// withKey starts an engine whose policies sign with key.
func withKey(t *testing.T, s *registrytest.Server, key engine.Key, policies ...policy.Policy) *house {
	t.Helper()
	return withKeys(t, s, map[string]engine.Key{"key": key}, policies...)
}

func withKeys(t *testing.T, s *registrytest.Server, keys map[string]engine.Key, policies ...policy.Policy) *house {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	setup, err := engine.NewSetup(policies, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)}, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, server: s, journal: j, setup: setup}
	h.Engine = engine.New(engine.Options{Journal: j, Setup: setup, Log: logger(t), Deadline: 20 * time.Second})
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.stop)
	return h
}

// certify returns a chain for the signer's key, whose leaf is valid for that
// long: leaf first, then a root of its own.
func certify(t *testing.T, s kms.Signer, valid time.Duration) []*x509.Certificate {
	t.Helper()
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root", Organization: []string{"Test"}, Country: []string{"DE"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf", Organization: []string{"Test"}, Country: []string{"DE"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	public, err := x509.ParsePKIXPublicKey(s.Public().DER())
	if err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, c := range []struct {
		template *x509.Certificate
		public   any
	}{{leaf, public}, {root, authority.Public()}} {
		raw, err := x509.CreateCertificate(rand.Reader, c.template, root, c.public, authority)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, parsed)
	}
	return chain
}

func formats(p policy.Policy, formats ...policy.Format) policy.Policy {
	p.Formats = formats
	return p
}

// TestEveryFormatInOnePass: one walk, one use of the key for each format, and
// none at all the next time.
func TestEveryFormatInOnePass(t *testing.T) {
	for name, server := range map[string]func(testing.TB) *registrytest.Server{
		"without referrers API": registrytest.Distribution, "in memory": registrytest.Memory,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			digests := pushSome(t, s, 5)
			key := newKey(t)
			all := formats(onlyApp(), policy.FormatCosign, policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE)
			h := withKey(t, s, engine.Key{Signer: key, Certificates: certify(t, key, 100*time.Hour)}, all)
			wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 5})
			if n := key.uses.Load(); n != 4*5 {
				t.Errorf("%d key uses, want one for each of 4 formats of 5 images", n)
			}
			records, err := h.journal.Records(t.Context(), journal.RecordFilter{Digest: digests[0].String()})
			if err != nil {
				t.Fatal(err)
			}
			stored := map[string]bool{}
			for _, r := range records {
				stored[r.StoredAs] = true
				if r.State != journal.Signed || r.Signature == "" {
					t.Errorf("record of format %s: %+v", r.Format, r)
				}
			}
			if len(records) != 4 || len(stored) != 4 {
				t.Errorf("%d records of %d manifests, want 4", len(records), len(stored))
			}
			wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 5})
			if n := key.uses.Load(); n != 4*5 {
				t.Errorf("%d key uses after the second run, want none more", n)
			}
			sum, err := h.setup.Survey(t.Context(), "app", 0, func(engine.Finding) {})
			if err != nil || !sum.Complete() || sum.Signed != 5 {
				t.Errorf("coverage %+v, %v", sum, err)
			}
		})
	}
}

// TestAFormatAddedLater: only what is missing is signed.
func TestAFormatAddedLater(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 3)
	key := newKey(t)
	both := formats(onlyApp(), policy.FormatCosign, policy.FormatBundle)
	both.Name = "both"
	h := withKey(t, s, engine.Key{Signer: key}, onlyApp(), both)
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
	wantCounts(t, h.fire("both"), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
	if n := key.uses.Load(); n != 6 {
		t.Errorf("%d key uses, want 3 for each format", n)
	}
}

// TestSwitchedOff: a key that is switched off in the middle of a run signs
// nothing more; the run ends with that reason, and not artifact by artifact.
func TestSwitchedOff(t *testing.T) {
	s := registrytest.Distribution(t)
	const images, before = 60, 10
	digests := pushSome(t, s, images)
	var by kms.Switch
	key := newKey(t)
	key.fail = func() error {
		if key.uses.Load() == before {
			by.Set(true, "")
		}
		return nil
	}
	h := withKey(t, s, engine.Key{Signer: by.Guard(key)}, onlyApp())
	x := h.fire("app")
	if x.Status != journal.Failed || x.Reason != engine.ReasonKeyDisabled || !strings.Contains(x.Detail, "disabled by the configuration") {
		t.Errorf("execution ended %s, %s: %s", x.Status, x.Reason, x.Detail)
	}
	if uses := key.uses.Load(); uses > before+16 {
		t.Errorf("%d uses of the key, although it was switched off at the %dth", uses, before)
	}
	signed := 0
	for _, d := range digests {
		signed += s.Signatures(t, "app", d)
	}
	if signed >= before {
		t.Errorf("%d signatures stored; the one at which the key was switched off, and all after it, must not be", signed)
	}
	if n := x.Counts.Reasons[engine.ReasonKeyDisabled]; n == 0 || n > 16 {
		t.Errorf("%d artifacts failed with %s: one is enough to end the run, all in flight are the most", n, engine.ReasonKeyDisabled)
	}
	by.Set(false, "")
	if x := h.fire("app"); x.Status != journal.Succeed {
		t.Errorf("after the key was switched on: %s %s", x.Status, x.Detail)
	}
	wantOneSignatureEach(t, s, digests)
}

// TestKeysThatCannotSign: each ends the policy's execution once, with its reason
// and before anything is read.
func TestKeysThatCannotSign(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 2)
	key := newKey(t)
	notation := formats(onlyApp(), policy.FormatNotationJWS)
	other := certify(t, newKey(t), 100*time.Hour)
	for name, test := range map[string]struct {
		key    engine.Key
		policy policy.Policy
		reason string
		detail string
	}{
		"store down":        {engine.Key{Err: fmt.Errorf("opening: %w", kms.ErrUnavailable)}, onlyApp(), engine.ReasonKeyUnavailable, "key store unavailable"},
		"denied":            {engine.Key{Err: kms.ErrDenied}, onlyApp(), engine.ReasonKeyDenied, "denied"},
		"not the pinned":    {engine.Key{Err: kms.ErrKeyMismatch}, onlyApp(), engine.ReasonKeyMismatch, "does not match"},
		"disabled there":    {engine.Key{Err: kms.ErrKeyState}, onlyApp(), engine.ReasonKeyState, "does not let"},
		"gone":              {engine.Key{Err: kms.ErrNotFound}, onlyApp(), engine.ReasonKeyMissing, "no such key"},
		"no certificate":    {engine.Key{Signer: key}, notation, engine.ReasonCertificate, "has none"},
		"expired":           {engine.Key{Signer: key, Certificates: certify(t, key, -time.Minute)}, notation, engine.ReasonCertificate, "expired at"},
		"expires soon":      {engine.Key{Signer: key, Certificates: certify(t, key, time.Hour), Window: 24 * time.Hour}, notation, engine.ReasonCertificate, "expires at"},
		"somebody else's":   {engine.Key{Signer: key, Certificates: other}, notation, engine.ReasonKeyMismatch, "of another key"},
		"fails when used":   {engine.Key{Signer: failing(key, kms.ErrKeyState)}, onlyApp(), engine.ReasonKeyState, "does not let"},
		"changes when used": {engine.Key{Signer: failing(key, kms.ErrKeyMismatch)}, onlyApp(), engine.ReasonKeyMismatch, "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withKey(t, s, test.key, test.policy)
			x := h.fire("app")
			if x.Status != journal.Failed || x.Reason != test.reason || !strings.Contains(x.Detail, test.detail) {
				t.Errorf("execution ended %s, %s: %s; want %s: …%s…", x.Status, x.Reason, x.Detail, test.reason, test.detail)
			}
			if signed := x.Counts.Reasons[engine.ReasonSigned]; signed != 0 {
				t.Errorf("%d signed", signed)
			}
		})
	}
}

func failing(s *countingSigner, err error) *countingSigner {
	return &countingSigner{Signer: s.Signer, fail: func() error { return err }}
}

// A key that fails in a way that may pass does not end the run.
func TestAnUnavailableKeyFailsOneArtifact(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 4)
	key := newKey(t)
	var once atomic.Bool
	key.fail = func() error {
		if once.CompareAndSwap(false, true) {
			return kms.ErrUnavailable
		}
		return nil
	}
	h := withKey(t, s, engine.Key{Signer: key}, onlyApp())
	wantCounts(t, h.fire("app"), journal.Failed, map[string]int64{engine.ReasonSigned: 3, engine.ReasonKeyUnavailable: 1})
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1, engine.ReasonAlreadySigned: 3})
}

// A versioned signer says a version.
type versioned struct{ *countingSigner }

func (versioned) Version() string { return "7" }

func TestRecordsHaveTheKeyVersion(t *testing.T) {
	s := registrytest.Distribution(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	h := withKey(t, s, engine.Key{Signer: versioned{newKey(t)}}, onlyApp())
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	records, err := h.journal.Records(t.Context(), journal.RecordFilter{Digest: digest.String()})
	if err != nil || len(records) != 1 || records[0].KeyVersion != "7" {
		t.Errorf("records %+v, %v", records, err)
	}
}

// TestImpossibleFormats are refused when the setup is made.
func TestImpossibleFormats(t *testing.T) {
	s := registrytest.Memory(t)
	for i, p := range []policy.Policy{formats(onlyApp(), policy.FormatBundle), formats(onlyApp(), policy.FormatNotationCOSE)} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			_, err := engine.NewSetup([]policy.Policy{p}, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
				map[string]engine.Key{"key": {Signer: newKeyOf(t, policy.SM2SM3)}}, nil)
			if err == nil || !strings.Contains(err.Error(), "know no SM2") {
				t.Errorf("got %v", err)
			}
		})
	}
}
