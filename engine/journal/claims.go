package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Claim is the exclusive right to use keys on one artifact, together with
// what was journaled about it. Begin returns it; whoever holds it sets the
// outcomes in Subtask and Records and passes it to End, exactly once.
type Claim struct {
	// Registry, with the subtask's repository and digest, is what is claimed.
	Registry string
	// Subtask is InProgress, and has its ID.
	Subtask Subtask
	// Records have their IDs and are Signing, in the order given to Begin.
	Records []Record
	// Touched is whether a key has been used on the artifact before, with or
	// without success, by whomever: what was read of its signatures before the
	// claim may be out of date.
	Touched bool

	token string
}

// Begin claims an artifact and records what is about to be done to it, all in
// one transaction that is on the disk when Begin returns: only then may a key be
// used. There is one record per format and key; their registry, repository and
// digest are taken from registry and s.
//
// Begin returns ErrClaimed while another claim on the artifact is live, be it of
// another replica or of another goroutine. A claim that was not ended lives for
// ttl, which must be longer than an artifact may take plus the difference of
// the replicas' clocks; in the embedded database it ends with its process. What
// it left in state Signing is then closed with ReasonInterrupted. It returns
// ErrNotFound, and claims nothing, if the execution is being pruned.
func (j *Journal) Begin(ctx context.Context, registry string, s Subtask, records []Record, ttl time.Duration) (*Claim, error) {
	now := j.now()
	c := Claim{Registry: registry, Subtask: s, Records: records, token: rand.Text()}
	if s.Digest == "" {
		return nil, errors.New("claiming an artifact without digest")
	}
	c.Subtask.Status = InProgress
	var done Claim
	err := j.write(ctx, c.key(), func(ctx context.Context, q querier) error {
		if err := j.claim(ctx, q, &c, now, now.Add(ttl)); err != nil {
			return err
		}
		var err error
		if done, err = begin(ctx, q, c, now); err != nil {
			return undo{err} // the claim too
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claiming %s@%s: %w", s.Repository, s.Digest, err)
	}
	return &done, nil
}

// begin records what is about to be done to the artifact that c has claimed.
func begin(ctx context.Context, q querier, c Claim, now time.Time) (Claim, error) {
	n, err := scanID(q.queryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM records
		WHERE registry = $1 AND repository = $2 AND digest = $3 LIMIT 1) AS touched`, c.Registry, c.Subtask.Repository, c.Subtask.Digest))
	if err != nil {
		return Claim{}, err
	}
	c.Touched = n > 0
	c.Records = slices.Clone(c.Records)
	if c.Subtask, err = putSubtask(ctx, q, c.Subtask, now); err != nil {
		return Claim{}, err
	}
	for i := range c.Records {
		if err := insertRecord(ctx, q, &c, i, now); err != nil {
			return Claim{}, err
		}
	}
	return c, nil
}

func (c *Claim) key() string {
	return c.Registry + "\n" + c.Subtask.Repository + "\n" + c.Subtask.Digest
}

// claim takes a free claim, or one whose time is over.
func (j *Journal) claim(ctx context.Context, q querier, c *Claim, now, expires time.Time) error {
	args := []any{c.Registry, c.Subtask.Repository, c.Subtask.Digest, c.token, j.owner, micros(expires)}
	n, err := q.exec(ctx, `INSERT INTO claims (registry, repository, digest, token, owner, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (registry, repository, digest) DO NOTHING`, args...)
	if err != nil || n > 0 {
		return err
	}
	// token = $4: this very transaction may have been committed before, and
	// only its confirmation been lost.
	n, err = q.exec(ctx, `UPDATE claims SET token = $4, owner = $5, expires_at = $6
		WHERE registry = $1 AND repository = $2 AND digest = $3 AND (expires_at <= $7 OR token = $4)`,
		append(args, micros(now))...)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrClaimed
	}
	_, err = becomeFinal(ctx, q, `UPDATE records SET state = 'failed', reason = 'interrupted', finished_at = $4
		WHERE registry = $1 AND repository = $2 AND digest = $3 AND state = 'signing'`,
		c.Registry, c.Subtask.Repository, c.Subtask.Digest, micros(now))
	return err
}

// End records the outcome of a claim and gives it up, in one transaction. The
// subtask and all records must be final. The outcome is recorded even if the
// claim's time was over.
func (j *Journal) End(ctx context.Context, c *Claim) error {
	now := j.now()
	if !c.Subtask.Status.Final() {
		return fmt.Errorf("ending %s: subtask status %q is not final", c.Subtask.Digest, c.Subtask.Status)
	}
	for i := range c.Records {
		if s := c.Records[i].State; s != Signed && s != Broken {
			return fmt.Errorf("ending %s: record state %q is not final", c.Subtask.Digest, s)
		}
	}
	err := j.write(ctx, c.key(), func(ctx context.Context, q querier) error {
		// The subtask may have been pruned; the record of a key's use counts.
		if err := updateSubtask(ctx, q, &c.Subtask, now); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		for i := range c.Records {
			if err := finishRecord(ctx, q, &c.Records[i], now); err != nil {
				return err
			}
		}
		_, err := q.exec(ctx, `DELETE FROM claims WHERE registry = $1 AND repository = $2 AND digest = $3 AND token = $4`,
			c.Registry, c.Subtask.Repository, c.Subtask.Digest, c.token)
		return err
	})
	if err != nil {
		return fmt.Errorf("ending %s@%s: %w", c.Subtask.Repository, c.Subtask.Digest, err)
	}
	return nil
}
