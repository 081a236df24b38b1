package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
)

// registries are the real ones that the store is tried on.
func registries(t *testing.T) map[string]http.Handler {
	return map[string]http.Handler{"in memory": inMemory(), "distribution": inDirectory(t, t.TempDir())}
}

func TestStoreRoundTrip(t *testing.T) {
	for name, handler := range registries(t) {
		t.Run(name, func(t *testing.T) { roundTrip(t, client(t, config(serve(t, handler))), "team/app") })
	}
}

// roundTrip is what every Store does.
func roundTrip(t *testing.T, s Store, repository string) {
	t.Helper()
	ctx := t.Context()
	image := pushImage(t, s, repository, "v1", "a")
	index := pushIndex(t, s, repository, "multi", image)
	untagged := pushImage(t, s, repository, "", "b")
	for ref, m := range map[string]Manifest{
		"v1": image, image.Digest.String(): image, "multi": index, index.Digest.String(): index, untagged.Digest.String(): untagged,
	} {
		d, err := s.Resolve(ctx, repository, ref)
		if err != nil {
			t.Fatal(err)
		}
		want(t, d, m.Descriptor, "descriptor of "+ref)
		got, err := s.Manifest(ctx, repository, ref)
		if err != nil {
			t.Fatal(err)
		}
		want(t, got, m, "manifest of "+ref)
	}
	moved := pushImage(t, s, repository, "v1", "c")
	if d, err := s.Resolve(ctx, repository, "v1"); err != nil || d.Digest != moved.Digest {
		t.Errorf("moved tag: %v, %v", d, err)
	}

	content := []byte("some content")
	digest, err := s.PutBlob(ctx, repository, content)
	if err != nil {
		t.Fatal(err)
	}
	want(t, digest, sum(content), "digest of a blob")
	raw, err := s.Blob(ctx, repository, digest, int64(len(content)))
	if err != nil || !bytes.Equal(raw, content) {
		t.Errorf("blob: %q, %v", raw, err)
	}
	if _, err := s.PutBlob(ctx, repository, nil); err != nil {
		t.Errorf("empty blob: %v", err)
	}
	_, err = s.Blob(ctx, repository, digest, int64(len(content))-1)
	wants(t, err, ErrTooLarge, "blob over the limit")
	_, err = s.Blob(ctx, repository, sum([]byte("nowhere")), 100)
	wants(t, err, ErrNotFound, "missing blob")
	for _, ref := range []string{"missing", sum([]byte("nowhere")).String()} {
		_, err = s.Resolve(ctx, repository, ref)
		wants(t, err, ErrNotFound, "resolving "+ref)
		_, err = s.Manifest(ctx, repository, ref)
		wants(t, err, ErrNotFound, "reading "+ref)
	}
	_, err = s.Resolve(ctx, "no/such/repository", "v1")
	wants(t, err, ErrNotFound, "repository")
	badArguments(t, s, repository, image)
}

func badArguments(t *testing.T, s Store, repository string, image Manifest) {
	t.Helper()
	ctx := t.Context()
	for _, bad := range []string{"", "..", "../up", "a//b", "/a", "a/", "A", "a/../b", "a?b", "a b", strings.Repeat("a", 256)} {
		_, err := s.Resolve(ctx, bad, "v1")
		wants(t, err, ErrCorrupt, "repository "+bad)
		_, err = s.PutBlob(ctx, bad, []byte("x"))
		wants(t, err, ErrCorrupt, "blob in repository "+bad)
	}
	for _, bad := range []string{"", ".", "a/b", "../up", "a b", "sha256:123", "sha256:" + strings.Repeat("g", 64), strings.Repeat("a", 129)} {
		_, err := s.Resolve(ctx, repository, bad)
		wants(t, err, ErrCorrupt, "reference "+bad)
	}
	_, err := s.PutManifest(ctx, repository, sum([]byte("other")).String(), image.MediaType, image.Raw)
	wants(t, err, ErrCorrupt, "manifest under another digest")
	_, err = s.PutManifest(ctx, repository, "big", ociManifest, make([]byte, MaxManifest+1))
	wants(t, err, ErrTooLarge, "manifest that is too large")
	_, err = s.Blob(ctx, repository, v1.Hash{Algorithm: "sha256", Hex: "../../../etc/passwd"}, 100)
	wants(t, err, ErrCorrupt, "blob with a path for a digest")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Resolve(cancelled, repository, "v1")
	wants(t, err, context.Canceled, "cancelled context")
}

func wants(t *testing.T, err, target error, what string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got %v, want %v", what, err, target)
	}
}

func TestPutBlobOncePerRepository(t *testing.T) {
	c := client(t, config(serve(t, inMemory())))
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrNotFound) { // pings
		t.Fatal(err)
	}
	sent := counts(c)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := c.PutBlob(t.Context(), "app", []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want(t, sent(), map[string]int64{"POST 202": 1, "PUT 201": 1}, "ten times the same blob")
	if _, err := c.PutBlob(t.Context(), "other", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	want(t, sent(), map[string]int64{"POST 202": 1, "PUT 201": 1}, "in another repository")
}

// A registry may lose blobs, by garbage collection for one.
func TestPutManifestForgetsBlobsThatAreGone(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
	}
	put := func(r *http.Request) bool { return r.Method == http.MethodPut && isManifestPath(r) }
	c := client(t, config(serve(t, instead(inMemory(), 1, put, refuse))))
	blob := func(repository string) {
		if _, err := c.PutBlob(t.Context(), repository, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	blob("app")
	blob("other")
	_, err := c.PutManifest(t.Context(), "app", "v1", ociManifest, []byte(`{"schemaVersion":2,"config":{},"layers":[]}`))
	wants(t, err, ErrRejected, "manifest")
	sent := counts(c)
	blob("other")
	want(t, sent(), map[string]int64{}, "other repositories' blobs are known still")
	blob("app")
	want(t, sent(), map[string]int64{"POST 202": 1, "PUT 201": 1}, "the blob is sent again")
}

func TestPutBlobBeginsAgainWhenTheUploadIsLost(t *testing.T) {
	lost := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`)
	}
	put := func(r *http.Request) bool { return r.Method == http.MethodPut }
	c := client(t, config(serve(t, instead(inMemory(), 1, put, lost))))
	if _, err := c.PutBlob(t.Context(), "app", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	want(t, c.Requests().Method("POST"), 2, "uploads begun")
	c = client(t, config(serve(t, instead(inMemory(), 9, put, lost))))
	_, err := c.PutBlob(t.Context(), "app", []byte("{}"))
	wants(t, err, ErrNotFound, "always lost")
	want(t, c.Requests().Method("POST"), 2, "uploads begun")
}

func TestPutBlobLocation(t *testing.T) {
	var uploaded string
	tests := map[string]struct {
		location func(host string) string
		want     error
		uploaded string
	}{
		"relative":       {func(string) string { return "/v2/app/blobs/uploads/1?state=a%2Fb" }, nil, "/v2/app/blobs/uploads/1?state=a%2Fb&digest="},
		"absolute":       {func(host string) string { return "http://" + host + "/up/2" }, nil, "/up/2?digest="},
		"other scheme":   {func(host string) string { return "https://" + host + "/up/3" }, nil, "/up/3?digest="},
		"another host":   {func(string) string { return "http://evil.example/up" }, ErrCorrupt, ""},
		"another port":   {func(string) string { return "http://127.0.0.1:1/up" }, ErrCorrupt, ""},
		"with a user":    {func(host string) string { return "http://me@" + host + "/up" }, ErrCorrupt, ""},
		"missing":        {func(string) string { return "" }, ErrCorrupt, ""},
		"no URL":         {func(string) string { return "http://[" }, ErrCorrupt, ""},
		"another scheme": {func(string) string { return "file:///etc/passwd" }, ErrCorrupt, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			uploaded = ""
			c := client(t, config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.Method {
				case http.MethodPost:
					w.Header().Set("Location", test.location(r.Host))
					w.WriteHeader(http.StatusAccepted)
				case http.MethodPut:
					uploaded = r.URL.String()
					w.WriteHeader(http.StatusCreated)
				}
			}))))
			_, err := c.PutBlob(t.Context(), "app", []byte("{}"))
			wants(t, err, test.want, "upload")
			if !strings.HasPrefix(uploaded, test.uploaded) || (uploaded == "") != (test.want != nil) {
				t.Errorf("uploaded to %s", uploaded)
			}
		})
	}
}

func TestResolveWithoutADigestHeader(t *testing.T) {
	strip := func(drop string, heads int) http.Handler {
		inner := inMemory()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if heads != 0 && r.Method == http.MethodHead {
				w.WriteHeader(heads)
				return
			}
			recorder := httptest.NewRecorder()
			inner.ServeHTTP(recorder, r)
			for key, values := range recorder.Header() {
				if key != drop {
					w.Header()[key] = values
				}
			}
			w.WriteHeader(recorder.Code)
			_, _ = w.Write(recorder.Body.Bytes())
		})
	}
	for name, handler := range map[string]http.Handler{
		"no digest":     strip("Docker-Content-Digest", 0),
		"no media type": strip("Content-Type", 0),
		"no HEAD":       strip("", http.StatusMethodNotAllowed),
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, config(serve(t, handler)))
			m := pushImage(t, c, "app", "v1", "a")
			sent := counts(c)
			d, err := c.Resolve(t.Context(), "app", "v1")
			if err != nil {
				t.Fatal(err)
			}
			want(t, d, m.Descriptor, "descriptor")
			if got := sent(); got["GET 200"] != 1 || len(got) != 2 {
				t.Errorf("requests: %v, want one HEAD and one GET", got)
			}
		})
	}
}

// manifestAnswer is a registry with one manifest.
func manifestAnswer(contentType, digest, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isManifestPath(r) {
			return
		}
		w.Header().Set("Content-Type", contentType)
		if digest != "" {
			w.Header().Set("Docker-Content-Digest", digest)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body)
	})
}

func TestManifestIsWhatItIs(t *testing.T) {
	image := `{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}`
	index := `{"schemaVersion":2,"manifests":[]}`
	said := func(mediaType, body string) string {
		return strings.Replace(body, "{", `{"mediaType":"`+mediaType+`",`, 1)
	}
	const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	tests := map[string]struct {
		contentType, body, mediaType string
		want                         error
	}{
		"both agree":              {ociManifest, said(ociManifest, image), ociManifest, nil},
		"parameters":              {ociManifest + "; charset=utf-8", image, ociManifest, nil},
		"only the header":         {dockerManifest, image, dockerManifest, nil},
		"only the body":           {"application/json", said(ociManifest, image), ociManifest, nil},
		"neither, image":          {"text/plain", image, ociManifest, nil},
		"neither, index":          {"", index, ociIndex, nil},
		"lying header":            {ociIndex, said(ociManifest, image), ociManifest, nil},
		"lying header, index":     {ociManifest, said(ociIndex, index), ociIndex, nil},
		"header against shape":    {ociIndex, image, ociManifest, nil},
		"body against shape":      {ociManifest, said(ociIndex, image), "", ErrCorrupt},
		"body against shape, too": {ociManifest, said(ociManifest, index), "", ErrCorrupt},
		"both shapes":             {ociManifest, `{"schemaVersion":2,"layers":[],"manifests":[]}`, "", ErrCorrupt},
		"both shapes, config":     {ociManifest, said(ociIndex, `{"config":{},"manifests":[]}`), "", ErrCorrupt},
		"artifact":                {"application/json", `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}`, "application/vnd.oci.artifact.manifest.v1+json", nil},
		"schema 1":                {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"fsLayers":[]}`, "", ErrUnsupported},
		"nothing":                 {"application/json", `{}`, "", ErrCorrupt},
		"a list":                  {ociManifest, `[]`, "", ErrCorrupt},
		"empty":                   {ociManifest, ``, "", ErrCorrupt},
		"HTML":                    {"text/html", `<html>`, "", ErrCorrupt},
		"two values":              {ociManifest, image + image, "", ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := client(t, config(serve(t, manifestAnswer(test.contentType, "", test.body))))
			m, err := c.Manifest(t.Context(), "app", "v1")
			wants(t, err, test.want, "error")
			want(t, m.MediaType, test.mediaType, "media type")
			if err == nil {
				want(t, m.Digest, sum([]byte(test.body)), "digest")
			}
		})
	}
}

func TestManifestDigestIsChecked(t *testing.T) {
	image := `{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}`
	right, wrong := sum([]byte(image)).String(), sum([]byte("other")).String()
	tests := map[string]struct {
		ref, header string
		want        error
	}{
		"right":                {right, right, nil},
		"tag":                  {"v1", right, nil},
		"no header":            {right, "", nil},
		"wrong reference":      {wrong, "", ErrCorrupt},
		"wrong reference, too": {wrong, wrong, ErrCorrupt},
		"wrong header":         {"v1", wrong, ErrCorrupt},
		"header is no digest":  {"v1", "sha256:short", ErrCorrupt},
		"unknown algorithm":    {"v1", "md5:d41d8cd98f00b204e9800998ecf8427e", ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := client(t, config(serve(t, manifestAnswer(ociManifest, test.header, image))))
			_, err := c.Manifest(t.Context(), "app", test.ref)
			wants(t, err, test.want, "error")
		})
	}
	c := client(t, config(serve(t, manifestAnswer(ociManifest, wrong, image))))
	_, err := c.Resolve(t.Context(), "app", right)
	wants(t, err, ErrCorrupt, "HEAD says another digest than was asked for")
}

func TestManifestTooLarge(t *testing.T) {
	body := `{"schemaVersion":2,"config":{},"layers":[],"x":"` + strings.Repeat("x", MaxManifest) + `"}`
	c := client(t, config(serve(t, manifestAnswer(ociManifest, "", body))))
	_, err := c.Manifest(t.Context(), "app", "v1")
	wants(t, err, ErrTooLarge, "with a length")
	c = client(t, config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isManifestPath(r) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, body)
		}
	}))))
	_, err = c.Manifest(t.Context(), "app", "v1")
	wants(t, err, ErrTooLarge, "without a length")
	want(t, c.Requests().Method("GET"), 2, "requests: a ping, and no second try")
}

func TestAnswersThatBreakOffAreAskedForAgain(t *testing.T) {
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"schemaVersion":2,`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	tests := map[string]struct {
		broken http.HandlerFunc
		times  int64
		want   error
	}{
		"truncated once":   {broken, 1, nil},
		"truncated always": {broken, 1 << 30, ErrUnavailable},
		"reset twice":      {reset, 2, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			handler := instead(inMemory(), test.times, func(r *http.Request) bool { return r.Method == "GET" && isManifestPath(r) }, test.broken)
			c := client(t, config(serve(t, handler)))
			m := pushImage(t, c, "app", "v1", "a")
			got, err := c.Manifest(t.Context(), "app", "v1")
			wants(t, err, test.want, "error")
			if err == nil {
				want(t, got, m, "manifest")
			}
		})
	}
}

func TestSlowBodyEndsWithTheDeadline(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isManifestPath(r) {
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-release
		}
	}))
	defer server.Close()
	defer close(release)
	c := client(t, config(strings.TrimPrefix(server.URL, "http://")))
	defer c.Close() //nolint:errcheck // never fails
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Manifest(ctx, "app", "v1")
	wants(t, err, context.DeadlineExceeded, "slow body")
	want(t, c.transport.budget.Free(), 8, "places free afterwards")
}

func TestThrottledRegistry(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"429":                  status(429),
		"429 with Retry-After": status(429, "Retry-After", "1"),
		"503":                  status(503),
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, config(serve(t, instead(inMemory(), 1, isManifestPath, answer))))
			_, err := c.Resolve(t.Context(), "app", "v1")
			wants(t, err, ErrNotFound, "after one retry")
			want(t, c.Requests().Method("HEAD"), 2, "attempts")
		})
	}
	c := client(t, config(serve(t, instead(inMemory(), 1<<30, isManifestPath, status(429, "Retry-After", "100")))))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Manifest(ctx, "app", "v1")
	wants(t, err, ErrRateLimited, "too long a pause")
	if !strings.Contains(err.Error(), "TESTED: status 429") {
		t.Errorf("the registry's words are lost: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	content := []byte("content in the storage")
	var authorised []string
	storage := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorised = append(authorised, r.Header.Get("Authorization"))
		_, _ = w.Write(content)
	}))
	var target string
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			w.WriteHeader(http.StatusUnauthorized)
		case "/here":
			authorised = append(authorised, r.Header.Get("Authorization"))
			_, _ = w.Write(content)
		default:
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		}
	}))
	c := client(t, withPassword(host))
	blob := func() error {
		authorised = nil
		_, err := c.Blob(t.Context(), "app", sum(content), 1000)
		return err
	}
	target = "http://" + storage + "/signed?secret=1"
	wants(t, blob(), nil, "blob in the storage")
	want(t, authorised, []string{""}, "credentials for the storage")
	target = "/here"
	wants(t, blob(), nil, "blob elsewhere on the host")
	want(t, authorised, []string{"Basic cm9ib3Q6c2VjcmV0"}, "credentials for the host")
	target = "https://" + host + "/signed?secret=1"
	wants(t, blob(), ErrUnsupported, "another scheme")
	target = "http://[?secret=1"
	wants(t, blob(), ErrCorrupt, "no URL")
	target = "/v2/loop?secret=1"
	err := blob()
	wants(t, err, ErrCorrupt, "loop")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error has the query: %v", err)
	}
	target = "http://" + storage + "/signed?secret=1"
	_, err = c.Manifest(t.Context(), "app", "v1")
	wants(t, err, ErrUnsupported, "manifest at another host")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error has the query: %v", err)
	}
	target = "http://" + storage + "/signed"
	content = []byte("something else")
	_, err = c.Blob(t.Context(), "app", sum([]byte("content")), 1000)
	wants(t, err, ErrCorrupt, "wrong content")
}

// What is configured as secure is never asked by plain HTTP, even on a
// loopback address, where libraries like to fall back.
func TestSecureRegistryIsNeverAskedByHTTP(t *testing.T) {
	asked := false
	host := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	cfg := config(host)
	cfg.Insecure = false
	c := client(t, cfg)
	_, err := c.Resolve(t.Context(), "app", "v1")
	wants(t, err, ErrUnavailable, "plain HTTP registry")
	want(t, asked, false, "asked by HTTP")
	want(t, c.Requests(), Counters{{"GET", "error"}: 1}, "attempts: a retry helps nothing")
}

func TestSecureRegistry(t *testing.T) {
	server := httptest.NewTLSServer(inMemory())
	defer server.Close()
	cfg := config(strings.TrimPrefix(server.URL, "https://"))
	cfg.Insecure = false
	c := client(t, cfg)
	_, err := c.Resolve(t.Context(), "app", "v1")
	wants(t, err, ErrUnavailable, "unknown certificate")
	want(t, c.Requests(), Counters{{"GET", "error"}: 1}, "attempts: a retry helps nothing")

	cfg.Transport = server.Client().Transport
	roundTrip(t, client(t, cfg), "team/app")
}

func TestOpen(t *testing.T) {
	tests := map[string]struct {
		cfg  Config
		want string
	}{
		"unknown kind": {Config{Name: "x", Host: "reg.example", Kind: "dockerhub"}, "none of generic, auto, distribution"},
		"no host":      {Config{Name: "x", Kind: KindGeneric}, "want host[:port]"},
		"URL":          {Config{Name: "x", Host: "https://reg.example", Kind: KindGeneric}, "want host[:port]"},
		"user":         {Config{Name: "x", Host: "me@reg.example", Kind: KindGeneric}, "want host[:port]"},
		"rate":         {Config{Name: "x", Host: "reg.example", Kind: KindGeneric, Limits: Limits{RequestsPerSecond: -1}}, "requests_per_second"},
		"concurrency":  {Config{Name: "x", Host: "reg.example", Kind: KindGeneric, Limits: Limits{Concurrency: -1}}, "concurrency"},
		"no storage":   {Config{Name: "x", Host: "reg.example", Kind: KindDistribution, Storage: "/does/not/exist"}, "storage"},
		"no layout":    {Config{Name: "x", Host: "reg.example", Kind: KindOCILayout}, "want oci-layout:DIR"},
		"no directory": {Config{Name: "x", Host: "oci-layout:/does/not/exist", Kind: KindOCILayout}, "host"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Open(test.cfg)
			if r != nil || err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "registry x") {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	_, err := Open(Config{Name: "x", Host: "/", Kind: KindGeneric, Limits: Limits{RequestsPerSecond: -1, Concurrency: -1}})
	for _, fault := range []string{"host", "requests_per_second", "concurrency"} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("%v: not every fault is reported", err)
		}
	}
	r := open(t, Config{Name: "x", Host: "reg.example:5000", Kind: KindGeneric})
	want(t, r.Host(), "reg.example:5000", "host")
	want(t, r.Requests().Total(), 0, "requests")
}
