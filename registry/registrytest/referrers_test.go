package registrytest

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// TestReferrers: pages, the header that says what was listed, and the filter.
func TestReferrers(t *testing.T) {
	for _, silent := range []bool{false, true} {
		s := Referrers(t, ReferrersAPI{NoSubject: silent})
		image := Image(t)
		s.Push(t, "app:v1", image)
		subject, err := partial.Descriptor(image)
		if err != nil {
			t.Fatal(err)
		}
		var said atomic.Int64
		s.Intercept(func(registry http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				registry.ServeHTTP(w, r)
				if w.Header().Get("OCI-Subject") == subject.Digest.String() {
					said.Add(1)
				}
			})
		})
		for range 3 {
			s.Push(t, "app:", mutate.Subject(Image(t), *subject))
		}
		if n := said.Load(); silent && n != 0 || !silent && n != 3 {
			t.Errorf("%d times OCI-Subject, silent: %t", n, silent)
		}
		path := "http://" + s.Host + "/v2/app/referrers/" + subject.Digest.String()
		for query, expected := range map[string]struct {
			n    int
			next bool
		}{
			"": {2, true}, "?last=2": {1, false},
			"?artifactType=application/vnd.oci.image.config.v1%2Bjson": {2, true}, "?artifactType=x": {0, false},
		} {
			n, next := page(t, path+query)
			if n != expected.n || next != expected.next {
				t.Errorf("%q: %d, next page: %t; want %+v", query, n, next, expected)
			}
		}
	}
}

func page(t *testing.T, url string) (n int, next bool) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&index); err != nil {
		t.Fatal(err)
	}
	return len(index.Manifests), resp.Header.Get("Link") != ""
}
