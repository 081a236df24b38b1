package awstest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// get-vanilla of AWS's published Signature Version 4 test suite.
func TestSignatureV4FollowsTheTestSuite(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.amazonaws.com/", nil)
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	got := signV4(SecretKey, at, "us-east-1", "service", canonicalRequest(r, []string{"host", "x-amz-date"}, nil))
	if want := "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"; got != want {
		t.Errorf("signature is %s, want %s", got, want)
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	body := []byte(`{"KeyId":"alias/release"}`)
	names := []string{"host", "x-amz-date", "x-amz-target"}
	signed := func(change func(r *http.Request)) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", nil)
		r.Header.Set("X-Amz-Date", at.Format("20060102T150405Z"))
		r.Header.Set("X-Amz-Target", "TrentService.Sign")
		signature := signV4(SecretKey, at, Region, "kms", canonicalRequest(r, names, body))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+AccessKey+"/20260102/"+Region+"/kms/aws4_request, SignedHeaders="+
			strings.Join(names, ";")+", Signature="+signature)
		change(r)
		return r
	}
	replace := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
		}
	}
	tests := []struct {
		name   string
		change func(*http.Request)
		body   string
		late   time.Duration
		want   string
	}{
		{name: "nothing", change: func(*http.Request) {}, want: ""},
		{name: "no signature", change: func(r *http.Request) { r.Header.Del("Authorization") }, want: "MissingAuthenticationTokenException"},
		{name: "another key id", change: replace(AccessKey, "AKIDOTHER"), want: "UnrecognizedClientException"},
		{name: "a session token", change: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, want: "UnrecognizedClientException"},
		{name: "another region", change: replace(Region, "us-east-1"), want: "InvalidSignatureException"},
		{name: "another operation", change: func(r *http.Request) { r.Header.Set("X-Amz-Target", "TrentService.Encrypt") }, want: "InvalidSignatureException"},
		{name: "an unsigned operation", change: replace(";x-amz-target", ""), want: "InvalidSignatureException"},
		{name: "another body", change: func(*http.Request) {}, body: "{}", want: "InvalidSignatureException"},
		{name: "an old request", change: func(*http.Request) {}, late: 6 * time.Minute, want: "InvalidSignatureException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sent := body
			if tt.body != "" {
				sent = []byte(tt.body)
			}
			var got string
			if refused := New(t).authenticate(signed(tt.change), sent, at.Add(tt.late)); refused != nil {
				got = refused.code
			}
			if got != tt.want {
				t.Errorf("refused with %q, want %q", got, tt.want)
			}
		})
	}
}
