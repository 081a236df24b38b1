package kms

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteKeyPair writes the two halves of a key to PREFIX.key, readable by its
// owner alone, and PREFIX.pub, readable by all whom the umask lets. It never
// overwrites: if either file is there, the error wraps fs.ErrExist. Both files
// are on disk when it returns nil, and neither is left when it fails.
func WriteKeyPair(prefix string, private, public []byte) (err error) {
	if prefix == "" {
		return errors.New("the prefix of the key files is empty; allowed: a path, to which .key and .pub are added")
	}
	var made []string
	defer func() {
		if err == nil {
			return
		}
		for _, path := range made {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	for _, half := range []struct {
		path string
		data []byte
		perm os.FileMode
	}{{prefix + ".key", private, 0o600}, {prefix + ".pub", public, 0o644}} {
		f, err := os.OpenFile(half.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, half.perm)
		if err != nil {
			return fmt.Errorf("writing the key pair: %w", err)
		}
		made = append(made, half.path)
		if err := writeAndClose(f, half.data); err != nil {
			return fmt.Errorf("writing the key pair: %w", err)
		}
	}
	return syncDir(filepath.Dir(prefix))
}

func writeAndClose(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the new names last, not only the contents.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the directory that was just written to
	if err != nil {
		return fmt.Errorf("flushing the key pair: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flushing the key pair: %w", err)
	}
	return nil
}
