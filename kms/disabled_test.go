package kms_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

func TestDisabledKeyVerifiesButDoesNotSign(t *testing.T) {
	private, public, err := kms.Generate(policy.ECDSASHA256, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "k")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key"})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(t.Context(), []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	off := kms.Disabled(s)
	if _, err := off.Sign(t.Context(), []byte("m")); !errors.Is(err, kms.ErrDisabled) {
		t.Errorf("signing with a disabled key: %v", err)
	}
	if err := off.Public().Verify([]byte("m"), sig); err != nil {
		t.Errorf("verifying with a disabled key: %v", err)
	}
}
