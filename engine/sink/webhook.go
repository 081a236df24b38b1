package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// requestTimeout bounds one request with its answer.
	requestTimeout = 15 * time.Second
	// answerLimit bounds what is read of an answer, whose text says nothing to us.
	answerLimit = 16 << 10
)

// What a server is asked at most.
var webhookLimits = budget.Limits{RequestsPerSecond: 100, Concurrency: 1}

// WebhookOptions say where to send entries.
type WebhookOptions struct {
	// URL is where entries are posted. Required.
	URL string
	// Roots are the certificates that are trusted. Nil means the system's.
	Roots *x509.CertPool
	// Token returns the bearer token, for each request anew. Nil sends none.
	Token func() ([]byte, error)
	// Sign signs a request, whose body it is given. Nil does not.
	Sign func(req *http.Request, body []byte) error
	// UserAgent says who sends.
	UserAgent string
}

// A Webhook posts entries, one a request and in order. An answer of 2xx takes an
// entry; after any other it is sent again.
type Webhook struct {
	opts   WebhookOptions
	base   *http.Transport
	client *http.Client
}

// NewWebhook returns a sink that sends to a server.
func NewWebhook(o WebhookOptions) *Webhook {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	base := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  requestTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Webhook{opts: o, base: base, client: &http.Client{
		Transport: budget.NewTransport(base, webhookLimits, answerLimit),
		// Records, and the token, go to nobody whom the configuration does not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Deliver implements Sink.
func (w *Webhook) Deliver(ctx context.Context, entries []journal.Entry) (int, error) {
	for i, e := range entries {
		if deadline, ok := ctx.Deadline(); ok && i > 0 && time.Until(deadline) < requestTimeout {
			return i, nil // the next one might be cut off in the middle
		}
		if err := w.send(ctx, e); err != nil {
			var later *Later
			if errors.As(err, &later) {
				return i, &Later{later.After, fmt.Errorf("entry %d: %w", e.Seq, later.Err)}
			}
			return i, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
	}
	return len(entries), nil
}

// Close implements Sink.
func (w *Webhook) Close() error {
	w.base.CloseIdleConnections()
	return nil
}

func (w *Webhook) send(ctx context.Context, e journal.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := w.request(ctx, e)
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, whose path may be a secret
		}
		return fmt.Errorf("sending: %w", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again; else it is closed
	_ = resp.Body.Close()
	return outcome(resp)
}

func (w *Webhook) request(ctx context.Context, e journal.Entry) (*http.Request, error) {
	body, err := e.JSON()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.opts.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL is not one") // it is not shown
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", w.opts.UserAgent)
	req.Header.Set("Idempotency-Key", e.Hash)
	req.Header.Set("X-Sealwright-Event", "signature-record")
	req.Header.Set("X-Sealwright-Sequence", strconv.FormatInt(e.Seq, 10))
	if w.opts.Token != nil {
		token, err := w.opts.Token()
		if err != nil {
			return nil, fmt.Errorf("bearer token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	return req, w.sign(req, body)
}

// errTwoProofs keeps a token from being left out without a word.
var errTwoProofs = errors.New("there is a bearer token, and a signature key is bound whose proof would take its place: unbind the key, or configure no token_file")

// sign signs a request that is otherwise complete.
func (w *Webhook) sign(req *http.Request, body []byte) error {
	if w.opts.Sign == nil {
		return nil
	}
	token := req.Header.Get("Authorization")
	if err := w.opts.Sign(req, body); err != nil {
		return fmt.Errorf("signing the request: %w", err)
	}
	if token != "" && req.Header.Get("Authorization") != token {
		return errTwoProofs
	}
	return nil
}

// outcome is nil if the answer takes the entry. The answer's text is not shown,
// as it may repeat what was sent.
func outcome(resp *http.Response) error {
	code := resp.StatusCode
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("answered %d: redirects are not followed", code)
	}
	err := fmt.Errorf("answered %d %s", code, http.StatusText(code))
	if after := RetryAfter(resp.Header); after > 0 {
		return &Later{after, err}
	}
	return err
}

// RetryAfter is how long an answer asks to wait, in seconds or until a time; 0 if it
// does not.
func RetryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
