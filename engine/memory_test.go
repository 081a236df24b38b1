package engine_test

import (
	"context"
	"iter"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A clock can be put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(by time.Duration) { c.ahead.Add(int64(by)) }

// remembering is an engine that believes what it verified for an hour.
func remembering(t *testing.T, s *registrytest.Server, policies ...policy.Policy) (h *house, c *clock, lost *atomic.Int64) {
	t.Helper()
	c, lost = &clock{}, &atomic.Int64{}
	h = build(t, s, policies, func(o *engine.Options) {
		o.Setup.Upkeep.Remember, o.Now = time.Hour, c.now
		o.Lost = func(string) { lost.Add(1) }
	})
	return h, c, lost
}

// loses deletes an artifact's cosign signature behind the registry's back.
func loses(s *registrytest.Server, repository string, digests ...v1.Hash) {
	var paths []string
	for _, d := range digests {
		paths = append(paths, "/v2/"+repository+"/manifests/"+sigTag(d))
	}
	var written sync.Map
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !slices.Contains(paths, r.URL.Path) {
			return false
		}
		if r.Method == http.MethodPut {
			written.Store(r.URL.Path, true)
		}
		if _, there := written.Load(r.URL.Path); there {
			return false
		}
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		return true
	})
}

// looks counts requests for signatures.
func looks(s *registrytest.Server) (n int) {
	for _, line := range s.Log() {
		if strings.Contains(line, ".sig") {
			n++
		}
	}
	return n
}

func TestVerifiedSignaturesAreRemembered(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 3)
	registrytest.CopyTag(t, s, "app", "v0", "latest")
	h, c, lost := remembering(t, s, everything("p"))
	n := int64(len(digests))
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonSigned: n})

	s.Reset()
	x := h.fire("p")
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: n})
	if got := looks(s); got != 0 {
		t.Errorf("%d requests for signatures that were verified just now", got)
	}
	if tags := h.subtasks(x.ID)[digests[0].String()].Tags; !slices.Equal(tags, []string{"latest", "v0"}) {
		t.Errorf("the artifact with two tags is journaled with %v", tags)
	}

	c.forward(2 * time.Hour) // too long ago to be believed
	s.Reset()
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: n})
	if got := looks(s); got != len(digests) {
		t.Errorf("%d requests for %d signatures", got, n)
	}
	s.Reset()
	h.fire("p") // and believed again
	if got := looks(s); got != 0 {
		t.Errorf("%d requests for signatures that were verified again", got)
	}
	if h.key.uses.Load() != n || lost.Load() != 0 {
		t.Errorf("%d key uses, %d signatures lost; want %d and none", h.key.uses.Load(), lost.Load(), n)
	}
}

// What could not be verified, or signed, is not remembered.
func TestFailuresAreNotRemembered(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 2)
	h, _, _ := remembering(t, s, everything("p"))
	broken := sigTag(digests[0])
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, broken) {
			return false
		}
		http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
		return true
	})
	wantCounts(t, h.fire("p"), journal.Failed, map[string]int64{engine.ReasonSigned: 1, engine.ReasonForbidden: 1})
	wantCounts(t, h.fire("p"), journal.Failed, map[string]int64{engine.ReasonAlreadySigned: 1, engine.ReasonForbidden: 1})
	s.Intercept(func(inner http.Handler) http.Handler { return inner })
}

// Of an index it is remembered what of it was verified.
func TestIndexesAreRemembered(t *testing.T) {
	for mode, wanted := range map[policy.IndexMode]int64{policy.IndexOnly: 1, policy.IndexChildren: 2, policy.IndexBoth: 3} {
		t.Run(string(mode), func(t *testing.T) {
			s := registrytest.Memory(t)
			index := registrytest.Index(t, registrytest.Image(t), registrytest.Image(t))
			s.Push(t, "app:v1", index)
			p := everything("p")
			p.Index = mode
			h, _, _ := remembering(t, s, p)
			first := h.fire("p")
			wantCounts(t, first, journal.Succeed, map[string]int64{engine.ReasonSigned: wanted})
			s.Reset()
			second := h.fire("p")
			wantCounts(t, second, journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: wanted})
			for verb, n := range s.Requests() {
				if verb != "HEAD" && n > 2 || verb == "HEAD" && n > 1 { // the catalog, the tags, the tag
					t.Errorf("%d requests %s", n, verb)
				}
			}
			before, now := h.subtasks(first.ID), h.subtasks(second.ID)
			for digest, sub := range before {
				if got := now[digest]; !slices.Equal(got.Tags, sub.Tags) || got.MediaType != sub.MediaType {
					t.Errorf("%s was %v %s, is remembered as %v %s", digest, sub.Tags, sub.MediaType, got.Tags, got.MediaType)
				}
			}
		})
	}
}

// An unread registry lists digests alone.
type unread struct{ registry.Registry }

func (u unread) Artifacts(ctx context.Context, q registry.Query) iter.Seq2[registry.Artifact, error] {
	return func(yield func(registry.Artifact, error) bool) {
		for a, err := range u.Registry.Artifacts(ctx, q) {
			a.MediaType, a.Size, a.Unread = "", 0, true
			if !yield(a, err) {
				return
			}
		}
	}
}

// Whether a digest is an index is asked for where the listing does not tell it
// and the policy makes a difference, and not of what is remembered.
func TestUnreadIndexes(t *testing.T) {
	for mode, wanted := range map[policy.IndexMode]int64{policy.IndexOnly: 2, policy.IndexChildren: 3, policy.IndexBoth: 4} {
		t.Run(string(mode), func(t *testing.T) {
			s := registrytest.Memory(t)
			index := s.Push(t, "app:v1", registrytest.Index(t, registrytest.Image(t), registrytest.Image(t)))
			image := s.Push(t, "app:v2", registrytest.Image(t))
			p := everything("p")
			p.Index = mode
			h := &house{t: t, server: s, key: newKey(t)}
			h.start(t.TempDir(), unread{open(t, s, nil)}, []policy.Policy{p}, func(o *engine.Options) { o.Setup.Upkeep.Remember = time.Hour })
			wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonSigned: wanted})
			if n := s.Signatures(t, "app", index); (n == 1) != (mode != policy.IndexChildren) || s.Signatures(t, "app", image) != 1 {
				t.Errorf("the index has %d signatures", n)
			}
			s.Reset()
			wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: wanted})
			if n := s.Requests()["HEAD"]; n > 2 { // the tags
				t.Errorf("%d requests HEAD", n)
			}
		})
	}
	s := registrytest.Memory(t)
	gone := s.Push(t, "app:v1", registrytest.Image(t))
	intercept(s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Path == "/v2/app/manifests/"+gone.String() {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	p := everything("p")
	p.Index = policy.IndexBoth
	h := &house{t: t, server: s, key: newKey(t)}
	h.start(t.TempDir(), unread{open(t, s, nil)}, []policy.Policy{p}, nil)
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonGone: 1})
}

// Another key, identity or format is not what was verified.
func TestOtherTermsAreNotRemembered(t *testing.T) {
	s := registrytest.Memory(t)
	pushSome(t, s, 1)
	same, domain, format := everything("same"), everything("domain"), everything("format")
	domain.Domain = "registry.example.com"
	format.Formats = []policy.Format{policy.FormatCosign, policy.FormatBundle}
	h, _, lost := remembering(t, s, everything("p"), same, domain, format)
	h.fire("p")
	s.Reset()
	wantCounts(t, h.fire("same"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 1})
	if n := looks(s); n != 0 {
		t.Errorf("%d requests for a signature that another policy with the same terms has verified", n)
	}
	for _, name := range []string{"domain", "format"} {
		wantCounts(t, h.fire(name), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	}
	if lost.Load() != 0 {
		t.Error("a signature that was never there counts as lost")
	}
}

// The fingerprint names a key, but not how it signs nor its certificates.
func TestOtherUsesOfAKeyAreNotRemembered(t *testing.T) {
	private, public, err := kms.Generate(policy.RSAPSSSHA256, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "key")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	keys := map[string]engine.Key{}
	for name, a := range map[string]policy.Algorithm{"key": policy.RSAPSSSHA256, "renewed": policy.RSAPSSSHA256, "pkcs1": policy.RSAPKCS1SHA256} {
		signer, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key", Algorithm: a})
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = engine.Key{Signer: signer, Certificates: certify(t, signer, time.Hour)}
	}
	first, renewed, pkcs1 := everything("first"), everything("renewed"), everything("pkcs1")
	renewed.Key, pkcs1.Key = "renewed", "pkcs1"
	s := registrytest.Memory(t)
	pushSome(t, s, 1)
	h := withKeys(t, s, keys, first, renewed, pkcs1)
	h.setup.Upkeep.Remember = time.Hour
	h.fire("first")
	for _, name := range []string{"renewed", "pkcs1"} {
		s.Reset()
		h.fire(name)
		if looks(s) == 0 {
			t.Errorf("%s: what the key has signed in another way is believed", name)
		}
	}
}

// What was verified at a time that has not come is not believed: that clock was
// wrong.
func TestMemoriesOfTheFuture(t *testing.T) {
	s := registrytest.Memory(t)
	pushSome(t, s, 1)
	h, c, _ := remembering(t, s, everything("p"))
	c.forward(time.Hour)
	h.fire("p")
	c.forward(-time.Hour)
	s.Reset()
	h.fire("p")
	if looks(s) == 0 {
		t.Error("it is believed")
	}
}

// Coverage asks the registry, whatever the state says was verified; so does a run
// that is to remember nothing.
func TestCoverageBelievesNoMemory(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 3)
	h, _, _ := remembering(t, s, everything("p"))
	h.fire("p")
	loses(s, "app", digests[0])
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 3}) // it is believed
	c, err := h.setup.Survey(t.Context(), "p", 0, func(engine.Finding) {})
	if err != nil || c.Signed != 2 || c.Unsigned != 1 {
		t.Errorf("%+v, %v; want one unsigned", c, err)
	}
	h.setup.Upkeep.Remember = 0
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 2, engine.ReasonSigned: 1})
}

// What prune has removed is not taken for there.
func TestPruneForgets(t *testing.T) {
	s := registrytest.Distribution(t)
	image := registrytest.Image(t)
	digest := s.Push(t, "app:v1", image)
	r := rotate(t, s)
	r.setup.Upkeep.Remember = time.Hour
	r.fire("app")
	remove(t, open(t, s, nil), "app", digest)
	if sum, _ := r.prune(true, "app"); sum.Removed != 1 {
		t.Fatalf("%+v", sum)
	}
	s.Push(t, "app:v1", image)
	wantCounts(t, r.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
}

// Who removes signatures on purpose forgets that they were verified.
func TestCampaignsForget(t *testing.T) {
	s := registrytest.Memory(t)
	digests := pushSome(t, s, 1)
	h := &house{t: t, server: s, key: newKey(t)}
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	h.journal = j
	h.setup, err = engine.NewSetup([]policy.Policy{everything("p")}, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)},
		map[string]engine.Key{"key": {Signer: h.key}, "next": {Signer: newKey(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.setup.Upkeep.Remember = time.Hour
	h.Engine = engine.New(engine.Options{Journal: j, Setup: h.setup, Log: logger(t)})
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.stop)
	h.fire("p")
	for _, step := range []engine.Step{engine.Resign, engine.Remove} {
		if x := h.fire(engine.Campaign{Step: step, From: "key", To: "next", Policy: "p"}.Name()); x.Status != journal.Succeed {
			t.Fatalf("%s: %+v", step, x)
		}
	}
	// The policy still signs with the old key: its signature is gone, and known to be.
	wantCounts(t, h.fire("p"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	if n := s.Signatures(t, "app", digests[0]); n != 2 {
		t.Errorf("%d signatures, want one by each key", n)
	}
}
