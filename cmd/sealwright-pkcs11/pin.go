//go:build cgo

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// maxPIN bounds a PIN in bytes; the largest tokens take 255.
const maxPIN = 1024

// A pin is where the user PIN comes from, and the memory of the last one that
// the token refused. It is safe for concurrent use.
type pin struct {
	file  string
	fixed string

	mu      sync.Mutex
	refused string // "" is no PIN
	because *fault
}

// newPIN returns the PIN of a file or of an environment variable. With neither
// there is none, which suits tokens that need no login.
func newPIN(file, env string, lookup func(string) (string, bool)) (*pin, error) {
	switch {
	case file != "" && env != "":
		return nil, errors.New("--pin-file and --pin-env are both given; allowed: one of them")
	case env == "":
		return &pin{file: file}, nil
	}
	value, ok := lookup(env)
	if !ok || value == "" || len(value) > maxPIN {
		return nil, fmt.Errorf("--pin-env %s: the variable is not set, empty or longer than %d bytes", env, maxPIN)
	}
	return &pin{fixed: value}, nil
}

// value returns the PIN to log in with. It refuses one that the token has
// refused: one more try could lock the token.
func (p *pin) value() (string, error) {
	value := p.fixed
	if p.file != "" {
		var err error
		if value, err = readPIN(p.file); err != nil {
			return "", &fault{http.StatusForbidden, pkcs11api.CodePINFile, "reading the PIN: " + err.Error()}
		}
	}
	if value == "" {
		return "", &fault{http.StatusForbidden, pkcs11api.CodePINFile, "the token needs a PIN and the helper has none: start it with --pin-file or --pin-env"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != "" && value == p.refused {
		return "", &fault{p.because.status, p.because.code, p.because.message +
			" (remembered: not tried again until the PIN file changes or the helper is started again)"}
	}
	return value, nil
}

// refuse remembers that the token did not take value.
func (p *pin) refuse(value string, because *fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused, p.because = value, because
}

// readPIN reads a PIN from a file that is its owner's alone, or root's and
// readable by a group, as service managers hand out secrets. One line break at
// the end is the editor's.
func readPIN(path string) (string, error) {
	// Without O_NONBLOCK, opening a pipe that nobody writes would wait forever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names their own file
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	roots := ok && stat.Uid == 0
	switch perm := info.Mode().Perm(); {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case perm&0o077 != 0 && (perm&^0o440 != 0 || !roots):
		return "", fmt.Errorf("%s has permissions %#o; allowed: at most 0600, or 0440 if the file is root's", path, perm)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPIN+1))
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" || len(value) > maxPIN || strings.ContainsAny(value, "\n\r\x00") {
		return "", fmt.Errorf("%s is not a PIN; allowed: one line of 1 to %d bytes", path, maxPIN)
	}
	return value, nil
}
