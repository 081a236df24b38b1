package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestStanding: it takes both a failure and a record that has waited for long for a sink
// to fail.
func TestStanding(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		entries int64
		waits   time.Duration
		said    string
		want    string // empty: well
		lags    bool
	}{
		"nothing to do":           {0, 0, "", "", false},
		"nothing left to do":      {0, 0, "answered 500", "", false},
		"just come":               {3, time.Second, "", "", false},
		"down":                    {3, time.Minute, "answered 500", "lagging: 3 records are not delivered, the oldest for 1m0s: answered 500", true},
		"down for long":           {3, 15 * time.Minute, "answered 500", "3 records are not delivered, the oldest for 15m0s: answered 500", false},
		"nearly for long":         {3, 15*time.Minute - time.Second, "answered 500", "lagging: 3 records are not delivered, the oldest for 14m59s: answered 500", true},
		"catching up":             {100_000, 48 * time.Hour, "", "lagging: 100000 records are not delivered, the oldest for 48h0m0s", true},
		"a clock that went back":  {1, -time.Hour, "", "", false},
		"down, with another time": {1, -time.Hour, "down", "lagging: 1 records are not delivered, the oldest for -1h0m0s: down", true},
	} {
		left := journal.Undelivered{Entries: c.entries}
		if c.entries > 0 {
			left.Oldest = now.Add(-c.waits)
		}
		err := standing(left, sink.Counts{LastError: c.said}, now)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want || errors.Is(err, engine.ErrLagging) != c.lags {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestReadyWithSinks: the daemon says how its sinks stand. One that has been down for a
// minute does not make it unready, one that has for an hour does with ?strict alone.
func TestReadyWithSinks(t *testing.T) {
	t.Parallel()
	for state, c := range map[string]struct {
		ago    time.Duration
		detail string
		ready  bool
	}{
		"lagging": {time.Minute, "1 records are not delivered, the oldest for 1m", true},
		"failing": {time.Hour, "1 records are not delivered, the oldest for 1h0m", false},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			h, closed := newHouse(t), newRecipient(t)
			h.configure(fmt.Sprintf(manual, "all"))
			h.sinks(closed.URL)
			h.signedBefore(c.ago)
			d := h.start()
			defer d.stop()
			h.wantSink("archive", "ok", "", c.ready)
			h.wantSink("siem", state, c.detail, c.ready)
			closed.mu.Lock()
			closed.open = true
			closed.mu.Unlock()
			h.wantSink("siem", "ok", "", true)
		})
	}
}

// signedBefore makes a record that became final so long ago.
func (h *house) signedBefore(ago time.Duration) {
	h.t.Helper()
	ctx := h.t.Context()
	j, err := journal.Open(ctx, journal.Options{State: h.path("state"), Now: func() time.Time { return time.Now().Add(-ago) }})
	if err != nil {
		h.t.Fatal(err)
	}
	x, _, err := j.Fire(ctx, journal.Firing{Policy: "all", Lane: journal.Live})
	if err == nil {
		err = j.AddTasks(ctx, x.ID, []string{"library/app"})
	}
	tasks, tasksErr := j.Tasks(ctx, x.ID, 0, 1)
	if err = errors.Join(err, tasksErr); err != nil {
		h.t.Fatal(err)
	}
	s := journal.Subtask{ExecutionID: x.ID, TaskID: tasks[0].ID, Repository: "library/app", Digest: "sha256:" + strings.Repeat("1", 64)}
	c, err := j.Begin(ctx, "test", s, []journal.Record{{Policy: "all", Format: policy.FormatCosign}}, time.Minute)
	if err == nil {
		c.Subtask.Status, c.Records[0].State = journal.Succeed, journal.Signed
		err = j.End(ctx, c)
	}
	if err = errors.Join(err, j.Close()); err != nil {
		h.t.Fatal(err)
	}
}

// wantSink waits until the control socket says how a sink stands, and whether ?strict
// finds all well.
func (h *house) wantSink(name, state, detail string, ready bool) {
	h.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path("state/control.sock"))
	}}}
	ask := func(path string) (code int, report control.HealthReport) {
		resp, err := client.Get("http://control" + path)
		if err != nil {
			h.t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
			h.t.Fatal(err)
		}
		return resp.StatusCode, report
	}
	registrytest.Eventually(h.t, patience, fmt.Sprintf("sink %s is %s", name, state), func() bool {
		code, report := ask("/readyz?strict")
		for _, c := range report.Checks {
			if c.Kind == engine.SinkDependency && c.Name == name {
				return c.State == state && strings.Contains(c.Error, detail) && c.AgeSeconds != nil && report.Ready == ready && (code == http.StatusOK) == ready
			}
		}
		return false
	})
	if code, _ := ask("/readyz"); code != http.StatusOK {
		h.t.Errorf("not ready without ?strict: %d", code)
	}
}
