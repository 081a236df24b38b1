//go:build bench

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

// benchTasks is how many repositories an engine works on at once.
const benchTasks = 8

// walked is what one walk took.
type walked struct {
	took     time.Duration
	requests float64 // as we count them
	logged   float64 // as the registry does
}

// measureWalk walks the registry with our inventory.
func (b *bench) measureWalk(reg *benchRegistry, kind string, artifacts int) walked {
	b.t.Helper()
	reg.log.take()
	w := walkAll(b.t, registry.Config{Kind: kind, Host: reg.host}, artifacts)
	own, shared := reg.log.take()
	w.logged = own + shared
	return w
}

// walkAll lists all artifacts of all repositories with our inventory, as an
// engine does: several repositories at once, within one budget, whose rate here
// never is what is measured.
func walkAll(t *testing.T, cfg registry.Config, artifacts int) walked {
	t.Helper()
	cfg.Name, cfg.Insecure = "bench", true
	cfg.Limits = registry.Limits{RequestsPerSecond: 100_000, Concurrency: benchWorkers}
	r, err := registry.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	repositories := make(chan string, benchTasks)
	var found atomic.Int64
	var wg sync.WaitGroup
	for range benchTasks {
		wg.Go(func() {
			for repository := range repositories {
				q := registry.Query{Repository: repository, Tags: func(string) bool { return true }}
				for a, err := range r.Artifacts(t.Context(), q) {
					if err != nil || a.Digest == (v1.Hash{}) {
						t.Errorf("walking %s: %+v, %v", repository, a, err)
						continue
					}
					found.Add(1)
				}
			}
		})
	}
	for repository, err := range r.Repositories(t.Context()) {
		if err != nil {
			t.Errorf("listing repositories: %v", err)
			break
		}
		repositories <- repository
	}
	close(repositories)
	wg.Wait()
	w := walked{took: time.Since(begun), requests: float64(r.Requests().Total())}
	if found.Load() != int64(artifacts) {
		t.Fatalf("found %d artifacts of %d", found.Load(), artifacts)
	}
	return w
}

// measureWalkLimit walks the registry with the least that lists the same tags
// and asks for the same manifests: no order, no cursor, no budget, no retries.
func (b *bench) measureWalkLimit(reg *benchRegistry, artifacts int) walked {
	b.t.Helper()
	reg.log.take()
	base := &http.Transport{MaxIdleConnsPerHost: benchWorkers, DisableCompression: true}
	defer base.CloseIdleConnections()
	l := walkLimit{client: &http.Client{Transport: base}, host: reg.host}
	begun := time.Now()
	var catalog struct{ Repositories []string }
	if err := l.get("/v2/_catalog?n=1000", &catalog); err != nil {
		b.t.Fatal(err)
	}
	repositories := make(chan string, benchWorkers)
	var wg sync.WaitGroup
	for range benchWorkers {
		wg.Go(func() {
			for repository := range repositories {
				if err := l.repository(repository); err != nil {
					b.t.Errorf("the limit: %s: %v", repository, err)
				}
			}
		})
	}
	for _, repository := range catalog.Repositories {
		repositories <- repository
	}
	close(repositories)
	wg.Wait()
	w := walked{took: time.Since(begun), requests: float64(l.sent.Load())}
	own, shared := reg.log.take()
	w.logged = own + shared
	if l.found.Load() != int64(artifacts) || w.logged != w.requests {
		b.t.Fatalf("the limit found %d artifacts of %d, with %v requests, %v logged", l.found.Load(), artifacts, w.requests, w.logged)
	}
	return w
}

// A walkLimit is the bare walker beside which our inventory is measured.
type walkLimit struct {
	client      *http.Client
	host        string
	found, sent atomic.Int64
}

func (l *walkLimit) repository(name string) error {
	var list struct{ Tags []string }
	if err := l.get("/v2/"+name+"/tags/list?n=1000", &list); err != nil {
		return err
	}
	for _, tag := range list.Tags {
		resp, err := l.do(http.MethodHead, "/v2/"+name+"/manifests/"+tag)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.Header.Get("Docker-Content-Digest") == "" {
			return fmt.Errorf("no digest for %s", tag)
		}
		l.found.Add(1)
	}
	return nil
}

func (l *walkLimit) get(path string, v any) error {
	resp, err := l.do(http.MethodGet, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func (l *walkLimit) do(method, path string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+l.host+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	l.sent.Add(1)
	resp, err := l.client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return resp, err
}
