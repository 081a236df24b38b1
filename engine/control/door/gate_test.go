package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	gateKey = SDKKey{AccessKey: accessKey, Secret: []byte(secretKey)}
	gateAt  = time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
)

// gate stands still at gateAt.
func gate() *Gate { return NewGate(15*time.Minute, 100, (&clock{now: gateAt}).Now) }

// signed is a request that SignSDKHMAC signed, as it comes over the wire.
func signed(tb testing.TB, req sent) sent {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), req.method, "http://"+req.host+req.uri, strings.NewReader(req.body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header = req.header.Clone()
	if err := SignSDKHMAC(r, []byte(req.body), gateKey, gateAt); err != nil {
		tb.Fatal(err)
	}
	req.header, req.uri = r.Header, r.URL.RequestURI()
	return req
}

func webhook() sent {
	return sent{http.MethodPost, "/hook?b=2&a=%C3%BC%2F", "hooks.example.com:8443", `{"a":1}`,
		http.Header{"Content-Type": {"application/json"}, "X-Event": {"signed"}, "User-Agent": {"sealwright"}}}
}

// TestSignSDKHMAC: what we sign is what Huawei's SDK signs with the same headers, and
// a door and a gate take it.
func TestSignSDKHMAC(t *testing.T) {
	for _, path := range []string{"", "/", "/a", "/a/", "/a//b", "//a", "/a%20b", "/%C3%BC/~._-", "/a+b:c@d,e;f=g&h", "/100%25", "/a%2Fb", "/a%252Fb"} {
		for _, query := range []string{"", "?b=2&a=1", "?a=2&a=1&a=1", "?flag", "?x=%2F%20%C3%BC%2B*~", "?x=a+b"} {
			req := signed(t, webhook().with(func(s *sent) { s.uri = path + query }))
			if !strings.Contains(req.header.Get("Authorization"), "SignedHeaders=content-type;host;x-event;x-sdk-date,") {
				t.Fatal(req.header)
			}
			r := req.request()
			if err := gate().SDKHMAC(r, []byte(req.body), gateKey); err != nil {
				t.Errorf("gate, %s: %v", req.uri, err)
			}
			if _, _, err := openAt(t, gateAt).SDKHMAC(req.request()); err != nil {
				t.Errorf("door, %s: %v", req.uri, err)
			}
			if strings.Contains(path, "%2F") {
				continue // Huawei's SDK has the path unescaped
			}
			theirs := huaweiSign(t, sent{req.method, req.uri, req.host, req.body, http.Header{"Host": {req.host}, "X-Event": {"signed"}}}, gateAt)
			ours := signed(t, webhook().with(func(s *sent) { s.uri = path + query; s.header = http.Header{"X-Event": {"signed"}} }))
			if got, want := ours.header.Get("Authorization"), theirs.header.Get("Authorization"); got != want {
				t.Errorf("%s:\n%s, Huawei's SDK has\n%s", req.uri, got, want)
			}
		}
	}
}

// TestSignSDKHMACOnTheWire: what Go's client sends is taken, with what it adds, and
// again if it is signed again.
func TestSignSDKHMACOnTheWire(t *testing.T) {
	g := NewGate(time.Hour, 100, time.Now)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = g.SDKHMAC(r, body, gateKey)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	for i, path := range []string{"", "/a b/%2F?x=1", "/a b/%2F?x=1"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+strings.ReplaceAll(path, " ", "%20"), strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if err := SignSDKHMAC(r, []byte("body"), gateKey, time.Now().Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", path, said)
		}
	}
}

// TestSignSDKHMACRefuses: nothing is sent half signed.
func TestSignSDKHMACRefuses(t *testing.T) {
	for name, change := range map[string]func(r *http.Request, key *SDKKey){
		"no name":      func(_ *http.Request, key *SDKKey) { key.AccessKey = "" },
		"no secret":    func(_ *http.Request, key *SDKKey) { key.Secret = nil },
		"header twice": func(r *http.Request, _ *SDKKey) { r.Header.Add("X-Event", "b") },
		"many headers": func(r *http.Request, _ *SDKKey) {
			for i := range maxSignedHeaders {
				r.Header.Set(fmt.Sprint("X-", i), "")
			}
		},
		"bad query": func(r *http.Request, _ *SDKKey) { r.URL.RawQuery = "a=%zz" },
	} {
		r := webhook().request()
		r.RequestURI = ""
		key := gateKey
		change(r, &key)
		if err := SignSDKHMAC(r, nil, key, gateAt); err == nil || r.Header.Get("Authorization") != "" {
			t.Errorf("%s: %v, %v", name, err, r.Header)
		}
	}
}

// TestGate: a request that is not exactly what the key signed, now, for the first
// time, is refused.
func TestGate(t *testing.T) {
	good := signed(t, webhook())
	other := SDKKey{AccessKey: "other", Secret: []byte("another secret")}
	for name, c := range map[string]struct {
		req  sent
		key  SDKKey
		want error
	}{
		"good":            {good, gateKey, nil},
		"another key":     {good, other, ErrUnknown},
		"another secret":  {good, SDKKey{accessKey, []byte("another")}, ErrSignature},
		"no key":          {good, SDKKey{}, ErrUnknown},
		"no secret":       {good, SDKKey{AccessKey: accessKey}, ErrUnknown},
		"another body":    {good.with(func(s *sent) { s.body += " " }), gateKey, ErrSignature},
		"another path":    {good.with(func(s *sent) { s.uri = "/other?b=2&a=%C3%BC%2F" }), gateKey, ErrSignature},
		"another query":   {good.with(func(s *sent) { s.uri += "&c=3" }), gateKey, ErrSignature},
		"another method":  {good.with(func(s *sent) { s.method = http.MethodPut }), gateKey, ErrSignature},
		"another host":    {good.with(func(s *sent) { s.host = "evil.example.com" }), gateKey, ErrSignature},
		"another header":  {good.set("X-Event", "failed"), gateKey, ErrSignature},
		"a header twice":  {good.add("X-Event", "signed"), gateKey, ErrMalformed},
		"without header":  {good.without("X-Event"), gateKey, ErrMalformed},
		"not signed":      {good.without("Authorization"), gateKey, ErrNoCredentials},
		"another scheme":  {good.set("Authorization", "Basic YTpi"), gateKey, ErrUnsupported},
		"scoped":          {scopedSign(webhook(), gateAt), gateKey, ErrUnsupported},
		"unsigned body":   {signed(t, webhook().set("X-Sdk-Content-Sha256", unsignedPayload)).with(func(s *sent) { s.body = "x" }), gateKey, nil},
		"unsigned added":  {good.set("X-Sdk-Content-Sha256", unsignedPayload), gateKey, ErrSignature},
		"hash of another": {good.set("X-Sdk-Content-Sha256", hexSHA256(nil)), gateKey, ErrBodyHash},
	} {
		r := c.req.request()
		err := gate().SDKHMAC(r, []byte(c.req.body), c.key)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		checkError(t, name, err)
	}
}

// TestGateWindow: a request is good for a quarter of an hour, either way, and once,
// even if the key changed meanwhile.
func TestGateWindow(t *testing.T) {
	req := signed(t, webhook())
	for _, c := range []struct {
		off  time.Duration
		want error
	}{{15 * time.Minute, nil}, {-15 * time.Minute, nil}, {15*time.Minute + time.Second, ErrClock}, {-15*time.Minute - time.Second, ErrClock}} {
		g := NewGate(15*time.Minute, 100, (&clock{now: gateAt.Add(c.off)}).Now)
		if err := g.SDKHMAC(req.request(), []byte(req.body), gateKey); !errors.Is(err, c.want) {
			t.Errorf("%s off: %v, want %v", c.off, err, c.want)
		}
	}
	g := gate()
	for i, want := range []error{nil, ErrReplayed, ErrUnknown, ErrReplayed} {
		key := gateKey
		if errors.Is(want, ErrUnknown) {
			key = SDKKey{"other", []byte("other")}
		}
		if err := g.SDKHMAC(req.request(), []byte(req.body), key); !errors.Is(err, want) {
			t.Errorf("time %d: %v, want %v", i, err, want)
		}
	}
	full := NewGate(15*time.Minute, 1, (&clock{now: gateAt}).Now)
	second := signed(t, webhook().set("X-Event", "second"))
	for i, want := range []error{nil, ErrBusy} {
		req := []sent{req, second}[i]
		if err := full.SDKHMAC(req.request(), []byte(req.body), gateKey); !errors.Is(err, want) {
			t.Errorf("request %d: %v, want %v", i, err, want)
		}
	}
}

// TestGateConcurrent: of many that are the same, one is taken.
func TestGateConcurrent(t *testing.T) {
	g, req := gate(), signed(t, webhook())
	var taken sync.Map
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			switch err := g.SDKHMAC(req.request(), []byte(req.body), gateKey); {
			case err == nil:
				taken.Store(i, true)
			case !errors.Is(err, ErrReplayed):
				t.Error(err)
			}
		})
	}
	all.Wait()
	n := 0
	taken.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("taken %d times", n)
	}
}

// TestSDKKeyIsNotPrinted: no verb shows the secret.
func TestSDKKeyIsNotPrinted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "json"} {
		text := fmt.Sprintf(verb+verb, gateKey, &gateKey)
		if verb == "json" {
			raw, err := json.Marshal(gateKey)
			if text = string(raw); err != nil {
				t.Fatal(err)
			}
		}
		if bytes.Contains([]byte(text), gateKey.Secret) || strings.Contains(text, decimal(gateKey.Secret)) {
			t.Errorf("%s shows it: %s", verb, text)
		}
	}
}
