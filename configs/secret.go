package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxSecret is the largest password file, in bytes.
const maxSecret = 64 << 10

// Password returns the password of the key's encrypted private key, and nil
// when the configuration names none. It is read anew each time, so that a
// changed file counts.
func (k *Key) Password() ([]byte, error) {
	switch {
	case k.PasswordFile != "":
		return readSecret(k.PasswordFile)
	case k.PasswordEnv != "":
		value := os.Getenv(k.PasswordEnv)
		if value == "" {
			return nil, fmt.Errorf("reading the password of key %s: environment variable %s is empty", k.Name, k.PasswordEnv)
		}
		return []byte(value), nil
	}
	return nil, nil
}

// Password returns the password of Username. It is read anew each time, so that
// a rotated one counts.
func (a *Auth) Password() (string, error) {
	secret, err := readSecret(a.PasswordFile)
	return string(secret), err
}

// readSecret reads a file with one secret and drops the line end behind it.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // Named by the configuration.
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	defer f.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	if len(data) > maxSecret {
		return nil, fmt.Errorf("reading a secret: %s is larger than 64 KiB", path)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(data) == 0 {
		return nil, errors.New("reading a secret: " + path + " is empty")
	}
	return data, nil
}
