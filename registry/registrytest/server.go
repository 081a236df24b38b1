// Package registrytest runs real registries inside a test, fills them with
// images, counts what is asked of them, and breaks them on purpose.
package registrytest

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver named below
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/sirupsen/logrus"
)

// A Server is a registry that listens on loopback for the length of a test.
type Server struct {
	// Host is HOST:PORT, for plain HTTP.
	Host string
	// Root is the directory of its storage; empty for Memory.
	Root string

	handler   http.Handler
	intercept atomic.Pointer[http.Handler]

	mu     sync.Mutex
	counts map[string]int
	log    []string
}

// quiet keeps distribution's logs out of test output; its logger is global.
var quiet = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// Distribution starts a distribution v3 registry on a new directory. Unlike
// Memory it pages its listings.
func Distribution(t testing.TB) *Server {
	t.Helper()
	quiet()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	root := t.TempDir()
	s := start(t, distributionOn(ctx, root))
	s.Root = root
	return s
}

// Notifying is Distribution that tells of what is pushed at url, with that
// Authorization header.
func Notifying(t testing.TB, url, authorization string) *Server {
	t.Helper()
	quiet()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	root := t.TempDir()
	s := start(t, distributionOn(ctx, root, configuration.Endpoint{Name: "sealwright", URL: url, Timeout: 5 * time.Second,
		Headers: http.Header{"Authorization": {authorization}}, Threshold: 3, Backoff: 100 * time.Millisecond}))
	s.Root = root
	return s
}

func distributionOn(ctx context.Context, root string, notified ...configuration.Endpoint) http.Handler {
	cfg := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": root},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
			"delete":      configuration.Parameters{"enabled": true},
		},
		Catalog: configuration.Catalog{MaxEntries: 1000},
	}
	cfg.Notifications.EventConfig.IncludeReferences = true
	cfg.Notifications.Endpoints = notified
	cfg.HTTP.Secret = "test"
	cfg.Log.AccessLog.Disabled = true
	cfg.Log.Level = "panic"
	return handlers.NewApp(ctx, cfg)
}

// Memory starts go-containerregistry's registry, which keeps everything in
// memory and does not page.
func Memory(t testing.TB) *Server {
	t.Helper()
	return start(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
}

func start(t testing.TB, h http.Handler) *Server {
	s := &Server{handler: h, counts: map[string]int{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.Host = strings.TrimPrefix(srv.URL, "http://")
	return s
}

// ServeHTTP counts a request and passes it on, through what Intercept set.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.counts[r.Method]++
	s.log = append(s.log, r.Method+" "+r.URL.RequestURI())
	s.mu.Unlock()
	if h := s.intercept.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// Intercept puts what wrap returns in front of the registry; nil removes it.
func (s *Server) Intercept(wrap func(registry http.Handler) http.Handler) {
	if wrap == nil {
		s.intercept.Store(nil)
		return
	}
	h := wrap(s.handler)
	s.intercept.Store(&h)
}

// Reset forgets the requests counted so far.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.log = map[string]int{}, nil
}

// Requests returns how many requests came since the last Reset, by verb.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.counts))
	for verb, n := range s.counts {
		out[verb] = n
	}
	return out
}

// Log returns the requests since the last Reset as "VERB /path?query".
func (s *Server) Log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// Storage is the directory that a distribution registry's operator would name.
func (s *Server) Storage() string { return filepath.Clean(s.Root) }
