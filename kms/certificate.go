package kms

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// ReadCertificates reads a file of PEM certificates, in its order. Anything
// else in it is an error, a private key above all.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	f, err := os.Open(path) //nolint:gosec // the user names their own certificates
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxKeyFile)
	}
	chain, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return chain, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for left := data; ; {
		block, rest := pem.Decode(left)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block is %s; allowed: CERTIFICATE", shorten(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain, left = append(chain, c), rest
	}
	// What is damaged, as where a file was cut off, pem.Decode steps over.
	if n := bytes.Count(data, []byte("-----BEGIN ")); n != len(chain) {
		return nil, fmt.Errorf("PEM block is damaged: %d begin and %d can be read", n, len(chain))
	}
	if len(chain) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return chain, nil
}
