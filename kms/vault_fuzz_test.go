package kms

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
)

func FuzzVaultKey(f *testing.F) {
	for _, rest := range []string{
		"//release", "//transit/release?version=3", "//team-a/signing.v2/release", "//release?version=0", "//../x", "//a//b", "//a%2fb", "", "//", "///",
	} {
		f.Add(rest)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		key, err := parseVaultKey(rest)
		if err != nil {
			if !strings.Contains(err.Error(), "allowed: ") {
				t.Errorf("%q: the error does not say what is allowed: %v", rest, err)
			}
			return
		}
		for part := range strings.SplitSeq(key.mount+"/"+key.name, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "%?#\\ \n") {
				t.Errorf("%q has the part %q", rest, part)
			}
		}
		if key.version < 0 || !strings.HasPrefix(rest, "//") {
			t.Errorf("%q was read as %+v", rest, key)
		}
	})
}

// Whatever a server answers, it is an error or a key that fits.
func FuzzVaultDescription(f *testing.F) {
	f.Add([]byte(`{"type":"ecdsa-p256","latest_version":1,"keys":{"1":{"public_key":"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7IwZ2ovBGqSVZ9WJsTjVSXpGn6mp\n-----END PUBLIC KEY-----\n"}}}`))
	f.Add([]byte(`{"type":"aes256-gcm96","latest_version":1,"keys":{"1":1577836800}}`))
	f.Add([]byte(`{"type":"rsa-2048","latest_version":2,"min_encryption_version":2,"soft_deleted":true,"keys":{}}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d vaultDescription
		if decodeVault(json.RawMessage(data), &d) != nil {
			return
		}
		for _, alg := range []policy.Algorithm{"", policy.ECDSASHA256, policy.RSAPSSSHA256} {
			public, err := d.public(d.Latest, alg)
			if (err == nil) == (public == nil) {
				t.Errorf("got %v and %v", public, err)
			}
		}
	})
}

func FuzzVaultResults(f *testing.F) {
	f.Add([]byte(`{"batch_results":[{"signature":"vault:v1:AAAA","key_version":1,"reference":""}]}`), 1)
	f.Add([]byte(`{"batch_results":[{"error":"refusing to use soft-deleted key","key_version":0}]}`), 1)
	f.Add([]byte(`{"batch_results":[{},{"signature":"vault:v2:AAAA"},{"signature":"::"}]}`), 3)
	f.Add([]byte(`{"signature":"vault:v1:AAAA"}`), 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = 1 + int(uint(n)%maxVaultBatch)
		v := &vault{version: 1}
		results, err := v.results(&vaultAnswer{Data: data}, n)
		if err == nil && len(results) != n {
			t.Errorf("%d results for %d digests", len(results), n)
		}
		for _, r := range results {
			if r.err != nil && r.signature != nil {
				t.Errorf("a result is both %x and %v", r.signature, r.err)
			}
		}
	})
}

func TestVaultRetryAfter(t *testing.T) {
	for value, want := range map[string]string{
		"": "0s", "7": "7s", "-1": "0s", "86401": "0s", "99999999999999999999": "0s", "Wed, 21 Oct 2026 07:28:00 GMT": "0s", "1.5": "0s",
	} {
		if got := vaultRetryAfter(value); got.String() != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7"}}}
	if got := retryAfter(vaultFailure(resp, nil)); got.String() != "7s" {
		t.Errorf("an answer with Retry-After: %s, want 7s", got)
	}
}
