package door

import (
	"crypto/sha256"
	"errors"
	"net/http"
)

// Certificate returns who sent a request over a connection that it opened with a TLS
// client certificate, and the request's body. The connection proves that the caller
// has its private key. Known is the certificate itself and not who issued it; a time
// outside of the one that it is valid for is ErrClock.
func (d *Door) Certificate(r *http.Request) (Caller, []byte, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Caller{}, nil, ErrNoCredentials
	}
	leaf := r.TLS.PeerCertificates[0]
	h := d.keyring.Load().byCertificate[sha256.Sum256(leaf.Raw)]
	if h == nil {
		return Caller{}, nil, ErrUnknown
	}
	if now := d.config.Clock(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return Caller{}, nil, ErrClock
	}
	caller := h.callerCopy()
	if err := d.admit(caller, r); err != nil {
		return Caller{}, nil, err
	}
	body, err := d.read(r)
	if err != nil {
		return Caller{}, nil, err
	}
	return caller, body, nil
}

// Own returns who sent a request to our own API: by token if it carries one, else by
// certificate.
func (d *Door) Own(r *http.Request) (Caller, []byte, error) {
	caller, body, err := d.Token(r)
	if errors.Is(err, ErrNoCredentials) {
		return d.Certificate(r)
	}
	return caller, body, err
}
