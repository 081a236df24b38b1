package registry

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
)

// walkOver lists all tags of app, over pipes and in a bubble, and returns how
// long that took. Time passes only in the budget, in pauses and on the server.
func walkOver(t *testing.T, limits Limits, tags []string, handler http.HandlerFunc) (took time.Duration, sent map[string]int64) {
	t.Helper()
	c, end := overPipes(t, handler)
	defer end()
	c.transport.budget, c.limits = budget.New(budget.Limits(limits)), limits
	c.auth.keychain = Static("robot", "secret")
	count := counts(c)
	start := time.Now()
	list := artifacts(t, &generic{Client: c}, Query{Repository: "app", Tags: always})
	want(t, tagsOf(list), tags, "tags, each once and in order")
	return time.Since(start), count()
}

// A storm answers 429 to the first request for every second tag, which is a
// third of all requests, and remembers when it did and when it was asked.
type storm struct {
	registry http.Handler

	mu      sync.Mutex
	refused map[string]bool
	arrived []time.Time
	pauses  [][2]time.Time // asked for by Retry-After
}

const stormPause = 2 * time.Second

func (s *storm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.arrived = append(s.arrived, now)
	if r.Method != http.MethodHead || s.refused[r.URL.Path] || r.URL.Path[len(r.URL.Path)-1]%2 == 1 {
		s.registry.ServeHTTP(w, r)
		return
	}
	s.refused[r.URL.Path] = true
	if len(s.refused)%10 == 0 {
		w.Header().Set("Retry-After", fmt.Sprint(stormPause.Seconds()))
		s.pauses = append(s.pauses, [2]time.Time{now, now.Add(stormPause)})
	}
	w.WriteHeader(http.StatusTooManyRequests)
}

// most returns the most requests that came within a second.
func (s *storm) most() (most int) {
	first := 0
	for i, at := range s.arrived {
		for at.Sub(s.arrived[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// TestWalkThroughAStorm: a registry that throttles for a while is walked to the
// end, more slowly; it never gets more than the budget, and nothing in a pause.
func TestWalkThroughAStorm(t *testing.T) {
	tags := manyTags(400)
	limits := Limits{RequestsPerSecond: 50, Concurrency: 8}
	synctest.Test(t, func(t *testing.T) {
		server := &oddRegistry{tags: tags, last: honoursLast}
		calm, _ := walkOver(t, limits, tags, server.ServeHTTP)
		s := &storm{registry: server, refused: map[string]bool{}}
		took, sent := walkOver(t, limits, tags, s.ServeHTTP)
		want(t, sent["HEAD 429"], 200, "requests refused")
		want(t, sent["HEAD 200"], 400, "requests answered")
		want(t, int64(len(s.arrived)), sent["HEAD 429"]+sent["HEAD 200"]+sent["GET 200"], "requests as the server counts them")
		if took < 2*calm {
			t.Errorf("took %s, and %s without a storm: it has not slowed down", took, calm)
		}
		// A second's rate, and what may be saved up before it.
		if allowed := int(limits.RequestsPerSecond * 1.1); s.most() > allowed {
			t.Errorf("%d requests within a second, at most %d are allowed", s.most(), allowed)
		}
		want(t, len(s.pauses), 20, "pauses")
		for _, p := range s.pauses {
			for _, at := range s.arrived {
				if at.After(p[0]) && at.Before(p[1]) {
					t.Errorf("a request %s after the server asked for a pause of %s", at.Sub(p[0]), stormPause)
				}
			}
		}
	})
}

// A brief tokenServer gives out tokens that live for a second.
type brief struct {
	*tokenServer
	mu    sync.Mutex
	given map[string]time.Time
}

const briefLife = time.Second

func (b *brief) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if given, ok := b.given[token]; ok && time.Since(given) >= briefLife {
		delete(b.given, token)
		b.tokenServer.mu.Lock()
		delete(b.valid, token)
		b.tokenServer.mu.Unlock()
	}
	b.mu.Unlock()
	b.tokenServer.ServeHTTP(w, r)
}

// TestWalkWithBriefTokens: tokens that expire in the middle of a walk, whether
// that is announced or not, are renewed, and nobody notices.
func TestWalkWithBriefTokens(t *testing.T) {
	for name, announced := range map[string]bool{"announced": true, "not announced": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tags := manyTags(400)
				b := &brief{tokenServer: newTokenServer(&oddRegistry{tags: tags, last: honoursLast}), given: map[string]time.Time{}}
				b.answer = func(token string) string {
					b.mu.Lock()
					defer b.mu.Unlock()
					b.given[token] = time.Now()
					if announced {
						return fmt.Sprintf(`{"token":%q,"expires_in":1}`, token)
					}
					return fmt.Sprintf(`{"token":%q}`, token)
				}
				b.realm = "http://reg.example/token"
				took, sent := walkOver(t, Limits{RequestsPerSecond: 50, Concurrency: 8}, tags, b.ServeHTTP)
				if lives := int(took / briefLife); b.issued < lives {
					t.Errorf("%d tokens in %s, want at least %d", b.issued, took, lives)
				}
				want(t, sent["HEAD 200"], 400, "tags resolved")
				// A token may expire while those who hold it wait for the budget: a
				// wave of them for each token, and the ping that is refused anyway.
				if refused := int(sent["GET 401"] + sent["HEAD 401"]); refused > 1+8*b.issued || !announced && refused < 7 {
					t.Errorf("%d requests were refused, with %d tokens: %v", refused, b.issued, sent)
				}
			})
		})
	}
}
