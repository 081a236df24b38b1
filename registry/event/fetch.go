package event

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// What is fetched to check signatures.
const (
	maxFetched   = 64 << 10 // bytes
	fetchTimeout = 10 * time.Second
)

// A fetcher reads small documents from hosts that are known beforehand.
type fetcher struct {
	transport http.RoundTripper
	now       func() time.Time
}

func newFetcher(cfg Config, fault func(string, ...any)) *fetcher {
	if cfg.Transport == nil {
		fault("transport: is required")
	}
	return &fetcher{transport: cfg.Transport, now: cfg.Now}
}

// maxFetches is how often an allowance allows to fetch in a minute.
const maxFetches = 10

// An allowance bounds how often something is fetched, as anybody may send a
// delivery that makes us fetch. What one sort of sender can use up, another does
// not depend on.
type allowance struct {
	mu    sync.Mutex
	since time.Time
	count int
}

func (a *allowance) take(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.since) >= time.Minute || now.Before(a.since) {
		a.since, a.count = now, 0
	}
	a.count++
	return a.count <= maxFetches
}

// get returns the document at a URL, if that is still allowed. Redirects are an
// error.
func (f *fetcher) get(ctx context.Context, url string, a *allowance) ([]byte, error) {
	if !a.take(f.now()) {
		return nil, fmt.Errorf("more than %d documents to fetch in a minute", maxFetches)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d %s", req.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxFetched {
		return nil, fmt.Errorf("%s answered more than %d bytes", req.URL.Host, maxFetched)
	}
	return body, nil
}
