package api_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestSurveyThatTakesTooLong says that it is not finished, and blames nobody.
func TestSurveyThatTakesTooLong(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	s.hold(t, http.MethodGet)
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	plan := want[api.Plan](t, s.as(t, viewer, http.MethodPost, "/policies/team/plan?timeout_seconds=1", ""), http.StatusOK)
	if plan.Finished || plan.Failed != 0 || plan.FindingsTotal != 0 || plan.Repositories != 1 {
		t.Errorf("plan %+v", plan)
	}
	c := want[api.Coverage](t, s.as(t, viewer, http.MethodGet, "/policies/team/coverage?timeout_seconds=1", ""), http.StatusOK)
	if c.Finished || c.Complete {
		t.Errorf("coverage %+v", c)
	}
}

// TestSurveyThatCannotRead says what it could not read.
func TestSurveyThatCannotRead(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	s.Server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/team/app/tags/list" {
				http.Error(w, "{}", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c := want[api.Coverage](t, s.as(t, viewer, http.MethodGet, "/policies/team/coverage", ""), http.StatusOK)
	if !c.Finished || c.Complete || c.Failed != 1 || len(c.Findings) != 1 || c.Findings[0].Reason != "forbidden" {
		t.Errorf("coverage %+v", c)
	}
}

// TestSurveysAreBounded: a caller has one, all have four, and they end with the
// daemon.
func TestSurveysAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	for name, registry := range map[string]string{"team": controltest.Registry, "elsewhere": controltest.Other} {
		want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering(name, registry, "team"))), http.StatusCreated)
	}
	begun, _ := s.arrivals(t)
	var callers sync.WaitGroup
	for _, token := range []string{admin, operator, viewer, tenant} {
		callers.Go(func() {
			refused(t, s.as(t, token, http.MethodPost, "/policies/team/plan", ""), http.StatusServiceUnavailable)
		})
	}
	for range 4 {
		select {
		case <-begun:
		case <-time.After(time.Minute):
			t.Fatal("no survey")
		}
	}
	for _, token := range []string{admin, operator, viewer, tenant} {
		refused(t, s.as(t, token, http.MethodGet, "/policies/team/coverage", ""), http.StatusTooManyRequests)
	}
	refused(t, s.as(t, stranger, http.MethodGet, "/policies/elsewhere/coverage", ""), http.StatusServiceUnavailable)
	s.api.Drain()
	callers.Wait()
}

// arrivals holds who lists the tags of the repository until release is called, and
// tells of each.
func (s *site) arrivals(t *testing.T) (begun <-chan struct{}, release func()) {
	t.Helper()
	arrived, gate := make(chan struct{}, 100), make(chan struct{})
	s.Server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/team/app/tags/list" {
				arrived <- struct{}{}
				select {
				case <-gate:
				case <-r.Context().Done():
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	return arrived, release
}

// TestSurveyEndsWithItsCaller: who leaves makes room.
func TestSurveyEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	begun, _ := s.arrivals(t)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+api.Prefix+"/policies/team/plan", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+viewer)
	var caller sync.WaitGroup
	caller.Go(func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			t.Errorf("answered %d", resp.StatusCode)
		}
	})
	select {
	case <-begun:
	case <-time.After(time.Minute):
		t.Error("no survey")
	}
	cancel()
	caller.Wait()
	s.Server.Intercept(func(next http.Handler) http.Handler { return next })
	registrytest.Eventually(t, time.Minute, "room for another survey", func() bool {
		return s.as(t, viewer, http.MethodPost, "/policies/team/plan", "").status == http.StatusOK
	})
}

// TestSurveyOutlivesTheServersDeadlines: its own time is what counts.
func TestSurveyOutlivesTheServersDeadlines(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	s.Server.Push(t, "team/app:v1", registrytest.Image(t))
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	begun, release := s.arrivals(t)
	server := s.impatient(t)
	var clock sync.WaitGroup
	clock.Go(func() {
		defer release()
		select {
		case <-begun:
			server.expire()
		case <-time.After(time.Minute):
			t.Error("no survey")
		}
	})
	if plan := want[api.Plan](t, s.as(t, viewer, http.MethodPost, "/policies/team/plan?timeout_seconds=300", ""), http.StatusOK); !plan.Finished {
		t.Errorf("%+v", plan)
	}
	clock.Wait()
}
