package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a base that gives one answer after the other, the last for ever.
type script struct {
	steps  []step
	bodies []string // that were sent
	at     []time.Duration
	start  time.Time
}

type step struct {
	status int // 0: err
	header http.Header
	body   string
	err    error
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
		_ = req.Body.Close()
	}
	now := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	s.bodies = append(s.bodies, string(sent))
	s.at = append(s.at, time.Since(s.start))
	if now.status == 0 {
		return nil, now.err
	}
	header := now.header
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: now.status, Header: header, Body: io.NopCloser(strings.NewReader(now.body)), Request: req,
		ContentLength: int64(len(now.body)),
	}, nil
}

func scripted(t *testing.T, insecure bool, steps ...step) (*transport, *script) {
	t.Helper()
	base := &script{steps: steps, start: time.Now()}
	c := client(t, Config{Name: "test", Host: "reg.example", Insecure: insecure, Transport: base})
	return c.transport, base
}

func get(ctx context.Context, t *testing.T, rt http.RoundTripper, method, url string, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err == nil {
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

func TestTransportRetries(t *testing.T) {
	ok := step{status: 200}
	tests := map[string]struct {
		first    step
		attempts int64
	}{
		"408":                {step{status: 408}, 2},
		"429":                {step{status: 429}, 2},
		"500":                {step{status: 500}, 2},
		"502":                {step{status: 502}, 2},
		"503":                {step{status: 503}, 2},
		"504":                {step{status: 504}, 2},
		"reset":              {step{err: syscall.ECONNRESET}, 2},
		"end of file":        {step{err: io.ErrUnexpectedEOF}, 2},
		"200":                {step{status: 200}, 1},
		"400":                {step{status: 400}, 1},
		"401":                {step{status: 401}, 1},
		"404":                {step{status: 404}, 1},
		"501":                {step{status: 501}, 1},
		"no TLS at the port": {step{err: http.ErrSchemeMismatch}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, base := scripted(t, false, test.first, ok)
				resp, err := get(t.Context(), t, rt, "PUT", "https://reg.example/v2/", strings.NewReader("content"))
				if test.attempts == 2 && (err != nil || resp.StatusCode != 200) {
					t.Errorf("got %v, %v", resp, err)
				}
				want(t, rt.tally.snapshot().Total(), test.attempts, "attempts")
				for _, body := range base.bodies {
					want(t, body, "content", "body of each attempt")
				}
			})
		})
	}
}

func TestTransportGivesUp(t *testing.T) {
	t.Run("after some attempts without a deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rt, _ := scripted(t, false, step{status: 503, body: "why"})
			resp, err := get(t.Context(), t, rt, "GET", "https://reg.example/v2/", nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			want(t, string(body), "why", "the last answer's body")
			want(t, rt.tally.snapshot(), Counters{{"GET", "503"}: maxAttempts}, "attempts")
		})
	})
	t.Run("before the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			rt, base := scripted(t, false, step{err: syscall.ECONNREFUSED})
			_, err := get(ctx, t, rt, "GET", "https://reg.example/v2/", nil)
			if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
				t.Errorf("got %v with context %v", err, ctx.Err())
			}
			if n := len(base.at); n < 15 || n > 30 {
				t.Errorf("%d attempts in two minutes", n)
			}
		})
	})
	t.Run("at once if the body cannot be sent again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rt, _ := scripted(t, false, step{status: 500})
			body := io.MultiReader(strings.NewReader("once"))
			if _, err := get(t.Context(), t, rt, "PUT", "https://reg.example/v2/", body); err != nil {
				t.Fatal(err)
			}
			want(t, rt.tally.snapshot().Total(), 1, "attempts")
		})
	})
	t.Run("with the context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			rt, _ := scripted(t, false, step{status: 500})
			time.AfterFunc(50*time.Millisecond, cancel)
			if _, err := get(ctx, t, rt, "GET", "https://reg.example/v2/", nil); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	})
}

// The token dance sends the same *http.Request twice.
func TestTransportSendsTheSameRequestAgain(t *testing.T) {
	rt, base := scripted(t, false, step{status: 201})
	req, err := http.NewRequestWithContext(t.Context(), "PUT", "https://reg.example/v2/", bytes.NewReader([]byte("body")))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	want(t, base.bodies, []string{"body", "body"}, "bodies")
}

func TestTransportHonoursRetryAfter(t *testing.T) {
	tests := map[string]struct {
		status int
		value  func(now time.Time) string
		wait   time.Duration
		halved bool
	}{
		"429 seconds":    {429, func(time.Time) string { return "7" }, 7 * time.Second, true},
		"503 seconds":    {503, func(time.Time) string { return "7" }, 7 * time.Second, true},
		"429 date":       {429, func(now time.Time) string { return now.Add(90 * time.Second).UTC().Format(http.TimeFormat) }, 90 * time.Second, true},
		"429 a day":      {429, func(time.Time) string { return "86400" }, maxRetryAfter, true},
		"429 long ago":   {429, func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0, true},
		"429 nonsense":   {429, func(time.Time) string { return "soon" }, 0, true},
		"429 not at all": {429, func(time.Time) string { return "" }, 0, true},
		"503 not at all": {503, func(time.Time) string { return "" }, 0, false},
		"500 seconds":    {500, func(time.Time) string { return "7" }, 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header := http.Header{"Retry-After": {test.value(time.Now())}}
				rt, base := scripted(t, false, step{status: test.status, header: header}, step{status: 200})
				if _, err := get(t.Context(), t, rt, "GET", "https://reg.example/v2/", nil); err != nil {
					t.Fatal(err)
				}
				if waited := base.at[1]; waited < test.wait || waited > test.wait+300*time.Millisecond {
					t.Errorf("waited %v, want %v", waited, test.wait)
				}
				want(t, rt.budget.Rate() < DefaultRequestsPerSecond, test.halved, "rate is lowered")
			})
		})
	}
}

func TestTransportDoesNotWaitPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		rt, _ := scripted(t, false, step{status: 429, header: http.Header{"Retry-After": {"60"}}})
		c := &Client{transport: rt}
		start := time.Now()
		resp, err := get(ctx, t, rt, "GET", "https://reg.example/v2/", nil)
		if err != nil || !errors.Is(responseError(resp), ErrRateLimited) {
			t.Errorf("got %v, %v", resp, err)
		}
		if _, err := get(ctx, t, rt, "GET", "https://reg.example/v2/", nil); !errors.Is(err, ErrRateLimited) {
			t.Errorf("during the pause: got %v", err)
		}
		want(t, time.Since(start), 0, "time taken")
		want(t, c.Requests().Total(), 1, "requests sent")
	})
}

func TestTransportFailsClosed(t *testing.T) {
	tests := []struct {
		insecure bool
		url      string
		allowed  bool
	}{
		{false, "https://reg.example/v2/", true},
		{false, "https://storage.example/blob", true},
		{false, "http://reg.example/v2/", false},
		{false, "http://storage.example/blob", false},
		{false, "http://127.0.0.1/v2/", false},
		{false, "https://user:secret@reg.example/v2/", false},
		{false, "ftp://reg.example/", false},
		{true, "http://reg.example/v2/", true},
		{true, "https://reg.example/v2/", false},
		{true, "https://storage.example/blob", true},
		{true, "http://storage.example/blob", true},
	}
	for _, test := range tests {
		rt, base := scripted(t, test.insecure, step{status: 200})
		_, err := get(t.Context(), t, rt, "GET", test.url, nil)
		if sent := len(base.bodies) == 1; sent != test.allowed || sent != (err == nil) {
			t.Errorf("insecure %t, %s: sent %t, %v", test.insecure, test.url, sent, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("error has the password: %v", err)
		}
	}
}

func TestTransportLimitsBodies(t *testing.T) {
	for _, size := range []int{0, 1, 99, 100, 101, 5000} {
		rt, _ := scripted(t, false, step{status: 200, body: strings.Repeat("x", size)})
		resp, err := get(t.Context(), t, rt.limited(100), "GET", "https://reg.example/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		want(t, len(body), min(size, 100), fmt.Sprintf("bytes of %d", size))
		want(t, errors.Is(err, ErrTooLarge), size > 100, fmt.Sprintf("too large at %d", size))
	}
	rt, _ := scripted(t, false, step{status: 404, body: strings.Repeat("x", 2*maxErrorBody)})
	resp, err := get(t.Context(), t, rt, "GET", "https://reg.example/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if len(body) != maxErrorBody || err != nil {
		t.Errorf("error of %d bytes, %v", len(body), err)
	}
}

// A place in the budget is taken until the body is read or closed, and given
// back once.
func TestTransportHoldsItsPlaceUntilTheBodyEnds(t *testing.T) {
	rt, _ := scripted(t, false, step{status: 200, body: "body"})
	free := rt.budget.Free
	all := free()
	for _, end := range []func(io.ReadCloser) error{
		io.ReadCloser.Close,
		func(body io.ReadCloser) error {
			_, err := io.Copy(io.Discard, body)
			return err
		},
		func(body io.ReadCloser) error {
			_, err := io.Copy(io.Discard, body)
			return errors.Join(err, body.Close(), body.Close())
		},
	} {
		resp, err := get(t.Context(), t, rt, "GET", "https://reg.example/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		want(t, free(), all-1, "free places while the body is open")
		if err := end(resp.Body); err != nil {
			t.Fatal(err)
		}
		want(t, free(), all, "free places after it")
	}
}

func TestTransportSetsTheUserAgent(t *testing.T) {
	var agents []string
	host := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
	}))
	cfg := config(host)
	cfg.UserAgent = "sealwright/1.2.3"
	c := client(t, cfg)
	resp, err := get(t.Context(), t, c.transport, "GET", "http://"+host+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	discard(resp)
	want(t, agents, []string{"sealwright/1.2.3"}, "user agents")
}
