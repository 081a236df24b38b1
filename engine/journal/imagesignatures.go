package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// An ImageSignature is a signature of a container image that somebody uploaded
// through Oracle Artifacts' API, after it was verified.
type ImageSignature struct {
	// Number grows with each signature that is stored.
	Number int64
	// ID is the signature's OCID.
	ID string

	Registry, Repository, Digest string
	// CompartmentID and ImageID are what the uploader called registry and image.
	CompartmentID, ImageID string
	KeyID, KeyVersionID    string
	Algorithm              string // in Oracle's words
	Message, Signature     string // base64, as they were uploaded
	DisplayName            string
	Creator                string
	// FreeformTags and DefinedTags are JSON objects.
	FreeformTags, DefinedTags string
	// ETag is another one after each change.
	ETag                 string
	CreatedAt, UpdatedAt time.Time
}

// A RetryToken tells a call that is made again from another one.
type RetryToken struct {
	// Caller is whose token it is. Others' tokens of the same text are others.
	Caller, Token string
	// Call is a hash of what is asked for.
	Call string
}

// retryTokensKept is how long a retry token is known, as Oracle documents it.
const retryTokensKept = 24 * time.Hour

// ErrRetryToken is for a retry token that was used for something else, or for what is
// gone.
var ErrRetryToken = errors.New("retry token is spent")

const selectImageSignature = `SELECT id, ocid, registry, repository, digest, compartment_id, image_id, key_id, key_version_id, algorithm,
	message, signature, display_name, creator, freeform_tags, defined_tags, etag, created_at, updated_at FROM image_signatures`

// CreateImageSignature stores a signature and its retry token, unless that is
// empty, and returns the signature as it is then. Its Number and times are given
// here. If the token was used before for the same call, nothing is stored and what
// was created then is returned; for another call, or if that is gone, it returns
// ErrRetryToken. It returns ErrQuota if the registry has as many as quota.
func (j *Journal) CreateImageSignature(ctx context.Context, s ImageSignature, t RetryToken, quota int) (ImageSignature, error) {
	var created ImageSignature
	key := "image signatures\n" + s.Registry
	err := j.write(ctx, key, func(ctx context.Context, q querier) (err error) {
		if _, err := advance(ctx, q, key); err != nil { // one after the other, for the quota
			return err
		}
		if t.Token != "" {
			if created, err = j.spend(ctx, q, t, s.ID); err != nil || created.ID != "" {
				return undoing(err)
			}
		}
		n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM image_signatures WHERE registry = $1`, s.Registry))
		if err == nil && n >= int64(quota) {
			err = ErrQuota
		}
		if err != nil {
			return undo{err}
		}
		created = s
		now := micros(j.now())
		created.CreatedAt, created.UpdatedAt = fromMicros(now), fromMicros(now)
		created.Number, err = scanID(q.queryRow(ctx, `INSERT INTO image_signatures
			(ocid, registry, repository, digest, compartment_id, image_id, key_id, key_version_id, algorithm,
			message, signature, display_name, creator, freeform_tags, defined_tags, etag, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17) RETURNING id`,
			s.ID, s.Registry, s.Repository, s.Digest, s.CompartmentID, s.ImageID, s.KeyID, s.KeyVersionID, s.Algorithm,
			s.Message, s.Signature, s.DisplayName, s.Creator, s.FreeformTags, s.DefinedTags, s.ETag, now))
		return err
	})
	if err != nil {
		return ImageSignature{}, fmt.Errorf("storing a signature of %s@%s: %w", s.Repository, s.Digest, err)
	}
	return created, nil
}

// undoing keeps what was written before an error from being kept.
func undoing(err error) error {
	if err == nil {
		return nil
	}
	return undo{err}
}

// spend writes a retry token down, for what is going to be created. If it was
// written before, it returns what was created then.
func (j *Journal) spend(ctx context.Context, q querier, t RetryToken, resource string) (ImageSignature, error) {
	now := j.now()
	if _, err := q.exec(ctx, `DELETE FROM retry_tokens WHERE caller = $1 AND token = $2 AND created_at <= $3`,
		t.Caller, t.Token, micros(now.Add(-retryTokensKept))); err != nil {
		return ImageSignature{}, err
	}
	// Of two who write the same one, the second waits here for the first.
	n, err := q.exec(ctx, `INSERT INTO retry_tokens (caller, token, call, resource, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (caller, token) DO NOTHING`, t.Caller, t.Token, t.Call, resource, micros(now))
	if err != nil || n > 0 {
		return ImageSignature{}, err
	}
	return j.spent(ctx, q, t)
}

// spent returns what was created with a retry token, or nothing if it was not used.
func (j *Journal) spent(ctx context.Context, q querier, t RetryToken) (ImageSignature, error) {
	var call, resource string
	err := q.queryRow(ctx, `SELECT call, resource FROM retry_tokens WHERE caller = $1 AND token = $2 AND created_at > $3`,
		t.Caller, t.Token, micros(j.now().Add(-retryTokensKept))).Scan(&call, &resource)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ImageSignature{}, nil
	case err != nil:
		return ImageSignature{}, err
	case call != t.Call:
		return ImageSignature{}, fmt.Errorf("%w: it was used for another call", ErrRetryToken)
	}
	s, err := imageSignatureByID(ctx, q, resource)
	if errors.Is(err, ErrNotFound) {
		return ImageSignature{}, fmt.Errorf("%w: what was created with it is gone", ErrRetryToken)
	}
	return s, err
}

// RetriedImageSignature returns what CreateImageSignature would return without
// storing anything, and true; false if it would store a signature.
func (j *Journal) RetriedImageSignature(ctx context.Context, t RetryToken) (ImageSignature, bool, error) {
	if t.Token == "" {
		return ImageSignature{}, false, nil
	}
	s, err := j.spent(ctx, j.store.reader(), t)
	if err != nil {
		return ImageSignature{}, false, fmt.Errorf("looking for what a retry token was used for: %w", err)
	}
	return s, s.ID != "", nil
}

// ImageSignature returns the signature of that OCID, or ErrNotFound.
func (j *Journal) ImageSignature(ctx context.Context, id string) (ImageSignature, error) {
	s, err := imageSignatureByID(ctx, j.store.reader(), id)
	if err != nil {
		return ImageSignature{}, fmt.Errorf("signature %s: %w", id, err)
	}
	return s, nil
}

// UpdateImageSignature changes a signature's tags and its ETag as change has it,
// which gets the signature as it is and may refuse with an error. change may be
// called more than once. It returns ErrNotFound if there is none of this OCID.
func (j *Journal) UpdateImageSignature(ctx context.Context, id string, change func(*ImageSignature) error) (ImageSignature, error) {
	var changed ImageSignature
	err := j.lockedImageSignature(ctx, id, func(ctx context.Context, q querier, old ImageSignature) error {
		changed = old
		if err := change(&changed); err != nil {
			return err
		}
		old.FreeformTags, old.DefinedTags, old.ETag = changed.FreeformTags, changed.DefinedTags, changed.ETag
		changed = old
		changed.UpdatedAt = fromMicros(micros(j.now()))
		_, err := q.exec(ctx, `UPDATE image_signatures SET freeform_tags = $2, defined_tags = $3, etag = $4, updated_at = $5 WHERE id = $1`,
			changed.Number, changed.FreeformTags, changed.DefinedTags, changed.ETag, micros(changed.UpdatedAt))
		return err
	})
	if err != nil {
		return ImageSignature{}, fmt.Errorf("changing signature %s: %w", id, err)
	}
	return changed, nil
}

// DeleteImageSignature deletes a signature unless refuse, which gets it, returns an
// error. It returns ErrNotFound if there is none of this OCID.
func (j *Journal) DeleteImageSignature(ctx context.Context, id string, refuse func(ImageSignature) error) error {
	err := j.lockedImageSignature(ctx, id, func(ctx context.Context, q querier, s ImageSignature) error {
		if err := refuse(s); err != nil {
			return err
		}
		_, err := q.exec(ctx, `DELETE FROM image_signatures WHERE id = $1`, s.Number)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting signature %s: %w", id, err)
	}
	return nil
}

// lockedImageSignature runs f in a transaction in which nobody else changes the
// signature.
func (j *Journal) lockedImageSignature(ctx context.Context, id string, f func(context.Context, querier, ImageSignature) error) error {
	return j.write(ctx, "image signature\n"+id, func(ctx context.Context, q querier) error {
		// Writing the row is what both databases have to lock it.
		n, err := q.exec(ctx, `UPDATE image_signatures SET updated_at = updated_at WHERE ocid = $1`, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		s, err := imageSignatureByID(ctx, q, id)
		if err != nil {
			return undo{err}
		}
		return undoing(f(ctx, q, s))
	})
}

func imageSignatureByID(ctx context.Context, q querier, id string) (ImageSignature, error) {
	s, err := scanImageSignature(q.queryRow(ctx, selectImageSignature+` WHERE ocid = $1`, id))
	return s, notFound(err)
}

func scanImageSignature(row scanner) (ImageSignature, error) {
	var s ImageSignature
	var created, updated int64
	err := row.Scan(&s.Number, &s.ID, &s.Registry, &s.Repository, &s.Digest, &s.CompartmentID, &s.ImageID, &s.KeyID, &s.KeyVersionID, &s.Algorithm,
		&s.Message, &s.Signature, &s.DisplayName, &s.Creator, &s.FreeformTags, &s.DefinedTags, &s.ETag, &created, &updated)
	s.CreatedAt, s.UpdatedAt = fromMicros(created), fromMicros(updated)
	return s, err
}

// forgetRetryTokens drops those that are too old to be known, some at a time.
func (j *Journal) forgetRetryTokens(ctx context.Context) error {
	return j.store.update(ctx, func(q querier) error {
		_, err := q.exec(ctx, `DELETE FROM retry_tokens WHERE created_at <= (SELECT COALESCE(MAX(created_at), 0) FROM
			(SELECT created_at FROM retry_tokens WHERE created_at <= $1 ORDER BY created_at LIMIT $2) AS old)`,
			micros(j.now().Add(-retryTokensKept)), pruneRows)
		return err
	})
}
