package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A libraryCall is one request of a vendor's library that knows no contexts and
// drops what of an answer we need. It binds the request to a context, and lets
// the library see nothing but a whole JSON object, because some libraries
// panic on other JSON, follow redirects with a signed request, or repeat all
// of an answer in their errors.
type libraryCall struct {
	status     int // of the answer, 0: there was none
	retryAfter time.Duration
	err        error // why the library got no answer
}

// A roundTrip is a function that is an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// over returns a transport for one request, which ends with ctx.
func (l *libraryCall) over(ctx context.Context, transport http.RoundTripper) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(req.WithContext(ctx))
		if err == nil {
			err = l.read(resp)
		}
		if err != nil {
			l.err = err
			return nil, err
		}
		return resp, nil
	})
}

// read replaces the answer's body by what has been read of it.
func (l *libraryCall) read(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	l.status = resp.StatusCode
	l.retryAfter = askedToWait(resp.Header)
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return l.answer(ErrUnsupported, "", "the endpoint redirects elsewhere, which is not followed")
	}
	if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		kind := ErrUnavailable // something else than the key store answers
		if resp.StatusCode >= 400 {
			kind = kindOfStatus(resp.StatusCode)
		}
		return l.answer(kind, "", "the answer is no JSON object")
	}
	// Nothing else decides how the library reads the body.
	resp.Header = http.Header{"Content-Type": {"application/json"}}
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// answer returns an error of the answer, with the HTTP status if it has no code
// of the vendor's.
func (l *libraryCall) answer(kind error, code, message string) error {
	if code == "" {
		code = fmt.Sprintf("HTTP %d", l.status)
	}
	return &StoreError{Kind: kind, Code: code, Message: message, RetryAfter: l.retryAfter}
}

// failed returns why there is no answer, nil if there is one.
func (l *libraryCall) failed() error {
	var told *StoreError
	if l.err == nil || errors.As(l.err, &told) {
		return l.err
	}
	return networkError(l.err)
}

// hostURL checks an endpoint that has to be a host and no more.
func hostURL(endpoint string) (*url.URL, error) {
	at, err := endpointURL(endpoint)
	if err != nil {
		return nil, err
	}
	if strings.Trim(at.Path, "/") != "" {
		return nil, errors.New("endpoint of the key store has a path; allowed: https://HOST[:PORT] or http://HOST[:PORT]")
	}
	at.Path = ""
	return at, nil
}
