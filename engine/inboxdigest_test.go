package engine_test

import (
	"path/filepath"
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

// A push by digest is a reason to look for what no tag and no index names.
func TestPushesByDigest(t *testing.T) {
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Index(t, registrytest.Image(t), registrytest.Image(t)))
	img := registrytest.Image(t)
	untagged := registrytest.Digest(t, img)
	s.Push(t, "app@"+untagged.String(), img)
	p := onPush("p")
	p.Scope = []policy.ScopeRule{{Repositories: matches("**"), Untagged: true}}
	h := &house{t: t, server: s, key: newKey(t)}
	r := open(t, s, func(c *registry.Config) { c.Kind, c.Storage = "distribution", s.Storage() })
	h.start(filepath.Join(t.TempDir(), "state"), r, []policy.Policy{p}, func(o *engine.Options) { o.Settling = 100 * time.Millisecond })
	h.receive(engine.Receipt{New: 1, Known: 1, Uncovered: 1}, event.Push{Repository: "app", Digest: untagged.String()},
		event.Push{Repository: "app", Digest: untagged.String()}, event.Push{Repository: "app", Tag: "v1"})
	xs := h.drained("p")
	wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	if n := s.Signatures(t, "app", untagged); n != 1 {
		t.Errorf("%d signatures of the untagged artifact", n)
	}
	// What we pushed for that is no artifact.
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app"})
	xs = h.drained("p")
	wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 1})
}

// unsigned is a distribution with an artifact that nothing names, and a house
// whose policy covers it when it is pushed.
func unsigned(t *testing.T, change func(*engine.Options)) (h *house, digest v1.Hash) {
	t.Helper()
	s := registrytest.Distribution(t)
	img := registrytest.Image(t)
	digest = s.Push(t, "app@"+registrytest.Digest(t, img).String(), img)
	p := onPush("p")
	p.Scope = []policy.ScopeRule{{Repositories: matches("**"), Untagged: true}}
	h = &house{t: t, server: s, key: newKey(t)}
	r := open(t, s, func(c *registry.Config) { c.Kind, c.Storage = "distribution", s.Storage() })
	h.start(filepath.Join(t.TempDir(), "state"), r, []policy.Policy{p}, func(o *engine.Options) {
		o.Settling, o.PutOff, o.Setup.Upkeep.Remember = 50*time.Millisecond, 50*time.Millisecond, time.Hour
		if change != nil {
			change(o)
		}
	})
	return h, digest
}

// An artifact that was deleted and is pushed again lost its signatures with it:
// that they were verified is not believed.
func TestWhatIsPushedIsNotBelieved(t *testing.T) {
	t.Run("tag", func(t *testing.T) {
		s := registrytest.Memory(t)
		digests := pushSome(t, s, 1)
		h, _, _ := remembering(t, s, onPush("p"))
		h.fire("p")
		loses(s, "app", digests...)
		h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Tag: "v0", Digest: digests[0].String(), At: time.Now().Add(-time.Minute)})
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonRestored: 1})
	})
	t.Run("digest", func(t *testing.T) {
		h, digest := unsigned(t, nil)
		push := event.Push{Repository: "app", Digest: digest.String()}
		h.receive(engine.Receipt{New: 1}, push)
		h.drained("p")
		loses(h.server, "app", digest)
		h.receive(engine.Receipt{New: 1}, push)
		xs := h.drained("p")
		wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	})
}

// A push by digest waits for what fails, as one of a tag does.
func TestPushesByDigestWaitForWhatFails(t *testing.T) {
	h, digest := unsigned(t, nil)
	var uses atomic.Int64
	h.key.fail = func() error {
		if uses.Add(1) > 2 {
			return nil
		}
		return kms.ErrUnavailable
	}
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app", Digest: digest.String()})
	xs := h.drained("p")
	wantCounts(t, h.await(xs[0].ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	wantOneSignatureEach(t, h.server, []v1.Hash{digest})
}

// A search of many slices does not forget what failed in the first.
func TestLongSearchesRememberFailures(t *testing.T) {
	h, digests := longSearch(t)
	var uses atomic.Int64
	h.key.fail = func() error {
		if uses.Add(1) == 1 {
			return kms.ErrUnavailable
		}
		return nil
	}
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app"})
	h.drained("p")
	for _, d := range digests {
		wantOneSignatureEach(t, h.server, []v1.Hash{d})
	}
}

// A search that began before a push does not stand for it.
func TestLongSearchesBeginAnew(t *testing.T) {
	h, digests := longSearch(t)
	var uses atomic.Int64
	h.key.fail = func() error {
		if uses.Add(1) == 3 {
			img := registrytest.Image(t)
			d := h.server.Push(t, "app@"+registrytest.Digest(t, img).String(), img)
			h.receive(engine.Receipt{Known: 1}, event.Push{Repository: "app", Digest: d.String()})
			digests = append(digests, d)
		}
		return nil
	}
	h.receive(engine.Receipt{New: 1}, event.Push{Repository: "app"})
	h.drained("p")
	for _, d := range digests {
		wantOneSignatureEach(t, h.server, []v1.Hash{d})
	}
}

// longSearch is a house with artifacts that nothing names, of which a slice
// takes one.
func longSearch(t *testing.T) (*house, []v1.Hash) {
	t.Helper()
	h, first := unsigned(t, func(o *engine.Options) { o.Slice = 1 })
	digests := []v1.Hash{first}
	for range 5 {
		img := registrytest.Image(t)
		digests = append(digests, h.server.Push(t, "app@"+registrytest.Digest(t, img).String(), img))
	}
	return h, digests
}
