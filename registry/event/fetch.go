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

// A fetcher reads small documents from hosts that are known beforehand. As
// anybody may send a delivery that makes us fetch something, it only fetches so
// often.
type fetcher struct {
	transport http.RoundTripper
	now       func() time.Time

	mu    sync.Mutex
	since time.Time
	count int
}

// maxFetches is how often a receiver fetches in a minute.
const maxFetches = 10

func newFetcher(cfg Config, fault func(string, ...any)) *fetcher {
	if cfg.Transport == nil {
		fault("transport: is required")
	}
	return &fetcher{transport: cfg.Transport, now: cfg.Now}
}

func (f *fetcher) allowed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.since) >= time.Minute || now.Before(f.since) {
		f.since, f.count = now, 0
	}
	f.count++
	return f.count <= maxFetches
}

// get returns the document at a URL. Redirects are an error.
func (f *fetcher) get(ctx context.Context, url string) ([]byte, error) {
	if !f.allowed() {
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
