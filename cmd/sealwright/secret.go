package main

import (
	"bytes"
	"fmt"
	"os"
)

// maxSecret is how long a secret may be, in bytes.
const maxSecret = 4 << 10

// readSecret reads a secret of at least least bytes. White space around it does not
// count.
func readSecret(path string, least int) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSpace(raw)
	if len(secret) < least || len(secret) > maxSecret {
		return nil, fmt.Errorf("%s: has %d bytes, want %d to %d, like those of openssl rand -hex 32", path, len(secret), least, maxSecret)
	}
	return secret, nil
}
