package oci_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// TestNobody: who is not known, or did not sign, gets nothing.
func TestNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]artifacts.ArtifactsClient{"an unknown key": s.client(t, "nobody"), "a wrong key": clientFor(t, s.url, "admin", other)} {
		_, err := list(t.Context(), impatient(c), artifacts.ListContainerImageSignaturesRequest{})
		expect(t, what, err, http.StatusUnauthorized, "NotAuthenticated")
	}
	uri := "/20160918/container/imageSignatures?compartmentId=" + compartment
	for what, change := range map[string]func(*http.Request){
		"no signature": func(r *http.Request) { r.Header.Del("Authorization") },
		"a token":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+controltest.AdminToken) },
		"a token beside": func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("X-Auth-Token", controltest.AdminToken)
		},
		"two signatures": func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) },
		"a stale clock": func(r *http.Request) {
			r.Header.Set("Date", time.Now().Add(-6*time.Minute).UTC().Format(http.TimeFormat))
		},
		"a clock ahead": func(r *http.Request) {
			r.Header.Set("Date", time.Now().Add(6*time.Minute).UTC().Format(http.TimeFormat))
		},
		"another query": func(r *http.Request) { r.URL.Opaque = uri + "&limit=1" },
		"another host":  func(r *http.Request) { r.Host = "example.com" },
	} {
		got := s.send(t, "admin", http.MethodGet, uri, "", change)
		if got.status != http.StatusUnauthorized || got.Code != "NotAuthenticated" {
			t.Errorf("%s: %d %s", what, got.status, got.Code)
		}
	}
	got := s.send(t, "admin", http.MethodPut, "/20160918/container/imageSignatures/x", `{"a":1}`, func(r *http.Request) { r.Header.Set("X-Content-Sha256", "AAAA") })
	if got.status != http.StatusUnauthorized || got.Code != "NotAuthenticated" {
		t.Errorf("another body: %d %s", got.status, got.Code)
	}
}

// TestPaths: what is no path of this API leads nowhere.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	id := *s.upload(t, s.client(t, "admin"), s.push(t, "library/app", "v1")).Id
	base := "/20160918/container/imageSignatures/"
	for _, uri := range []string{"/", "/20160918", "/20160918/", "/20160918/container", "/20160918/container/", "/20160918/container/x", "/20160918/generic/artifacts", "//20160918/container/configuration",
		"/20160918//container/configuration", "/20160918/container//configuration", "/20160918/container/configuration/", "/20160918/container/images/", "/20160918/container/images/actions/x",
		"/20160918/container/imagesignatures/" + id, "/20160917/container/imageSignatures/" + id, base, base + id + "/", base + "/" + id, base + "../imageSignatures/" + id, base + "./" + id,
		base + "%2F" + id, base + "x%2F" + id, base + id + "%2F", base + "%252F" + id, base + id + "%00", base + "%00", base + "%ff", base + "..%2F" + id, base + id + "/x", base + "%2e%2e/" + id,
		base + strings.Repeat("a", 256), base + strings.Repeat("a", 100000), base + strings.ToUpper(id), base + id + "%20", base + "%25", base + "_", base + "'", base + id + ";x",
		"/20160918/container/images/" + id, "/20160918/container/repositories/" + id, "/20160918/container/images/%00", "/20160918/container/repositories/%00", "/20160918/container/repositories/%ff"} {
		if got := s.send(t, "admin", http.MethodGet, uri, "", nil); got.status != http.StatusNotFound || got.Code != "NotAuthorizedOrNotFound" {
			t.Errorf("%.80s: %d %s", uri, got.status, got.Code)
		}
		if got := s.send(t, "admin", http.MethodDelete, uri, "", nil); got.status != http.StatusNotFound && got.status != http.StatusMethodNotAllowed {
			t.Errorf("DELETE %.80s: %d %s", uri, got.status, got.Code)
		}
	}
	for uri, methods := range map[string][]string{"configuration": {"PUT", "POST", "DELETE"}, "images": {"POST", "DELETE"}, "images/x": {"PUT", "DELETE"}, "imageSignatures": {"PUT", "PATCH", "DELETE"},
		"imageSignatures/x": {"POST", "PATCH", "OPTIONS"}, "images/actions/lookupImageByUri": {"GET", "PUT"}, "repositories": {"POST"}} {
		for _, method := range methods {
			if got := s.send(t, "admin", method, "/20160918/container/"+uri, "", nil); got.status != http.StatusMethodNotAllowed || got.Code != "MethodNotAllowed" {
				t.Errorf("%s %s: %d %s", method, uri, got.status, got.Code)
			}
		}
	}
	if got := s.send(t, "admin", http.MethodGet, base+id, "", nil); got.status != http.StatusOK {
		t.Errorf("the signature is %d", got.status)
	}
	if got := s.send(t, "admin", http.MethodGet, base+strings.Replace(id, "o", "%6F", 1), "", nil); got.status != http.StatusOK {
		t.Errorf("an escaped letter: %d", got.status)
	}
}

// TestHeaders: headers that are there twice are refused, and ids of requests are safe.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	created := s.upload(t, s.client(t, "admin"), s.push(t, "library/app", "v1"))
	uri := "/20160918/container/imageSignatures/" + *created.Id
	for what, add := range map[string]func(http.Header){
		"two etags":            func(h http.Header) { h["If-Match"] = []string{*created.Etag, "x"} },
		"the right one second": func(h http.Header) { h["If-Match"] = []string{"x", *created.Etag} },
	} {
		got := s.send(t, "admin", http.MethodDelete, uri, "", func(r *http.Request) { add(r.Header) })
		if got.status != http.StatusBadRequest || got.Code != "InvalidParameter" {
			t.Errorf("%s: %d %s", what, got.status, got.Code)
		}
	}
	got := s.send(t, "admin", http.MethodPut, uri, "{}", func(r *http.Request) { r.Header.Set("If-Match", *created.Etag+", x") })
	if got.status != http.StatusPreconditionFailed {
		t.Errorf("a list of etags: %d", got.status)
	}
	if got := s.send(t, "admin", http.MethodPut, uri, "{}", func(r *http.Request) { r.Header.Set("If-Match", "*") }); got.status != http.StatusOK || got.header.Get("Etag") == "" {
		t.Errorf("any etag: %d", got.status)
	}
	seen := map[string]bool{}
	for said, prefix := range map[string]string{"": "", "abc-1_2.3": "abc-1_2.3/", strings.Repeat("a", 100): strings.Repeat("a", 100) + "/", strings.Repeat("a", 101): "", "a b": "", "a/b": "", "<a>": "", "\u00e9": ""} {
		got := s.send(t, "admin", http.MethodGet, uri, "", func(r *http.Request) { r.Header.Set("opc-request-id", said) })
		id := got.header.Get("opc-request-id")
		fresh, ok := strings.CutPrefix(id, prefix)
		if !ok || len(fresh) != 32 || seen[fresh] {
			t.Errorf("%q is answered %q", said, id)
		}
		seen[fresh] = true
	}
}

// TestLargeBodies: what is too large is not read.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	got := s.send(t, "admin", http.MethodPut, "/20160918/container/imageSignatures/x", `{"a":"`+strings.Repeat("a", 1<<20)+`"}`, nil)
	if got.status != http.StatusBadRequest || got.Code != "LimitExceeded" {
		t.Errorf("%d %s", got.status, got.Code)
	}
	const uri = "/20160918/container/imageSignatures"
	for _, length := range []int64{controltest.HugeSize, -1} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		sign(t, r, "admin", uri, "")
		r.ContentLength = length
		resp, text := controltest.SendHuge(t, r)
		if got := replyOf(t, r, resp, text); got.status != http.StatusBadRequest || got.Code != "LimitExceeded" {
			t.Errorf("100 MiB, said to be %d: %d %s %s", length, got.status, got.Code, got.Message)
		}
	}
}

// TestTooMany: who asks too often is told so in Oracle's words.
func TestTooMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{Rights: rights.Options{PerSecond: 1e-9, Burst: 1}})
	c := impatient(s.client(t, "viewer"))
	r := artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(compartment)}
	if _, err := c.ListContainerImageSignatures(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, err := c.ListContainerImageSignatures(t.Context(), r)
	expect(t, "one too many", err, http.StatusTooManyRequests, "TooManyRequests")
}
