package tencenttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const documentedBody = `{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}`

func documented(t *testing.T, method, url, contentType, at string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set(timeHeader, at)
	r.Header.Set("X-TC-Action", "DescribeInstances")
	return r
}

// The vectors of the documentation.
func TestSignature(t *testing.T) {
	const (
		host    = "https://cvm.tencentcloudapi.com/"
		json    = "application/json; charset=utf-8"
		form    = "application/x-www-form-urlencoded"
		example = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
		starred = "Gu5t9xGARNpq86cd98joQYCN3*******"
	)
	tests := []struct {
		name, method, url, contentType, at, date, body, secret, signed, wantRequest, want string
	}{
		{"POST", http.MethodPost, host, json, "1551113065", "2019-02-25", documentedBody, example, "content-type;host",
			"5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031",
			"72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"},
		{"POST with the action signed", http.MethodPost, host, json, "1551113065", "2019-02-25", documentedBody, starred, "content-type;host;x-tc-action",
			"7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84",
			"be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3"},
		{"GET", http.MethodGet, host + "?Limit=10&Offset=0", form, "1539084154", "2018-10-09", "", example, "content-type;host", "",
			"5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := documented(t, tt.method, tt.url, tt.contentType, tt.at)
			a := authorization{date: tt.date, service: "cvm", signed: strings.Split(tt.signed, ";")}
			if got := a.sign(r, []byte(tt.body), tt.secret); got != tt.want {
				t.Errorf("signature %s, want %s", got, tt.want)
			}
			sum := sha256.Sum256([]byte(canonicalRequest(r, []byte(tt.body), a.signed)))
			if got := hex.EncodeToString(sum[:]); tt.wantRequest != "" && got != tt.wantRequest {
				t.Errorf("hash of the canonical request %s, want %s", got, tt.wantRequest)
			}
		})
	}
}

func TestAuthorizationIsRefused(t *testing.T) {
	now := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	body := []byte(`{"KeyId":"1"}`)
	tests := []struct {
		name, want string
		change     func(r *http.Request, a *authorization)
		at         time.Time
	}{
		{"as it is", "", func(*http.Request, *authorization) {}, now},
		{"another host", "AuthFailure.SignatureFailure", func(r *http.Request, _ *authorization) { r.Host = "localhost" }, now},
		{"another content type", "AuthFailure.SignatureFailure", func(r *http.Request, _ *authorization) { r.Header.Set("Content-Type", "text/plain") }, now},
		{"another query", "AuthFailure.SignatureFailure", func(r *http.Request, _ *authorization) { r.URL.RawQuery = "a=1" }, now},
		{"another service", "AuthFailure.InvalidAuthorization", func(_ *http.Request, a *authorization) { a.service = "cvm" }, now},
		{"another date", "AuthFailure.InvalidAuthorization", func(_ *http.Request, a *authorization) { a.date = "2026-11-23" }, now},
		{"no time", "AuthFailure.InvalidAuthorization", func(r *http.Request, _ *authorization) { r.Header.Del(timeHeader) }, now},
		{"too old", "AuthFailure.SignatureExpire", func(*http.Request, *authorization) {}, now.Add(window + time.Second)},
		{"too new", "AuthFailure.SignatureExpire", func(*http.Request, *authorization) {}, now.Add(-window - time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := documented(t, http.MethodPost, "http://127.0.0.1/", "application/json", strconv.FormatInt(now.Unix(), 10))
			a := authorization{id: "AK", date: now.Format(time.DateOnly), service: service, signed: []string{"content-type", "host"}}
			a.signature = a.sign(r, body, "SK")
			tt.change(r, &a)
			err := a.check(r, body, "SK", tt.at)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				if a.check(r, []byte("another body"), "SK", tt.at) == nil || a.check(r, body, "KS", tt.at) == nil {
					t.Error("another body or another secret passed")
				}
				return
			}
			var told *apiError
			if !errors.As(err, &told) || told.code != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(scheme + " Credential=AK/2026-11-22/kms/tc3_request, SignedHeaders=content-type;host, Signature=00")
	f.Add(scheme + " Credential=AK, SignedHeaders=host")
	f.Add("SDK-HMAC-SHA256 Access=AK, SignedHeaders=a;b, Signature=00")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err == nil && (a.id == "" || a.signature == "" || len(a.signed) < 2) {
			t.Errorf("%q was read as %+v", header, a)
		}
	})
}
