package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// answerFunc answers requests without a connection.
type answerFunc func(*http.Request) (*http.Response, error)

func (f answerFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answering is an API that always answers the same.
func answering(t *testing.T, body string, code int) *vendorAPI {
	t.Helper()
	c := client(t, config("127.0.0.1:1"))
	c.transport.base = answerFunc(func(req *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.WriteHeader(code)
		_, _ = w.WriteString(body)
		resp := w.Result()
		resp.Request = req
		return resp, nil
	})
	api, err := newVendorAPI(c, config("127.0.0.1:1"), "http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// drain walks a listing and looks at what must be true of its end.
func drain(t *testing.T, list func(func(listedManifest, error) bool)) {
	t.Helper()
	ended := false
	n := 0
	for m, err := range list {
		if ended {
			t.Fatalf("something came after the end: %+v, %v", m, err)
		}
		if ended = err != nil && !isEntry(m); err == nil && m.Cursor == "" {
			t.Fatalf("%+v has no cursor", m)
		}
		if n++; n > 1<<14 {
			t.Fatal("it does not end")
		}
		if err != nil && strings.ContainsRune(err.Error(), '\x1b') {
			t.Fatalf("error %q", err)
		}
	}
}

func secretOf(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text + "\n"), nil }
}

// fillTags writes n tags, each a manifest of its own, without a connection, and
// then has pages as large as they come.
func fillTags(s *registrytest.Server, repository string, largest func()) func(*testing.T, int) registrytest.Filled {
	return func(t *testing.T, n int) registrytest.Filled {
		t.Helper()
		largest()
		f := registrytest.Filled{Repository: repository, Tags: map[string]string{}}
		for i := range n {
			tag := fmt.Sprintf("t%05d", i)
			raw := `{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"mediaType":"` + ociConfig + `"},"layers":[],"annotations":{"n":"` + tag + `"}}`
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(raw))
			req.Header.Set("Content-Type", ociManifest)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, req)
			if w.Code != http.StatusCreated {
				t.Fatalf("%s: %d %s", tag, w.Code, w.Body)
			}
			f.Tags[tag] = sum([]byte(raw)).String()
		}
		return f
	}
}

// TestVendorAPI: what every request of a vendor's API keeps to.
func TestVendorAPI(t *testing.T) {
	t.Parallel()
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.EscapedPath()+" "+r.Header.Get("X-Attempt"))
		switch {
		case strings.HasSuffix(r.URL.Path, "/moved"):
			w.Header().Set("Location", "http://elsewhere.example.com/")
			w.WriteHeader(http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/large"):
			_, _ = w.Write([]byte(`"` + strings.Repeat("x", maxPageBody) + `"`))
		case len(seen) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte(`{"ok":true}`))
		}
	}))
	t.Cleanup(s.Close)
	cfg := config("registry.example.com")
	cfg.API = s.URL + "/base/"
	c := client(t, cfg)
	api, err := newVendorAPI(c, cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	attempts := 0
	api.credentials = func(_ context.Context) (authorise, error) {
		return func(req *http.Request, _ []byte) error {
			attempts++
			req.Header.Set("X-Attempt", fmt.Sprint(attempts))
			return nil
		}, nil
	}
	var answer map[string]bool
	if _, err := api.ask(t.Context(), vendorCall{segments: []string{"a/b", "c%2Fd", "e f"}}, &answer); err != nil || !answer["ok"] {
		t.Errorf("%v, %v", answer, err)
	}
	const path = "/base/a%2Fb/c%252Fd/e%20f"
	want(t, seen, []string{"GET " + path + " 1", "GET " + path + " 2"}, "each attempt is signed anew")
	want(t, c.Requests().Total(), 2, "requests are counted by the client")

	for segment, wanted := range map[string]string{"moved": "redirects of this API are not followed", "large": ErrTooLarge.Error()} {
		if _, err := api.ask(t.Context(), vendorCall{segments: []string{segment}}, &answer); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %.200v", segment, err)
		}
	}
	var other struct{ OK string }
	if _, err := api.ask(t.Context(), vendorCall{segments: []string{"x"}}, &other); err == nil || !strings.Contains(err.Error(), "answer is not the JSON") {
		t.Errorf("another shape: %v", err)
	}
}

// TestVendorAPISchemes: the API's own host may be asked by plain HTTP only if it
// was configured so, and the registry is insecure.
func TestVendorAPISchemes(t *testing.T) {
	t.Parallel()
	for at, insecure := range map[string]bool{"http://api.example.com": true, "https://api.example.com": true, "https://api.example.com/x": false} {
		cfg := config("registry.example.com")
		cfg.API, cfg.Insecure = at, insecure
		api, err := newVendorAPI(client(t, cfg), cfg, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{"http", "https"} {
			u := *api.base
			u.Scheme = scheme
			if allowed := api.transport.permitted(&u) == nil; allowed != (scheme == api.base.Scheme) {
				t.Errorf("%s: %s permitted: %t", at, scheme, allowed)
			}
		}
	}
}

// TestVendorAPICredentials: an error of credentials is no secret and no network
// error, and nothing is sent.
func TestVendorAPICredentials(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal("x")
	if err != nil {
		t.Fatal(err)
	}
	api := answering(t, string(raw), http.StatusOK)
	cloud := Cloud{Secret: func() ([]byte, error) { return nil, fmt.Errorf("no such file") }}
	api.credentials = func(context.Context) (authorise, error) {
		_, err := cloud.secret()
		return nil, err
	}
	var out string
	if _, err := api.ask(t.Context(), vendorCall{}, &out); err == nil || !strings.Contains(err.Error(), "no such file") || out != "" {
		t.Errorf("%v", err)
	}
}
