package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestDelete(t *testing.T) {
	for name, s := range referrerStores(t) {
		t.Run(name, func(t *testing.T) {
			d := s.(Deleter)
			image := pushImage(t, s, "app", "", "a")
			for range 2 {
				if err := d.Delete(t.Context(), "app", image.Digest); err != nil {
					t.Fatal(err)
				}
				_, err := s.Resolve(t.Context(), "app", image.Digest.String())
				wants(t, err, ErrNotFound, "deleted")
			}
			if err := d.Delete(t.Context(), "no/such", image.Digest); err != nil {
				t.Errorf("in a repository that is not there: %v", err)
			}
			wants(t, d.Delete(t.Context(), "../app", image.Digest), ErrCorrupt, "name of a repository")
			wants(t, d.Delete(t.Context(), "app", v1.Hash{Algorithm: "sha256", Hex: "../x"}), ErrCorrupt, "digest")
		})
	}
}

func TestDeleteInLayout(t *testing.T) {
	s := layoutStore(t)
	image := pushImage(t, s, "app", "a", "a")
	pushImage(t, s, "app", "b", "a")
	kept := pushImage(t, s, "app", "c", "c")
	blob, err := s.PutBlob(t.Context(), "app", []byte("layer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []v1.Hash{image.Digest, blob} {
		if err := s.(Deleter).Delete(t.Context(), "app", digest); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range []string{"a", "b"} {
		_, err := s.Resolve(t.Context(), "app", tag)
		wants(t, err, ErrNotFound, "tag "+tag)
	}
	if d, err := s.Resolve(t.Context(), "app", "c"); err != nil || d.Digest != kept.Digest {
		t.Errorf("another image: %v, %v", d, err)
	}
	if _, err := s.Blob(t.Context(), "app", blob, 100); err != nil {
		t.Errorf("what is no manifest is left alone: %v", err)
	}
}

func TestDeleteNotSupported(t *testing.T) {
	isDelete := func(r *http.Request) bool { return r.Method == http.MethodDelete }
	for _, answer := range []http.HandlerFunc{
		status(http.StatusMethodNotAllowed),
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"code":"UNSUPPORTED"}]}`)
		},
	} {
		c := client(t, config(serve(t, instead(handler(registrytest.Distribution(t)), 1<<30, isDelete, answer))))
		subject := pushImage(t, c, "app", "v1", "a")
		r := NewReferrers(c)
		ours := attach(t, c, r, subject, bundleType, "x")
		wants(t, r.Remove(t.Context(), "app", subject.Digest, ours.Digest), ErrUnsupported, "Remove")
		want(t, referrersOf(t, r, subject, bundleType), nil, "listed")
		m, err := c.Manifest(t.Context(), "app", FallbackTag(subject.Digest))
		if err != nil || strings.Contains(string(m.Raw), "digest") {
			t.Errorf("index %s, %v", m.Raw, err)
		}
		attach(t, c, r, subject, bundleType, "x")
		want(t, len(referrersOf(t, r, subject, bundleType)), 1, "listed again")
	}
}

// TestDeleteAsksForTheRight: tokens to delete are asked for only where they are
// needed. Some token servers do not know that right.
func TestDeleteAsksForTheRight(t *testing.T) {
	for _, known := range []bool{true, false} {
		server := newTokenServer(inMemory())
		server.refuse = func(scope string) int {
			if strings.Contains(scope, "delete") && !known {
				return http.StatusForbidden
			}
			return 0
		}
		c := client(t, withPassword(serve(t, server)))
		image := pushImage(t, c, "app", "", "a")
		if err := c.Delete(t.Context(), "app", image.Digest); err != nil {
			t.Fatal(err)
		}
		expected := []string{"repository:app:push,pull", "repository:app:push,pull,delete"}
		if !known {
			expected = append(expected, "repository:app:push,pull")
		}
		want(t, server.scopes, expected, "scopes")
	}
}
