package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

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

// subtasksPerInsert keeps a statement's parameters below every database's limit.
const subtasksPerInsert = 200

// PutSubtasks is PutSubtask for many artifacts of one execution, at the price of
// one. Those that the execution has dealt with before keep their outcome, and
// only their tags are united.
func (j *Journal) PutSubtasks(ctx context.Context, subtasks []Subtask) error {
	for rest := subtasks; len(rest) > 0; {
		n := min(len(rest), subtasksPerInsert)
		batch := rest[:n]
		now := j.now()
		err := j.write(ctx, batch[0].Repository, func(ctx context.Context, q querier) error { return putSubtasks(ctx, q, batch, now) })
		if err != nil {
			return fmt.Errorf("recording %d artifacts of %s: %w", n, batch[0].Repository, err)
		}
		rest = rest[n:]
	}
	return nil
}

func putSubtasks(ctx context.Context, q querier, subtasks []Subtask, now time.Time) error {
	var values strings.Builder
	var args []any
	for i := range subtasks {
		s := &subtasks[i]
		if i > 0 {
			values.WriteString(", ")
		}
		placeholders(&values, len(args), 13)
		args = append(args, s.ExecutionID, s.TaskID, s.Repository, s.Digest, tagKey(s), s.MediaType, toJSON(union(s.Tags, nil)),
			s.Status, s.Reason, s.Detail, flag(s.TagMoved), micros(cmp.Or(s.CreatedAt, now)), micros(now))
	}
	fresh, err := collect(ctx, q, scanText, `INSERT INTO subtasks (execution_id, task_id, repository, digest, tag_key, media_type,
		tags, status, reason, detail, tag_moved, created_at, updated_at) VALUES `+values.String()+`
		ON CONFLICT (execution_id, repository, digest, tag_key) DO NOTHING RETURNING digest`, args...)
	if err != nil {
		return err
	}
	isNew := make(map[string]bool, len(fresh))
	for _, digest := range fresh {
		isNew[digest] = true
	}
	for _, s := range subtasks {
		if isNew[s.Digest] {
			delete(isNew, s.Digest) // once: the same digest may follow with other tags
			continue
		}
		known, err := subtaskOf(ctx, q, &s)
		if err != nil {
			return err
		}
		if known.Status.Final() {
			known.Tags = s.Tags // putSubtask unites them
			s = known
		}
		if _, err := putSubtask(ctx, q, s, now); err != nil {
			return err
		}
	}
	return nil
}

// subtaskOf reads what is there of an artifact.
func subtaskOf(ctx context.Context, q querier, s *Subtask) (Subtask, error) {
	return scanSubtask(q.queryRow(ctx, selectSubtask+`
		WHERE execution_id = $1 AND repository = $2 AND digest = $3 AND tag_key = $4`,
		s.ExecutionID, s.Repository, s.Digest, tagKey(s)))
}

// Found is PutSubtask for an artifact that turned out to be signed already, and
// says with which signatures: each record has its Registry, Repository, Digest,
// Format, KeyFingerprint, Signature and StoredAs. If a worker died after it had
// brought such a signature to the registry, its newest record, which was closed
// with ReasonInterrupted, becomes Signed with ReasonFound, unless another record
// has that very signature. Found adds no records.
func (j *Journal) Found(ctx context.Context, s Subtask, records []Record) error {
	now := j.now()
	err := j.write(ctx, s.Repository+"\n"+s.Digest, func(ctx context.Context, q querier) error {
		if _, err := putSubtask(ctx, q, s, now); err != nil {
			return err
		}
		for i := range records {
			if err := recordFound(ctx, q, &records[i], now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording what was found at %s@%s: %w", s.Repository, s.Digest, err)
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
	old, err := subtaskOf(ctx, q, &s)
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
