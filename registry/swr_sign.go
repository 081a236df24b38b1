package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const sdkHMAC = "SDK-HMAC-SHA256"

// signSDKHMAC signs a request with an access key of Huawei Cloud.
func signSDKHMAC(req *http.Request, body []byte, key cloudKey, now time.Time) {
	req.Header.Set("X-Sdk-Date", now.UTC().Format("20060102T150405Z"))
	signed := []string{"host", "x-project-id", "x-sdk-date"}
	if key.token != "" {
		req.Header.Set("X-Security-Token", key.token)
		signed = append(signed, "x-security-token")
	}
	req.Header.Set("Authorization", sdkAuthorization(req, body, key, signed))
}

// sdkAuthorization signs the headers named, in alphabetical order and in small
// letters, besides method, path, query and body.
func sdkAuthorization(req *http.Request, body []byte, key cloudKey, signed []string) string {
	signed = slices.Sorted(slices.Values(signed))
	var headers strings.Builder
	for _, name := range signed {
		value := req.Header.Get(name)
		if name == "host" {
			value = hostOf(req)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.TrimSpace(value))
	}
	path := sdkEscape(req.URL.Path, true)
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	names := strings.Join(signed, ";")
	canonical := strings.Join([]string{
		req.Method, path, sdkQuery(req.URL.Query()), headers.String(), names, hexSum(body),
	}, "\n")
	text := strings.Join([]string{sdkHMAC, req.Header.Get("X-Sdk-Date"), hexSum([]byte(canonical))}, "\n")
	return fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%s",
		sdkHMAC, key.id, names, hex.EncodeToString(hmacSum([]byte(key.secret), text)))
}

func sdkQuery(query url.Values) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, value := range slices.Sorted(slices.Values(query[name])) {
			pairs = append(pairs, sdkEscape(name, false)+"="+sdkEscape(value, false))
		}
	}
	return strings.Join(pairs, "&")
}

// sdkEscape escapes all but letters, digits, - _ . ~ and, in a path, slashes.
func sdkEscape(text string, path bool) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("-_.~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func hexSum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

func hmacSum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// hostOf is what the request says in its header Host.
func hostOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}
