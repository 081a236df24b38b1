package engine_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// held makes the registry hold each PUT of a .sig until release is called, and
// tells when the first has arrived.
func held(s *registrytest.Server) (arrived <-chan struct{}, release func()) {
	first, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	intercept(s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".sig") {
			once.Do(func() { close(first) })
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}
		return false
	})
	return first, sync.OnceFunc(func() { close(free) })
}

// TestStopFinishesWhatHasBegun: a stop waits for the artifact in flight, which
// ends signed, and begins no other.
func TestStopFinishesWhatHasBegun(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 40)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	arrived, release := held(s)
	x, err := h.Fire(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(context.Background()) }()
	release()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	s.Intercept(nil)
	signed := 0
	for _, d := range digests {
		signed += s.Signatures(t, "app", d)
	}
	if uses := h.key.uses.Load(); signed == 0 || int64(signed) != uses || signed == len(digests) {
		t.Errorf("%d of %d signed with %d key uses: want some, not all, none cut", signed, len(digests), uses)
	}
	if got, err := h.journal.Execution(t.Context(), x.ID); err != nil || got.Status.Final() {
		t.Errorf("the execution ended %s, %v, want it to go on later", got.Status, err)
	}
}

// TestStopCuts: when the stop's context ends, artifacts in flight are cut, and
// another engine finishes them.
func TestStopCuts(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 3)
	state := t.TempDir()
	h := &house{t: t, server: s, key: newKey(t)}
	j, err := journal.Open(t.Context(), journal.Options{State: state})
	if err != nil {
		t.Fatal(err)
	}
	setup := func() *engine.Setup {
		made, err := engine.NewSetup([]policy.Policy{onlyApp()}, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
			map[string]engine.Key{"key": {Signer: h.key}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	e := engine.New(engine.Options{Journal: j, Setup: setup(), Deadline: time.Hour})
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	arrived, release := held(s)
	defer release()
	x, err := e.Fire(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	now, cancel := context.WithCancel(t.Context())
	cancel()
	_ = e.Stop(now) // it may say that it had to cut
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s.Intercept(nil)
	h.key = newKey(t) // the stop closed the other; nothing of it was stored
	h.start(state, open(t, s, nil), []policy.Policy{onlyApp()}, nil)
	wantCounts(t, h.await(x.ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
	wantOneSignatureEach(t, s, digests)
}

// TestReloadWaitsForTasks: a setup that was replaced is closed only when the
// task that works with it has ended.
func TestReloadWaitsForTasks(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 3)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	arrived, release := held(s)
	x, err := h.Fire(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	h.replace(newSetup(t, s, onlyApp()))
	release()
	wantCounts(t, h.await(x.ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
	wantOneSignatureEach(t, s, digests)
}

// TestPolicyEditedMeanwhile: an execution of a policy that was edited stops, and
// the policy is fired again as it is now.
func TestPolicyEditedMeanwhile(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 3)
	s.Push(t, "more:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) { o.Slice = 1 }) // one artifact each
	arrived, release := held(s)
	x, err := h.Fire(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	h.replace(newSetup(t, s, everything("app")))
	release()
	if got := h.await(x.ID); got.Status != journal.Stopped || got.Reason != engine.ReasonPolicyChanged {
		t.Errorf("ended %s %s, want Stopped %s", got.Status, got.Reason, engine.ReasonPolicyChanged)
	}
	wantCounts(t, h.await(x.ID+1), journal.Succeed, map[string]int64{engine.ReasonSigned: 4})
}

// TestPolicyGoneMeanwhile: an execution of a policy that was removed or disabled
// stops and says why.
func TestPolicyGoneMeanwhile(t *testing.T) {
	off := false
	disabled := onlyApp()
	disabled.Enabled = &off
	for reason, left := range map[string][]policy.Policy{engine.ReasonPolicyGone: {everything("other")}, engine.ReasonPolicyDisabled: {disabled}} {
		s := registrytest.Distribution(t)
		pushSome(t, s, 3)
		h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) { o.Slice = 1 })
		arrived, release := held(s)
		x, err := h.Fire(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		<-arrived
		h.replace(newSetup(t, s, left...))
		release()
		if got := h.await(x.ID); got.Status != journal.Stopped || got.Reason != reason {
			t.Errorf("ended %s %s, want Stopped %s", got.Status, got.Reason, reason)
		}
	}
}

// TestMissingPartsAreFailures: what the registry lacks although it must have it
// is a failure, and does not hide what comes after it.
func TestMissingPartsAreFailures(t *testing.T) {
	s := registrytest.Distribution(t)
	first, gone, last := registrytest.Image(t), registrytest.Image(t), registrytest.Image(t)
	nested := registrytest.Index(t, gone)
	index := registrytest.Index(t, first, nested, last)
	s.Push(t, "app:v1", index)
	ref, err := name.NewDigest(s.Host+"/app@"+registrytest.Digest(t, nested).String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(ref); err != nil {
		t.Fatal(err)
	}
	p := onlyApp()
	p.Index = policy.IndexBoth
	h := build(t, s, []policy.Policy{p}, nil)
	x := h.fire("app")
	wantCounts(t, x, journal.Failed, map[string]int64{engine.ReasonSigned: 3, engine.ReasonMissing: 1})
	if st := h.subtasks(x.ID)[registrytest.Digest(t, nested).String()]; st.Reason != engine.ReasonMissing {
		t.Errorf("the missing manifest's own subtask: %+v", st)
	}
	if s.Signatures(t, "app", registrytest.Digest(t, last)) != 1 {
		t.Error("what comes after the missing manifest is not signed")
	}
}

// TestRefusedUploadsAreFailures: a 404 to a write is no deleted artifact.
func TestRefusedUploadsAreFailures(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 2)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	wantCounts(t, h.fire("app"), journal.Failed, map[string]int64{engine.ReasonMissing: 2})
}

// TestKeyIsSparedWhenTheRegistryRefuses: a registry that takes no signatures
// costs a few key uses, not one for each artifact.
func TestKeyIsSparedWhenTheRegistryRefuses(t *testing.T) {
	s := registrytest.Distribution(t)
	const images = 40
	pushSome(t, s, images)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	wantCounts(t, h.fire("app"), journal.Failed, map[string]int64{engine.ReasonForbidden: images})
	if uses := h.key.uses.Load(); uses > 15 {
		t.Errorf("%d key uses for a registry that refuses everything", uses)
	}
}

// TestOneBadCatalogEntry: an entry of the catalog that is no repository's name
// does not keep the others from being signed.
func TestOneBadCatalogEntry(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 2)
	h := build(t, s, []policy.Policy{everything("all")}, nil)
	intercept(s, func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		return r.URL.Path == "/v2/_catalog" && body(`{"repositories":["Not A Name","app"]}`, "Content-Type", "application/json")(w, r, registry)
	})
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: 2})
}

// TestListingThatHangsEnds: a registry that accepts the question and never
// answers costs a few slices, not for ever.
func TestListingThatHangsEnds(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 2)
	h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) { o.Slice, o.Deadline = 100*time.Millisecond, 200*time.Millisecond })
	intercept(s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			<-r.Context().Done()
		}
		return false
	})
	x := h.fire("app")
	tasks, err := h.journal.Tasks(t.Context(), x.ID, 0, 10)
	if err != nil || len(tasks) != 1 || tasks[0].Reason != engine.ReasonUnavailable {
		t.Errorf("ended %s with tasks %+v, %v, want %s", x.Status, tasks, err, engine.ReasonUnavailable)
	}
}

// TestPanicIsOneArtifactsFailure: what panics while one artifact is worked on
// fails that one; the others are signed, and the engine goes on.
func TestPanicIsOneArtifactsFailure(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 5)
	h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) { o.Log = nil })
	var once sync.Once
	h.key.fail = func() error {
		once.Do(func() { panic("the key's driver") })
		return nil
	}
	wantCounts(t, h.fire("app"), journal.Failed, map[string]int64{engine.ReasonSigned: 4, engine.ReasonInternal: 1})
	s.Push(t, "app:later", registrytest.Image(t))
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 2, engine.ReasonAlreadySigned: 4})
}

// TestMissingLinks: a registry that cuts its listings into pages and does not
// say so is read to its end.
func TestMissingLinks(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 8)
	h := &house{t: t, server: s, key: newKey(t)}
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(withoutLink{w}, r)
		})
	})
	h.start(t.TempDir(), open(t, s, func(c *registry.Config) { c.PageSize = 3 }), []policy.Policy{onlyApp()}, nil)
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 8})
	wantOneSignatureEach(t, s, digests)
}

// withoutLink leaves the Link header out of an answer.
type withoutLink struct{ http.ResponseWriter }

func (w withoutLink) WriteHeader(status int) {
	w.Header().Del("Link")
	w.ResponseWriter.WriteHeader(status)
}

func (w withoutLink) Write(b []byte) (int, error) {
	w.Header().Del("Link")
	return w.ResponseWriter.Write(b)
}

// TestTwoNamesForOneHost: two policies with two keys reach the same artifacts by
// two names of their registry; neither loses a signature to the other.
func TestTwoNamesForOneHost(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 10)
	a, b := onlyApp(), onlyApp()
	b.Registry = "alias"
	twoKeys(t, s, a, b, map[string]*engine.Place{
		"test": engine.NewPlace(open(t, s, nil), 8), "alias": engine.NewPlace(open(t, s, nil), 8),
	}, digests)
}
