package budget

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Transport sends requests to one server within a Budget: counted, with a
// bound on the answer's size, without following redirects to elsewhere (which
// is the client's business) and without trying again. A throttled answer cuts
// the budget. It is for servers that are asked by somebody else's library; it is
// safe for concurrent use.
type Transport struct {
	base   http.RoundTripper
	budget *Budget
	limit  int64

	mu     sync.Mutex
	counts map[Request]int64
}

// A Request is a kind of request to a server. Status is 0 if none came back.
type Request struct {
	Method string
	Status int
}

// NewTransport returns a Transport whose answers have at most limit bytes. base
// nil means an own http.Transport that honours the proxy environment.
func NewTransport(base http.RoundTripper, limits Limits, limit int64) *Transport {
	if base == nil {
		dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
		base = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    limits.Concurrency,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Transport{base: base, budget: New(limits), limit: limit, counts: map[Request]int64{}}
}

// RoundTrip waits for the budget and sends req.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.budget.Acquire(req.Context()); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as RoundTrippers must
		}
		return nil, err
	}
	sent := time.Now()
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		t.budget.Release()
		t.count(req.Method, 0)
		return nil, err
	}
	t.count(req.Method, resp.StatusCode)
	if pause, throttled := throttling(resp); throttled {
		t.budget.Throttled(sent, pause)
	}
	resp.Body = &body{ReadCloser: resp.Body, left: t.limit, limit: t.limit, release: sync.OnceFunc(t.budget.Release)}
	return resp, nil
}

func (t *Transport) count(method string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[Request{method, status}]++
}

// Requests returns how many requests of each kind were sent so far.
func (t *Transport) Requests() map[Request]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[Request]int64, len(t.counts))
	for r, n := range t.counts {
		out[r] = n
	}
	return out
}

// maxPause bounds what a server may ask us to wait.
const maxPause = 5 * time.Minute

// throttling reports whether an answer asks for fewer requests, and for how
// long to send none.
func throttling(resp *http.Response) (time.Duration, bool) {
	after := strings.TrimSpace(resp.Header.Get("Retry-After"))
	throttled := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable && after != ""
	if !throttled || after == "" {
		return 0, throttled
	}
	if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxPause), true
	}
	if at, err := http.ParseTime(after); err == nil {
		return min(max(time.Until(at), 0), maxPause), true
	}
	return 0, true
}

// A body gives its place in the budget back when it has been read or closed.
type body struct {
	io.ReadCloser
	left, limit int64
	release     func()
}

func (b *body) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = n-1, fmt.Errorf("answer of more than %d bytes", b.limit)
		b.left = 0
	}
	if err != nil {
		b.release()
	}
	return n, err
}

func (b *body) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
