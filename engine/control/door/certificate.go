package door

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
)

// Certificate returns who sent a request over a connection that it opened with a TLS
// client certificate, and the request's body. The connection proves that the caller
// has its private key. Known is the certificate itself and not who issued it; a time
// outside of the one that it is valid for is ErrClock.
func (d *Door) Certificate(r *http.Request) (Caller, []byte, error) {
	if TurnedAway(r) {
		return Caller{}, nil, ErrBusy
	}
	leaf := clientLeaf(r)
	if leaf == nil {
		return Caller{}, nil, ErrNoCredentials
	}
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
		return Caller{}, nil, &RefusedError{Caller: caller, Why: err}
	}
	return caller, body, nil
}

// clientLeaf returns the certificate that a client opened the connection with, nil if
// it has none.
func clientLeaf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}
