package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Memory is that everything a policy wants of an artifact was verified in the
// registry. It saves the requests to verify it again for a while; the registry
// stays the truth.
type Memory struct {
	Registry, Repository, Digest string
	// Terms names what was verified: by which key, in which formats, under which
	// identity.
	Terms string
	// At is when it was verified.
	At time.Time
	// Parts are the manifests that the policy wants signed of an index. Nil: the
	// artifact itself.
	Parts []Part
}

// A Part is a manifest that an index names, at any depth, or the index itself.
type Part struct {
	Digest    string `json:"digest"`
	MediaType string `json:"media_type,omitempty"`
}

// memoryKept is how long it is known that something was verified. It is believed
// for a shorter time, and says afterwards that a signature was lost.
const memoryKept = 90 * 24 * time.Hour

// memoriesPerInsert keeps a statement's parameters below every database's limit.
const memoriesPerInsert = 200

// Remember keeps memories, in place of older ones of the same artifacts and
// terms.
func (j *Journal) Remember(ctx context.Context, memories []Memory) error {
	for rest := memories; len(rest) > 0; {
		n := min(len(rest), memoriesPerInsert)
		batch := rest[:n]
		err := j.write(ctx, "memories\n"+batch[0].Repository, func(ctx context.Context, q querier) error { return insertMemories(ctx, q, batch) })
		if err != nil {
			return fmt.Errorf("remembering what was verified: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

func insertMemories(ctx context.Context, q querier, memories []Memory) error {
	var values strings.Builder
	var args []any
	given := map[[4]string]bool{} // a statement must not meet a row twice
	for _, m := range memories {
		key := [4]string{m.Registry, m.Repository, m.Digest, m.Terms}
		if given[key] {
			continue
		}
		given[key] = true
		parts := ""
		if m.Parts != nil {
			raw, err := json.Marshal(m.Parts)
			if err != nil {
				return err
			}
			parts = string(raw)
		}
		if len(args) > 0 {
			values.WriteString(", ")
		}
		placeholders(&values, len(args), 6)
		args = append(args, m.Registry, m.Repository, m.Digest, m.Terms, micros(m.At), parts)
	}
	_, err := q.exec(ctx, `INSERT INTO memories (registry, repository, digest, terms, verified_at, parts) VALUES `+values.String()+`
		ON CONFLICT (registry, repository, digest, terms) DO UPDATE SET verified_at = excluded.verified_at, parts = excluded.parts`, args...)
	return err
}

// placeholders writes "($3, $4)" for n values after the first given ones.
func placeholders(to *strings.Builder, given, n int) {
	to.WriteByte('(')
	for i := range n {
		if i > 0 {
			to.WriteString(", ")
		}
		to.WriteString("$" + strconv.Itoa(given+i+1))
	}
	to.WriteByte(')')
}

// Recall returns what is remembered of an artifact; false if nothing is.
func (j *Journal) Recall(ctx context.Context, registry, repository, digest, terms string) (Memory, bool, error) {
	m := Memory{Registry: registry, Repository: repository, Digest: digest, Terms: terms}
	var at int64
	var parts string
	err := j.store.reader().queryRow(ctx, `SELECT verified_at, parts FROM memories
		WHERE registry = $1 AND repository = $2 AND digest = $3 AND terms = $4`, registry, repository, digest, terms).Scan(&at, &parts)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Memory{}, false, nil
	case err == nil && parts != "":
		err = json.Unmarshal([]byte(parts), &m.Parts)
	}
	if err != nil {
		return Memory{}, false, fmt.Errorf("recalling %s@%s: %w", repository, digest, err)
	}
	m.At = fromMicros(at)
	return m, true, nil
}

// Forget drops what is remembered of an artifact, under all terms: its
// signatures were changed on purpose.
func (j *Journal) Forget(ctx context.Context, registry, repository, digest string) error {
	err := j.write(ctx, "memories\n"+repository, func(ctx context.Context, q querier) error {
		return forget(ctx, q, registry, repository, digest)
	})
	if err != nil {
		return fmt.Errorf("forgetting %s@%s: %w", repository, digest, err)
	}
	return nil
}

func forget(ctx context.Context, q querier, registry, repository, digest string) error {
	_, err := q.exec(ctx, `DELETE FROM memories WHERE registry = $1 AND repository = $2 AND digest = $3`, registry, repository, digest)
	return err
}

// Doubt makes Doubted return now: what was verified under these terms before is
// to be verified again. That it was verified stays known.
func (j *Journal) Doubt(ctx context.Context, registry, terms string) error {
	now := micros(j.now())
	err := j.write(ctx, "doubts\n"+registry+"\n"+terms, func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `INSERT INTO doubts (registry, terms, doubted_at) VALUES ($1, $2, $3)
			ON CONFLICT (registry, terms) DO UPDATE SET doubted_at = excluded.doubted_at`, registry, terms, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("doubting what was verified in %s: %w", registry, err)
	}
	return nil
}

// Doubted returns when memories of these terms were doubted last; the zero time
// if they never were.
func (j *Journal) Doubted(ctx context.Context, registry, terms string) (time.Time, error) {
	at, err := scanID(j.store.reader().queryRow(ctx, `SELECT doubted_at FROM doubts WHERE registry = $1 AND terms = $2`, registry, terms))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("reading what is doubted: %w", err)
	}
	return fromMicros(at), nil
}

// RememberedRepositories returns a page of the repositories of which something
// is remembered under these terms, in order, those after the one given.
func (j *Journal) RememberedRepositories(ctx context.Context, registry, terms, after string, n int) ([]string, error) {
	list, err := collect(ctx, j.store.reader(), scanText,
		`SELECT DISTINCT repository FROM memories WHERE registry = $1 AND repository > $2 AND terms = $3 ORDER BY repository `+limit(n),
		registry, after, terms)
	if err != nil {
		return nil, fmt.Errorf("reading which repositories are remembered: %w", err)
	}
	return list, nil
}

// forgetOld drops memories too old to be of use, some at a time.
func (j *Journal) forgetOld(ctx context.Context) error {
	return j.store.update(ctx, func(q querier) error {
		_, err := q.exec(ctx, `DELETE FROM memories WHERE verified_at <= (SELECT COALESCE(MAX(verified_at), 0) FROM
			(SELECT verified_at FROM memories WHERE verified_at < $1 ORDER BY verified_at LIMIT $2) AS old)`,
			micros(j.now().Add(-memoryKept)), pruneRows)
		return err
	})
}
