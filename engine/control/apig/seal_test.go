package apig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
)

func testSeal(tb testing.TB, keys ...byte) *Seal {
	tb.Helper()
	var all [][]byte
	for _, n := range keys {
		all = append(all, slices.Repeat([]byte{n}, SealSize))
	}
	s, err := NewSeal(all[0], all[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func sealed(t *testing.T, s *Seal) journal.SignatureKey {
	t.Helper()
	k := journal.SignatureKey{ID: "1", Registry: "prod", Type: typeHMAC}
	if err := s.close(&k, secrets{Secret: "sig-secret-0123456789"}); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSeal: what is encrypted is read back for the very signature key that it is of,
// and nothing else is.
func TestSeal(t *testing.T) {
	t.Parallel()
	s := testSeal(t, 1)
	k := sealed(t, s)
	if got, err := s.open(&k); err != nil || got.Secret != "sig-secret-0123456789" {
		t.Fatalf("%+v, %v", got, err)
	}
	raw, err := base64.StdEncoding.DecodeString(k.Sealed)
	if err != nil || strings.Contains(string(raw), "secret") || strings.Contains(k.SealedBy, "01") && len(k.SealedBy) != 16 {
		t.Errorf("%q, %v", raw, err)
	}
	if again := sealed(t, s); again.Sealed == k.Sealed {
		t.Error("the same secret is encrypted alike twice")
	}
	for name, change := range map[string]func(*journal.SignatureKey){
		"another id":       func(k *journal.SignatureKey) { k.ID = "2" },
		"another type":     func(k *journal.SignatureKey) { k.Type = typeBasic },
		"another registry": func(k *journal.SignatureKey) { k.Registry = "other" },
		"moved parts":      func(k *journal.SignatureKey) { k.ID, k.Type = "1\x00h", "mac" },
		"another key":      func(k *journal.SignatureKey) { k.SealedBy = testSeal(t, 2).current },
		"no key":           func(k *journal.SignatureKey) { k.SealedBy = "" },
		"empty":            func(k *journal.SignatureKey) { k.Sealed = "" },
		"no base64":        func(k *journal.SignatureKey) { k.Sealed = "!" },
		"cut off":          func(k *journal.SignatureKey) { k.Sealed = base64.StdEncoding.EncodeToString(raw[:10]) },
		"nonce alone":      func(k *journal.SignatureKey) { k.Sealed = base64.StdEncoding.EncodeToString(raw[:12]) },
		"changed": func(k *journal.SignatureKey) {
			raw := slices.Clone(raw)
			raw[len(raw)-20] ^= 1
			k.Sealed = base64.StdEncoding.EncodeToString(raw)
		},
	} {
		other := k
		change(&other)
		if got, err := s.open(&other); err == nil || got != (secrets{}) || strings.Contains(err.Error(), "sig-secret") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := NewSeal(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
		if _, err := NewSeal(make([]byte, SealSize), make([]byte, n)); err == nil {
			t.Errorf("an older key of %d bytes is taken", n)
		}
	}
}

// TestReseal: a new key encrypts what older ones did, which then are needed no more.
func TestReseal(t *testing.T) {
	t.Parallel()
	old := testSeal(t, 1)
	k := sealed(t, old)
	before := k
	if changed, err := old.reseal(&k); changed || err != nil || k != before {
		t.Errorf("by the same key: %v, %v", changed, err)
	}
	if _, err := testSeal(t, 2).reseal(&k); err == nil {
		t.Error("without the older key")
	}
	if changed, err := testSeal(t, 2, 1).reseal(&k); !changed || err != nil || k.SealedBy == before.SealedBy {
		t.Fatalf("%v, %v", changed, err)
	}
	if got, err := testSeal(t, 2).open(&k); err != nil || got.Secret != "sig-secret-0123456789" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSealIsNotPrinted: no verb shows a key, or what it was made of.
func TestSealIsNotPrinted(t *testing.T) {
	t.Parallel()
	s := testSeal(t, 7)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if text := fmt.Sprintf(verb, s); text != s.String() {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

// TestRandom: what is generated is of all its characters, and never the same.
func TestRandom(t *testing.T) {
	t.Parallel()
	seen, chars := map[string]bool{}, map[rune]bool{}
	for range 2000 {
		for _, text := range []string{randomHex(), randomName(), randomText(16)} {
			if seen[text] {
				t.Fatalf("%s twice", text)
			}
			seen[text] = true
		}
		for _, r := range randomText(32) {
			chars[r] = true
		}
	}
	if len(chars) != len(letters+digits) {
		t.Errorf("%d characters", len(chars))
	}
}

// FuzzBody: whatever is sent, what comes of it keeps the rules, or is refused in the
// vendor's words.
func FuzzBody(f *testing.F) {
	for _, body := range []string{`{"name":"demo"}`, `{"name":"demo","sign_type":"aes","sign_algorithm":"aes-256-cfb"}`, `{"name":"a","name":"b"}`, `{"sign_id":"x","publish_ids":["a","b"]}`,
		`{"name":"demo","sign_type":"basic","sign_key":"user-1","sign_secret":"Passw0rd-1"}`, `[]`, `{`, `{"publish_ids":[null]}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := parseWish(body)
		if err == nil {
			err = w.fill()
		}
		if p := (*problem)(nil); err != nil && !errors.As(err, &p) {
			t.Errorf("%q: %v", body, err)
		}
		if err == nil && (!names.fits(w.name) || !w.keyRule.fits(w.key) || !w.secretRule.fits(w.secret)) {
			t.Errorf("%q: %+v", body, w)
		}
		id, apis, err := parseBinding(body)
		if p := (*problem)(nil); err != nil && !errors.As(err, &p) {
			t.Errorf("%q: %v", body, err)
		}
		if err == nil && (!isID(id) || len(apis) == 0 || len(apis) > maxBound || slices.Contains(apis, "")) {
			t.Errorf("%q: %q %q", body, id, apis)
		}
	})
}
