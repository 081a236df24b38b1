package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// hold lets no request of the method come to the registry until release is called.
func (s *site) hold(t *testing.T, method string) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	s.Server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method && strings.Contains(r.URL.Path, "/team/") {
				select {
				case <-gate:
				case <-r.Context().Done():
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	return release
}

// held is an execution that cannot go on until release is called.
func held(t *testing.T, s *site) (id int64, release func()) {
	t.Helper()
	for _, tag := range []string{"v1", "v2"} {
		s.Server.Push(t, "team/app:"+tag, registrytest.Image(t))
	}
	release = s.hold(t, http.MethodPut)
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	return want[journal.Execution](t, s.as(t, operator, http.MethodPost, "/policies/team/fire", ""), http.StatusAccepted).ID, release
}

// lively is a stream that often looks for news, and says that it is there.
func lively(o *api.Options) { o.Poll, o.Heartbeat = 5*time.Millisecond, 20*time.Millisecond }

// A reader reads a stream of events.
type reader struct {
	*bufio.Scanner
	resp *http.Response
}

func (s *site) follow(t *testing.T, token, path, last string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+api.Prefix+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &reader{bufio.NewScanner(resp.Body), resp}
}

// next returns the next event, or false at the end. Comments count as events without
// id if beats is true.
func (r *reader) next(t *testing.T, beats bool) (id string, x journal.Execution, ok bool) {
	t.Helper()
	for r.Scan() {
		field, value, _ := strings.Cut(r.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &x); err != nil {
				t.Fatal(err)
			}
			return id, x, true
		case "":
			if beats && value != "" {
				return "", x, true
			}
		}
	}
	return "", x, false
}

// TestEvents follows an execution to its end, and comes back.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, lively)
	id, release := held(t, s)
	path := fmt.Sprintf("/executions/%d/events", id)
	r := s.follow(t, viewer, path, "")
	if r.resp.StatusCode != http.StatusOK || r.resp.Header.Get("Content-Type") != "text/event-stream" || r.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", r.resp.StatusCode, r.resp.Header)
	}
	first, x, ok := r.next(t, false)
	if !ok || x.ID != id || x.Status.Final() || first == "" {
		t.Fatalf("first event %q %+v", first, x)
	}
	for range 3 {
		if _, _, ok := r.next(t, true); !ok {
			t.Fatal("no sign of life")
		}
	}
	release()
	var ids []string
	for {
		eventID, now, ok := r.next(t, false)
		if !ok {
			break
		}
		ids, x = append(ids, eventID), now
	}
	if x.Status != journal.Succeed || x.Counts.Succeed != 2 {
		t.Fatalf("last event %+v", x)
	}
	last := ids[len(ids)-1]
	if r := s.follow(t, viewer, path, last); r.resp.StatusCode != http.StatusNoContent {
		t.Errorf("after the last event: %d", r.resp.StatusCode)
	}
	again := s.follow(t, viewer, path, first)
	if eventID, now, ok := again.next(t, false); !ok || eventID != last || now.Status != journal.Succeed {
		t.Errorf("after the first event: %q %+v", eventID, now)
	}
	if _, _, ok := again.next(t, false); ok {
		t.Error("something follows the end")
	}
	if a := s.send(t, request{method: http.MethodHead, path: path}); a.status != http.StatusOK || len(a.body) > 0 {
		t.Errorf("HEAD: %d", a.status)
	}
}

// TestEventsAreNotRepeated: who comes back while nothing has changed gets no event.
func TestEventsAreNotRepeated(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, lively)
	id, release := held(t, s)
	path := fmt.Sprintf("/executions/%d/events", id)
	var seen string
	for r := s.follow(t, viewer, path, ""); ; { // until nothing changes any more
		eventID, x, ok := r.next(t, false)
		if !ok {
			t.Fatal("the stream ended")
		}
		seen = eventID
		if x.Counts.InProgress == 2 {
			break
		}
	}
	r := s.follow(t, viewer, path, seen)
	for range 5 {
		if eventID, x, ok := r.next(t, true); !ok || eventID != "" {
			t.Fatalf("event %q %+v, %v", eventID, x, ok)
		}
	}
	release()
	if eventID, _, ok := r.next(t, false); !ok || eventID == seen {
		t.Errorf("event %q", eventID)
	}
}

// TestStreamsAreBounded: a caller has some, others have theirs, and one that left
// makes room. None of them reads, and signing goes on.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, lively)
	id, release := held(t, s)
	path := fmt.Sprintf("/executions/%d/events", id)
	var readers []*reader
	for range 8 {
		r := s.follow(t, viewer, path, "")
		if r.resp.StatusCode != http.StatusOK {
			t.Fatal(r.resp.StatusCode)
		}
		readers = append(readers, r)
	}
	refused(t, s.as(t, viewer, http.MethodGet, path, ""), http.StatusTooManyRequests)
	if r := s.follow(t, operator, path, ""); r.resp.StatusCode != http.StatusOK {
		t.Errorf("another caller: %d", r.resp.StatusCode)
	}
	_ = readers[0].resp.Body.Close()
	registrytest.Eventually(t, time.Minute, "room for another stream", func() bool {
		r := s.follow(t, viewer, path, "")
		return r.resp.StatusCode == http.StatusOK
	})
	release()
	if x := s.Await(t, id); x.Status != journal.Succeed {
		t.Errorf("%+v", x)
	}
}

// TestDrain: streams end when the daemon stops, and no more begin.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, lively)
	id, _ := held(t, s)
	path := fmt.Sprintf("/executions/%d/events", id)
	r := s.follow(t, viewer, path, "")
	if _, _, ok := r.next(t, false); !ok {
		t.Fatal("no event")
	}
	s.api.Drain()
	for {
		if _, x, ok := r.next(t, false); !ok {
			break
		} else if x.Status.Final() {
			t.Fatal("the execution has ended")
		}
	}
	if a := s.as(t, viewer, http.MethodGet, path, ""); refused(t, a, http.StatusServiceUnavailable).Detail == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("%v", a.header)
	}
	refused(t, s.as(t, viewer, http.MethodPost, "/policies/team/plan", ""), http.StatusServiceUnavailable)
	want[journal.Execution](t, s.get(t, fmt.Sprint("/executions/", id)), http.StatusOK)
}

// TestStreamsOutliveTheServersDeadlines: those are for requests that come slowly.
func TestStreamsOutliveTheServersDeadlines(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{}, lively)
	id, release := held(t, s)
	server := s.impatient(t)
	r := s.follow(t, viewer, fmt.Sprintf("/executions/%d/events", id), "")
	if _, _, ok := r.next(t, false); !ok {
		t.Fatalf("no event: %v", r.Err())
	}
	server.expire()
	release() // what comes of it is sent after that
	for {
		_, x, ok := r.next(t, false)
		if !ok {
			t.Fatalf("ended with the server's deadline: %v", r.Err())
		}
		if x.Status.Final() {
			return
		}
	}
}
