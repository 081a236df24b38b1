package tencenttest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	scheme     = "TC3-HMAC-SHA256"
	service    = "kms"
	terminator = "tc3_request"
	timeHeader = "X-TC-Timestamp"
	// window is how far a request's time may be from the server's.
	window = 5 * time.Minute
)

// An apiError is a fault in the words of the API.
type apiError struct{ code, message string }

func (e *apiError) Error() string { return e.code + ": " + e.message }

// An authorization is what an Authorization header says.
type authorization struct {
	id, date, service, signature string
	signed                       []string
}

func parseAuthorization(header string) (authorization, error) {
	malformed := &apiError{"AuthFailure.InvalidAuthorization", "The request header `Authorization` is invalid."}
	rest, ok := strings.CutPrefix(header, scheme+" ")
	if !ok {
		return authorization{}, malformed
	}
	fields := map[string]string{}
	for _, part := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; twice || value == "" {
			return authorization{}, malformed
		}
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(fields) != 3 || len(scope) != 4 || scope[0] == "" || scope[3] != terminator || fields["Signature"] == "" {
		return authorization{}, malformed
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	if !slices.Contains(signed, "host") || !slices.Contains(signed, "content-type") {
		return authorization{}, malformed
	}
	return authorization{scope[0], scope[1], scope[2], fields["Signature"], signed}, nil
}

// check returns nil if r is signed with secret, at about now.
func (a authorization) check(r *http.Request, body []byte, secret string, now time.Time) error {
	seconds, err := strconv.ParseInt(r.Header.Get(timeHeader), 10, 64)
	at := time.Unix(seconds, 0).UTC()
	switch {
	case err != nil || a.date != at.Format(time.DateOnly) || a.service != service:
		return &apiError{"AuthFailure.InvalidAuthorization", "The credential scope does not fit the request."}
	case now.Sub(at).Abs() > window:
		return &apiError{"AuthFailure.SignatureExpire", "The signature has expired. Please check that your local time is synchronized with standard time."}
	case !hmac.Equal([]byte(a.signature), []byte(a.sign(r, body, secret))):
		return &apiError{"AuthFailure.SignatureFailure", "The provided credentials could not be validated. Please check your signature is correct."}
	}
	return nil
}

// sign computes what the Authorization header of r must carry.
func (a authorization) sign(r *http.Request, body []byte, secret string) string {
	request := sha256.Sum256([]byte(canonicalRequest(r, body, a.signed)))
	scope := a.date + "/" + a.service + "/" + terminator
	text := strings.Join([]string{scheme, r.Header.Get(timeHeader), scope, hex.EncodeToString(request[:])}, "\n")
	key := []byte("TC3" + secret)
	for _, part := range []string{a.date, a.service, terminator, text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func canonicalRequest(r *http.Request, body []byte, signed []string) string {
	var headers strings.Builder
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.ToLower(strings.TrimSpace(value)) + "\n")
	}
	if r.Header.Get("X-TC-Content-SHA256") == "UNSIGNED-PAYLOAD" {
		body = []byte("UNSIGNED-PAYLOAD")
	}
	sum := sha256.Sum256(body)
	return strings.Join([]string{r.Method, "/", r.URL.RawQuery, headers.String(), strings.Join(signed, ";"), hex.EncodeToString(sum[:])}, "\n")
}
