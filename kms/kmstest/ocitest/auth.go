package ocitest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far the clocks of a client and the server may be apart.
const maxSkew = 5 * time.Minute

var fieldRE = regexp.MustCompile(`([a-zA-Z]+)="([^"]*)"`)

// An authorization is a request's Authorization header.
type authorization struct {
	keyID     string
	headers   []string
	signature []byte
}

func parseAuthorization(header string) (authorization, error) {
	text, ok := strings.CutPrefix(header, "Signature ")
	if !ok {
		return authorization{}, errors.New("the Authorization header is no Signature")
	}
	fields := map[string]string{}
	for _, match := range fieldRE.FindAllStringSubmatch(text, -1) {
		fields[match[1]] = match[2]
	}
	if fields["version"] != "1" || fields["algorithm"] != "rsa-sha256" {
		return authorization{}, fmt.Errorf("version %q, algorithm %q", fields["version"], fields["algorithm"])
	}
	signature, err := base64.StdEncoding.DecodeString(fields["signature"])
	if err != nil {
		return authorization{}, fmt.Errorf("the signature is no base64: %w", err)
	}
	return authorization{fields["keyId"], strings.Fields(fields["headers"]), signature}, nil
}

// verify checks a request as version 1 of OCI's request signatures documents
// it. hosted says whether the host must be signed: it need not be where tokens
// are given out.
func verify(r *http.Request, body []byte, a authorization, public *rsa.PublicKey, hosted bool, now time.Time) error {
	required := []string{"date", "(request-target)"}
	if hosted {
		required = append(required, "host")
	}
	if slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, r.Method) {
		required = append(required, "content-length", "content-type", "x-content-sha256")
	}
	for _, name := range required {
		if !slices.Contains(a.headers, name) {
			return fmt.Errorf("header %s is not signed", name)
		}
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return fmt.Errorf("reading the date: %w", err)
	}
	if now.Sub(date).Abs() > maxSkew {
		return errors.New("the date is too far from now")
	}
	hash := sha256.Sum256(body)
	if slices.Contains(a.headers, "x-content-sha256") && r.Header.Get("X-Content-Sha256") != base64.StdEncoding.EncodeToString(hash[:]) {
		return errors.New("the body is not the one that was hashed")
	}
	digest := sha256.Sum256([]byte(signingString(r, a.headers)))
	return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], a.signature)
}

func signingString(r *http.Request, headers []string) string {
	lines := make([]string, len(headers))
	for i, name := range headers {
		value := r.Header.Get(name)
		switch name {
		case "(request-target)":
			value = strings.ToLower(r.Method) + " " + r.URL.RequestURI()
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		lines[i] = name + ": " + value
	}
	return strings.Join(lines, "\n")
}
