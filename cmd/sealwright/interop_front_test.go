//go:build interop

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// front starts a server before the registry at host, which sees every request
// first and passes on what it does not answer.
func front(t *testing.T, host string, wrap func(next http.Handler) http.Handler) *registrytest.Server {
	t.Helper()
	upstream := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: host})
		r.Out.Host = r.In.Host // registries build the addresses of uploads from it
	}}
	server := httptest.NewServer(wrap(upstream))
	t.Cleanup(server.Close)
	return &registrytest.Server{Host: strings.TrimPrefix(server.URL, "http://")}
}

// startOlareg starts olareg, a registry by the author of regclient that has the
// referrers API and keeps all in memory, and before it what it has not: the
// catalog.
func startOlareg(t *testing.T) *registrytest.Server {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := free.Addr().String()
	_, port, _ := net.SplitHostPort(host)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "OLAREG"), "serve", "--addr", "127.0.0.1", "--port", port, "--store-type", "mem", "--api-delete")
	cmd.Dir = t.TempDir()
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	registrytest.Eventually(t, 30*time.Second, "olareg answers", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return front(t, host, func(next http.Handler) http.Handler { return &catalog{next: next} })
}

// A catalog lists the repositories that manifests were put into.
type catalog struct {
	next http.Handler

	mu           sync.Mutex
	repositories []string
}

// ServeHTTP implements http.Handler.
func (c *catalog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, _, isManifest := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	switch {
	case r.URL.Path == "/v2/_catalog":
		c.mu.Lock()
		defer c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"repositories": c.repositories})
		return
	case r.Method == http.MethodPut && isManifest:
		c.mu.Lock()
		if at, found := slices.BinarySearch(c.repositories, repository); !found {
			c.repositories = slices.Insert(c.repositories, at, repository)
		}
		c.mu.Unlock()
	}
	c.next.ServeHTTP(w, r)
}

// A refusal is how a registry says that a tag cannot change; %s is the tag.
type refusal struct {
	status        int
	code, message string
}

// immutable refuses to change tags of cosign signatures.
type immutable struct {
	next    http.Handler
	refusal refusal
}

// ServeHTTP implements http.Handler.
func (i *immutable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if r.Method == http.MethodPut && strings.HasSuffix(tag, ".sig") && strings.Contains(r.URL.Path, "/manifests/") && i.has(r) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(i.refusal.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{
			"code": i.refusal.code, "message": fmt.Sprintf(i.refusal.message, tag)}}})
		return
	}
	i.next.ServeHTTP(w, r)
}

// has asks the registry whether it has what r wants to write.
func (i *immutable) has(r *http.Request) bool {
	ask := httptest.NewRequestWithContext(r.Context(), http.MethodHead, r.URL.Path, nil)
	ask.Host = r.Host
	ask.Header.Set("Accept", r.Header.Get("Content-Type"))
	answer := httptest.NewRecorder()
	i.next.ServeHTTP(answer, ask)
	return answer.Code == http.StatusOK
}
