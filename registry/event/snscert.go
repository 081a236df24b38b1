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

// certificates are those that SNS signs with. Anybody may send a message that
// names one, so that only those count that have verified a message.
type certificates struct {
	fetcher   *fetcher
	strangers allowance // of URLs where no such certificate is known to be

	mu     sync.Mutex
	proven map[string]*provenCertificate // by URL, some of them too old to be used
}

type certificate struct {
	key   *rsa.PublicKey
	until time.Time
}

type provenCertificate struct {
	certificate
	last    time.Time // that it verified a message
	fetches allowance // to have it anew
}

// find returns the certificate at a URL that has been checked. That it comes
// from SNS is what HTTPS to its host says.
func (c *certificates) find(ctx context.Context, url string) (certificate, error) {
	now := c.fetcher.now()
	old, fetches, ok := c.known(url)
	if ok && now.Before(old.until) {
		return old, nil
	}
	raw, err := c.fetcher.get(ctx, url, fetches)
	if err != nil {
		return certificate{}, fmt.Errorf("reading the certificate of SNS: %w", plainURLError(err))
	}
	fresh, err := parseCertificate(raw, now)
	if err != nil {
		return certificate{}, fmt.Errorf("%w: certificate of SNS: %w", ErrUnauthorized, err)
	}
	if ok && fresh.key.Equal(old.key) { // whoever asked, it is the one that has verified before
		c.renew(url, fresh)
	}
	return fresh, nil
}

// known returns the certificate that was at a URL, and what fetching from there
// counts against.
func (c *certificates) known(url string) (certificate, *allowance, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.proven[url]; ok {
		return p.certificate, &p.fetches, true
	}
	return certificate{}, &c.strangers, false
}

func (c *certificates) renew(url string, fresh certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.proven[url]; ok {
		p.certificate = fresh
	}
}

// keep keeps a certificate that has verified a message, instead of the one that
// did so longest ago if they are too many.
func (c *certificates) keep(url string, verified certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.proven[url]
	if !ok {
		if len(c.proven) >= maxCertificates {
			delete(c.proven, c.oldest())
		}
		p = &provenCertificate{}
		c.proven[url] = p
	}
	p.certificate, p.last = verified, c.fetcher.now()
}

func (c *certificates) oldest() (url string) {
	for u, p := range c.proven {
		if url == "" || p.last.Before(c.proven[url].last) {
			url = u
		}
	}
	return url
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
