package signature

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	tspclient "github.com/notaryproject/tspclient-go"
)

// Probe asks the authority for a timestamp over words that mean nothing, and
// returns an error unless its roots vouch for the answer.
func (a Authority) Probe(ctx context.Context) error {
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte("sealwright probe"), HashAlgorithm: crypto.SHA256})
	if err != nil {
		return err
	}
	_, _, err = a.attest(ctx, request)
	return err
}

// Probe asks the log for its checkpoint and returns in words what it is. It
// enters nothing. An error says that there is no Rekor server, or not the one
// whose public key is configured.
func (r *Rekor) Probe(ctx context.Context) (string, error) {
	answer, err := r.ask(ctx, http.MethodGet, "/api/v2/checkpoint", nil)
	if err != nil {
		return "", err
	}
	switch answer.status {
	case http.StatusOK:
		return r.describe(2, string(answer.body))
	case http.StatusNotImplemented:
		return "Rekor v2, which shows its checkpoint elsewhere", nil
	case http.StatusNotFound:
	default:
		return "", answer.refusal()
	}
	if answer, err = r.ask(ctx, http.MethodGet, "/api/v1/log", nil); err != nil {
		return "", err
	}
	switch answer.status {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", errors.New("neither /api/v2/checkpoint nor /api/v1/log is there: is it the URL of a Rekor server?")
	default:
		return "", answer.refusal()
	}
	var said struct {
		SignedTreeHead string `json:"signedTreeHead"`
	}
	if err := json.Unmarshal(answer.body, &said); err != nil {
		return "", errors.New("its answer is not that of a Rekor server")
	}
	return r.describe(1, said.SignedTreeHead)
}

func (r *Rekor) describe(generation int, head string) (string, error) {
	c, err := r.checkpoint(head)
	if err != nil {
		return "", err
	}
	by := "by whomever, as its public key is not configured"
	if r.key != nil {
		by = "by its key"
	}
	return fmt.Sprintf("Rekor v%d, %q with %d entries, signed %s", generation, c.name, c.N, by), nil
}
