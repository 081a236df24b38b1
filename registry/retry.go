package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	maxAttempts   = 9 // of a request whose context has no deadline: about half a minute
	firstBackoff  = 200 * time.Millisecond
	maxBackoff    = 10 * time.Second
	maxRetryAfter = 5 * time.Minute
)

// transient reports whether the same request may succeed when sent again.
func transient(resp *http.Response, err error) bool {
	if err != nil {
		return errors.Is(err, ErrUnavailable) && !errors.Is(err, errPermanent)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// errPermanent marks a failure to connect that no retry mends.
var errPermanent = errors.New("retrying does not help")

// permanent reports a server that speaks to us, but not as it should: its
// certificate is not trusted, or it does not speak TLS at all.
func permanent(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &cert) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

// throttling returns how long the host asks everybody to wait, and whether it
// throttles us at all. 503 is throttling only if it says until when.
func throttling(resp *http.Response, now time.Time) (pause time.Duration, yes bool) {
	pause, given := retryAfter(resp.Header.Get("Retry-After"), now)
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return pause, true
	case http.StatusServiceUnavailable:
		return pause, given
	default:
		return 0, false
	}
}

// retryAfter reads a Retry-After header, which is a number of seconds or a
// date. The answer is between 0 and maxRetryAfter: a mistaken header must not
// stop us for a day.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter), true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(0, date.Sub(now)), maxRetryAfter), true
}

// backoff returns how long to wait after the attempt-th failure: twice as long
// each time, with jitter so that many clients do not come back together.
func backoff(attempt int) time.Duration {
	d := maxBackoff
	if attempt < 7 {
		d = min(maxBackoff, firstBackoff<<(attempt-1))
	}
	return d/2 + rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
