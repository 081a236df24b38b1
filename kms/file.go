package kms

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sealwright/sealwright/engine/policy"
)

// Sizes above which a file is not what it is said to be, in bytes.
const (
	maxKeyFile      = 1 << 20
	maxPasswordFile = 64 << 10
)

// A fileKey signs with a private key that is held in memory.
type fileKey struct {
	key    crypto.Signer
	public *PublicKey
}

// openFile opens the key in the file that a file: URI names.
func openFile(cfg Config) (Signer, error) {
	path, err := filePath(cfg.URI)
	if err != nil {
		return nil, err
	}
	data, err := readSecret(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	key, err := parsePrivateKey(data, cfg.Password)
	if err != nil {
		return nil, fmt.Errorf("opening the private key in %s: %w", path, err)
	}
	public, err := NewPublicKey(key.Public(), cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening the private key in %s: %w", path, err)
	}
	return &fileKey{key: key, public: public}, nil
}

// filePath returns the path in file:PATH or file:///PATH. The path is taken as
// it is written: nothing is percent-decoded.
func filePath(uri string) (string, error) {
	path := strings.TrimPrefix(uri, "file:")
	if strings.HasPrefix(path, "//") {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return "", errors.New("key URI names a host; allowed: file:PATH or file:///PATH")
		}
	}
	if path == "" {
		return "", errors.New("key URI has no path; allowed: file:PATH or file:///PATH")
	}
	return filepath.Clean(path), nil
}

func (k *fileKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	digest, err := k.public.digest(message)
	if err != nil {
		return nil, fmt.Errorf("digesting the message: %w", err)
	}
	return k.key.Sign(rand.Reader, digest, signerOpts(k.public.Algorithm()))
}

// Version is empty: a file has none.
func (k *fileKey) Version() string { return "" }

func (k *fileKey) Public() *PublicKey { return k.public }

// Close does nothing: the key leaves memory when it is collected, and Go offers
// no way to erase it for certain.
func (k *fileKey) Close() error { return nil }

// signerOpts says how alg uses a private key and the digest.
func signerOpts(alg policy.Algorithm) crypto.SignerOpts {
	if alg.Family() == policy.RSAPSS {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.Hash()}
	}
	return alg.Hash() // 0 for SM2: the digest is to be signed as it is
}

// readSecret reads a regular file of at most limit bytes that nobody but its
// owner can read, or root's own group (see rootOwns). Links are followed:
// mounted secrets are links.
func readSecret(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe that nobody writes would wait forever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the user names their own key file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	perm := info.Mode().Perm()
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case perm&0o077 != 0 && (perm&^0o440 != 0 || !rootOwns(info)):
		return nil, fmt.Errorf("%s has permissions %#o; allowed: at most 0600, or 0440 if the file is root's", path, perm)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// rootOwns reports whether a file is root's. Service managers hand out secrets
// in files that root owns and a group, or an access list that shows as one, may
// read: systemd's credentials and a Kubernetes secret under a fsGroup are 0440.
func rootOwns(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}
