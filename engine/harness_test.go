package engine_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A house is an engine with everything around it, on a real registry.
type house struct {
	*engine.Engine
	t       *testing.T
	server  *registrytest.Server
	journal *journal.Journal
	key     *countingSigner
	setup   *engine.Setup

	mu   sync.Mutex
	seen []journal.Subtask
}

// A countingSigner counts how often the key was used.
type countingSigner struct {
	kms.Signer
	uses atomic.Int64
	// fail, when set, decides on each use.
	fail func() error
}

func (c *countingSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	c.uses.Add(1)
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return nil, err
		}
	}
	return c.Signer.Sign(ctx, message)
}

// newKey writes a P-256 key pair and opens it.
func newKey(t testing.TB) *countingSigner { return newKeyOf(t, policy.ECDSASHA256) }

func newKeyOf(t testing.TB, a policy.Algorithm) *countingSigner {
	t.Helper()
	private, public, err := kms.Generate(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "key")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	s, err := kms.Open(context.Background(), kms.Config{URI: "file:" + prefix + ".key", Algorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	return &countingSigner{Signer: s}
}

// everything is a policy that covers all tags of all repositories.
func everything(name string) policy.Policy {
	return policy.Policy{Name: name, Registry: "test", Key: "key", Trigger: policy.Trigger{Type: policy.Manual},
		Scope: []policy.ScopeRule{{Repositories: matches("**"), Tags: matches("**")}}}
}

func matches(patterns ...string) policy.Selector { return policy.Selector{Matches: patterns} }

// limits are high enough never to be what a test measures.
var limits = registry.Limits{RequestsPerSecond: 5000, Concurrency: 8}

func open(t testing.TB, s *registrytest.Server, change func(*registry.Config)) registry.Registry {
	t.Helper()
	cfg := registry.Config{Name: "test", Host: s.Host, Kind: "generic", Insecure: true, Limits: limits}
	if change != nil {
		change(&cfg)
	}
	r, err := registry.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// build starts an engine on server with the given policies. Options may be
// changed before it starts.
func build(t *testing.T, server *registrytest.Server, policies []policy.Policy, change func(*engine.Options)) *house {
	t.Helper()
	h := &house{t: t, server: server, key: newKey(t)}
	h.start(journaltest.SQLiteJournal(t), open(t, server, nil), policies, change)
	return h
}

func (h *house) start(state string, r registry.Registry, policies []policy.Policy, change func(*engine.Options)) {
	h.t.Helper()
	j, err := journal.Open(h.t.Context(), journal.Options{State: state})
	if err != nil {
		h.t.Fatal(err)
	}
	h.journal = j
	h.setup, err = engine.NewSetup(policies, map[string]*engine.Place{"test": engine.NewPlace(r, 8)},
		map[string]engine.Key{"key": {Signer: h.key}}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	o := engine.Options{Journal: j, Setup: h.setup, Log: logger(h.t), Deadline: 20 * time.Second, Observe: h.observe}
	if change != nil {
		change(&o)
	}
	h.Engine = engine.New(o)
	if err := h.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.stop)
}

func (h *house) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := h.Stop(ctx); err != nil {
		h.t.Errorf("stopping the engine: %v", err)
	}
	if err := h.journal.Close(); err != nil {
		h.t.Errorf("closing the journal: %v", err)
	}
}

func logger(t *testing.T) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
}

func (h *house) observe(o engine.Outcome) {
	s := o.Subtask
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, s)
}

// fire fires a policy and waits until its execution has ended.
func (h *house) fire(name string) journal.Execution {
	h.t.Helper()
	x, err := h.Fire(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.await(x.ID)
}

// await waits until an execution has ended.
func (h *house) await(id int64) journal.Execution {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		x, err := h.journal.Execution(ctx, id)
		if err != nil {
			h.t.Fatalf("execution %d: %v", id, err)
		}
		if x.Status.Final() {
			return x
		}
		select {
		case <-ctx.Done():
			h.t.Fatalf("execution %d did not end: %+v", id, x)
		case <-tick.C:
		}
	}
}

// until waits for something, within a minute.
func (h *house) until(what string, is func() bool) {
	h.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !is() {
		select {
		case <-limit:
			h.t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}

// subtasks returns an execution's subtasks by digest.
func (h *house) subtasks(id int64) map[string]journal.Subtask {
	h.t.Helper()
	list, err := h.journal.Subtasks(h.t.Context(), journal.SubtaskFilter{ExecutionID: id, Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	out := make(map[string]journal.Subtask, len(list))
	for _, s := range list {
		if _, twice := out[s.Digest]; twice && s.Digest != "" {
			h.t.Errorf("two subtasks for %s", s.Digest)
		}
		out[s.Digest] = s
	}
	return out
}

// wantCounts fails unless the execution ended as said.
func wantCounts(t *testing.T, x journal.Execution, status journal.Status, reasons map[string]int64) {
	t.Helper()
	if x.Status != status {
		t.Errorf("execution ended %s (%s %s), want %s", x.Status, x.Reason, x.Detail, status)
	}
	for reason, n := range reasons {
		if got := x.Counts.Reasons[reason]; got != n {
			t.Errorf("%s: %d artifacts, want %d (all: %v)", reason, got, n, x.Counts.Reasons)
		}
	}
	var total int64
	for _, n := range reasons {
		total += n
	}
	if x.Counts.Total != total {
		t.Errorf("%d artifacts in all, want %d (%v)", x.Counts.Total, total, x.Counts.Reasons)
	}
}

// replace puts another setup in service.
func (h *house) replace(next *engine.Setup) {
	h.t.Helper()
	h.Replace(next)
}

// newSetup binds policies of registry "test" to that server, with a key of their
// own.
func newSetup(t *testing.T, s *registrytest.Server, policies ...policy.Policy) *engine.Setup {
	t.Helper()
	setup, err := engine.NewSetup(policies, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
		map[string]engine.Key{"key": {Signer: newKey(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return setup
}

// twoKeys fires policies a and b, which sign everything with keys of their own
// at the places that are named, at the same time, and wants both signatures on
// each of the digests of app.
func twoKeys(t *testing.T, s *registrytest.Server, a, b policy.Policy, places map[string]*engine.Place, digests []v1.Hash) {
	t.Helper()
	a.Name, b.Name, b.Key = "a", "b", "other"
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, server: s, key: newKey(t), journal: j}
	h.setup, err = engine.NewSetup([]policy.Policy{a, b}, places, map[string]engine.Key{"key": {Signer: h.key}, "other": {Signer: newKey(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = engine.New(engine.Options{Journal: j, Setup: h.setup, Log: logger(t)})
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.stop)
	var ids []int64
	for _, name := range []string{"a", "b"} {
		x, err := h.Fire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, x.ID)
	}
	for _, id := range ids {
		wantCounts(t, h.await(id), journal.Succeed, map[string]int64{engine.ReasonSigned: int64(len(digests))})
	}
	for _, d := range digests {
		if n := s.Signatures(t, "app", d); n != 2 {
			t.Errorf("%s has %d signatures, want one of each key", d, n)
		}
	}
}
