package registrytest

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

var sigV4 = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/([a-z]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// sigV4Skew is how far a request's clock may be off.
const sigV4Skew = 5 * time.Minute

// An ecrRefusal is an error of AWS.
type ecrRefusal struct{ code, message string }

// authenticate checks a request's signature version 4, by AWS's published
// algorithm.
func (e *ECR) authenticate(r *http.Request, body []byte, now time.Time) *ecrRefusal {
	given := sigV4.FindStringSubmatch(r.Header.Get("Authorization"))
	if given == nil {
		return &ecrRefusal{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	id, date, region, service, signed, signature := given[1], given[2], given[3], given[4], given[5], given[6]
	e.mu.Lock()
	owner, known := e.secrets[id]
	e.mu.Unlock()
	if !known || owner.token != r.Header.Get("X-Amz-Security-Token") {
		return &ecrRefusal{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || at.Format("20060102") != date || now.Sub(at).Abs() > sigV4Skew {
		return &ecrRefusal{"InvalidSignatureException", "Signature expired: " + r.Header.Get("X-Amz-Date")}
	}
	if region != ECRRegion || service != "ecr" {
		return &ecrRefusal{"InvalidSignatureException", fmt.Sprintf("Credential should be scoped to a valid region and service, not %s/%s.", region, service)}
	}
	names := strings.Split(signed, ";")
	for _, needed := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(names, needed) {
			return &ecrRefusal{"InvalidSignatureException", needed + " must be a signed header."}
		}
	}
	canonical := sigV4Canonical(r, names, body)
	if want := sigV4Sign(owner.key, at, region, service, canonical); !hmac.Equal([]byte(want), []byte(signature)) {
		return &ecrRefusal{"InvalidSignatureException", "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n" +
			"The Canonical String for this request should have been\n'" + canonical + "'\n"}
	}
	return nil
}

func sigV4Canonical(r *http.Request, names []string, body []byte) string {
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
	return strings.Join([]string{
		r.Method, r.URL.EscapedPath(), r.URL.Query().Encode(),
		strings.Join(headers, "\n") + "\n", strings.Join(names, ";"), sigV4Digest(body),
	}, "\n")
}

func sigV4Sign(secret string, at time.Time, region, service, canonical string) string {
	date := at.Format("20060102")
	scope := date + "/" + region + "/" + service + "/aws4_request"
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		key = sigV4MAC(key, part)
	}
	text := "AWS4-HMAC-SHA256\n" + at.Format("20060102T150405Z") + "\n" + scope + "\n" + sigV4Digest([]byte(canonical))
	return hex.EncodeToString(sigV4MAC(key, text))
}

func sigV4MAC(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sigV4Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
