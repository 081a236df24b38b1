package door

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var fuzzTime = time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)

// fuzzRequest is a request as a server may get it, or nil.
func fuzzRequest(method, uri, host, authorization, name, value, body string) *http.Request {
	u, err := url.ParseRequestURI(uri)
	if err != nil || method == "" {
		return nil
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Method, r.RequestURI, r.URL, r.Host = method, uri, u, host
	r.Header = http.Header{"Authorization": {authorization}}
	r.Header.Add("User-Agent", "x")
	r.Header.Add("Content-Type", "application/json")
	r.Header.Add("Date", fuzzTime.Format(http.TimeFormat))
	r.Header.Add("X-Sdk-Date", fuzzTime.Format(sdkDateForm))
	r.Header.Add("X-Tc-Timestamp", "1795313997")
	if name != "" {
		r.Header.Add(name, value)
	}
	return r
}

// fuzzEnter: whatever a request says, it is refused with one reason that says no
// secret, or it is signed.
func fuzzEnter(f *testing.F, enter func(*Door, *http.Request) (Caller, []byte, error), signed []sent) {
	for _, s := range signed {
		for _, name := range []string{"X-Sdk-Content-Sha256", "X-Tc-Content-Sha256", "X-Content-Sha256", "X-Date", "X-Auth-Token", "Authorization"} {
			f.Add(s.method, s.uri, s.host, s.header.Get("Authorization"), name, s.header.Get(name), s.body)
		}
	}
	f.Fuzz(func(t *testing.T, method, uri, host, authorization, name, value, body string) {
		r := fuzzRequest(method, uri, host, authorization, name, value, body)
		if r == nil {
			return
		}
		d := openAt(t, fuzzTime)
		caller, got, err := enter(d, r)
		checkError(t, authorization, err)
		if err != nil && (caller.Role != 0 || got != nil) {
			t.Fatalf("refused, but %+v, %q", caller, got)
		}
		if err == nil && (caller.Name != "ci" || string(got) != body || !slices.ContainsFunc(signed, func(s sent) bool { return same(s, r, body) })) {
			t.Fatalf("let in: %s %s %s, body %q: %+v", method, uri, authorization, body, caller)
		}
	})
}

// same reports whether a request that was let in asks what was signed.
func same(s sent, r *http.Request, body string) bool {
	want := s.request()
	values := want.URL.Query()
	if r.Header.Get("X-Tc-Content-Sha256") == "" && r.Header.Get("X-Sdk-Content-Sha256") == "" && s.body != body {
		return false
	}
	return s.method == r.Method && strings.TrimSuffix(want.URL.Path, "/") == strings.TrimSuffix(r.URL.Path, "/") &&
		values.Encode() == r.URL.Query().Encode()
}

func FuzzTC3(f *testing.F) {
	req := sent{http.MethodPost, "/", "tcr.example.com", `{"a":1}`, http.Header{"Content-Type": {"application/json"}, "X-Tc-Timestamp": {"1795313997"}, "User-Agent": {"x"}}}
	signed := []sent{tc3Sign(f, req), tc3Sign(f, req.with(func(s *sent) { s.method, s.uri, s.body = http.MethodGet, "/?b=1&a=%20", "" }))}
	fuzzEnter(f, enterTCR, signed)
}

// tc3Sign signs with the code that the vectors hold to the documentation.
func tc3Sign(tb testing.TB, req sent) sent {
	tb.Helper()
	req = req.set("Authorization", tc3Scheme+" Credential="+accessKey+"/2026-11-22/tcr/tc3_request, SignedHeaders=content-type;host, Signature="+strings.Repeat("0", 64))
	a, err := parseTC3(req.request(), "tcr")
	if err != nil {
		tb.Fatal(err)
	}
	text, err := a.text(req.request(), []byte(req.body))
	if err != nil {
		tb.Fatal(err)
	}
	return req.edit(strings.Repeat("0", 64), hex.EncodeToString(a.sign([]byte(secretKey), text)))
}

func FuzzSDKHMAC(f *testing.F) {
	header := http.Header{"User-Agent": {"x"}}
	f.Add(http.MethodPost, "/", "", "SDK-HMAC-SHA256 Access=a, SignedHeaders=x-sdk-date, Signature=0", "", "", "")
	fuzzEnter(f, (*Door).SDKHMAC, []sent{
		huaweiSign(f, sent{http.MethodPost, "/a%20b/c?x=1&y=%2F", "localhost", `{"a":1}`, header.Clone()}, fuzzTime),
		scopedSign(sent{http.MethodPost, "/a%20b/c?x=1&y=%2F", "localhost", `{"a":1}`, header.Clone()}, fuzzTime),
		scopedSign(sent{http.MethodPost, "/a%20b/c?x=1&y=%2F", "localhost", "", header.Clone()}, fuzzTime),
	})
}

func FuzzOCI(f *testing.F) {
	all := []string{"date", ociTarget, "host", "content-length", "content-type", ociHash}
	fuzzEnter(f, (*Door).OCI, []sent{
		resigned(f, sent{method: http.MethodGet, uri: "/a%2Fb?x=%20"}, fuzzTime, all[:3]),
		resigned(f, sent{method: http.MethodPost, uri: "/a", body: "{}"}, fuzzTime, all),
	})
}

// FuzzToken: only the token is let in.
func FuzzToken(f *testing.F) {
	f.Add("Bearer "+bearer, "")
	f.Add("", bearer)
	f.Add("Basic x", "x")
	f.Fuzz(func(t *testing.T, authorization, token string) {
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if token != "" {
			r.Header.Set("X-Auth-Token", token)
		}
		_, _, err := openAt(t, fuzzTime).Token(r)
		checkError(t, "token", err)
		scheme, rest, _ := strings.Cut(authorization, " ")
		want := token == bearer && authorization == "" || token == "" && strings.EqualFold(scheme, "Bearer") && rest == bearer
		if (err == nil) != want {
			t.Fatalf("Authorization %q, X-Auth-Token %q: %v", authorization, token, err)
		}
	})
}

// FuzzHuaweiSigner: what Huawei's own signer makes of any path, query and header is
// let in, and in no other place.
func FuzzHuaweiSigner(f *testing.F) {
	f.Add("/v2/a b/ü", "name", "a/b +&=*~", "agent  x", "{}")
	f.Add("/%2F//", "", "", "", "")
	f.Add("//", "", "", "", "")
	f.Fuzz(func(t *testing.T, path, name, value, agent, body string) {
		for _, r := range agent {
			if r < ' ' || r > '~' {
				return // no header has it
			}
		}
		if !strings.HasPrefix(path, "/") {
			return
		}
		uri := (&url.URL{Path: path}).EscapedPath()
		if name != "" {
			uri += "?" + url.Values{name: {value}}.Encode()
		}
		if _, err := url.ParseRequestURI(uri); err != nil {
			return
		}
		req := huaweiSign(t, sent{http.MethodPut, uri, "localhost", body, http.Header{"User-Agent": {strings.TrimSpace(agent)}}}, fuzzTime)
		s := scheme{name: "Huawei", enter: (*Door).SDKHMAC, at: fuzzTime}
		s.expect(t, s.open(t), uri, req, nil)
		s.expect(t, s.open(t), uri+", elsewhere", req.with(func(s *sent) { s.uri = "/x" + s.uri }), ErrSignature)
	})
}
