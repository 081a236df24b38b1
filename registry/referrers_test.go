package registry

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	bundleType   = bundlePrefix + ".v0.3+json"
	notationType = notationSignature
)

// handler passes requests on to a server of package registrytest, so that
// tests can stand in between.
func handler(s *registrytest.Server) http.Handler {
	return httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Host})
}

// referrerStores are one of each kind that referrers are kept in. The value
// tells whether it has the API.
func referrerStores(t *testing.T) map[string]Store {
	return map[string]Store{
		"distribution":             client(t, config(registrytest.Distribution(t).Host)),
		"in memory":                client(t, config(registrytest.Memory(t).Host)),
		"with API":                 client(t, config(registrytest.Referrers(t, registrytest.ReferrersAPI{}).Host)),
		"with API, no OCI-Subject": client(t, config(registrytest.Referrers(t, registrytest.ReferrersAPI{NoSubject: true}).Host)),
		"layout":                   layoutStore(t),
	}
}

func layoutStore(t *testing.T) Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	registrytest.Layout(t, dir)
	cfg := Config{Name: "files", Host: layoutScheme + dir, Kind: KindOCILayout}
	return open(t, cfg)
}

// referring returns a manifest that refers to subject. It and its blobs depend
// on seed.
func referring(t *testing.T, s Store, subject Manifest, artifactType, seed string) []byte {
	t.Helper()
	config, layer := []byte("{}"), []byte("signature "+seed)
	for _, blob := range [][]byte{config, layer} {
		if _, err := s.PutBlob(t.Context(), "app", blob); err != nil {
			t.Fatal(err)
		}
	}
	return encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": artifactType,
		"config":      wire(describe(emptyConfig, config)),
		"layers":      []any{wire(describe("text/plain", layer))},
		"subject":     wire(entry{MediaType: subject.MediaType, Digest: subject.Digest.String(), Size: subject.Size}),
		"annotations": map[string]string{"seed": seed},
	})
}

func attach(t *testing.T, s Store, r *Referrers, subject Manifest, artifactType, seed string) Referrer {
	t.Helper()
	raw := referring(t, s, subject, artifactType, seed)
	digest, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, raw)
	if err != nil {
		t.Fatal(err)
	}
	return Referrer{
		Descriptor:   Descriptor{MediaType: ociManifest, Digest: digest, Size: int64(len(raw))},
		ArtifactType: artifactType, Annotations: map[string]string{"seed": seed},
	}
}

func referrersOf(t *testing.T, r *Referrers, subject Manifest, accepted ...string) []Referrer {
	t.Helper()
	list, err := r.List(t.Context(), "app", subject.Digest, isOneOf(accepted))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func isOneOf(types []string) func(string) bool {
	return func(t string) bool {
		for _, one := range types {
			if t == one {
				return true
			}
		}
		return false
	}
}

func TestReferrersRoundTrip(t *testing.T) {
	for name, s := range referrerStores(t) {
		t.Run(name, func(t *testing.T) {
			subject, other := pushImage(t, s, "app", "v1", "a"), pushImage(t, s, "app", "v2", "b")
			r := NewReferrers(s)
			want(t, referrersOf(t, r, subject, bundleType), nil, "of an image without any")
			var bundles, all []Referrer
			for i := range 5 {
				b := attach(t, s, r, subject, bundleType, fmt.Sprintf("b%d", i))
				n := attach(t, s, r, subject, notationType, fmt.Sprintf("n%d", i))
				bundles, all = append(bundles, b), append(all, b, n)
			}
			foreign := attach(t, s, r, other, bundleType, "other")
			attach(t, s, r, subject, bundleType, "b0") // again
			fresh := NewReferrers(s)
			want(t, referrersOf(t, r, subject, bundleType), bundles, "bundles")
			want(t, referrersOf(t, fresh, subject, bundleType, notationType), all, "both kinds")
			want(t, referrersOf(t, r, other, bundleType), []Referrer{foreign}, "of the other image")

			for i, gone := range all {
				if err := r.Remove(t.Context(), "app", subject.Digest, gone.Digest); err != nil {
					t.Fatal(err)
				}
				want(t, len(referrersOf(t, r, subject, bundleType, notationType)), len(all)-1-i, "how many are left")
				_, err := s.Manifest(t.Context(), "app", gone.Digest.String())
				wants(t, err, ErrNotFound, "removed manifest")
			}
			if err := r.Remove(t.Context(), "app", subject.Digest, all[0].Digest); err != nil {
				t.Errorf("removed again: %v", err)
			}
			want(t, referrersOf(t, r, other, bundleType), []Referrer{foreign}, "of the other image, still")
			again := attach(t, s, r, subject, bundleType, "again")
			want(t, referrersOf(t, r, subject, bundleType), []Referrer{again}, "after all were removed")
		})
	}
}

// TestReferrersAsOthersSeeThem: what go-containerregistry reads, with the API
// or without it.
func TestReferrersAsOthersSeeThem(t *testing.T) {
	for _, server := range []*registrytest.Server{
		registrytest.Distribution(t), registrytest.Memory(t), registrytest.Referrers(t, registrytest.ReferrersAPI{PageSize: 100}),
	} {
		s := client(t, config(server.Host))
		r, subject := NewReferrers(s), pushImage(t, s, "app", "v1", "a")
		var mine []Referrer
		for i := range 3 {
			mine = append(mine, attach(t, s, r, subject, bundleType, fmt.Sprint(i)))
		}
		ref, err := name.NewDigest(server.Host+"/app@"+subject.Digest.String(), name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Referrers(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var theirs []Referrer
		for _, d := range m.Manifests {
			theirs = append(theirs, Referrer{
				Descriptor:   Descriptor{MediaType: string(d.MediaType), Digest: d.Digest, Size: d.Size},
				ArtifactType: d.ArtifactType, Annotations: d.Annotations,
			})
		}
		want(t, theirs, mine, "what go-containerregistry reads")
	}
}

// TestReferrersOfOthers: go-containerregistry writes indexes that say no type.
func TestReferrersOfOthers(t *testing.T) {
	server := registrytest.Distribution(t)
	c := client(t, config(server.Host))
	subject := pushImage(t, c, "app", "v1", "a")
	bundle := put(t, c, "app", "", ociManifest, referring(t, c, subject, bundleType, "theirs"))
	notation := put(t, c, "app", "", ociManifest, referring(t, c, subject, notationType, "theirs, too"))
	old := pushManifest(t, c, "app", "", map[string]any{"schemaVersion": 2, "mediaType": ociManifest}, bundleType, ociLayer, "by its config")
	// Distribution refuses an index of what is not there, but deletes what is
	// in one.
	gone := put(t, c, "app", "", ociManifest, referring(t, c, subject, bundleType, "deleted"))
	pushIndex(t, c, "app", FallbackTag(subject.Digest), bundle, notation, old, gone)
	if err := c.Delete(t.Context(), "app", gone.Digest); err != nil {
		t.Fatal(err)
	}

	r := NewReferrers(c)
	expected := []Referrer{
		{Descriptor: bundle.Descriptor, ArtifactType: bundleType},
		{Descriptor: old.Descriptor, ArtifactType: bundleType},
	}
	want(t, referrersOf(t, r, subject, bundleType), expected, "bundles")
	server.Reset()
	want(t, referrersOf(t, r, subject, bundleType), expected, "bundles again")
	want(t, server.Requests(), map[string]int{"GET": 2}, "requests: the index, and what was deleted")

	ours := attach(t, c, r, subject, bundleType, "ours")
	want(t, referrersOf(t, r, subject, bundleType), append(expected, ours), "with ours")
	index, err := c.Manifest(t.Context(), "app", FallbackTag(subject.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(index.Raw), gone.Digest.String()) || !strings.Contains(string(index.Raw), notation.Digest.String()) {
		t.Errorf("index after the change: %s", index.Raw)
	}
}

func TestReferrersRequests(t *testing.T) {
	type counted = map[string]int
	for _, test := range []struct {
		name               string
		server             *registrytest.Server
		first, later       counted // List
		put, second, again counted // Put
		listed, removed    counted
	}{
		{
			"without API", registrytest.Distribution(t),
			counted{"GET": 2}, counted{"GET": 1},
			counted{"PUT": 2, "GET": 2}, counted{"PUT": 2, "GET": 2}, counted{"PUT": 1, "GET": 1},
			counted{"GET": 1}, counted{"GET": 2, "PUT": 1, "DELETE": 1},
		},
		{
			"with API", registrytest.Referrers(t, registrytest.ReferrersAPI{}),
			counted{"GET": 2}, counted{"GET": 2},
			counted{"PUT": 1}, counted{"PUT": 1}, counted{"PUT": 1},
			counted{"GET": 1}, counted{"DELETE": 1},
		},
		{
			"with API, no OCI-Subject", registrytest.Referrers(t, registrytest.ReferrersAPI{NoSubject: true}),
			counted{"GET": 2}, counted{"GET": 2},
			counted{"PUT": 1, "GET": 1}, counted{"PUT": 1, "GET": 1}, counted{"PUT": 1, "GET": 1},
			counted{"GET": 1}, counted{"DELETE": 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(t, config(test.server.Host))
			subject := pushImage(t, c, "app", "v1", "a")
			r := NewReferrers(c)
			one, two := referring(t, c, subject, bundleType, "1"), referring(t, c, subject, notationType, "2")
			step := func(what string, expected counted, do func() error) {
				t.Helper()
				test.server.Reset()
				if err := do(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				want(t, test.server.Requests(), expected, "requests of "+what)
			}
			list := func() error {
				_, err := r.List(t.Context(), "app", subject.Digest, isOneOf([]string{bundleType}))
				return err
			}
			add := func(raw []byte) func() error {
				return func() error {
					_, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, raw)
					return err
				}
			}
			step("the first List", test.first, list)
			step("a later List", test.later, list)
			step("the first Put", test.put, add(one))
			step("a List then", test.listed, list)
			step("the second Put", test.second, add(two))
			step("a Put of what is there", test.again, add(two))
			step("a List at the end", test.listed, list)
			step("Remove", test.removed, func() error { return r.Remove(t.Context(), "app", subject.Digest, sum(two)) })
		})
	}
}

// TestReferrersBacklog: a registry with the API that has no signature yet, and
// an image after the other that has none.
func TestReferrersBacklog(t *testing.T) {
	server := registrytest.Referrers(t, registrytest.ReferrersAPI{})
	c := client(t, config(server.Host))
	r := NewReferrers(c)
	image := pushImage(t, c, "app", "v1", "a")
	server.Reset()
	for range 10 * maxFollowed {
		referrersOf(t, r, image, bundleType)
	}
	want(t, server.Requests(), map[string]int{"GET": 11 * maxFollowed}, "requests")
}

func TestReferrersInAPIAndFallback(t *testing.T) {
	server := registrytest.Referrers(t, registrytest.ReferrersAPI{NoSubject: true})
	c := client(t, config(server.Host))
	subject := pushImage(t, c, "app", "v1", "a")
	before := put(t, c, "app", "", ociManifest, encode(t, map[string]any{ // without a subject: in the index alone
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": bundleType,
		"config": wire(describe(emptyConfig, []byte("{}"))), "layers": []any{},
	}))
	pushIndex(t, c, "app", FallbackTag(subject.Digest), before)
	r := NewReferrers(c)
	old := Referrer{Descriptor: before.Descriptor, ArtifactType: bundleType}
	want(t, referrersOf(t, r, subject, bundleType), []Referrer{old}, "API empty, in the index")
	ours := attach(t, c, r, subject, bundleType, "ours")
	want(t, referrersOf(t, r, subject, bundleType), []Referrer{ours, old}, "in the API and in the index")
	if err := r.Remove(t.Context(), "app", subject.Digest, old.Digest); err != nil {
		t.Fatal(err)
	}
	want(t, referrersOf(t, r, subject, bundleType), []Referrer{ours}, "after removal")
}

// TestReferrersNotListed: an API that lists nothing of what is put, or only what
// was there before.
func TestReferrersNotListed(t *testing.T) {
	for _, frozen := range []string{"", entries(1, 1, bundleType)} {
		answer := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ociIndex)
			writeList(w, frozen)
		}
		c := client(t, config(serve(t, instead(handler(registrytest.Memory(t)), 1<<30, isReferrersPath, answer))))
		subject := pushImage(t, c, "app", "v1", "a")
		r := NewReferrers(c)
		before := referrersOf(t, r, subject, bundleType)
		ours := attach(t, c, r, subject, bundleType, "ours")
		want(t, referrersOf(t, r, subject, bundleType), append(before, ours), "listed")
		if err := r.Remove(t.Context(), "app", subject.Digest, ours.Digest); err != nil {
			t.Fatal(err)
		}
		want(t, referrersOf(t, r, subject, bundleType), before, "listed after removal")
	}
}

func isReferrersPath(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }

func TestReferrersPutRefused(t *testing.T) {
	for name, s := range referrerStores(t) {
		t.Run(name, func(t *testing.T) {
			r, subject := NewReferrers(s), pushImage(t, s, "app", "v1", "a")
			other := pushImage(t, s, "app", "v2", "b")
			raw := referring(t, s, subject, bundleType, "x")
			_, err := r.Put(t.Context(), "app", other.Digest, ociManifest, raw)
			wants(t, err, ErrCorrupt, "another subject")
			_, err = r.Put(t.Context(), "app", subject.Digest, ociIndex, raw)
			wants(t, err, ErrCorrupt, "another media type")
			_, err = r.Put(t.Context(), "../app", subject.Digest, ociManifest, raw)
			wants(t, err, ErrCorrupt, "name of a repository")
			_, err = r.Put(t.Context(), "app", v1.Hash{Algorithm: "sha256", Hex: "../x"}, ociManifest, raw)
			wants(t, err, ErrCorrupt, "digest")
			_, err = r.List(t.Context(), "../app", subject.Digest, always)
			wants(t, err, ErrCorrupt, "name of a repository")
			wants(t, r.Remove(t.Context(), "app", subject.Digest, v1.Hash{}), ErrCorrupt, "digest")
			for _, junk := range []string{"", "[]", "{}", `{"subject":3}`, `{"mediaType":"` + ociManifest + `","layers":[],"annotations":{"a":1},"subject":{"digest":"` + subject.Digest.String() + `"}}`} {
				_, err = r.Put(t.Context(), "app", subject.Digest, ociManifest, []byte(junk))
				wants(t, err, ErrCorrupt, "junk "+junk)
			}
		})
	}
}

func TestReferrersMissingBlobs(t *testing.T) {
	server := registrytest.Distribution(t)
	c := client(t, config(server.Host))
	subject := pushImage(t, c, "app", "v1", "a")
	raw := referring(t, c, subject, bundleType, "x")
	if err := os.RemoveAll(filepath.Join(server.Root, "docker/registry/v2/repositories/app/_layers")); err != nil {
		t.Fatal(err)
	}
	r := NewReferrers(c)
	_, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, raw)
	wants(t, err, ErrRejected, "blobs are gone")
	attach(t, c, r, subject, bundleType, "x") // blobs are sent again
}
