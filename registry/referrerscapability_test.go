package registry

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestCapability(t *testing.T) {
	const index = `{"schemaVersion":2,"manifests":[]}`
	answer := func(code int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	coded := func(status int, code string) http.HandlerFunc {
		return answer(status, "application/json", `{"errors":[{"code":"`+code+`"}]}`)
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		kind   string
		reason string
		err    error
	}{
		{"an index", answer(200, ociIndex, index), "referrers API", "it answered with an OCI index", nil},
		{"an index, in a charset", answer(200, ociIndex+"; charset=utf-8", index), "referrers API", "it answered with an OCI index", nil},
		{"a page for people", answer(200, "text/html", "<html>"), "fallback tag", `it answered 200 OK with "text/html", no OCI index`, nil},
		{"no type", answer(200, "", index), "fallback tag", `it answered 200 OK with "", no OCI index`, nil},
		{"404 in words", answer(404, "text/plain", "404 page not found"), "fallback tag", "it answered 404 Not Found", nil},
		{"404 for people", answer(404, "text/html", "<html>"), "fallback tag", "it answered 404 Not Found", nil},
		{"404 by a code", coded(404, "NOT_FOUND"), "fallback tag", "it answered 404 Not Found, NOT_FOUND", nil},
		{"405", coded(405, "UNSUPPORTED"), "fallback tag", "it answered 405 Method Not Allowed, UNSUPPORTED", nil},
		{"406", answer(406, "", ""), "fallback tag", "it answered 406 Not Acceptable", nil},
		{"501", answer(501, "", ""), "fallback tag", "it answered 501 Not Implemented", nil},
		{"400, unsupported", coded(400, "UNSUPPORTED"), "fallback tag", "it answered 400 Bad Request, UNSUPPORTED", nil},
		{"400, taken for a name", coded(400, "NAME_INVALID"), "fallback tag", "it answered 400 Bad Request, NAME_INVALID", nil},
		{"400, without a word", answer(400, "", ""), "fallback tag", "it answered 400 Bad Request", nil},
		{"400, for another reason", coded(400, "DIGEST_INVALID"), "", "", ErrRejected},
		{"unknown repository", coded(404, "NAME_UNKNOWN"), "", "", ErrNotFound},
		{"unknown subject", coded(404, "MANIFEST_UNKNOWN"), "", "", ErrNotFound},
		{"401", answer(401, "", ""), "", "", ErrUnauthorized},
		{"403", answer(403, "", ""), "", "", ErrForbidden},
		{"403, in words", coded(404, "DENIED"), "fallback tag", "it answered 404 Not Found, DENIED", nil},
		{"409", answer(409, "", ""), "", "", ErrRejected},
		{"no JSON", answer(200, ociIndex, "<html>"), "", "", ErrCorrupt},
		{"no list", answer(200, ociIndex, "{}"), "", "", ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := serve(t, instead(inMemory(), 1<<30, isReferrersPath, test.answer))
			r := NewReferrers(client(t, config(host)))
			for range 2 {
				got, err := r.Capability(t.Context(), "app")
				if test.err != nil {
					wants(t, err, test.err, "error")
					_, known := r.known.get()
					want(t, known, false, "remembered")
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				want(t, got.String(), test.kind, "capability")
				want(t, got.Reason, test.reason, "reason")
			}
		})
	}
}

func TestCapabilityOfDirectory(t *testing.T) {
	got, err := NewReferrers(layoutStore(t)).Capability(t.Context(), "app")
	if err != nil || got.API || got.Reason == "" {
		t.Errorf("%v %+v, %v", got, got, err)
	}
}

// TestCapabilityBusy: what does not tell is an error, and is asked for again.
func TestCapabilityBusy(t *testing.T) {
	server := registrytest.Referrers(t, registrytest.ReferrersAPI{})
	c := client(t, config(serve(t, instead(handler(server), 1, isReferrersPath, status(http.StatusForbidden)))))
	subject := pushImage(t, c, "app", "v1", "a")
	r := NewReferrers(c)
	_, err := r.List(t.Context(), "app", subject.Digest, always)
	wants(t, err, ErrForbidden, "List while the registry refuses")
	if got, err := r.Capability(t.Context(), "app"); err != nil || !got.API {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCapabilityIsForgotten(t *testing.T) {
	server := registrytest.Memory(t)
	with := registrytest.Referrers(t, registrytest.ReferrersAPI{})
	upgraded := false
	c := client(t, config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if upgraded {
			handler(with).ServeHTTP(w, r)
			return
		}
		handler(server).ServeHTTP(w, r)
	}))))
	r := NewReferrers(c)
	now := time.Now()
	r.known.now = func() time.Time { return now }
	capable := func(expected string) {
		t.Helper()
		got, err := r.Capability(t.Context(), "app")
		if err != nil || got.String() != expected {
			t.Errorf("%v, %v; want %s", got, err, expected)
		}
	}
	capable("fallback tag")
	upgraded = true
	now = now.Add(capabilityLifetime - time.Second)
	capable("fallback tag")
	now = now.Add(time.Second)
	capable("referrers API")
	upgraded = false // and back again
	subject := pushImage(t, c, "app", "v1", "a")
	want(t, referrersOf(t, r, subject, bundleType), nil, "referrers")
	capable("fallback tag")
	upgraded = true
	subject = pushImage(t, c, "app", "v1", "a")
	attach(t, c, r, subject, bundleType, "x") // says OCI-Subject
	capable("referrers API")
}

// TestUnknownRepository: registries with the API may say so instead of listing
// nothing.
func TestUnknownRepository(t *testing.T) {
	unknown := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)
	}
	// Only for a repository that is not there: the API is found later.
	server := registrytest.Referrers(t, registrytest.ReferrersAPI{})
	c := client(t, config(serve(t, instead(handler(server), 1, isReferrersPath, unknown))))
	r := NewReferrers(c)
	nowhere := Manifest{Descriptor: Descriptor{Digest: sum([]byte("nowhere"))}}
	want(t, referrersOf(t, r, nowhere, bundleType), nil, "referrers")
	if _, known := r.known.get(); known {
		t.Error("that answer tells nothing")
	}
	want(t, referrersOf(t, r, nowhere, bundleType), nil, "referrers")
	if known, _ := r.known.get(); !known.API {
		t.Error("the API was not noticed")
	}

	// Also for one that is there: there is no API.
	memory := registrytest.Memory(t)
	c = client(t, config(serve(t, instead(handler(memory), 1<<30, isReferrersPath, unknown))))
	r = NewReferrers(c)
	subject := pushImage(t, c, "app", "v1", "a")
	ours := attach(t, c, r, subject, bundleType, "x")
	for _, r := range []*Referrers{r, NewReferrers(c)} {
		want(t, referrersOf(t, r, subject, bundleType), []Referrer{ours}, "referrers")
		if known, found := r.known.get(); !found || known.API {
			t.Errorf("known: %v, %t", known, found)
		}
	}
}
