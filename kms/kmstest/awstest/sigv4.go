package awstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var authorizationRE = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/([a-z]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// maxSkew is how far a request's clock may be off.
const maxSkew = 5 * time.Minute

// authenticate checks a request's Signature Version 4, by AWS's published
// algorithm.
func (s *Server) authenticate(r *http.Request, body []byte, now time.Time) *refusal {
	given := authorizationRE.FindStringSubmatch(r.Header.Get("Authorization"))
	if given == nil {
		return &refusal{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	id, date, region, service, signed, signature := given[1], given[2], given[3], given[4], given[5], given[6]
	var owner secret
	var known bool
	s.Do(func() { owner, known = s.secrets[id] })
	if !known || owner.token != r.Header.Get("X-Amz-Security-Token") {
		return &refusal{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || at.Format("20060102") != date || now.Sub(at).Abs() > maxSkew {
		return &refusal{"InvalidSignatureException", "Signature expired: " + r.Header.Get("X-Amz-Date")}
	}
	if region != Region || service != "kms" {
		return &refusal{"InvalidSignatureException", fmt.Sprintf("Credential should be scoped to a valid region and service, not %s/%s.", region, service)}
	}
	names := strings.Split(signed, ";")
	for _, needed := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(names, needed) {
			return &refusal{"InvalidSignatureException", needed + " must be a signed header."}
		}
	}
	canonical := canonicalRequest(r, names, body)
	if want := signV4(owner.key, at, region, service, canonical); !hmac.Equal([]byte(want), []byte(signature)) {
		return &refusal{"InvalidSignatureException", "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n" +
			"The Canonical String for this request should have been\n'" + canonical + "'\n"}
	}
	return nil
}

func canonicalRequest(r *http.Request, names []string, body []byte) string {
	headers := make([]string, len(names))
	for i, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(len(body))
		}
		headers[i] = name + ":" + strings.Join(strings.Fields(value), " ")
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{
		r.Method, path, r.URL.Query().Encode(),
		strings.Join(headers, "\n") + "\n", strings.Join(names, ";"), hexSHA256(body),
	}, "\n")
}

func signV4(secret string, at time.Time, region, service, canonical string) string {
	date := at.Format("20060102")
	scope := date + "/" + region + "/" + service + "/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + at.Format("20060102T150405Z") + "\n" + scope + "\n" + hexSHA256([]byte(canonical))
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
