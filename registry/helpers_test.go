package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-cmp/cmp"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/sirupsen/logrus"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's
	os.Exit(m.Run())
}

// serve starts a registry and returns its host.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func inMemory() http.Handler {
	return memory.New(memory.Logger(log.New(io.Discard, "", 0)))
}

// inDirectory is docker distribution over a directory.
func inDirectory(t *testing.T, dir string) http.Handler {
	t.Helper()
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": dir},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Catalog: configuration.Catalog{MaxEntries: 1000},
		Tags:    configuration.Tags{MaxTags: 1000},
	}
	config.HTTP.Secret = "for tests"
	config.Log.AccessLog.Disabled = true
	config.Log.Level = "error"
	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, config)
	t.Cleanup(func() {
		cancel()
		if err := app.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return app
}

// config is a plain HTTP registry with limits that do not get in the way.
func config(host string) Config {
	return Config{
		Name: "test", Host: host, Kind: KindGeneric, Insecure: true,
		Limits: Limits{RequestsPerSecond: 1e6, Concurrency: 8},
	}
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func open(t *testing.T, cfg Config) Registry {
	t.Helper()
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if closer, ok := r.(io.Closer); ok {
		t.Cleanup(func() { _ = closer.Close() })
	}
	return r
}

// an entry of a manifest made for tests.
func describe(mediaType string, content []byte) entry {
	return entry{MediaType: mediaType, Digest: sum(content).String(), Size: int64(len(content))}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pushImage writes an image whose content depends on seed.
func pushImage(t *testing.T, s Store, repository, ref, seed string) Manifest {
	t.Helper()
	return pushManifest(t, s, repository, ref, map[string]any{"schemaVersion": 2, "mediaType": ociManifest},
		ociConfig, ociLayer, seed)
}

// pushManifest adds config and one layer to fields. An empty ref stands for
// the digest.
func pushManifest(t *testing.T, s Store, repository, ref string, fields map[string]any, config, layer, seed string) Manifest {
	t.Helper()
	ctx := t.Context()
	configRaw, layerRaw := []byte(`{"seed":"`+seed+`"}`), []byte("layer "+seed)
	for _, blob := range [][]byte{configRaw, layerRaw} {
		if _, err := s.PutBlob(ctx, repository, blob); err != nil {
			t.Fatal(err)
		}
	}
	fields["config"] = wire(describe(config, configRaw))
	fields["layers"] = []any{wire(describe(layer, layerRaw))}
	return put(t, s, repository, ref, ociManifest, encode(t, fields))
}

// wire leaves out what is empty.
func wire(e entry) map[string]any {
	m := map[string]any{"mediaType": e.MediaType, "digest": e.Digest, "size": e.Size}
	if e.ArtifactType != "" {
		m["artifactType"] = e.ArtifactType
	}
	return m
}

func pushIndex(t *testing.T, s Store, repository, ref string, children ...Manifest) Manifest {
	t.Helper()
	entries := []any{}
	for _, child := range children {
		entries = append(entries, wire(entry{MediaType: child.MediaType, Digest: child.Digest.String(), Size: child.Size}))
	}
	return put(t, s, repository, ref, ociIndex, encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries,
	}))
}

func put(t *testing.T, s Store, repository, ref, mediaType string, raw []byte) Manifest {
	t.Helper()
	if ref == "" {
		ref = sum(raw).String()
	}
	digest, err := s.PutManifest(t.Context(), repository, ref, mediaType, raw)
	if err != nil {
		t.Fatal(err)
	}
	return Manifest{Descriptor: Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(raw))}, Raw: raw}
}

// want compares got with want and says how they differ.
func want[T any](t *testing.T, got, want T, what string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// counts returns how many requests of each kind were sent between two calls.
func counts(s interface{ Requests() Counters }) func() map[string]int64 {
	before := s.Requests()
	return func() map[string]int64 {
		now := s.Requests()
		diff := map[string]int64{}
		for request, n := range now {
			if n -= before[request]; n > 0 {
				diff[request.Method+" "+request.Status] = n
			}
		}
		before = now
		return diff
	}
}

// answers lets the first n requests that match get another answer.
type answers struct {
	inner  http.Handler
	match  func(*http.Request) bool
	left   atomic.Int64
	answer http.HandlerFunc
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.match(r) && a.left.Add(-1) >= 0 {
		a.answer(w, r)
		return
	}
	a.inner.ServeHTTP(w, r)
}

func instead(inner http.Handler, n int64, match func(*http.Request) bool, answer http.HandlerFunc) http.Handler {
	a := &answers{inner: inner, match: match, answer: answer}
	a.left.Store(n)
	return a
}

func isManifestPath(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

func artifacts(t *testing.T, i Inventory, q Query) (list []Artifact) {
	t.Helper()
	for a, err := range i.Artifacts(t.Context(), q) {
		if err != nil {
			t.Fatalf("%v: %v", a, err)
		}
		list = append(list, a)
	}
	return list
}

func always(string) bool { return true }

func jsonBody(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, bytes.NewBufferString(body))
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"errors":[{"code":"TESTED","message":"status %d"}]}`, code)
	}
}
