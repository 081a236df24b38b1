package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// A tokenServer guards a registry with bearer tokens, and is its token server
// too. Tokens are "token-N scope".
type tokenServer struct {
	inner   http.Handler
	realm   string // "": this host's /token
	answer  func(token string) string
	refuse  func(scope string) int // status, 0 to give a token
	mu      sync.Mutex
	scopes  []string
	valid   map[string]bool
	issued  int
	ignored bool // every token is refused
}

func newTokenServer(inner http.Handler) *tokenServer {
	return &tokenServer{inner: inner, valid: map[string]bool{}, answer: func(token string) string {
		return fmt.Sprintf(`{"token":%q}`, token)
	}}
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		s.token(w, r)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	valid := s.valid[token] && !s.ignored
	s.mu.Unlock()
	if !valid {
		_, _ = io.Copy(io.Discard, r.Body)
		realm := s.realm
		if realm == "" {
			realm = "http://" + r.Host + "/token"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="tests"`, realm))
		status(http.StatusUnauthorized)(w, r)
		return
	}
	s.inner.ServeHTTP(w, r)
}

func (s *tokenServer) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scope := r.URL.Query().Get("scope")
	s.scopes = append(s.scopes, scope)
	if user, password, _ := r.BasicAuth(); user != "robot" || password != "secret" {
		status(http.StatusUnauthorized)(w, r)
		return
	}
	if s.refuse != nil {
		if code := s.refuse(scope); code != 0 {
			status(code)(w, r)
			return
		}
	}
	s.issued++
	token := fmt.Sprintf("token-%d", s.issued)
	s.valid[token] = true
	_, _ = io.WriteString(w, s.answer(token))
}

func (s *tokenServer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

func withPassword(host string) Config {
	cfg := config(host)
	cfg.Keychain = Static("robot", "secret")
	return cfg
}

func TestWithoutAuthenticationOnePing(t *testing.T) {
	c := client(t, config(serve(t, inMemory())))
	sent := counts(c)
	pushImage(t, c, "team/app", "v1", "a")
	want(t, sent(), map[string]int64{"GET 200": 1, "POST 202": 2, "PUT 201": 3}, "first image: one ping, then what it takes")
	pushImage(t, c, "team/other", "v1", "a")
	want(t, sent(), map[string]int64{"POST 202": 2, "PUT 201": 3}, "another repository: no ping")
	if _, err := c.Resolve(t.Context(), "team/app", "v1"); err != nil {
		t.Fatal(err)
	}
	want(t, sent(), map[string]int64{"HEAD 200": 1}, "resolving")
}

func TestBearerTokens(t *testing.T) {
	guard := newTokenServer(inMemory())
	c := client(t, withPassword(serve(t, guard)))
	sent := counts(c)
	m := pushImage(t, c, "team/app", "v1", "a")
	want(t, sent(), map[string]int64{"GET 401": 1, "GET 200": 1, "POST 202": 2, "PUT 201": 3}, "first image: ping, token, then what it takes")
	pushImage(t, c, "team/app", "v2", "b")
	want(t, sent(), map[string]int64{"POST 202": 2, "PUT 201": 3}, "same repository: same token")
	pushImage(t, c, "team/other", "v1", "a")
	want(t, sent(), map[string]int64{"GET 200": 1, "POST 202": 2, "PUT 201": 3}, "another repository: another token")
	want(t, guard.scopes, []string{"repository:team/app:push,pull", "repository:team/other:push,pull"}, "scopes")

	guard.revoke()
	if _, err := c.PutManifest(t.Context(), "team/app", "v3", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, sent(), map[string]int64{"PUT 401": 1, "GET 200": 1, "PUT 201": 1}, "a revoked token, with a body to send again")
	for repository, err := range c.Catalog(t.Context()) {
		if err != nil {
			t.Fatalf("%s: %v", repository, err)
		}
	}
	want(t, guard.scopes[len(guard.scopes)-1], "registry:catalog:*", "scope of the catalog")
}

func TestBearerTokenIsSharedByThoseWhoWait(t *testing.T) {
	guard := newTokenServer(inMemory())
	c := client(t, withPassword(serve(t, guard)))
	pushImage(t, c, "team/app", "v1", "a")
	guard.revoke()
	sent := counts(c)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Resolve(t.Context(), "team/app", "v1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := sent()
	want(t, got["GET 200"], 1, "tokens fetched")
	want(t, got["HEAD 200"], 20, "answers")
}

func TestBearerTokenIsRenewedBeforeItExpires(t *testing.T) {
	base := &script{steps: []step{
		{status: 401, header: http.Header{"Www-Authenticate": {`Bearer realm="https://reg.example/token"`}}},
		{status: 200, body: `{"access_token":"one","expires_in":100}`},
		{status: 404}, {status: 404},
		{status: 200, body: `{"token":"two","expires_in":100}`},
		{status: 404},
	}}
	synctest.Test(t, func(t *testing.T) {
		c := client(t, Config{Name: "test", Host: "reg.example", Transport: base, Keychain: Static("robot", "secret")})
		sent := counts(c)
		for _, wait := range []time.Duration{0, 80 * time.Second, 11 * time.Second} {
			time.Sleep(wait)
			if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
		}
		want(t, sent(), map[string]int64{"GET 401": 1, "GET 200": 2, "HEAD 404": 3}, "requests")
	})
}

func TestBearerReadOnlyAccount(t *testing.T) {
	guard := newTokenServer(inMemory())
	guard.refuse = func(scope string) int {
		if strings.Contains(scope, "push") {
			return http.StatusForbidden
		}
		return 0
	}
	c := client(t, withPassword(serve(t, guard)))
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	want(t, guard.scopes, []string{"repository:app:push,pull", "repository:app:pull"}, "scopes")
}

func TestBearerFailures(t *testing.T) {
	tests := map[string]struct {
		spoil func(*tokenServer)
		cfg   func(*Config)
		want  error
	}{
		"wrong password":     {cfg: func(c *Config) { c.Keychain = Static("robot", "geheim") }, want: ErrUnauthorized},
		"anonymous":          {cfg: func(c *Config) { c.Keychain = nil }, want: ErrUnauthorized},
		"forbidden":          {spoil: func(s *tokenServer) { s.refuse = func(string) int { return 403 } }, want: ErrForbidden},
		"every token is bad": {spoil: func(s *tokenServer) { s.ignored = true }, want: ErrUnauthorized},
		"no token": {spoil: func(s *tokenServer) {
			s.answer = func(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, "geheim") }
		}, want: ErrUnauthorized},
		"no JSON": {spoil: func(s *tokenServer) {
			s.answer = func(string) string { return "geheim" }
		}, want: ErrUnauthorized},
		"huge answer": {spoil: func(s *tokenServer) {
			s.answer = func(string) string { return `{"token":"` + strings.Repeat("geheim", maxTokenBody) + `"}` }
		}, want: ErrUnauthorized},
		"token server at a private address": {spoil: func(s *tokenServer) {
			s.realm = "http://169.254.169.254/latest?geheim"
		}, want: ErrUnauthorized},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			guard := newTokenServer(inMemory())
			if test.spoil != nil {
				test.spoil(guard)
			}
			cfg := withPassword(serve(t, guard))
			if test.cfg != nil {
				test.cfg(&cfg)
			}
			c := client(t, cfg)
			_, err := c.Resolve(t.Context(), "app", "v1")
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if text := err.Error(); strings.Contains(text, "geheim") || strings.Contains(text, "scope=") || len(text) > 600 {
				t.Errorf("error tells too much: %v", err)
			}
			if total := c.Requests().Total(); total > 5 {
				t.Errorf("%d requests for one failure: %v", total, c.Requests())
			}
		})
	}
}

// A token server elsewhere is asked through the same budget.
func TestBearerTokenServerElsewhere(t *testing.T) {
	guard := newTokenServer(inMemory())
	host := serve(t, guard)
	_, port, _ := strings.Cut(host, ":")
	guard.realm = "http://localhost:" + port + "/token"
	c := client(t, withPassword(host))
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	want(t, c.Requests(), Counters{{"GET", "401"}: 1, {"GET", "200"}: 1, {"HEAD", "404"}: 1}, "requests")
}

func TestPingFailures(t *testing.T) {
	c := client(t, config(serve(t, status(http.StatusForbidden))))
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v", err)
	}
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	c = client(t, config(serve(t, instead(inMemory(), 1, func(r *http.Request) bool { return r.URL.Path == "/v2/" }, endless))))
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("endless ping: got %v", err)
	}
}

func TestBasicAuthentication(t *testing.T) {
	inner := inMemory()
	password := "secret"
	var mu sync.Mutex
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if user, given, _ := r.BasicAuth(); user != "robot" || given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			status(http.StatusUnauthorized)(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	})
	c := client(t, withPassword(serve(t, guard)))
	sent := counts(c)
	pushImage(t, c, "app", "v1", "a")
	want(t, sent(), map[string]int64{"GET 401": 1, "POST 202": 2, "PUT 201": 3}, "ping, then what it takes")
	password = "changed"
	if _, err := c.Resolve(t.Context(), "app", "v1"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
	want(t, sent(), map[string]int64{"HEAD 401": 1}, "the same password is not tried twice")
}

func TestSessionsAreBounded(t *testing.T) {
	l := newLRU[string, int](3)
	for i, key := range []string{"a", "b", "c", "a", "d"} {
		if _, found := l.get(key); !found {
			l.put(key, i)
		}
	}
	var left []string
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, found := l.get(key); found {
			left = append(left, key)
		}
	}
	want(t, left, []string{"a", "c", "d"}, "what is remembered: the least used is not")
	want(t, l.order.Len() == len(l.items), true, "list and map agree")
	l.drop(func(key string) bool { return key != "a" })
	if _, found := l.get("a"); !found || l.order.Len() != 1 {
		t.Error("drop went wrong")
	}
}

func TestErrorsNameWhatTheRegistrySaid(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	tests := map[string]struct {
		code int
		body string
		want error
		text string
	}{
		"not found":    {404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such manifest","detail":"secret"}]}`, ErrNotFound, "MANIFEST_UNKNOWN: no such manifest"},
		"denied":       {400, `{"errors":[{"code":"DENIED","message":"no"}]}`, ErrForbidden, "DENIED: no"},
		"quota":        {400, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, ErrRateLimited, "TOOMANYREQUESTS"},
		"blob unknown": {404, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}`, ErrRejected, "MANIFEST_BLOB_UNKNOWN"},
		"no JSON":      {400, `<html>secret`, ErrRejected, "400 Bad Request"},
		"long":         {409, `{"errors":[{"code":"TAG_INVALID","message":"` + long + `"}]}`, ErrRejected, "TAG_INVALID: xxx"},
		"newlines":     {412, `{"errors":[{"code":"X","message":"a\nb\u001b[31m"}]}`, ErrRejected, "a b [31m"},
		"method":       {405, ``, ErrUnsupported, "405"},
		"large":        {413, ``, ErrTooLarge, "413"},
		"teapot":       {418, ``, ErrRejected, "418"},
		"server":       {507, ``, ErrUnavailable, "507"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			resp := &http.Response{StatusCode: test.code, Body: io.NopCloser(strings.NewReader(test.body))}
			err := fmt.Errorf("doing: %w", responseError(resp))
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			text := err.Error()
			if !strings.Contains(text, test.text) || strings.Contains(text, "secret") || len(text) > 500 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("text: %q", text)
			}
		})
	}
	raw, err := json.Marshal(map[string]any{"errors": slices.Repeat([]ggcr.Diagnostic{{Code: "A", Message: "b"}}, 100)})
	if err != nil {
		t.Fatal(err)
	}
	got := responseError(&http.Response{StatusCode: 400, Body: io.NopCloser(strings.NewReader(string(raw)))})
	want(t, len(got.Codes), 4, "codes kept")
}
