package door

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	tc3Scheme = "TC3-HMAC-SHA256"
	tc3End    = "tc3_request"
	// tc3Reads is how actions begin that change nothing.
	tc3Reads = "Describe"
	// maxTimestamp is how many digits seconds may have.
	maxTimestamp = 11
)

// TC3 returns who sent a request to Tencent Cloud API 3.0 of a service, such as tcr.
// Tencent's SDK for Node.js takes the host's first label for the service, and signs
// the host without its port; both are taken for right.
// The older method, HmacSHA1 and HmacSHA256, is refused with ErrUnsupported.
func (d *Door) TC3(r *http.Request, service string) (Caller, []byte, error) {
	a, err := parseTC3(r, service)
	if err != nil {
		return Caller{}, nil, err
	}
	var portless []byte // what was signed if the host was, without its port
	return d.enter(r, claim{
		at: a.at, window: d.config.TC3Window, signature: a.signature, repeatable: a.read,
		text: func(body []byte) (text []byte, err error) {
			if text, err = a.text(r, body); err == nil && hostPort.MatchString(r.Host) {
				short := r.WithContext(r.Context())
				short.Host = hostPort.ReplaceAllString(r.Host, "")
				portless, err = a.text(short, body)
			}
			return text, err
		},
		verify: func(k *keyring, text []byte) (*holder, error) {
			return k.verifyHMAC(a.accessKey, a.signature, func(secret []byte) []byte {
				if portless != nil {
					if s := a.sign(secret, portless); hmac.Equal(s, a.signature) {
						return s
					}
				}
				return a.sign(secret, text)
			})
		},
	})
}

// hostPort is the port at the end of a Host.
var hostPort = regexp.MustCompile(`:[0-9]+$`)

// A tc3 is what a request says about its signature.
type tc3 struct {
	accessKey, date, service, timestamp, list string
	names                                     []string
	query                                     string
	signature                                 []byte
	at                                        time.Time
	read                                      bool
}

func parseTC3(r *http.Request, service string) (tc3, error) {
	rest, err := authorization(r, tc3Scheme)
	if errors.Is(err, ErrNoCredentials) && tc3Older(r) {
		return tc3{}, fmt.Errorf("%w: by HmacSHA1 or HmacSHA256, want %s", ErrUnsupported, tc3Scheme)
	}
	if err != nil {
		return tc3{}, err
	}
	values, err := parameters(rest, "Credential", "SignedHeaders", "Signature")
	if err != nil {
		return tc3{}, err
	}
	a := tc3{list: values[1], names: strings.Split(values[1], ";")}
	if err := checkNames(a.names, "content-type", "host"); err != nil {
		return tc3{}, err
	}
	if a.signature, err = parseHex(values[2]); err != nil {
		return tc3{}, err
	}
	if err := a.parseTime(r); err != nil {
		return tc3{}, err
	}
	if err := a.parseScope(values[0], service, r.Host); err != nil {
		return tc3{}, err
	}
	return a, a.parseTarget(r)
}

// tc3Older reports whether a request without Authorization is signed by parameters of
// its query or its form, which is not read.
func tc3Older(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("Signature") || query.Has("SignatureMethod") ||
		r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

func (a *tc3) parseTime(r *http.Request) error {
	var err error
	if a.timestamp, err = one(r, "x-tc-timestamp"); err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(a.timestamp, 10, 64)
	if err != nil || len(a.timestamp) > maxTimestamp || strings.ContainsAny(a.timestamp, "+-") {
		return malformed("X-TC-Timestamp is not seconds since 1970")
	}
	a.at = time.Unix(seconds, 0).UTC()
	return nil
}

// parseScope reads the credential: what it is for must be what the request is.
func (a *tc3) parseScope(credential, service, host string) error {
	scope := strings.Split(credential, "/")
	if len(scope) != 4 || scope[0] == "" || scope[3] != tc3End {
		return malformed("the credential is not <id>/<date>/<service>/%s", tc3End)
	}
	a.accessKey, a.date, a.service = scope[0], scope[1], scope[2]
	if a.date != a.at.Format(time.DateOnly) {
		return malformed("the credential's date is not that of X-TC-Timestamp")
	}
	if label, _, _ := strings.Cut(host, "."); a.service != service && a.service != label {
		return malformed("the credential is for another service, want %s", service)
	}
	return nil
}

// parseTarget reads what is not signed, or not always, and so must be plain.
func (a *tc3) parseTarget(r *http.Request) error {
	path, query, err := target(r)
	if err != nil {
		return err
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return fmt.Errorf("%w: %s has GET and POST only", ErrUnsupported, tc3Scheme)
	case path != "/":
		return malformed("the path is not /")
	case r.Method == http.MethodPost && query != "":
		return malformed("a POST with a query, which is not signed")
	}
	a.query = query
	action, _, err := optional(r, "x-tc-action")
	a.read = strings.HasPrefix(action, tc3Reads)
	return err
}

// text is the string to sign.
func (a *tc3) text(r *http.Request, body []byte) ([]byte, error) {
	lines, err := headerLines(r, a.names, func(v string) string { return strings.ToLower(strings.TrimSpace(v)) })
	if err != nil {
		return nil, err
	}
	said, there, err := optional(r, "x-tc-content-sha256")
	switch {
	case err != nil:
		return nil, err
	case there && said != unsignedPayload:
		return nil, malformed("X-TC-Content-SHA256 is not %s", unsignedPayload)
	case there:
		body = []byte(unsignedPayload)
	}
	canonical := strings.Join([]string{r.Method, "/", a.query, lines, a.list, hexSHA256(body)}, "\n")
	scope := a.date + "/" + a.service + "/" + tc3End
	return []byte(strings.Join([]string{tc3Scheme, a.timestamp, scope, hexSHA256([]byte(canonical))}, "\n")), nil
}

func (a *tc3) sign(secret, text []byte) []byte {
	return chain(append([]byte("TC3"), secret...), a.date, a.service, tc3End, string(text))
}
