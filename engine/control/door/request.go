package door

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxAuthorization is how long an Authorization header may be: an OCI signature by
	// a key of 8192 bits takes 2 KiB.
	maxAuthorization = 8 << 10
	// maxSignedHeaders is how many headers may be signed.
	maxSignedHeaders = 64
	// unsignedPayload is sent instead of a body's hash by who does not sign the body.
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// malformed says what is wrong with a request. Texts name headers, and quote nothing
// that the caller sent: secrets end up in wrong places.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// authorization returns what follows the scheme in the one Authorization header.
func authorization(r *http.Request, scheme string) (string, error) {
	values := r.Header["Authorization"]
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", ErrNoCredentials
	case len(values) > 1:
		return "", malformed("%d Authorization headers, want one", len(values))
	case len(values[0]) > maxAuthorization:
		return "", malformed("an Authorization header of %d bytes, at most %d are read", len(values[0]), maxAuthorization)
	}
	got, rest, _ := strings.Cut(values[0], " ")
	if got != scheme {
		return "", fmt.Errorf("%w: the Authorization header does not begin with %s", ErrUnsupported, scheme)
	}
	return rest, nil
}

// parameters returns the values of "A=x, B=y" in the order of the names. All must be
// there, once, in this order, and no others, as SDKs write them.
func parameters(text string, names ...string) ([]string, error) {
	parts := strings.Split(text, ",")
	if len(parts) != len(names) {
		return nil, malformed("the Authorization header has %d parameters, want %s", len(parts), strings.Join(names, ", "))
	}
	values := make([]string, len(names))
	for i, part := range parts {
		value, ok := strings.CutPrefix(strings.TrimLeft(part, " "), names[i]+"=")
		if !ok || value == "" {
			return nil, malformed("parameter %d of the Authorization header is not %s, or empty", i+1, names[i])
		}
		values[i] = value
	}
	return values, nil
}

// parseHex reads a signature of HMAC-SHA256, which schemes write in one way only.
func parseHex(text string) ([]byte, error) {
	signature, err := hex.DecodeString(text)
	if err != nil || len(signature) != sha256.Size || strings.ToLower(text) != text {
		return nil, malformed("the signature is not %d lower-case hexadecimal digits", 2*sha256.Size)
	}
	return signature, nil
}

// checkNames reports whether a list of signed headers is one: lower-case names, each
// once, and those that must be signed among them.
func checkNames(names []string, required ...string) error {
	if len(names) > maxSignedHeaders {
		return malformed("%d signed headers, at most %d are read", len(names), maxSignedHeaders)
	}
	for i, name := range names {
		switch {
		case name == "" || strings.ContainsFunc(name, notInName):
			return malformed("signed header %d is not a header's name in lower case", i+1)
		case name == "authorization":
			return malformed("the Authorization header cannot be signed")
		case slices.Contains(names[:i], name):
			return malformed("header %s is listed as signed twice", name)
		}
	}
	for _, name := range required {
		if !slices.Contains(names, name) {
			return malformed("header %s is not signed", name)
		}
	}
	return nil
}

// notInName reports whether a character is in no lower-case name of a header.
func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// one returns the value of a header that has to be there once: of two, a proxy and a
// handler may each believe another.
func one(r *http.Request, name string) (string, error) {
	if name == "host" {
		if r.Host == "" {
			return "", malformed("header host is missing")
		}
		return r.Host, nil
	}
	values := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	switch len(values) {
	case 0:
		return "", malformed("header %s is missing", name)
	case 1:
		return values[0], nil
	}
	return "", malformed("header %s is there %d times, want once", name, len(values))
}

// optional is one, but the header may be missing.
func optional(r *http.Request, name string) (value string, there bool, err error) {
	if len(r.Header[textproto.CanonicalMIMEHeaderKey(name)]) == 0 {
		return "", false, nil
	}
	value, err = one(r, name)
	return value, true, err
}

// headerLines returns "name:value" for each signed header, with the value as norm
// makes it.
func headerLines(r *http.Request, names []string, norm func(string) string) (string, error) {
	var lines strings.Builder
	for _, name := range names {
		value, err := one(r, name)
		if err != nil {
			return "", err
		}
		lines.WriteString(name + ":" + norm(value) + "\n")
	}
	return lines.String(), nil
}

// target returns the path and the query as they were sent.
func target(r *http.Request) (path, query string, err error) {
	if !strings.HasPrefix(r.RequestURI, "/") {
		return "", "", malformed("the request line has no path")
	}
	path, query, _ = strings.Cut(r.RequestURI, "?")
	// A handler routes by the URL: it must be the one that is verified.
	if plain, err := url.PathUnescape(path); err != nil || r.URL == nil || plain != r.URL.Path || query != r.URL.RawQuery {
		return "", "", malformed("the request's path or query is not the one that was sent")
	}
	return path, query, nil
}

// escape percent-encodes all bytes but unreserved ones.
func escape(text string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			out.WriteByte(c)
		default:
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return out.String()
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// chain computes HMAC-SHA256 over the parts, each with the one before as key.
func chain(key []byte, parts ...string) []byte {
	for _, part := range parts {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key
}
