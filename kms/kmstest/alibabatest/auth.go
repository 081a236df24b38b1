package alibabatest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far the clocks of a client and the server may be apart.
const maxSkew = 15 * time.Minute

var authorizationRE = regexp.MustCompile(`^ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([a-z0-9;-]+),Signature=([0-9a-f]{64})$`)

// authenticate checks a request as Alibaba's signature version 3 documents it.
func (s *Server) authenticate(r *http.Request, body []byte) *refusal {
	match := authorizationRE.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil {
		return refuse(400, "IncompleteSignature", "The request signature does not conform to Alibaba Cloud standards.")
	}
	if match[1] != AccessKey {
		return refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
	}
	signed := strings.Split(match[2], ";")
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-acs-") && !slices.Contains(signed, name) {
			return refuse(400, "IncompleteSignature", "header "+name+" is not signed")
		}
	}
	for _, name := range []string{"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"} {
		if !slices.Contains(signed, name) {
			return refuse(400, "IncompleteSignature", "header "+name+" is not signed")
		}
	}
	at, err := time.Parse(time.RFC3339, r.Header.Get("X-Acs-Date"))
	if err != nil || time.Since(at).Abs() > maxSkew {
		return refuse(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	}
	if !s.fresh(r.Header.Get("X-Acs-Signature-Nonce")) {
		return refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
	}
	hash := sha256.Sum256(body)
	request := canonical(r.Method, r.URL.Path, r.URL.Query(), headerLines(r, signed), signed, hex.EncodeToString(hash[:]))
	if r.Header.Get("X-Acs-Content-Sha256") != hex.EncodeToString(hash[:]) || !hmac.Equal([]byte(match[3]), []byte(sign(request, s.secret()))) {
		return refuse(400, "SignatureDoesNotMatch", "Specified signature does not match our calculation. server StringToSign is ["+request+"]")
	}
	return nil
}

// headerLines are the signed headers in the canonical form.
func headerLines(r *http.Request, signed []string) string {
	var lines strings.Builder
	for _, name := range signed {
		values := slices.Clone(r.Header.Values(name))
		if name == "host" {
			values = []string{r.Host}
		}
		for i, v := range values {
			values[i] = strings.TrimSpace(v)
		}
		slices.Sort(values)
		lines.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	return lines.String()
}

// canonical is the request as it is signed.
func canonical(method, path string, query url.Values, headers string, signed []string, payloadHash string) string {
	if path == "" {
		path = "/"
	}
	var pairs []string
	for name, values := range query {
		for _, v := range values {
			pairs = append(pairs, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join([]string{method, path, strings.Join(pairs, "&"), headers, strings.Join(signed, ";"), payloadHash}, "\n")
}

// escape is RFC 3986's: everything but letters, digits and -_.~ is escaped.
func escape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

func sign(canonicalRequest, secret string) string {
	hash := sha256.Sum256([]byte(canonicalRequest))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("ACS3-HMAC-SHA256\n" + hex.EncodeToString(hash[:])))
	return hex.EncodeToString(mac.Sum(nil))
}
