package registry

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const tc3 = "TC3-HMAC-SHA256"

// signTC3 signs a POST request to a service of Tencent Cloud. Its headers
// Content-Type and X-TC-Action are set.
func signTC3(req *http.Request, body []byte, key cloudKey, service string, now time.Time) {
	req.Header.Set("X-TC-Timestamp", strconv.FormatInt(now.Unix(), 10))
	if key.token != "" {
		req.Header.Set("X-TC-Token", key.token)
	}
	req.Header.Set("Authorization", tc3Authorization(req, body, key, service, []string{"content-type", "host", "x-tc-action"}, now))
}

// tc3Authorization signs the headers named, which are in alphabetical order.
func tc3Authorization(req *http.Request, body []byte, key cloudKey, service string, signed []string, now time.Time) string {
	var headers strings.Builder
	for _, name := range signed {
		value := req.Header.Get(name)
		if name == "host" {
			value = hostOf(req)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.ToLower(strings.TrimSpace(value)))
	}
	names := strings.Join(signed, ";")
	canonical := strings.Join([]string{req.Method, "/", req.URL.RawQuery, headers.String(), names, hexSum(body)}, "\n")
	date := now.UTC().Format(time.DateOnly)
	scope := date + "/" + service + "/tc3_request"
	text := strings.Join([]string{tc3, strconv.FormatInt(now.Unix(), 10), scope, hexSum([]byte(canonical))}, "\n")
	secret := hmacSum([]byte("TC3"+key.secret), date)
	secret = hmacSum(hmacSum(secret, service), "tc3_request")
	return fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		tc3, key.id, scope, names, hex.EncodeToString(hmacSum(secret, text)))
}
