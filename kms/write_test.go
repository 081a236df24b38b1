package kms_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/kms"
)

func TestWriteKeyPair(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "release")
	if err := kms.WriteKeyPair(prefix, []byte("private"), []byte("public")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{prefix + ".key": "private", prefix + ".pub": "public"} {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if perm := permOf(t, prefix+".key"); perm != 0o600 {
		t.Errorf(".key has %#o, want 0600", perm)
	}
	if perm := permOf(t, prefix+".pub"); perm&^0o644 != 0 || perm&0o600 != 0o600 {
		t.Errorf(".pub has %#o, want 0644 less the umask", perm)
	}
}

func permOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestWriteKeyPairNeverOverwrites(t *testing.T) {
	for _, suffix := range []string{".key", ".pub"} {
		for _, dangling := range []bool{false, true} {
			dir := t.TempDir()
			there := filepath.Join(dir, "release"+suffix)
			var err error
			if dangling {
				err = os.Symlink(filepath.Join(dir, "elsewhere"), there)
			} else {
				err = os.WriteFile(there, []byte("old"), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			err = kms.WriteKeyPair(filepath.Join(dir, "release"), []byte("private"), []byte("public"))
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s there: got %v, want ErrExist", suffix, err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) != 1 || entries[0].Name() != "release"+suffix {
				t.Errorf("%s there: the directory now holds %v", suffix, entries)
			}
			if data, err := os.ReadFile(there); !dangling && (err != nil || string(data) != "old") {
				t.Errorf("%s was overwritten: %q, %v", suffix, data, err)
			}
		}
	}
}

func TestWriteKeyPairNeedsAPrefixInADirectory(t *testing.T) {
	for _, prefix := range []string{"", filepath.Join(t.TempDir(), "none", "release")} {
		if err := kms.WriteKeyPair(prefix, nil, nil); err == nil {
			t.Errorf("%q was accepted", prefix)
		}
	}
}
