package kms_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

func openNew(t *testing.T) kms.Signer {
	t.Helper()
	private, public, err := kms.Generate(policy.ECDSASHA256, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "key")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSwitch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stop")
	var on kms.Switch
	s := on.Guard(openNew(t))
	signs := func(want bool, what string) {
		t.Helper()
		sig, err := s.Sign(t.Context(), []byte("message"))
		switch {
		case want && (err != nil || s.Public().Verify([]byte("message"), sig) != nil):
			t.Errorf("%s: %v, want a signature", what, err)
		case !want && (!errors.Is(err, kms.ErrDisabled) || sig != nil):
			t.Errorf("%s: %d bytes and %v, want ErrDisabled", what, len(sig), err)
		}
	}
	signs(true, "at first")
	on.Set(false, file)
	signs(true, "a file that is not there")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	signs(false, "the file is there")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	signs(true, "the file is gone")
	on.Set(true, "")
	signs(false, "off")
	on.Set(false, filepath.Join(file, "below", "\x00"))
	signs(false, "a file that cannot be looked for")
	on.Set(false, "")
	signs(true, "on again")
}

// A signature that was under way when the switch was turned is not handed out.
func TestSwitchDropsWhatIsUnderWay(t *testing.T) {
	var on kms.Switch
	s := on.Guard(turning{openNew(t), &on})
	if sig, err := s.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrDisabled) || sig != nil {
		t.Errorf("got %d bytes and %v, want ErrDisabled", len(sig), err)
	}
}

// turning turns its key off while it signs.
type turning struct {
	kms.Signer
	s *kms.Switch
}

func (t turning) Sign(ctx context.Context, message []byte) ([]byte, error) {
	sig, err := t.Signer.Sign(ctx, message)
	t.s.Set(true, "")
	return sig, err
}
