package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// An exchange sends requests for a vendor's library. Whatever is no answer it
// turns into a StoreError before the library sees it: libraries lose the kind,
// the Retry-After or the words of an error on its way through them, follow
// redirects with a signed request, and panic on answers that the API never
// gives.
type exchange struct {
	client *http.Client
	// refusal returns what an answer refuses, nil if it is what was asked for.
	// An empty Code becomes the HTTP status.
	refusal func(status int, body []byte) *StoreError
	// text is set where an answer is text. Elsewhere it is one JSON object.
	text bool
}

// Do returns an answer whose body has been read, or an error.
func (e *exchange) Do(req *http.Request) (*http.Response, error) {
	resp, err := e.client.Do(req) //nolint:gosec // the operator names the host, or it follows from their key
	if err != nil {
		return nil, networkError(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read or has failed already
	if resp.StatusCode < 300 && err != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "reading the answer: " + err.Error()}
	}
	if refused := e.refused(resp.StatusCode, body); refused != nil {
		refused.RetryAfter = askedToWait(resp.Header)
		if refused.Code == "" {
			refused.Code = fmt.Sprintf("HTTP %d", resp.StatusCode)
		}
		return nil, refused
	}
	// Nothing else decides how the library reads the body.
	resp.Header.Del("Content-Encoding")
	resp.Header.Set("Content-Type", "application/json")
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (e *exchange) refused(status int, body []byte) *StoreError {
	if status/100 == 3 {
		return &StoreError{Kind: ErrUnsupported, Message: "the endpoint redirects elsewhere, which is not followed"}
	}
	if refused := e.refusal(status, body); refused != nil || e.text || jsonObject(body) {
		return refused
	}
	return notUnderstood("it is no JSON object")
}

// A roundTrip is a function that is an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// over returns a transport for one request of a library that knows no contexts
// and hides what went wrong. The request ends with ctx; failure gets why there
// is no answer.
func (e *exchange) over(ctx context.Context, failure *error) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := e.Do(req.WithContext(ctx))
		*failure = err
		return resp, err
	})
}

// jsonObject reports whether body is one object and nothing else.
func jsonObject(body []byte) bool {
	return json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// notUnderstood is the error for an answer that is none of the API's.
func notUnderstood(why string) *StoreError {
	return &StoreError{Kind: ErrUnavailable, Code: "answer not understood", Message: why}
}

// decodeSignature decodes the base64 of a signature; what it is worth is the
// verifier's to say.
func decodeSignature(text string) ([]byte, error) {
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, notUnderstood("its signature is no base64")
	}
	return signature, nil
}

// valueOf is the value of an optional field, empty if it is missing.
func valueOf(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}
