package kms

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// maxAnswer bounds an answer of a key store that is read, in bytes: the
	// largest is a batch of signatures.
	maxAnswer = 1 << 20
	// maxWords bounds what an error repeats of a store's words, in bytes.
	maxWords = 300
)

// newBase returns the only thing that dials a key store over HTTP.
func newBase(cfg StoreConfig) (*http.Transport, error) {
	roots, err := rootsWith(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxyFor,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  cfg.Timeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           cfg.Limits.Concurrency,
		MaxIdleConnsPerHost:    cfg.Limits.Concurrency,
		MaxResponseHeaderBytes: 256 << 10,
	}, nil
}

// proxyFor keeps away from proxies what asks who this machine is: the answers
// are credentials, in plain HTTP, and no proxy could fetch them for us.
func proxyFor(req *http.Request) (*url.URL, error) {
	if aboutThisMachine(req.URL.Hostname()) {
		return nil, nil //nolint:nilnil // nil is no proxy
	}
	return http.ProxyFromEnvironment(req)
}

// aboutThisMachine reports whether host is where clouds tell their machines who
// they are: link-local addresses, Amazon's in IPv6, Google's name of one.
func aboutThisMachine(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return addr.IsLinkLocalUnicast() || addr.IsLoopback() || netip.MustParsePrefix("fd00:ec2::/32").Contains(addr)
	}
	return host == "metadata.google.internal"
}

// rootsWith returns the system's certificates and those in file; nil, which
// means the system's, without a file.
func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is a pool's default
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the user names their own certificates
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no PEM certificate", file)
	}
	return roots, nil
}

// limitedAnswers cuts the bodies of answers.
type limitedAnswers struct{ base http.RoundTripper }

func (l limitedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(req)
	if err == nil {
		resp.Body = &cutBody{resp.Body, maxAnswer}
	}
	return resp, err
}

// errTooLong is what reading past maxAnswer fails with.
var errTooLong = fmt.Errorf("answer of more than %d bytes", maxAnswer)

type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		var one [1]byte
		n, err := c.ReadCloser.Read(one[:])
		if n > 0 {
			err = errTooLong
		}
		return 0, err
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// networkError wraps an error of an HTTP client that got no answer: a certificate
// that is not trusted will not be next time, all else may pass. The URL, which a
// url.Error repeats, is left out.
func networkError(err error) error {
	kind := ErrUnavailable
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) {
		kind = ErrDenied
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return &StoreError{Kind: kind, Message: err.Error()}
}

// plain shortens what others wrote and takes out what could forge a log line.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, " "))
	text = strings.TrimSpace(text)
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}

// maxPause bounds how long a store may ask us to leave it alone: what is longer
// is a mistake, or another's word, and would stop all its keys.
const maxPause = time.Hour

// askedToWait reads Retry-After, in seconds or as a date; 0 means there is none.
func askedToWait(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxPause)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(at)), maxPause)
	}
	return 0
}
