package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A fault answers a request in the registry's place and returns true, or leaves
// it alone.
type fault func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool

func intercept(s *registrytest.Server, f fault) {
	s.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !f(w, r, registry) {
				registry.ServeHTTP(w, r)
			}
		})
	})
}

// sometimes lets a fault strike one in n requests, at random points that seed
// fixes, so that a failure can be run again.
func sometimes(t *testing.T, n int, f fault) fault {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		mu.Lock()
		strike := rng.IntN(n) == 0
		mu.Unlock()
		return strike && f(w, r, registry)
	}
}

func status(code int, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// reset closes the connection without an answer; after is whether the registry
// has carried out the request by then.
func reset(after bool) fault {
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		if after {
			registry.ServeHTTP(httptest.NewRecorder(), r)
		}
		panic(http.ErrAbortHandler)
	}
}

// truncated sends half of the body that it announces.
func truncated(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
	if r.Method != http.MethodGet {
		return false
	}
	rec := httptest.NewRecorder()
	registry.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	panic(http.ErrAbortHandler)
}

// TestPassingFaults: what a registry does wrong now and then costs time, never
// a signature, never one too many.
func TestPassingFaults(t *testing.T) {
	for name, f := range map[string]fault{
		"429 with Retry-After":    status(http.StatusTooManyRequests, "Retry-After", "1"),
		"429 without Retry-After": status(http.StatusTooManyRequests),
		"500":                     status(http.StatusInternalServerError),
		"502":                     status(http.StatusBadGateway),
		"503 with Retry-After":    status(http.StatusServiceUnavailable, "Retry-After", "0"),
		"reset before the answer": reset(false),
		"reset after the act":     reset(true),
		"truncated bodies":        truncated,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.Distribution(t)
			digests := pushSome(t, s, 8)
			outside := s.Push(t, "other:v1", registrytest.Image(t))
			h := build(t, s, []policy.Policy{onlyApp()}, nil)
			intercept(s, sometimes(t, 8, f))
			x := h.fire("app")
			s.Intercept(nil)
			wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonSigned: int64(len(digests))})
			wantOneSignatureEach(t, s, digests)
			if s.Signatures(t, "other", outside) != 0 {
				t.Error("signed what the policy does not cover")
			}
			wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: int64(len(digests))})
		})
	}
}

// TestLastingFaults: what stays wrong ends in the right reason, signs nothing
// that it should not, and heals when the fault is gone.
func TestLastingFaults(t *testing.T) {
	on := func(method, part string, f fault) fault {
		return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
			return r.Method == method && strings.Contains(r.URL.Path, part) && f(w, r, registry)
		}
	}
	huge := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = io.CopyN(w, endless{}, 8<<20)
		return true
	}
	for name, tt := range map[string]struct {
		fault   fault
		reasons []string // the last is the deadline's where the fault is retried
	}{
		"throttled for ever":      {on("PUT", ".sig", status(http.StatusTooManyRequests)), []string{engine.ReasonRateLimited, engine.ReasonDeadline}},
		"down for ever":           {on("PUT", ".sig", status(http.StatusServiceUnavailable)), []string{engine.ReasonUnavailable, engine.ReasonDeadline}},
		"resetting for ever":      {on("GET", ".sig", reset(false)), []string{engine.ReasonUnavailable, engine.ReasonDeadline}},
		"slow bodies":             {on("GET", ".sig", hang), []string{engine.ReasonUnavailable, engine.ReasonDeadline}},
		"forbidden":               {on("GET", ".sig", status(http.StatusForbidden)), []string{engine.ReasonForbidden}},
		"unauthorized":            {on("POST", "/blobs/uploads", status(http.StatusUnauthorized)), []string{engine.ReasonUnauthorized}},
		"immutable tags":          {on("PUT", ".sig", status(http.StatusMethodNotAllowed)), []string{engine.ReasonRejected, engine.ReasonUnsupported}},
		"another digest's header": {on("GET", ".sig", body(`{"schemaVersion":2}`, "Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))), []string{engine.ReasonCorrupt, engine.ReasonForeignTag}},
		"a lying Content-Type":    {on("GET", ".sig", body(`<html>welcome</html>`, "Content-Type", "application/vnd.oci.image.manifest.v1+json")), []string{engine.ReasonCorrupt, engine.ReasonForeignTag}},
		"an index at the .sig":    {on("GET", ".sig", body(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, "Content-Type", "application/vnd.oci.image.index.v1+json")), []string{engine.ReasonForeignTag}},
		"writes that are lost":    {on("PUT", ".sig", status(http.StatusCreated)), []string{engine.ReasonConflict}},
		"a huge manifest":         {on("GET", ".sig", huge), []string{engine.ReasonForeignTag, engine.ReasonTooLarge}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.Distribution(t)
			digests := pushSome(t, s, 3)
			h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) {
				if slices.Contains(tt.reasons, engine.ReasonDeadline) {
					o.Deadline = 2 * time.Second
				}
			})
			intercept(s, tt.fault)
			x := h.fire("app")
			s.Intercept(nil)
			if x.Status != journal.Failed || x.Counts.Failed != int64(len(digests)) {
				t.Errorf("ended %s with %+v, want all %d failed", x.Status, x.Counts, len(digests))
			}
			for reason, n := range x.Counts.Reasons {
				if !slices.Contains(tt.reasons, reason) {
					t.Errorf("%d artifacts: %s, want one of %v", n, reason, tt.reasons)
				}
			}
			for _, d := range digests {
				if n := s.Signatures(t, "app", d); n != 0 {
					t.Errorf("%s has %d signatures although it is said to have failed", d, n)
				}
			}
			again := build(t, s, []policy.Policy{onlyApp()}, nil)
			again.key.Signer = h.key.Signer
			wantCounts(t, again.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: int64(len(digests))})
			wantOneSignatureEach(t, s, digests)
		})
	}
}

// endless reads as blanks.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func body(text string, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, text)
		return true
	}
}

// hang announces a body and sends none until the client gives up.
func hang(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Content-Length", "500")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
	return true
}

// TestDigestHeaderIsNotBelieved: a HEAD without a digest that could be one is
// answered by reading the manifest.
func TestDigestHeaderIsNotBelieved(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodHead {
			return false
		}
		w.Header().Set("Docker-Content-Digest", "sha256:nonsense")
		return true
	})
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 2})
	wantOneSignatureEach(t, s, digests)
}

// TestListingFaults: a repository or catalog that cannot be read is named, and
// the others are signed.
func TestListingFaults(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 3)
	s.Push(t, "secret:v1", registrytest.Image(t))
	s.Push(t, "gone:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("all")}, nil)
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		switch r.URL.Path {
		case "/v2/secret/tags/list":
			w.WriteHeader(http.StatusForbidden)
		case "/v2/gone/tags/list":
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	})
	x := h.fire("all")
	if x.Status != journal.Failed || x.Counts.Reasons[engine.ReasonSigned] != 3 {
		t.Errorf("ended %s with %v, want Failed with 3 signed", x.Status, x.Counts.Reasons)
	}
	wantOneSignatureEach(t, s, digests)
	tasks, err := h.journal.Tasks(t.Context(), x.ID, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"app": "Succeed ", "secret": "Failed forbidden", "gone": "Succeed repository_gone"}
	for _, task := range tasks {
		if got := fmt.Sprintf("%s %s", task.Status, task.Reason); got != want[task.Repository] {
			t.Errorf("%s: %s, want %s", task.Repository, got, want[task.Repository])
		}
	}

	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Path != "/v2/_catalog" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if x := h.fire("all"); x.Status != journal.Failed || x.Reason != engine.ReasonForbidden {
		t.Errorf("ended %s %s, want Failed forbidden", x.Status, x.Reason)
	}
}

// TestConcurrentWriters: someone else writes the same .sig right after us; both
// signatures end up there.
func TestConcurrentWriters(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 5)
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	foreign := &foreignWriter{written: map[string]bool{}}
	intercept(s, foreign.afterOurs)
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 5})
	s.Intercept(nil)
	for _, d := range digests {
		if n := s.Signatures(t, "app", d); n != 2 {
			t.Errorf("%s has %d signatures, want theirs and ours", d, n)
		}
	}
	if foreign.err != nil {
		t.Error(foreign.err)
	}
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 5})
}

// foreignWriter replaces each new .sig, once, by one that holds only its own
// signature: a writer that has read before us and writes after us.
type foreignWriter struct {
	mu      sync.Mutex
	written map[string]bool
	err     error
}

func (f *foreignWriter) afterOurs(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, ".sig") || f.written[r.URL.Path] {
		return false
	}
	f.written[r.URL.Path] = true
	ours, err := io.ReadAll(r.Body)
	if err != nil {
		f.err = err
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(ours))
	registry.ServeHTTP(w, r)
	var m map[string]any
	if f.err = json.Unmarshal(ours, &m); f.err != nil {
		return true
	}
	// Theirs: the same payload and a signature by a key that is not ours.
	m["layers"].([]any)[0].(map[string]any)["annotations"] = map[string]any{"dev.cosignproject.cosign/signature": "dGhlaXJz"}
	theirs, err := json.Marshal(m)
	if err != nil {
		f.err = err
		return true
	}
	second := r.Clone(r.Context())
	second.Body, second.ContentLength = io.NopCloser(bytes.NewReader(theirs)), int64(len(theirs))
	rec := httptest.NewRecorder()
	registry.ServeHTTP(rec, second)
	if rec.Code != http.StatusCreated {
		f.err = fmt.Errorf("their write: %d %s", rec.Code, rec.Body)
	}
	return true
}

// TestForgedSignatureDoesNotStopUs: anybody who can push may write a .sig.
func TestForgedSignatureDoesNotStopUs(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	// A true signature over the first image, presented for the second.
	h := build(t, s, []policy.Policy{onlyApp()}, nil)
	p := onlyApp()
	p.Name, p.Scope[0].Tags = "first", matches("v0")
	first := build(t, s, []policy.Policy{p}, nil)
	first.key.Signer = h.key.Signer
	wantCounts(t, first.fire("first"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	registrytest.CopyTag(t, s, "app", sigTag(digests[0]), sigTag(digests[1]))
	x := h.fire("app")
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonSigned: 1, engine.ReasonAlreadySigned: 1})
	if n := s.Signatures(t, "app", digests[1]); n != 2 {
		t.Errorf("%d signatures beside the forged one, want 2 in all", n)
	}
}

func sigTag(d v1.Hash) string { return "sha256-" + d.Hex + ".sig" }

func onlyApp() policy.Policy {
	p := everything("app")
	p.Scope[0].Repositories = matches("app")
	return p
}

func pushSome(t *testing.T, s *registrytest.Server, n int) []v1.Hash {
	t.Helper()
	digests := make([]v1.Hash, n)
	for i := range digests {
		digests[i] = s.Push(t, "app:v"+strconv.Itoa(i), registrytest.Image(t))
	}
	return digests
}

func wantOneSignatureEach(t *testing.T, s *registrytest.Server, digests []v1.Hash) {
	t.Helper()
	for _, d := range digests {
		if n := s.Signatures(t, "app", d); n != 1 {
			t.Errorf("%s has %d signatures, want 1", d, n)
		}
	}
}

// TestRegistryDown: a run against a registry that is down ends, by itself and
// with the right reason; so does one whose repositories cannot be listed.
func TestRegistryDown(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 1)
	h := build(t, s, []policy.Policy{onlyApp()}, func(o *engine.Options) { o.Slice = time.Hour })
	down := status(http.StatusServiceUnavailable)
	intercept(s, down)
	if x := h.fire("app"); x.Status != journal.Failed || x.Reason != engine.ReasonUnavailable {
		t.Errorf("ended %s %s, want Failed %s", x.Status, x.Reason, engine.ReasonUnavailable)
	}
	intercept(s, func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		return strings.HasSuffix(r.URL.Path, "/tags/list") && down(w, r, registry)
	})
	x := h.fire("app")
	tasks, err := h.journal.Tasks(t.Context(), x.ID, 0, 10)
	if err != nil || len(tasks) != 1 || tasks[0].Reason != engine.ReasonUnavailable {
		t.Errorf("ended %s with tasks %+v, %v", x.Status, tasks, err)
	}
}
