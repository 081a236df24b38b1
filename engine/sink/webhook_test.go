package sink_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink"
)

// An office takes posted entries as its clerk says; nil takes all.
type office struct {
	*httptest.Server
	mu    sync.Mutex
	clerk http.HandlerFunc
	got   []posted
	more  chan struct{}
}

type posted struct {
	header http.Header
	body   []byte
	taken  bool
}

func newOffice(t *testing.T) *office {
	o := &office{more: make(chan struct{}, 100_000)}
	o.Server = httptest.NewServer(http.HandlerFunc(o.serve))
	t.Cleanup(o.Close)
	return o
}

func (o *office) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	o.mu.Lock()
	clerk := o.clerk
	o.got = append(o.got, posted{r.Header.Clone(), body, clerk == nil})
	o.mu.Unlock()
	defer func() { o.more <- struct{}{} }()
	if clerk != nil {
		clerk(w, r)
	}
}

func (o *office) is(clerk http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clerk = clerk
}

func (o *office) await(t *testing.T, ok func([]posted) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		o.mu.Lock()
		done := ok(o.got)
		o.mu.Unlock()
		if done {
			return
		}
		select {
		case <-o.more:
		case <-late:
			t.Fatal("waited in vain")
		}
	}
}

// answers is a clerk who takes nothing.
func answers(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func hangsUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// TestWebhookOutage: a server that is down in every way, and a journal that is
// closed and opened in between, lose no entry; each is taken in order and comes
// with one key however often it is sent. Signing goes on meanwhile.
func TestWebhookOutage(t *testing.T) {
	t.Parallel()
	p, o := newPress(t), newOffice(t)
	hook := func() sink.Sink { return sink.NewWebhook(sink.WebhookOptions{URL: o.URL}) }
	r := p.start(hook())
	p.sign(3)
	o.await(t, func(got []posted) bool { return len(got) >= 3 })
	for _, down := range []http.HandlerFunc{answers(500), answers(400), answers(403), answers(307, "Location", "/elsewhere"), hangsUp} {
		o.is(down)
		o.mu.Lock()
		before := len(o.got)
		o.mu.Unlock()
		p.sign(3) // returns, although nobody takes the entries
		o.await(t, func(got []posted) bool { return len(got) >= before+3 })
		stopNow(r)
		p.close()
		p.open()
		r = p.start(hook())
	}
	p.sign(2)
	o.is(nil)
	last := p.entries()[p.made-1]
	o.await(t, func(got []posted) bool {
		g := got[len(got)-1]
		return g.taken && g.header.Get("Idempotency-Key") == last.Hash
	})
	r.Stop(t.Context())
	wantAll(t, o.got, p.entries())
}

// wantAll checks that every entry was taken, in order, and was never sent with
// another key or another body.
func wantAll(t *testing.T, got []posted, entries []journal.Entry) {
	t.Helper()
	next := int64(1)
	for _, g := range got {
		seq, err := strconv.ParseInt(g.header.Get("X-Sealwright-Sequence"), 10, 64)
		must(t, err)
		line, err := entries[seq-1].JSON()
		must(t, err)
		if !bytes.Equal(g.body, line) || g.header.Get("Idempotency-Key") != entries[seq-1].Hash {
			t.Fatalf("entry %d was sent as %s with key %s", seq, g.body, g.header.Get("Idempotency-Key"))
		}
		if seq > next {
			t.Fatalf("entry %d was sent before %d was taken", seq, next)
		}
		if g.taken && seq == next {
			next++
		}
	}
	if next != int64(len(entries))+1 {
		t.Errorf("%d of %d entries taken", next-1, len(entries))
	}
}

// TestWebhookRequest: what a request says, its token is read each time, and it
// is signed over its body.
func TestWebhookRequest(t *testing.T) {
	t.Parallel()
	p, o := newPress(t), newOffice(t)
	p.sign(2)
	tokens := 0
	w := sink.NewWebhook(sink.WebhookOptions{URL: o.URL + "/records", UserAgent: "sealwright/test",
		Token: func() ([]byte, error) { tokens++; return []byte("token-" + strconv.Itoa(tokens)), nil },
		Sign: func(req *http.Request, body []byte) error {
			mac := hmac.New(sha256.New, []byte("secret"))
			mac.Write([]byte(req.Method + " " + req.URL.Path + "\n" + req.Header.Get("Idempotency-Key") + "\n"))
			mac.Write(body)
			req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
			return nil
		}})
	deliver(t, w, p.entries())
	for i, g := range o.got {
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write([]byte("POST /records\n" + p.entries()[i].Hash + "\n"))
		mac.Write(g.body)
		for name, want := range map[string]string{
			"Content-Type": "application/json", "User-Agent": "sealwright/test", "Idempotency-Key": p.entries()[i].Hash,
			"X-Sealwright-Event": "signature-record", "X-Sealwright-Sequence": strconv.Itoa(i + 1),
			"Authorization": "Bearer token-" + strconv.Itoa(i+1), "X-Signature": hex.EncodeToString(mac.Sum(nil)),
		} {
			if got := g.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	if len(o.got) != 2 {
		t.Errorf("%d requests", len(o.got))
	}
}

// TestWebhookHostile: whatever a server does, a delivery ends, nothing goes
// elsewhere, and no error shows the URL's path, the token or the answer.
func TestWebhookHostile(t *testing.T) {
	t.Parallel()
	const path, token = "/hook-secret-path", "secret-token-0123456789"
	elsewhere := newOffice(t)
	var read atomic.Int64 // of endless answers, and what the network holds of them
	endless := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			for r.Context().Err() == nil {
				n, err := w.Write(bytes.Repeat([]byte(r.Header.Get("Authorization")), 100))
				if err != nil {
					return
				}
				read.Add(int64(n))
			}
		}
	}
	tests := map[string]struct {
		clerk http.HandlerFunc
		taken bool
		want  string
	}{
		"endless":           {endless(200), true, ""},
		"endless error":     {endless(500), false, "answered 500 Internal Server Error"},
		"redirect":          {answers(301, "Location", elsewhere.URL), false, "answered 301: redirects are not followed"},
		"redirect the body": {answers(308, "Location", elsewhere.URL), false, "answered 308: redirects are not followed"},
		"redirect to path":  {answers(307, "Location", path+"-2"), false, "answered 307: redirects are not followed"},
		"endless headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 100<<10))
		}, false, "sending: "},
		"hang up":   {hangsUp, false, "sending: "},
		"no answer": {nil, false, "sending: "},
		"unauthorized": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization"), http.StatusUnauthorized)
		}, false, "answered 401 Unauthorized"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, o := newPress(t), newOffice(t)
			p.sign(1)
			o.is(test.clerk)
			w := sink.NewWebhook(sink.WebhookOptions{URL: o.URL + path, Token: func() ([]byte, error) { return []byte(token), nil }})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if test.clerk == nil { // no answer: the runner is cut meanwhile
				o.is(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
			}
			n, err := w.Deliver(ctx, p.entries())
			must(t, w.Close())
			if (n == 1) != test.taken || (err == nil) != test.taken || err != nil && !strings.HasPrefix(err.Error(), "entry 1: "+test.want) {
				t.Errorf("%d taken, %v", n, err)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), token)) {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		if len(elsewhere.got) > 0 {
			t.Error("records went to where they were redirected")
		}
		if n := read.Load(); n > 64<<20 {
			t.Errorf("%d bytes of endless answers were read", n)
		}
	})
}

// TestWebhookRetryAfter: what a server asks for is handed on, whatever it answers.
func TestWebhookRetryAfter(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503, 500, 404} {
		p, o := newPress(t), newOffice(t)
		p.sign(1)
		o.is(answers(code, "Retry-After", "240"))
		w := sink.NewWebhook(sink.WebhookOptions{URL: o.URL})
		n, err := w.Deliver(t.Context(), p.entries())
		must(t, w.Close())
		if later := (*sink.Later)(nil); n != 0 || !errors.As(err, &later) || later.After != 4*time.Minute {
			t.Errorf("%d: %d taken, %v", code, n, err)
		}
	}
}

// TestWebhookTLS: only certificates of the given roots are trusted.
func TestWebhookTLS(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(1)
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	stranger := sink.NewWebhook(sink.WebhookOptions{URL: server.URL})
	if n, err := stranger.Deliver(t.Context(), p.entries()); n != 0 || err == nil || requests.Load() != 0 {
		t.Errorf("%d taken, %v", n, err)
	}
	must(t, stranger.Close())
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	deliver(t, sink.NewWebhook(sink.WebhookOptions{URL: server.URL, Roots: roots}), p.entries())
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

// TestWebhookToken: without its token nothing is sent.
func TestWebhookToken(t *testing.T) {
	t.Parallel()
	p, o := newPress(t), newOffice(t)
	p.sign(1)
	for _, w := range []*sink.Webhook{
		sink.NewWebhook(sink.WebhookOptions{URL: o.URL, Token: func() ([]byte, error) { return nil, errors.New("no such file") }}),
		sink.NewWebhook(sink.WebhookOptions{URL: o.URL, Token: func() ([]byte, error) { return []byte("secret\nX-Injected: 1"), nil }}),
		sink.NewWebhook(sink.WebhookOptions{URL: o.URL, Sign: func(*http.Request, []byte) error { return errors.New("no key") }}),
		// A signature that takes the token's place.
		sink.NewWebhook(sink.WebhookOptions{URL: o.URL, Token: func() ([]byte, error) { return []byte("secret"), nil },
			Sign: func(r *http.Request, _ []byte) error { r.SetBasicAuth("key", "secret"); return nil }}),
	} {
		if n, err := w.Deliver(t.Context(), p.entries()); n != 0 || err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d taken, %v", n, err)
		}
		must(t, w.Close())
	}
	if len(o.got) > 0 {
		t.Errorf("sent: %v", o.got)
	}
}
