package door

import (
	"crypto/sha256"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Own returns who sent a request to our own API, and its body: by Token, SDKHMAC or
// Certificate, whichever it shows. One that shows several is refused, as its sender
// would be whom the door happens to look at first. A certificate that nobody here has
// shows nothing beside another proof: TLS clients present what they have.
func (d *Door) Own(r *http.Request) (Caller, []byte, error) {
	switch n := len(r.Header["Authorization"]) + len(r.Header["X-Auth-Token"]); {
	case n == 0:
		return d.Certificate(r)
	case n > 1:
		return Caller{}, nil, malformed("more than one of Authorization and X-Auth-Token, want one")
	case d.knowsCertificate(r):
		return Caller{}, nil, malformed("a known client certificate beside Authorization or X-Auth-Token, want one of them")
	}
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); scheme != sdkScheme {
		return d.Token(r)
	}
	if slices.Contains(r.Header[textproto.CanonicalMIMEHeaderKey(sdkHash)], unsignedPayload) {
		return Caller{}, nil, malformed("the body is not signed") // no vendor's client needs that here
	}
	return d.SDKHMAC(r)
}

// knowsCertificate reports whether a request's client certificate is somebody's.
func (d *Door) knowsCertificate(r *http.Request) bool {
	leaf := clientLeaf(r)
	return leaf != nil && d.keyring.Load().byCertificate[sha256.Sum256(leaf.Raw)] != nil
}
