package control_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// read asks for something by a token, and returns the answer with REQUEST for its id.
func (g *gallery) read(ctx context.Context, path, token string) (answer, id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+path, nil)
	if err != nil {
		return "", "", err
	}
	req.Header.Set("X-Auth-Token", token)
	if strings.HasPrefix(path, "/api/") {
		req.Header = http.Header{"Authorization": {"Bearer " + token}}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	id = resp.Header.Get("X-Request-Id")
	return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Content-Type"), " ", resp.Header.Get("ETag"), " ", strings.ReplaceAll(string(body), id, "REQUEST")), id, err
}

// TestSameLook: many who ask for the same while others have their turn are answered by one
// read, if they see the same; who does not gets what it sees, and each its own request id.
func TestSameLook(t *testing.T) {
	var entered atomic.Int64
	g := newGallery(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { entered.Add(1); h.ServeHTTP(w, r) })
	})
	var ids []int64
	for _, registry := range []string{controltest.Registry, controltest.Other} {
		p := policy.Policy{Name: "in-" + registry, Registry: registry, Namespace: "team", Key: controltest.Key, Trigger: policy.Trigger{Type: policy.Manual},
			Scope: []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Matches: []string{"**"}}}}}
		stored, err := g.Engine.CreatePolicy(t.Context(), journal.StoredPolicy{Policy: p, Origin: journal.FromSWR, Label: p.Name, Creator: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, stored.ID)
	}
	instance := "/v2/p/instances/" + controltest.Instance
	paths := []string{
		"/api/v1/policies", "/api/v1/policies?limit=1", "/api/v1/policies/in-" + controltest.Registry, "/api/v1/policies/none", "/api/v1/audit",
		instance + "/signature/policies", fmt.Sprint(instance, "/namespaces/team/signature/policies/", ids[0]), instance + "/namespaces/team/signature/policies/none",
	}
	const each = 3
	tokens := []string{controltest.AdminToken, controltest.ViewerToken, controltest.StrangerToken, adminsTwin, strangersTwin}
	alone := map[string]string{}
	for _, token := range tokens {
		for _, path := range paths {
			answer, _, err := g.read(t.Context(), path, token)
			if err != nil {
				t.Fatal(err)
			}
			alone[path+" "+token] = answer
		}
	}
	if alone[paths[0]+" "+tokens[0]] == alone[paths[0]+" "+tokens[2]] {
		t.Fatal("both see the same")
	}
	before := g.gave.Load()
	entered.Store(0)

	leave := g.TakeTurns(t)
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for _, token := range tokens {
		for _, path := range paths {
			for range each {
				all.Go(func() {
					answer, id, err := g.read(t.Context(), path, token)
					mu.Lock()
					defer mu.Unlock()
					if d := cmp.Diff(alone[path+" "+token], answer); d != "" || err != nil || id == "" || seen[id] {
						t.Errorf("%s as %.6s, request %s: %s%v", path, token, id, d, err)
					}
					seen[id] = true
				})
			}
		}
	}
	// The viewer's look at the audit log, and a stranger's at an instance that it does not
	// see, are refused at once. Of strangers each waits for itself.
	ownPaths, vendorPaths := int64(len(paths)-3), int64(3)
	own, vendors := ownPaths+(ownPaths-1)+2*ownPaths, 2*vendorPaths
	registrytest.Eventually(t, time.Minute, "one of each wait, and all have come", func() bool {
		return g.ahead.Load() >= rights.JournalTurns+slots+own+vendors && entered.Load() == int64(each*len(tokens)*len(paths))
	})
	time.Sleep(500 * time.Millisecond) // until the others have joined
	leave()
	all.Wait()
	const late = 5                                                               // may come when what they ask for has begun
	if n := g.gave.Load() - before; n > rights.JournalTurns+2*own+vendors+late { // our own API's have a slot and then a turn
		t.Errorf("%d turns and slots for %d reads that are not the same", n, own+vendors)
	}
}
