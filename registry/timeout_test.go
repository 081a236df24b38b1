package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A pipeListener is a network of pipes, which a bubble's clock knows of.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// overPipes returns a client whose transport is the real one but for what it
// dials. Call it, and end, in a bubble.
func overPipes(t *testing.T, handler http.HandlerFunc) (c *Client, end func()) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Hour}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	base := newBase(8)
	base.Proxy, base.DialContext = nil, l.dial
	cfg := config("reg.example")
	cfg.Transport = base
	c = client(t, cfg)
	return c, func() {
		base.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// trickle sends a byte every ten seconds for as long as somebody listens.
func trickle(w http.ResponseWriter, r *http.Request) {
	for _, err := io.WriteString(w, "{"); err == nil; _, err = io.WriteString(w, " ") {
		w.(http.Flusher).Flush()
		select {
		case <-time.After(10 * time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

func silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// Without a deadline, too, whatever a registry does comes to an end.
func TestNothingTakesForEver(t *testing.T) {
	failing := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		trickle(w, r)
	}
	refusing := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		trickle(w, r)
	}
	tests := map[string]struct {
		answer   http.HandlerFunc
		want     error
		attempts int64
		each     time.Duration
	}{
		"no answer":                    {silence, ErrUnavailable, maxAttempts, headerTimeout},
		"a body without end":           {trickle, ErrUnavailable, readAttempts, attemptTimeout},
		"a failure's body without end": {failing, ErrUnavailable, maxAttempts, attemptTimeout},
		"a refusal's body without end": {refusing, ErrForbidden, 1, attemptTimeout},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, end := overPipes(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v2/" {
						test.answer(w, r)
					}
				})
				defer end()
				start := time.Now()
				_, err := collect(t, c, "")
				wants(t, err, test.want, "listing")
				want(t, errors.Is(err, context.DeadlineExceeded), false, "the caller's deadline")
				took, least := time.Since(start), time.Duration(test.attempts)*test.each
				if took < least || took > least+time.Minute { // and between attempts
					t.Errorf("took %v, want %v", took, least)
				}
				want(t, c.Requests().Total(), test.attempts+1, "requests, one of them the ping")
				want(t, c.transport.budget.Free(), 8, "places free afterwards")
			})
		})
	}
}

// A server that never reads what it is sent.
func TestUploadsDoNotTakeForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{}) // the request's context does not end while its body is unread
		defer close(release)
		c, end := overPipes(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				<-release
				panic(http.ErrAbortHandler) // else the server waits for the rest of the body
			}
		})
		defer end()
		raw := []byte(`{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`)
		start := time.Now()
		_, err := c.PutManifest(t.Context(), "app", "v1", ociIndex, raw)
		wants(t, err, ErrUnavailable, "writing")
		if took := time.Since(start); took > maxAttempts*(attemptTimeout+maxBackoff) {
			t.Errorf("took %v", took)
		}
	})
}

// The bound is for one attempt: waiting for a place in the budget is not part
// of it, and a deadline takes its place.
func TestADeadlineIsTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := overPipes(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				trickle(w, r)
			}
		})
		defer end()
		const deadline = 10 * time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		start := time.Now()
		_, err := c.Manifest(ctx, "app", "v1")
		wants(t, err, context.DeadlineExceeded, "reading")
		want(t, time.Since(start), deadline, "time taken")
		want(t, c.Requests().Total(), 2, "requests")
	})
}

// A token server's answer that breaks off says nothing about the password.
func TestTokensThatBreakOff(t *testing.T) {
	server := newTokenServer(inMemory())
	host := serve(t, instead(server, 1<<30, func(r *http.Request) bool { return r.URL.Path == "/token" },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"token":`)
		}))
	cfg := config(host)
	cfg.Keychain = Static("robot", "secret")
	_, err := client(t, cfg).Resolve(t.Context(), "app", "v1")
	wants(t, err, ErrUnavailable, "resolving")
}
