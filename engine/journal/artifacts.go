package journal

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
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
// it left in state Signing is then closed with ReasonInterrupted.
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
		done = c
		n, err := scanID(q.queryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM records
			WHERE registry = $1 AND repository = $2 AND digest = $3 LIMIT 1) AS touched`, c.Registry, s.Repository, s.Digest))
		if err != nil {
			return err
		}
		done.Touched = n > 0
		done.Records = slices.Clone(c.Records)
		if done.Subtask, err = putSubtask(ctx, q, c.Subtask, now); err != nil {
			return err
		}
		for i := range done.Records {
			if err := insertRecord(ctx, q, &done, i, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claiming %s@%s: %w", s.Repository, s.Digest, err)
	}
	return &done, nil
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
	_, err = q.exec(ctx, `UPDATE records SET state = 'failed', reason = 'interrupted', finished_at = $4
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

// PutSubtask records an outcome without key use: an artifact that is signed
// already, or that failed before a key was needed. There is one subtask per
// execution, repository and digest (or, without digest, tags): putting it again
// replaces all but the tags, which are united.
func (j *Journal) PutSubtask(ctx context.Context, s Subtask) error {
	now := j.now()
	key := s.Repository + "\n" + s.Digest
	err := j.write(ctx, key, func(ctx context.Context, q querier) error {
		_, err := putSubtask(ctx, q, s, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording %s@%s: %w", s.Repository, s.Digest, err)
	}
	return nil
}

// Seen returns the subtask of a digest that this execution has dealt with: one
// whose status is final. A subtask that a crash left InProgress was not.
func (j *Journal) Seen(ctx context.Context, executionID int64, repository, digest string) (Subtask, bool, error) {
	if digest == "" {
		return Subtask{}, false, nil
	}
	s, err := scanSubtask(j.store.reader().queryRow(ctx, selectSubtask+`
		WHERE execution_id = $1 AND repository = $2 AND digest = $3 AND tag_key = ''`, executionID, repository, digest))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Subtask{}, false, nil
	case err != nil:
		return Subtask{}, false, fmt.Errorf("looking for %s@%s: %w", repository, digest, err)
	}
	return s, s.Status.Final(), nil
}

// putSubtask inserts a subtask or merges it into the one that is there.
func putSubtask(ctx context.Context, q querier, s Subtask, now time.Time) (Subtask, error) {
	s.Tags = union(s.Tags, nil)
	s.CreatedAt = cmp.Or(s.CreatedAt, now)
	s.UpdatedAt = now
	id, err := scanID(q.queryRow(ctx, `INSERT INTO subtasks (execution_id, task_id, repository, digest, tag_key, media_type,
		tags, status, reason, detail, tag_moved, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (execution_id, repository, digest, tag_key) DO NOTHING RETURNING id`,
		s.ExecutionID, s.TaskID, s.Repository, s.Digest, tagKey(&s), s.MediaType, toJSON(s.Tags),
		s.Status, s.Reason, s.Detail, flag(s.TagMoved), micros(s.CreatedAt), micros(now)))
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		s.ID = id
		return s, err
	}
	old, err := scanSubtask(q.queryRow(ctx, selectSubtask+`
		WHERE execution_id = $1 AND repository = $2 AND digest = $3 AND tag_key = $4`,
		s.ExecutionID, s.Repository, s.Digest, tagKey(&s)))
	if err != nil {
		return s, err
	}
	s.ID, s.CreatedAt, s.Tags = old.ID, old.CreatedAt, union(old.Tags, s.Tags)
	return s, updateSubtask(ctx, q, &s, now)
}

// updateSubtask writes what may change of a subtask.
func updateSubtask(ctx context.Context, q querier, s *Subtask, now time.Time) error {
	n, err := q.exec(ctx, `UPDATE subtasks SET task_id = $2, media_type = $3, tags = $4, status = $5, reason = $6,
		detail = $7, tag_moved = $8, updated_at = $9 WHERE id = $1`,
		s.ID, s.TaskID, s.MediaType, toJSON(s.Tags), s.Status, s.Reason, s.Detail, flag(s.TagMoved), micros(now))
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// tagKey distinguishes artifacts without digest.
func tagKey(s *Subtask) string {
	if s.Digest != "" {
		return ""
	}
	return toJSON(union(s.Tags, nil))
}

func insertRecord(ctx context.Context, q querier, c *Claim, i int, now time.Time) error {
	r := &c.Records[i]
	r.Registry, r.Repository, r.Digest = c.Registry, c.Subtask.Repository, c.Subtask.Digest
	r.ExecutionID = c.Subtask.ExecutionID
	r.State, r.CreatedAt, r.FinishedAt = Signing, now, time.Time{}
	var err error
	r.ID, err = scanID(q.queryRow(ctx, `INSERT INTO records (execution_id, policy, policy_version, trigger_type, registry,
		repository, digest, tags, identity, format, key_name, key_fingerprint, algorithm, state, reason, signature,
		stored_as, tag_moved, created_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, 0) RETURNING id`,
		r.ExecutionID, r.Policy, r.PolicyVersion, r.Trigger, r.Registry, r.Repository, r.Digest, toJSON(r.Tags),
		r.Identity, r.Format, r.Key, r.KeyFingerprint, r.Algorithm, r.State, r.Reason, r.Signature,
		r.StoredAs, flag(r.TagMoved), micros(now)))
	return err
}

// finishRecord completes a record. What was promised before the key was used
// stays as it was.
func finishRecord(ctx context.Context, q querier, r *Record, now time.Time) error {
	n, err := q.exec(ctx, `UPDATE records SET state = $2, reason = $3, signature = $4, stored_as = $5, tag_moved = $6,
		finished_at = $7 WHERE id = $1`,
		r.ID, r.State, r.Reason, r.Signature, r.StoredAs, flag(r.TagMoved), micros(cmp.Or(r.FinishedAt, now)))
	if err == nil && n == 0 {
		return fmt.Errorf("record %d is gone", r.ID)
	}
	return err
}

// union returns the sorted tags of both.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// toJSON writes a list; a list of strings cannot fail to be written.
func toJSON(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	b, _ := json.Marshal(list)
	return string(b)
}
