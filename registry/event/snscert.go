package event

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What certificates of SNS are kept, and how long.
const (
	maxCertificates  = 4
	certificateFresh = 24 * time.Hour
	minRSABits       = 2048
)

// certificates are those that SNS signs with, by URL.
type certificates struct {
	fetcher *fetcher

	mu    sync.Mutex
	known map[string]certificate
}

type certificate struct {
	key   *rsa.PublicKey
	until time.Time
}

// key returns the key of the certificate at a URL that has been checked. That
// it comes from SNS is what HTTPS to its host says.
func (c *certificates) key(ctx context.Context, url string) (*rsa.PublicKey, error) {
	now := c.fetcher.now()
	c.mu.Lock()
	found, ok := c.known[url]
	c.mu.Unlock()
	if ok && now.Before(found.until) {
		return found.key, nil
	}
	raw, err := c.fetcher.get(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of SNS: %w", plainURLError(err))
	}
	fresh, err := parseCertificate(raw, now)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate of SNS: %w", ErrUnauthorized, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCertificates {
		c.known = map[string]certificate{}
	}
	c.known[url] = fresh
	return fresh.key, nil
}

func parseCertificate(raw []byte, now time.Time) (certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return certificate{}, errors.New("is no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return certificate{}, errors.New("is malformed")
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok || key.N.BitLen() < minRSABits:
		return certificate{}, fmt.Errorf("has no RSA key of at least %d bits", minRSABits)
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return certificate{}, errors.New("is not valid now")
	}
	until := now.Add(certificateFresh)
	if cert.NotAfter.Before(until) {
		until = cert.NotAfter
	}
	return certificate{key: key, until: until}, nil
}
