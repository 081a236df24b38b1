package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
)

const signatureQuota = 3

func signatureKey(registry, id, name string) journal.SignatureKey {
	return journal.SignatureKey{ID: id, Registry: registry, Name: name, Type: "hmac", Key: "signkeysignkey", Sealed: "c2VhbGVk", SealedBy: "k1"}
}

func mustCreateSignature(t *testing.T, j *journal.Journal, k journal.SignatureKey) journal.SignatureKey {
	t.Helper()
	created, err := j.CreateSignatureKey(t.Context(), k, signatureQuota)
	must(t, err)
	return created
}

func mustBind(t *testing.T, j *journal.Journal, registry, id string, apis ...string) []journal.SignatureBinding {
	t.Helper()
	_, bound, err := j.BindSignatureKey(t.Context(), registry, id, bindings(id, apis...))
	must(t, err)
	return bound
}

func bindings(id string, apis ...string) []journal.SignatureBinding {
	var list []journal.SignatureBinding
	for _, api := range apis {
		list = append(list, journal.SignatureBinding{ID: id + "+" + api, API: api})
	}
	return list
}

func wantSignatures(t *testing.T, j *journal.Journal, registry string, want ...journal.SignatureKey) {
	t.Helper()
	got, err := j.SignatureKeys(t.Context(), registry)
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("signature keys of %s (-want +got):\n%s", registry, d)
	}
}

func wantBindings(t *testing.T, j *journal.Journal, registry string, want ...journal.SignatureBinding) {
	t.Helper()
	got, err := j.SignatureBindings(t.Context(), registry)
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("bindings of %s (-want +got):\n%s", registry, d)
	}
}

// testSignatureKeys: what was stored is read back, changed and deleted in its own
// registry, whose names and number are bounded.
func testSignatureKeys(t *testing.T, j *journal.Journal) {
	first := mustCreateSignature(t, j, signatureKey("prod", "1", "demo"))
	if first.CreatedAt.IsZero() || !first.UpdatedAt.Equal(first.CreatedAt) {
		t.Fatalf("%+v", first)
	}
	elsewhere := mustCreateSignature(t, j, signatureKey("other", "2", "demo"))
	_, err := j.CreateSignatureKey(t.Context(), signatureKey("prod", "3", "demo"), signatureQuota)
	wantError(t, err, journal.ErrExists)
	second := mustCreateSignature(t, j, signatureKey("prod", "4", "second"))
	third := mustCreateSignature(t, j, signatureKey("prod", "5", "third"))
	_, err = j.CreateSignatureKey(t.Context(), signatureKey("prod", "6", "fourth"), signatureQuota)
	wantError(t, err, journal.ErrQuota)
	wantSignatures(t, j, "prod", first, second, third)
	wantSignatures(t, j, "other", elsewhere)

	changed, err := j.UpdateSignatureKey(t.Context(), "prod", "1", func(k *journal.SignatureKey) error {
		if d := cmp.Diff(first, *k); d != "" {
			t.Errorf("what is changed (-want +got):\n%s", d)
		}
		*k = journal.SignatureKey{ID: "99", Registry: "other", Name: "renamed", Type: "aes", Algorithm: "aes-128-cfb", Sealed: "bmV3", SealedBy: "k2"}
		return nil
	})
	must(t, err)
	want := journal.SignatureKey{ID: "1", Registry: "prod", Name: "renamed", Type: "aes", Algorithm: "aes-128-cfb", Sealed: "bmV3", SealedBy: "k2", CreatedAt: first.CreatedAt}
	if d := cmp.Diff(want, changed, cmpopts.IgnoreFields(journal.SignatureKey{}, "UpdatedAt")); d != "" || changed.UpdatedAt.Before(first.UpdatedAt) {
		t.Fatalf("%s, updated at %v", d, changed.UpdatedAt)
	}
	wantSignatures(t, j, "prod", changed, second, third)

	refused := errors.New("no")
	_, err = j.UpdateSignatureKey(t.Context(), "prod", "1", func(*journal.SignatureKey) error { return refused })
	wantError(t, err, refused)
	_, err = j.UpdateSignatureKey(t.Context(), "prod", "1", func(k *journal.SignatureKey) error { k.Name = "third"; return nil })
	wantError(t, err, journal.ErrExists)
	_, err = j.UpdateSignatureKey(t.Context(), "other", "1", func(*journal.SignatureKey) error { return nil })
	wantError(t, err, journal.ErrNotFound)
	wantError(t, j.DeleteSignatureKey(t.Context(), "other", "1"), journal.ErrNotFound)
	wantSignatures(t, j, "prod", changed, second, third)
	must(t, j.DeleteSignatureKey(t.Context(), "prod", "1"))
	wantError(t, j.DeleteSignatureKey(t.Context(), "prod", "1"), journal.ErrNotFound)
	wantSignatures(t, j, "prod", second, third)
	wantSignatures(t, j, "other", elsewhere)
}

// testSignatureBindings: an API has one signature key at most, all APIs are bound or
// none, and bindings go with their key.
func testSignatureBindings(t *testing.T, j *journal.Journal) {
	mustCreateSignature(t, j, signatureKey("prod", "1", "one"))
	mustCreateSignature(t, j, signatureKey("prod", "2", "two"))
	mustCreateSignature(t, j, signatureKey("other", "3", "three"))
	first := mustBind(t, j, "prod", "1", "sink:a", "sink:b")
	other := mustBind(t, j, "other", "3", "sink:c")
	if first[0].KeyID != "1" || first[0].BoundAt.IsZero() || first[1].API != "sink:b" {
		t.Fatalf("%+v", first)
	}
	again := bindings("1", "sink:b", "sink:d")
	again[0].ID = "another"
	_, bound, err := j.BindSignatureKey(t.Context(), "prod", "1", again)
	must(t, err)
	if d := cmp.Diff(first[1], bound[0]); d != "" || bound[1].API != "sink:d" {
		t.Fatalf("bound again: %s, and %+v", d, bound[1])
	}
	_, _, err = j.BindSignatureKey(t.Context(), "prod", "2", bindings("2", "sink:e", "sink:b"))
	wantError(t, err, journal.ErrBound)
	_, _, err = j.BindSignatureKey(t.Context(), "prod", "2", bindings("2", "sink:c")) // of another registry
	wantError(t, err, journal.ErrBound)
	_, _, err = j.BindSignatureKey(t.Context(), "other", "1", bindings("1", "sink:f"))
	wantError(t, err, journal.ErrNotFound)
	wantBindings(t, j, "prod", first[0], first[1], bound[1])
	wantBindings(t, j, "other", other...)

	k, err := j.BoundSignatureKey(t.Context(), "sink:b")
	if err != nil || k.ID != "1" || k.Bindings != 3 {
		t.Fatalf("%+v, %v", k, err)
	}
	wantError(t, j.UnbindSignatureKey(t.Context(), "other", first[0].ID), journal.ErrNotFound)
	must(t, j.UnbindSignatureKey(t.Context(), "prod", first[0].ID))
	wantError(t, j.UnbindSignatureKey(t.Context(), "prod", first[0].ID), journal.ErrNotFound)
	_, err = j.BoundSignatureKey(t.Context(), "sink:a")
	wantError(t, err, journal.ErrNotFound)
	must(t, j.DeleteSignatureKey(t.Context(), "prod", "1"))
	wantBindings(t, j, "prod")
	wantBindings(t, j, "other", other...)
	if got := mustBind(t, j, "prod", "2", "sink:b"); got[0].KeyID != "2" {
		t.Fatalf("%+v", got)
	}
}

// testReseal: all that was encrypted by an older key is encrypted again, or nothing.
func testReseal(t *testing.T, j *journal.Journal) {
	one := mustCreateSignature(t, j, signatureKey("prod", "1", "one"))
	two := signatureKey("other", "2", "two")
	two.SealedBy = "k2"
	two = mustCreateSignature(t, j, two)
	three := mustCreateSignature(t, j, signatureKey("prod", "3", "three"))
	refused := errors.New("no")
	seal := func(fails string) func(*journal.SignatureKey) (bool, error) {
		return func(k *journal.SignatureKey) (bool, error) {
			if k.ID == fails {
				return false, refused
			}
			changed := k.SealedBy != "k2"
			k.Sealed, k.SealedBy = "new "+k.ID, "k2"
			return changed, nil
		}
	}
	_, err := j.ResealSignatureKeys(t.Context(), seal("3"))
	wantError(t, err, refused)
	wantSignatures(t, j, "prod", one, three)
	n, err := j.ResealSignatureKeys(t.Context(), seal(""))
	if err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	one.Sealed, one.SealedBy, three.Sealed, three.SealedBy = "new 1", "k2", "new 3", "k2"
	wantSignatures(t, j, "prod", one, three)
	wantSignatures(t, j, "other", two)
	if n, err := j.ResealSignatureKeys(t.Context(), seal("")); err != nil || n != 0 {
		t.Fatalf("again: %d, %v", n, err)
	}
}

// testSignaturesAtOnce: of many who want the same name, or the same API, one gets it.
func testSignaturesAtOnce(t *testing.T, j *journal.Journal) {
	var created, existed sync.Map
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			_, err := j.CreateSignatureKey(t.Context(), signatureKey("prod", fmt.Sprint(i), "same"), signatureQuota)
			switch {
			case err == nil:
				created.Store(i, true)
			case errors.Is(err, journal.ErrExists):
				existed.Store(i, true)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if size(&created) != 1 || size(&existed) != 15 {
		t.Fatalf("%d created, %d there already", size(&created), size(&existed))
	}
	mustCreateSignature(t, j, signatureKey("other", "a", "a"))
	mustCreateSignature(t, j, signatureKey("other", "b", "b"))
	var bound, refused sync.Map
	for i := range 16 {
		all.Go(func() {
			id := []string{"a", "b"}[i%2]
			_, list, err := j.BindSignatureKey(t.Context(), "other", id, bindings(id, "sink:x"))
			switch {
			case err == nil:
				bound.Store(list[0], true)
			case errors.Is(err, journal.ErrBound):
				refused.Store(i, true)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if size(&bound) != 1 || size(&refused) != 8 {
		t.Fatalf("%d bindings, %d refused", size(&bound), size(&refused))
	}
	wantOneBinding(t, j, &bound)
}

func wantOneBinding(t *testing.T, j *journal.Journal, bound *sync.Map) {
	t.Helper()
	list, err := j.SignatureBindings(t.Context(), "other")
	must(t, err)
	if _, ok := bound.Load(list[0]); len(list) != 1 || !ok || list[0].BoundAt.After(time.Now().Add(patience)) {
		t.Fatalf("%+v", list)
	}
}
