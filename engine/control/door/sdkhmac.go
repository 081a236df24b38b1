package door

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	sdkScheme   = "SDK-HMAC-SHA256"
	sdkEnd      = "sdk_request"
	sdkDateForm = "20060102T150405Z"
	sdkDate     = "x-sdk-date"
	sdkHash     = "x-sdk-content-sha256"
)

var blanks = regexp.MustCompile(`\s+`)

// SDKHMAC returns who sent a request that is signed as Huawei Cloud has it (Access=)
// or Open Telekom Cloud (Credential=).
func (d *Door) SDKHMAC(r *http.Request) (Caller, []byte, error) {
	a, err := parseSDK(r)
	if err != nil {
		return Caller{}, nil, err
	}
	return d.enter(r, claim{
		at: a.at, window: d.config.SDKHMACWindow, signature: a.signature, forgettable: reads(r.Method),
		text: func(body []byte) ([]byte, error) { return a.text(r, body) },
		verify: func(k *keyring, text []byte) (*holder, error) {
			return k.verifyHMAC(a.accessKey, a.signature, func(secret []byte) []byte { return a.sign(secret, text) })
		},
	})
}

// reads reports whether a method, which is signed, changes nothing.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// An sdk is what a request says about its signature.
type sdk struct {
	accessKey, date, list string
	names                 []string
	scope                 []string // date, region, service, end; nil in the plain form
	path, query           string
	values                url.Values
	signature             []byte
	at                    time.Time
}

func parseSDK(r *http.Request) (sdk, error) {
	rest, err := authorization(r, sdkScheme)
	if err != nil {
		return sdk{}, err
	}
	who, required := "Access", []string{sdkDate}
	if strings.HasPrefix(rest, "Credential=") {
		who, required = "Credential", []string{"host", sdkDate}
	}
	values, err := parameters(rest, who, "SignedHeaders", "Signature")
	if err != nil {
		return sdk{}, err
	}
	a := sdk{accessKey: values[0], list: values[1], names: strings.Split(values[1], ";")}
	if err := checkNames(a.names, required...); err != nil {
		return sdk{}, err
	}
	if !slices.IsSorted(a.names) {
		return sdk{}, malformed("the signed headers are not sorted")
	}
	if a.signature, err = parseHex(values[2]); err != nil {
		return sdk{}, err
	}
	if err := a.parseTime(r); err != nil {
		return sdk{}, err
	}
	if who == "Credential" {
		if err := a.parseScope(values[0]); err != nil {
			return sdk{}, err
		}
	}
	return a, a.parseTarget(r)
}

func (a *sdk) parseTime(r *http.Request) error {
	var err error
	if a.date, err = one(r, sdkDate); err != nil {
		return err
	}
	a.at, err = time.Parse(sdkDateForm, a.date)
	if err != nil || a.at.Format(sdkDateForm) != a.date {
		return malformed("X-Sdk-Date is not like %s", sdkDateForm)
	}
	return nil
}

// parseScope reads the credential of the scoped form. Its SDK leaves region and
// service empty; whatever they are, they are signed.
func (a *sdk) parseScope(credential string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" || parts[4] != sdkEnd {
		return malformed("the credential is not <key>/<date>/<region>/<service>/%s", sdkEnd)
	}
	a.accessKey, a.scope = parts[0], parts[1:]
	if a.scope[0] != a.at.Format("20060102") {
		return malformed("the credential's date is not that of X-Sdk-Date")
	}
	return nil
}

func (a *sdk) parseTarget(r *http.Request) error {
	path, query, err := target(r)
	if err != nil {
		return err
	}
	if a.path, err = sdkPath(path); err != nil {
		return err
	}
	if a.values, err = url.ParseQuery(query); err != nil {
		return malformed("the query is not one")
	}
	if a.scope == nil {
		a.query = plainQuery(a.values)
		return nil
	}
	a.query, err = scopedQuery(a.values)
	return err
}

// sdkPath escapes a path in the one way that is signed, with a slash at its end. It
// does so for each segment: a slash that was escaped is no separator.
func sdkPath(path string) (string, error) {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return "", malformed("the path is not one")
		}
		segments[i] = escape(plain)
	}
	return strings.TrimSuffix(strings.Join(segments, "/"), "/") + "/", nil
}

// plainQuery is sorted by names, then values.
func plainQuery(values url.Values) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range slices.Sorted(slices.Values(values[name])) {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	return strings.Join(pairs, "&")
}

// scopedQuery is sorted by escaped names, ignoring case. It has the first value of a
// name only, so that others would be unsigned.
func scopedQuery(values url.Values) (string, error) {
	var pairs [][2]string
	for name, all := range values {
		if len(all) > 1 {
			return "", malformed("a name is in the query %d times, but one value is signed", len(all))
		}
		pairs = append(pairs, [2]string{escape(name), escape(all[0])})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a[0]), strings.ToLower(b[0])), cmp.Compare(a[0], b[0]))
	})
	joined := make([]string, len(pairs))
	for i, pair := range pairs {
		joined[i] = pair[0] + "=" + pair[1]
	}
	return strings.Join(joined, "&"), nil
}

// text is the string to sign.
func (a *sdk) text(r *http.Request, body []byte) ([]byte, error) {
	norm := strings.TrimSpace
	if a.scope != nil {
		norm = func(v string) string { return blanks.ReplaceAllString(strings.TrimSpace(v), " ") }
	}
	lines, err := headerLines(r, a.names, norm)
	if err != nil {
		return nil, err
	}
	query, hash, err := a.payload(r, body)
	if err != nil {
		return nil, err
	}
	canonical := strings.Join([]string{r.Method, a.path, query, lines, a.list, hash}, "\n")
	parts := []string{sdkScheme, a.date, hexSHA256([]byte(canonical))}
	if a.scope != nil {
		parts = slices.Insert(parts, 2, strings.Join(a.scope, "/"))
	}
	return []byte(strings.Join(parts, "\n")), nil
}

// payload returns the query and the body's hash that are signed. The scoped form
// takes a query for the body of a POST that has none.
func (a *sdk) payload(r *http.Request, body []byte) (query, hash string, err error) {
	said, there, err := optional(r, sdkHash)
	switch {
	case err != nil:
		return "", "", err
	case there && said == unsignedPayload:
		return a.query, said, nil
	case there && said != hexSHA256(body):
		return "", "", ErrBodyHash
	case !there && a.scope != nil && r.Method == http.MethodPost && len(body) == 0:
		return "", hexSHA256([]byte(a.values.Encode())), nil
	}
	return a.query, hexSHA256(body), nil
}

func (a *sdk) sign(secret, text []byte) []byte {
	if a.scope == nil {
		return chain(secret, string(text))
	}
	return chain(append([]byte("SDK"), secret...), append(slices.Clone(a.scope), string(text))...)
}
