package budget

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answer(status int, header http.Header, text string) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text))}
}

func get(t *testing.T, rt http.RoundTripper) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://tsa.example.com", bytes.NewReader([]byte("query")))
	if err != nil {
		t.Fatal(err)
	}
	return rt.RoundTrip(req)
}

func TestTransportHoldsItsPlaceUntilTheBodyEnds(t *testing.T) {
	rt := NewTransport(roundTripper(func(*http.Request) (*http.Response, error) { return answer(200, nil, "token"), nil }),
		Limits{RequestsPerSecond: 1000, Concurrency: 2}, 100)
	for _, end := range []func(io.ReadCloser) error{
		func(b io.ReadCloser) error { _, err := io.ReadAll(b); return err },
		func(b io.ReadCloser) error { return b.Close() },
		func(b io.ReadCloser) error {
			_, err := io.ReadAll(b)
			return errors.Join(err, b.Close(), b.Close())
		},
	} {
		resp, err := get(t, rt)
		if err != nil {
			t.Fatal(err)
		}
		want(t, rt.budget.Free(), 1, "free places while the body is open")
		if err := end(resp.Body); err != nil {
			t.Error(err)
		}
		want(t, rt.budget.Free(), 2, "free places afterwards")
	}
	want(t, rt.Requests(), map[Request]int64{{"POST", 200}: 3}, "requests")
}

func TestTransportGivesItsPlaceBackAfterAnError(t *testing.T) {
	rt := NewTransport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }),
		Limits{RequestsPerSecond: 1000, Concurrency: 1}, 100)
	for range 3 {
		if _, err := get(t, rt); err == nil {
			t.Fatal("no error")
		}
	}
	want(t, rt.budget.Free(), 1, "free places")
	want(t, rt.Requests(), map[Request]int64{{"POST", 0}: 3}, "requests")
}

func TestTransportBoundsTheAnswer(t *testing.T) {
	for size, ok := range map[int]bool{99: true, 100: true, 101: false, 5000: false} {
		rt := NewTransport(roundTripper(func(*http.Request) (*http.Response, error) {
			return answer(200, nil, strings.Repeat("x", size)), nil
		}), Limits{RequestsPerSecond: 1000, Concurrency: 1}, 100)
		resp, err := get(t, rt)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		want(t, err == nil, ok, "whether an answer is read")
		want(t, len(text), min(size, 100), "bytes read")
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTransportSlowsDownWhenThrottled(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		after  string
		wait   time.Duration
		cut    bool
	}{
		"429 with seconds":       {429, "7", 7 * time.Second, true},
		"429 alone":              {429, "", 0, true},
		"503 with seconds":       {503, "3", 3 * time.Second, true},
		"503 alone":              {503, "", 0, false},
		"far too long":           {429, "999999", maxPause, true},
		"neither number nor day": {429, "soon", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				status, after := test.status, test.after
				rt := NewTransport(roundTripper(func(*http.Request) (*http.Response, error) {
					header := http.Header{}
					if after != "" {
						header.Set("Retry-After", after)
					}
					return answer(status, header, ""), nil
				}), Limits{RequestsPerSecond: 1000, Concurrency: 1}, 100)
				resp, err := get(t, rt)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				want(t, rt.budget.Rate() < 1000, test.cut, "the rate is cut")
				status, after = 200, ""
				start := time.Now()
				resp, err = get(t, rt)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				want(t, time.Since(start).Truncate(100*time.Millisecond), test.wait, "the pause")
			})
		})
	}
}
