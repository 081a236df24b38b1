package registry

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestReach: whatever a registry says, it has answered; but not that it cannot.
func TestReach(t *testing.T) {
	t.Parallel()
	for status, reached := range map[int]bool{200: true, 401: true, 403: true, 404: true, 429: false, 500: false, 503: false} {
		c := client(t, config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" || r.Header.Get("Authorization") != "" {
				t.Errorf("%s with %q", r.URL, r.Header.Get("Authorization"))
			}
			w.WriteHeader(status)
		}))))
		patience := time.Minute
		if !reached { // it is asked again until then
			patience = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.Reach(ctx); (err == nil) != reached {
			t.Errorf("%d: %v", status, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := client(t, config("127.0.0.1:1")).Reach(ctx); !errors.Is(err, ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestReachSendsOneRequest, with a login configured and on a registry that finds
// out its kind, too.
func TestReachSendsOneRequest(t *testing.T) {
	t.Parallel()
	cfg := withPassword(serve(t, newTokenServer(inMemory())))
	cfg.Kind = KindAuto
	r := open(t, cfg)
	wants(t, r.Reach(t.Context()), nil, "reach")
	want(t, r.Requests().Total(), int64(1), "requests")
}

func TestReachDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, Config{Name: "layouts", Host: layoutScheme + dir, Kind: KindOCILayout})
	wants(t, r.Reach(t.Context()), nil, "reach")
	closeAll(r)
	if err := r.Reach(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
