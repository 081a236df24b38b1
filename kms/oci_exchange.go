package kms

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// An exchange sends requests for a vendor's library. Whatever is no answer it
// turns into a StoreError before the library sees it: libraries lose the kind,
// the Retry-After or the words of an error on its way through them.
type exchange struct {
	client  *http.Client
	refusal func(status int, body []byte) *StoreError
}

// Do returns an answer with status 200 whose body has been read, or an error.
func (e *exchange) Do(req *http.Request) (*http.Response, error) {
	resp, err := e.client.Do(req) //nolint:gosec // the operator names the host, or it follows from their key
	if err != nil {
		return nil, networkError(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read or has failed already
	if resp.StatusCode != http.StatusOK {
		answer := e.refusal(resp.StatusCode, body)
		answer.RetryAfter = askedToWait(resp.Header)
		if answer.Code == "" {
			answer.Code = fmt.Sprintf("HTTP %d", resp.StatusCode)
		}
		return nil, answer
	}
	if err != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Message: "reading the answer: " + err.Error()}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// notUnderstood is the error for an answer that is none of the API's.
func notUnderstood(why string) error {
	return &StoreError{Kind: ErrUnavailable, Code: "answer not understood", Message: why}
}
