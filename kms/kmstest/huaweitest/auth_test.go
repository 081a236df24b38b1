package huaweitest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"
)

// get builds a request from its parts as an HTTP server would see it.
func get(t *testing.T, url string, headers map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return r
}

// The documentation's vectors and one that Huawei's SDK put on the wire.
func TestSignature(t *testing.T) {
	const (
		docURL = "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0"
		docSK  = "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
		agent  = "huaweicloud-usdk-go/3.0; os/Debian_GNU/Linux#12_(bookworm)#amd64 go/go1.26.8; app/2e9e03c3-a26f-4579-a4b0-797eae2f240f"
	)
	tests := []struct {
		name, url, secret, signed, want string
		headers                         map[string]string
	}{
		{"documentation", docURL, docSK, "content-type;host;x-sdk-date",
			"7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
			map[string]string{"Content-Type": "application/json", dateHeader: "20191115T033655Z"}},
		{"documentation, another time", docURL, docSK, "content-type;host;x-sdk-date",
			"d66f6a6c536e984129e13a4060f465225909fd126d212cb25e9e292346aae036",
			map[string]string{"Content-Type": "application/json", dateHeader: "20190329T074551Z"}},
		{"the SDK's own test", "https://example.huaweicloud.com/path?limit=1", "SecretKey", "x-sdk-date",
			"5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
			map[string]string{dateHeader: "20060102T150405Z"}},
		{"from the wire",
			"http://127.0.0.1/v2/0123456789abcdef0123456789abcdef/instances/8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111/signature/policies?limit=100&offset=0",
			"SKEXAMPLE00000000000000000000000000000001", "user-agent;x-project-id;x-sdk-date",
			"e8f18b9b92988c041f4852cd0830350be48c40c8e289e6ed3445dc1bcf66e721",
			map[string]string{"X-Project-Id": "0123456789abcdef0123456789abcdef", dateHeader: "20261122T021956Z", "User-Agent": agent}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := get(t, tt.url, tt.headers)
			if got := signature(r, nil, strings.Split(tt.signed, ";"), tt.secret); got != tt.want {
				t.Errorf("signature %s, want %s", got, tt.want)
			}
		})
	}
	r := get(t, docURL, tests[0].headers)
	sum := sha256.Sum256([]byte(canonicalRequest(r, nil, []string{"content-type", "host", "x-sdk-date"})))
	if got, want := hex.EncodeToString(sum[:]), "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"; got != want {
		t.Errorf("hash of the canonical request %s, want %s", got, want)
	}
}

func TestCanonicalQuery(t *testing.T) {
	const want = "enable=true&limit=1&multi=1&multi=2&multi=3&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29"
	r := get(t, "http://localhost/?test=%E4%B8%80+(%26%3D%3F!%23%25.*)&path=/tmp/123&multi=3&multi=1&multi=2&limit=1&enable=true", nil)
	if got := canonicalQuery(r); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAuthorizationIsRefused(t *testing.T) {
	now := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	signed := []string{"x-project-id", "x-sdk-date"}
	body := []byte(`{"key_id":"1"}`)
	tests := []struct {
		name, want string
		change     func(r *http.Request, a *authorization)
		at         time.Time
	}{
		{"as it is", "", func(*http.Request, *authorization) {}, now},
		{"a signed header changed", "verify aksk", func(r *http.Request, _ *authorization) { r.Header.Set("X-Project-Id", "2") }, now},
		{"the path changed", "verify aksk", func(r *http.Request, _ *authorization) { r.URL.Path = "/verify" }, now},
		{"the method changed", "verify aksk", func(r *http.Request, _ *authorization) { r.Method = http.MethodPost }, now},
		{"the query changed", "verify aksk", func(r *http.Request, _ *authorization) { r.URL.RawQuery = "a=1" }, now},
		{"the date is not signed", "not signed", func(_ *http.Request, a *authorization) { a.signed = a.signed[:1] }, now},
		{"no date", "missing", func(r *http.Request, _ *authorization) { r.Header.Del(dateHeader) }, now},
		{"too old", "expired", func(*http.Request, *authorization) {}, now.Add(window + time.Second)},
		{"too new", "expired", func(*http.Request, *authorization) {}, now.Add(-window - time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := get(t, "http://127.0.0.1/sign", map[string]string{"X-Project-Id": "1", dateHeader: now.Format(dateForm)})
			a, err := parseAuthorization(scheme + " Access=AK, SignedHeaders=" + strings.Join(signed, ";") + ", Signature=" + signature(r, body, signed, "SK"))
			if err != nil {
				t.Fatal(err)
			}
			tt.change(r, &a)
			err = a.check(r, body, "SK", tt.at)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				if a.check(r, []byte("another body"), "SK", tt.at) == nil || a.check(r, body, "KS", tt.at) == nil {
					t.Error("another body or another secret passed")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(scheme + " Access=AK, SignedHeaders=a;b, Signature=00")
	f.Add(scheme + " Access=AK")
	f.Add("TC3-HMAC-SHA256 Credential=AK/2026-11-22/kms/tc3_request, SignedHeaders=host, Signature=00")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err == nil && (a.access == "" || a.signature == "" || len(a.signed) == 0) {
			t.Errorf("%q was read as %+v", header, a)
		}
	})
}
