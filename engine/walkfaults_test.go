package engine_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// awaitSeen waits until n artifacts have their outcome.
func (h *house) awaitSeen(n int) {
	h.until(fmt.Sprint(n, " outcomes"), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.seen) >= n
	})
}

// TestRegistryKilledDuringAWalk kills the registry while its repositories are
// listed and its artifacts are signed, and starts it again when requests have
// failed: the execution succeeds, and everything is signed once.
func TestRegistryKilledDuringAWalk(t *testing.T) {
	const repos, tags = 12, 8
	p := registrytest.NewProcess(t)
	images, err := registrytest.Fill(p.Root, repos, tags)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, p.Server, nil)
	h := &house{t: t, server: p.Server, key: newKey(t)}
	h.start(t.TempDir(), r, []policy.Policy{everything("all")}, nil)
	x, err := h.Fire(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	unanswered := func() (n int64) {
		for request, count := range r.Requests() {
			if request.Status == "error" {
				n += count
			}
		}
		return n
	}
	for _, at := range []int{1, len(images) / 3, 2 * len(images) / 3} {
		h.awaitSeen(at)
		p.Kill()
		before := unanswered()
		h.until("requests that fail", func() bool { return unanswered() >= before+3 })
		p.Start(t)
	}
	wantCounts(t, h.await(x.ID), journal.Succeed, map[string]int64{engine.ReasonSigned: int64(len(images))})
	for _, image := range images {
		repository, digest, _ := strings.Cut(image, "@")
		hash, err := v1.NewHash(digest)
		if err != nil {
			t.Fatal(err)
		}
		if n := p.Signatures(t, repository, hash); n != 1 {
			t.Errorf("%s has %d signatures, want 1", image, n)
		}
	}
	if uses := h.key.uses.Load(); uses != int64(len(images)) {
		t.Errorf("the key was used %d times for %d artifacts", uses, len(images))
	}
}

// A door lets in whoever has a token, each good for a number of requests.
type door struct {
	host string
	good int

	mu     sync.Mutex
	left   map[string]int // requests, by token
	tokens []string
}

// use reports whether the token of a request is good once more.
func (d *door) use(r *http.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	d.left[token]--
	return d.left[token] >= 0
}

func (d *door) issue() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	token := fmt.Sprintf("very-secret-token-%d-%x", len(d.tokens), time.Now().UnixNano())
	d.tokens = append(d.tokens, token)
	d.left[token] = d.good
	return token
}

// refuseAll makes no token good, neither those given out nor others.
func (d *door) refuseAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.good = 0
	clear(d.left)
}

func (d *door) answer(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	if r.URL.Path == "/token" {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "robots-password" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": d.issue()})
		return true
	}
	if d.use(r) {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+d.host+`/token",service="test"`)
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

// TestTokensThatEndDuringAWalk: tokens are renewed again and again while a
// repository is listed and signed. No artifact fails for it, and neither logs nor
// journal have a token or the password.
func TestTokensThatEndDuringAWalk(t *testing.T) {
	const tags = 40
	s := registrytest.Distribution(t)
	if _, err := registrytest.Fill(s.Root, 1, tags); err != nil {
		t.Fatal(err)
	}
	d := &door{host: s.Host, good: 30, left: map[string]int{}}
	intercept(s, d.answer)
	core, logs := observer.New(zapcore.DebugLevel)
	h := &house{t: t, server: s, key: newKey(t)}
	r := open(t, s, func(c *registry.Config) { c.Keychain = registry.Static("robot", "robots-password") })
	h.start(t.TempDir(), r, []policy.Policy{everything("all")}, func(o *engine.Options) { o.Log = zap.New(core) })
	x := h.fire("all")
	again := h.fire("all")
	d.refuseAll()
	refused := h.fire("all")
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonSigned: tags})
	wantCounts(t, again, journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: tags})
	if len(d.tokens) < 10 {
		t.Errorf("%d tokens were given out, want at least 10", len(d.tokens))
	}
	if refused.Status != journal.Failed || refused.Reason != engine.ReasonUnauthorized || logs.Len() == 0 {
		t.Errorf("without tokens that are good, ended %s %s with %d log lines", refused.Status, refused.Reason, logs.Len())
	}
	said := fmt.Sprintf("%+v %+v %+v %+v", x, again, refused, h.subtasks(x.ID))
	for _, entry := range logs.All() {
		said += fmt.Sprintf("\n%s %v", entry.Message, entry.ContextMap())
	}
	for _, secret := range append(d.tokens, "robots-password") {
		if strings.Contains(said, secret) {
			t.Errorf("logs or journal have the secret %s", secret)
		}
	}
}
