package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// An ownProblem is an error that our own API answers with.
type ownProblem struct {
	Status    int
	Detail    string
	RequestID string `json:"request_id"`
}

func (p *ownProblem) Error() string { return fmt.Sprintf("answered %d: %s", p.Status, p.Detail) }

// tryOwn asks our own API, which may not be there, to change something as it is now.
func (a *apiHouse) tryOwn(method, path string, body any) error {
	return a.askOwn(method, path, body, nil)
}

// askOwn is tryOwn, and reads what is answered into answer unless that is nil.
func (a *apiHouse) askOwn(method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequest(method, a.URL+"/api/v1"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + ownToken}}
	if method == http.MethodPut || method == http.MethodDelete {
		req.Header.Set("If-Match", "*")
	}
	req.Close = true // so that none is sent on a connection to a daemon that was killed
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch raw, err = io.ReadAll(resp.Body); {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return ownProblemOf(resp, raw)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(raw, answer)
}

func ownProblemOf(resp *http.Response, raw []byte) error {
	said := &ownProblem{}
	if err := json.Unmarshal(raw, said); err != nil || said.Status != resp.StatusCode || resp.Header.Get("Content-Type") != "application/problem+json" {
		return fmt.Errorf("answered %s, no problem: %s", resp.Status, raw)
	}
	return said
}
