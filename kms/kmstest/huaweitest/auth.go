package huaweitest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	scheme     = "SDK-HMAC-SHA256"
	dateHeader = "X-Sdk-Date"
	dateForm   = "20060102T150405Z"
	// window is how far a request's time may be from the server's.
	window = 15 * time.Minute
)

// errUnsigned is for a request without an Authorization header of the scheme.
var errUnsigned = errors.New("no " + scheme + " authorization")

// An authorization is what an Authorization header says.
type authorization struct {
	access, signature string
	signed            []string
}

func parseAuthorization(header string) (authorization, error) {
	rest, ok := strings.CutPrefix(header, scheme+" ")
	if !ok {
		return authorization{}, errUnsigned
	}
	fields := map[string]string{}
	for _, part := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; twice || value == "" {
			return authorization{}, errUnsigned
		}
		fields[name] = value
	}
	a := authorization{access: fields["Access"], signature: fields["Signature"]}
	a.signed = strings.Split(fields["SignedHeaders"], ";")
	if len(fields) != 3 || a.access == "" || a.signature == "" || fields["SignedHeaders"] == "" {
		return authorization{}, errUnsigned
	}
	return a, nil
}

// check returns nil if r is signed with secret, at about now.
func (a authorization) check(r *http.Request, body []byte, secret string, now time.Time) error {
	at, err := time.Parse(dateForm, r.Header.Get(dateHeader))
	if err != nil || !slices.Contains(a.signed, strings.ToLower(dateHeader)) {
		return fmt.Errorf("%s is missing or not signed", dateHeader)
	}
	if now.Sub(at).Abs() > window {
		return errors.New("the request has expired, check the clock")
	}
	if !hmac.Equal([]byte(a.signature), []byte(signature(r, body, a.signed, secret))) {
		return errors.New("verify aksk signature fail")
	}
	return nil
}

// signature computes what the Authorization header of r must carry.
func signature(r *http.Request, body []byte, signed []string, secret string) string {
	request := sha256.Sum256([]byte(canonicalRequest(r, body, signed)))
	text := scheme + "\n" + r.Header.Get(dateHeader) + "\n" + hex.EncodeToString(request[:])
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func canonicalRequest(r *http.Request, body []byte, signed []string) string {
	path := escape(r.URL.Path, "/")
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	var headers strings.Builder
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	payload := r.Header.Get("X-Sdk-Content-Sha256")
	if payload == "" {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	return strings.Join([]string{r.Method, path, canonicalQuery(r), headers.String(), strings.Join(signed, ";"), payload}, "\n")
}

func canonicalQuery(r *http.Request) string {
	query := r.URL.Query()
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, value := range slices.Sorted(slices.Values(query[name])) {
			pairs = append(pairs, escape(name, "")+"="+escape(value, ""))
		}
	}
	return strings.Join(pairs, "&")
}

// escape percent-encodes all but unreserved characters and those in but.
func escape(text, but string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~"+but, c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
