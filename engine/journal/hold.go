package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// A Hold is the exclusive right to change an artifact's signatures without using
// a key. It is a claim that stands in no execution: nothing is journaled about
// what is done meanwhile.
type Hold struct {
	journal *Journal
	claim   Claim
}

// Hold claims an artifact. It returns ErrClaimed while another claim on it is
// live, as Begin does, and like a claim of Begin it ends by itself after ttl.
func (j *Journal) Hold(ctx context.Context, registry, repository, digest string, ttl time.Duration) (*Hold, error) {
	if digest == "" {
		return nil, errors.New("claiming an artifact without digest")
	}
	now := j.now()
	c := Claim{Registry: registry, Subtask: Subtask{Repository: repository, Digest: digest}, token: rand.Text()}
	err := j.write(ctx, c.key(), func(ctx context.Context, q querier) error {
		return j.claim(ctx, q, &c, now, now.Add(ttl))
	})
	if err != nil {
		return nil, fmt.Errorf("claiming %s@%s: %w", repository, digest, err)
	}
	return &Hold{j, c}, nil
}

// Release gives the artifact up. To do so again is no error.
func (h *Hold) Release(ctx context.Context) error {
	c := &h.claim
	err := h.journal.write(ctx, c.key(), func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `DELETE FROM claims WHERE registry = $1 AND repository = $2 AND digest = $3 AND token = $4`,
			c.Registry, c.Subtask.Repository, c.Subtask.Digest, c.token)
		return err
	})
	if err != nil {
		return fmt.Errorf("giving up %s@%s: %w", c.Subtask.Repository, c.Subtask.Digest, err)
	}
	return nil
}
