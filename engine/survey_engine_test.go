package engine_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestSurveyOfAnEngine: it ends with its context and with the engine, and does not
// take for unreadable what it had no time to read.
func TestSurveyOfAnEngine(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("all")}, nil)
	c, err := h.Survey(t.Context(), "all", func(engine.Finding) {})
	if err != nil || c.Unsigned != 1 || c.Failed != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := h.Survey(t.Context(), "other", nil); !errors.Is(err, engine.ErrPolicy) {
		t.Errorf("a policy that is not there: %v", err)
	}
	begun := make(chan struct{}, 100)
	s.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/app/tags/list" {
				begun <- struct{}{}
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	look := func(ctx context.Context, cut func(), want error) {
		t.Helper()
		var survey sync.WaitGroup
		survey.Go(func() {
			c, err := h.Survey(ctx, "all", func(f engine.Finding) { t.Errorf("found %+v", f) })
			if !errors.Is(err, want) || c.Failed != 0 || c.Repositories != 1 {
				t.Errorf("%+v, %v, want %v", c, err, want)
			}
		})
		<-begun
		cut()
		survey.Wait()
	}
	ctx, cancel := context.WithCancel(t.Context())
	look(ctx, cancel, context.Canceled)
	look(t.Context(), func() {
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}, engine.ErrStopping)
	if _, err := h.Survey(t.Context(), "all", nil); !errors.Is(err, engine.ErrStopping) {
		t.Errorf("after the engine stopped: %v", err)
	}
}
