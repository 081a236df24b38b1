package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/event"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// onPush is a policy that covers all tags, and fires when they are pushed.
func onPush(name string) policy.Policy {
	p := everything(name)
	p.Trigger.Type = policy.EventBased
	return p
}

// receive hands pushes to the engine and wants that receipt.
func (h *house) receive(want engine.Receipt, pushes ...event.Push) {
	h.t.Helper()
	got, err := h.Receive(h.t.Context(), "delivery", "test", pushes)
	if err != nil || got != want {
		h.t.Fatalf("receipt %+v, %v, want %+v", got, err, want)
	}
}

// drained waits until no push waits, and returns the policy's executions, the
// newest first.
func (h *house) drained(name string) []journal.Execution {
	h.t.Helper()
	h.until("no push waits", func() bool {
		n, _, err := h.Waiting(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		return n == 0
	})
	xs, err := h.journal.Executions(h.t.Context(), journal.ExecutionFilter{Policy: name, Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	return xs
}

func TestAPushIsSigned(t *testing.T) {
	s := registrytest.Memory(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	s.Push(t, "app:dev", registrytest.Image(t))
	p := onPush("p")
	p.Scope[0].Tags = matches("v*")
	disabled, off := onPush("off"), false
	disabled.Enabled = &off
	var mu sync.Mutex
	var latencies []time.Duration
	h := build(t, s, []policy.Policy{p, everything("by-hand"), disabled}, func(o *engine.Options) {
		o.PushToSigned = func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, d)
		}
	})
	h.receive(engine.Receipt{New: 1, Uncovered: 2}, event.Push{Repository: "app", Tag: "v1", At: time.Now().Add(-time.Hour)},
		event.Push{Repository: "app", Tag: "dev"}, event.Push{Repository: "app", Digest: digest.String()})
	xs := h.drained("p")
	if len(xs) != 1 || xs[0].Trigger != policy.EventBased {
		t.Fatalf("executions %+v", xs)
	}
	wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	wantOneSignatureEach(t, s, []v1.Hash{digest})
	mu.Lock()
	defer mu.Unlock()
	if len(latencies) != 1 || latencies[0] < time.Hour || latencies[0] > time.Hour+time.Minute {
		t.Errorf("push-to-signed %v, want an hour and a little", latencies)
	}
	if r, err := h.Receive(t.Context(), "", "another", []event.Push{{Repository: "app", Tag: "v1"}}); err != nil || r != (engine.Receipt{Uncovered: 1}) {
		t.Errorf("another registry's push: %+v, %v", r, err)
	}
}

// TestRequestsOfRecords: a record says which request asked for it: the delivery that told
// of what was signed, not the one that began the execution; or what fired the execution,
// which for a schedule and a command is an id of its own.
func TestRequestsOfRecords(t *testing.T) {
	t.Parallel()
	s := registrytest.Distribution(t)
	tagged := []v1.Hash{s.Push(t, "app:v1", registrytest.Image(t)), s.Push(t, "app:v2", registrytest.Image(t))}
	img := registrytest.Image(t)
	untagged := s.Push(t, "app@"+registrytest.Digest(t, img).String(), img)
	pushed, nightly := onPush("pushed"), everything("nightly")
	pushed.Scope[0].Untagged = true
	pushed.Scope[0].Repositories = matches("app")
	nightly.Trigger = policy.Trigger{Type: policy.Scheduled, Cron: "* * * * * *"}
	nightly.Scope[0].Repositories = matches("night")
	night := s.Push(t, "night:v1", registrytest.Image(t))
	h := &house{t: t, server: s, key: newKey(t)}
	r := open(t, s, func(c *registry.Config) { c.Kind, c.Storage = "distribution", s.Storage() })
	h.start(filepath.Join(t.TempDir(), "state"), r, []policy.Policy{pushed, nightly}, func(o *engine.Options) { o.Settling = time.Millisecond })
	for id, push := range map[string]event.Push{"first": {Repository: "app", Tag: "v1"}, "second": {Repository: "app", Tag: "v2"}, "third": {Repository: "app", Digest: untagged.String()}} {
		if _, err := h.Receive(t.Context(), id, "test", []event.Push{push}); err != nil {
			t.Fatal(err)
		}
	}
	h.drained("pushed")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.Schedule(ctx)
	asked := func(digest v1.Hash) string {
		rs, err := h.journal.Records(t.Context(), journal.RecordFilter{Digest: digest.String()})
		if err != nil || len(rs) > 1 {
			t.Fatalf("%d records of %s, %v", len(rs), digest, err)
		}
		if len(rs) == 0 {
			return ""
		}
		if x := h.await(rs[0].ExecutionID); x.RequestID != rs[0].RequestID && x.Trigger != policy.EventBased {
			t.Errorf("asked for by %q in an execution for %q", rs[0].RequestID, x.RequestID)
		}
		return rs[0].RequestID
	}
	h.until("the schedule signs", func() bool { return asked(night) != "" })
	for digest, want := range map[v1.Hash]string{tagged[0]: "first", tagged[1]: "second", untagged: "third"} {
		if got := asked(digest); got != want {
			t.Errorf("asked for by %q, want %q", got, want)
		}
	}
	if x := h.fire("nightly"); x.RequestID == "" || x.RequestID == asked(night) {
		t.Errorf("fired by a command for %q, by schedule for %q", x.RequestID, asked(night))
	}
}

// The same push again, also much later, costs no use of the key.
func TestReplayedPushes(t *testing.T) {
	s := registrytest.Memory(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	h, _, _ := remembering(t, s, onPush("p"))
	push := event.Push{Repository: "app", Tag: "v1", At: time.Now()}
	for range 3 {
		if _, err := h.Receive(t.Context(), "", "test", []event.Push{push, push}); err != nil {
			t.Fatal(err)
		}
		h.drained("p")
	}
	if n := h.key.uses.Load(); n != 1 {
		t.Errorf("%d key uses, want 1", n)
	}
}

// A push is not lost with the process that took it.
func TestPushesOutliveTheProcess(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 3)
	state := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{State: state})
	if err != nil {
		t.Fatal(err)
	}
	// An engine that takes pushes and does nothing about them, as if it died then.
	dead := engine.New(engine.Options{Journal: j, Setup: newSetup(t, s, onPush("p")), Log: logger(t)})
	for i := range digests {
		if _, err := dead.Receive(t.Context(), "", "test", []event.Push{{Repository: "app", Tag: fmt.Sprintf("v%d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, server: s, key: newKey(t)}
	h.start(state, open(t, s, nil), []policy.Policy{onPush("p")}, nil)
	h.drained("p")
	wantOneSignatureEach(t, s, digests)
}

// A push that cannot be dealt with is tried again, whatever is in the way.
func TestPushesWaitForWhatFails(t *testing.T) {
	t.Run("registry", func(t *testing.T) {
		s := registrytest.Memory(t)
		digest := s.Push(t, "app:v1", registrytest.Image(t))
		var refused atomic.Int64
		intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") || refused.Add(1) > 2 {
				return false
			}
			http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
			return true
		})
		h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 50 * time.Millisecond })
		h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1"})
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
		wantOneSignatureEach(t, s, []v1.Hash{digest})
	})
	t.Run("key", func(t *testing.T) {
		s := registrytest.Memory(t)
		digest := s.Push(t, "app:v1", registrytest.Image(t))
		h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 50 * time.Millisecond })
		var uses atomic.Int64
		h.key.fail = func() error {
			if uses.Add(1) > 2 {
				return nil
			}
			return kms.ErrDisabled
		}
		h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1"})
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
		wantOneSignatureEach(t, s, []v1.Hash{digest})
	})
	t.Run("resolving", func(t *testing.T) {
		s := registrytest.Memory(t)
		digest := s.Push(t, "app:v1", registrytest.Image(t))
		var refused atomic.Int64
		intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !strings.HasSuffix(r.URL.Path, "/manifests/v1") || refused.Add(1) > 2 {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 50 * time.Millisecond })
		h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1"})
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
		wantOneSignatureEach(t, s, []v1.Hash{digest})
	})
	t.Run("for good", func(t *testing.T) {
		s := registrytest.Memory(t)
		h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 20 * time.Millisecond })
		intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", "sha512:0")
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			return true
		})
		h.receive(engine.Receipt{New: 2}, event.Push{Repository: "app", Tag: "v1"}, event.Push{Repository: "app", Tag: "gone"})
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Failed, map[string]int64{engine.ReasonCorrupt: 1, engine.ReasonGone: 1})
	})
}

// Registries tell of a push before they set its tag, as CNCF distribution does:
// until then the tag names nothing, or what it named before.
func TestPushesAreToldOfBeforeTheyAreThere(t *testing.T) {
	for name, before := range map[string]bool{"new tag": false, "moved tag": true} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.Memory(t)
			var digests []v1.Hash
			if before {
				digests = append(digests, s.Push(t, "app:v1", registrytest.Image(t)))
			}
			var looked atomic.Int64
			intercept(s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method == http.MethodHead && r.URL.Path == "/v2/app/manifests/v1" {
					looked.Add(1)
				}
				return false
			})
			h, _, _ := remembering(t, s, onPush("p"))
			if before {
				h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1", Digest: digests[0].String()})
				h.drained("p")
			}
			looked.Store(0)
			img := registrytest.Image(t)
			digest := registrytest.Digest(t, img)
			h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1", Digest: digest.String()})
			h.until("the tag is looked at", func() bool { return looked.Load() > 0 })
			s.Push(t, "app:v1", img)
			h.drained("p")
			wantOneSignatureEach(t, s, append(digests, digest))
		})
	}
	t.Run("a tag that moved on", func(t *testing.T) {
		s := registrytest.Memory(t)
		digest := s.Push(t, "app:v1", registrytest.Image(t))
		var looked atomic.Int64
		intercept(s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method == http.MethodHead && r.URL.Path == "/v2/app/manifests/v1" {
				looked.Add(1)
			}
			return false
		})
		h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 20 * time.Millisecond })
		h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1", Digest: registrytest.Digest(t, registrytest.Image(t)).String()})
		h.drained("p")
		wantOneSignatureEach(t, s, []v1.Hash{digest})
		if n := looked.Load(); n != 6 { // five looks, and one whether it moved while it was signed
			t.Errorf("the tag was resolved %d times, want 6", n)
		}
	})
}

// A push does not wait for a run that goes on, of the same policy too.
func TestPushesDoNotWaitForRuns(t *testing.T) {
	s := registrytest.Memory(t)
	pushSome(t, s, 20)
	pushed := s.Push(t, "pushed:v1", registrytest.Image(t))
	hold := make(chan struct{})
	var held atomic.Int64
	intercept(s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/app/manifests/sha256-") && held.Add(1) <= 4 { // half of what may be under way
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		return false
	})
	h := build(t, s, []policy.Policy{onPush("p")}, nil)
	x, err := h.Fire(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	h.until("a request is held", func() bool { return held.Load() > 0 })
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "pushed", Tag: "v1"})
	h.drained("p")
	if n := s.Signatures(t, "pushed", pushed); n != 1 {
		t.Errorf("%d signatures of what was pushed while a run waits", n)
	}
	close(hold)
	if x := h.await(x.ID); x.Status != journal.Succeed {
		t.Errorf("the run ended %+v", x)
	}
}

// A flood is absorbed: every tag is looked at, each artifact signed once, and a
// run in the backlog goes on meanwhile.
func TestFlood(t *testing.T) {
	s := registrytest.Memory(t)
	const repositories, tags, events, senders = 10, 5, 10_000, 50
	digests := map[string]v1.Hash{}
	for i := range repositories {
		for j := range tags {
			ref := fmt.Sprintf("app%d:v%d", i, j)
			digests[ref] = s.Push(t, ref, registrytest.Image(t))
		}
	}
	backlog := pushSome(t, s, 5)
	p := onPush("p")
	p.Scope[0].Repositories = matches("app?")
	scheduled := everything("backlog")
	scheduled.Scope[0].Repositories = matches("app")
	h := build(t, s, []policy.Policy{p, scheduled}, nil)
	x, err := h.Fire(t.Context(), "backlog")
	if err != nil {
		t.Fatal(err)
	}
	var next, fresh, known atomic.Int64
	var flood sync.WaitGroup
	for range senders {
		flood.Go(func() {
			for n := next.Add(1); n <= events; n = next.Add(1) {
				r, err := h.Receive(t.Context(), "", "test", []event.Push{{Repository: fmt.Sprintf("app%d", n%repositories), Tag: fmt.Sprintf("v%d", n/repositories%tags)}})
				if err != nil {
					t.Error(err)
				}
				fresh.Add(int64(r.New))
				known.Add(int64(r.Known))
			}
		})
	}
	flood.Wait()
	if fresh.Load()+known.Load() != events {
		t.Errorf("%d new and %d known pushes of %d", fresh.Load(), known.Load(), events)
	}
	h.drained("p")
	if x := h.await(x.ID); x.Status != journal.Succeed {
		t.Errorf("the run in the backlog ended %+v", x)
	}
	for ref, d := range digests {
		repository, _, _ := strings.Cut(ref, ":")
		if n := s.Signatures(t, repository, d); n != 1 {
			t.Errorf("%s has %d signatures", ref, n)
		}
	}
	wantOneSignatureEach(t, s, backlog)
	if n := h.key.uses.Load(); n != int64(len(digests)+len(backlog)) {
		t.Errorf("%d key uses for %d artifacts", n, len(digests)+len(backlog))
	}
}

// Pushes wait for a process that knows their policy: another replica took them.
func TestPushesOfAnUnknownPolicy(t *testing.T) {
	off, no := onPush("p"), false
	off.Enabled = &no
	for name, unknown := range map[string]policy.Policy{"another": onPush("other"), "disabled": off} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.Memory(t)
			digest := s.Push(t, "app:v1", registrytest.Image(t))
			h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff = 20 * time.Millisecond })
			h.key.fail = func() error { return kms.ErrUnavailable }
			h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1"})
			h.until("the key is used", func() bool { return h.key.uses.Load() > 0 })
			task := func() journal.Task {
				xs, err := h.journal.Executions(t.Context(), journal.ExecutionFilter{Policy: "p", Limit: 1})
				if err != nil || len(xs) != 1 {
					t.Fatal(xs, err)
				}
				tasks, err := h.journal.Tasks(t.Context(), xs[0].ID, 0, 0)
				if err != nil || len(tasks) != 1 {
					t.Fatal(tasks, err)
				}
				return tasks[0]
			}
			before := task()
			h.replace(newSetup(t, s, unknown))
			h.until("a job was at it; were it dropped, it would be now", func() bool { return task().UpdatedAt.After(before.UpdatedAt) })
			if now := task(); now.Status.Final() {
				t.Fatalf("the push was dropped: %+v", now)
			}
			h.replace(newSetup(t, s, onPush("p")))
			xs := h.drained("p")
			wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
			wantOneSignatureEach(t, s, []v1.Hash{digest})
		})
	}
}

// Events that no policy of theirs wants any more are dropped.
func TestPushesOfARemovedPolicy(t *testing.T) {
	s := registrytest.Memory(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{onPush("p")}, func(o *engine.Options) { o.PutOff, o.Grace = 20*time.Millisecond, 3*time.Second })
	h.key.fail = func() error { return kms.ErrUnavailable }
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v1"})
	h.until("the key is used", func() bool { return h.key.uses.Load() > 0 })
	h.replace(newSetup(t, s, onPush("other")))
	xs := h.drained("p")
	if x := h.await(xs[0].ID); x.Status != journal.Stopped || x.Reason != engine.ReasonPolicyGone {
		t.Errorf("ended %+v", x)
	}
}
