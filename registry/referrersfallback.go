package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxRounds = 8   // of changing an index that others change, too
	maxPruned = 256 // entries of an index that are looked for when it is refused
)

// unfit is what may not be in a tag.
var unfit = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// FallbackTag returns the tag under which registries without a referrers API
// keep the index of what refers to subject.
func FallbackTag(subject v1.Hash) string {
	const maxAlgorithm, maxEncoded = 32, 64 // the specification's
	algorithm, encoded := subject.Algorithm, subject.Hex
	algorithm = algorithm[:min(len(algorithm), maxAlgorithm)]
	encoded = encoded[:min(len(encoded), maxEncoded)]
	return unfit.ReplaceAllString(algorithm+"-"+encoded, "-")
}

// fallback reads the fallback index; nil if there is none. What else the tag
// may hold is ErrCorrupt.
func (r *Referrers) fallback(ctx context.Context, repository string, subject v1.Hash) (*indexDocument, v1.Hash, error) {
	tag := FallbackTag(subject)
	m, err := r.store.Manifest(ctx, repository, tag)
	if errors.Is(err, ErrNotFound) {
		return nil, v1.Hash{}, nil
	}
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("fallback index: %w", err)
	}
	if m.MediaType != string(types.OCIImageIndex) {
		return nil, v1.Hash{}, fmt.Errorf("tag %s of %s holds %q, no index of referrers: %w",
			tag, plain(repository), plain(m.MediaType), ErrCorrupt)
	}
	index, err := parseIndex(m.Raw)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("fallback index %s of %s: %w", tag, plain(repository), err)
	}
	return index, m.Digest, nil
}

// An edit is one change of a fallback index, on its way in: an entry comes or
// goes, and all others stay.
type edit struct {
	r          *Referrers
	repository string
	subject    v1.Hash
	tag        string
	referrer   v1.Hash         // what comes or goes
	entry      json.RawMessage // nil: it goes

	current *indexDocument // as last seen, nil: none
	digest  v1.Hash        // of current
	deleted bool           // the index was deleted once

	// keep are the entries of others that have been seen: they must be there
	// at the end. gone are those that turned out to name nothing.
	keep []json.RawMessage
	kept map[string]bool
	gone map[string]bool
}

func newEdit(r *Referrers, repository string, subject, referrer v1.Hash) *edit {
	return &edit{
		r: r, repository: repository, subject: subject, tag: FallbackTag(subject), referrer: referrer,
		kept: map[string]bool{}, gone: map[string]bool{},
	}
}

// run makes the change, again and again while others undo it.
func (e *edit) run(ctx context.Context) error {
	done, err := e.look(ctx)
	for round := 1; err == nil && !done; round++ {
		if round > maxRounds {
			return fmt.Errorf("%w: gave up after %d rounds", ErrConflict, maxRounds)
		}
		done, err = e.round(ctx, round)
	}
	return err
}

// round writes, and reports whether all is as it should be. Rounds after the
// first wait and look again before they write.
func (e *edit) round(ctx context.Context, n int) (done bool, err error) {
	if n > 1 {
		if err := pause(ctx, backoff(n-1)); err != nil {
			return false, err
		}
		if done, err := e.look(ctx); err != nil || done {
			return done, err
		}
	}
	if err := e.write(ctx); err != nil {
		return false, err
	}
	return e.look(ctx)
}

// look reads the index, and reports whether the change is made and all entries
// of others that have been seen are there.
func (e *edit) look(ctx context.Context) (bool, error) {
	index, digest, err := e.r.fallback(ctx, e.repository, e.subject)
	if err != nil {
		return false, err
	}
	e.current, e.digest = index, digest
	there := map[string]bool{}
	ours := false
	for _, raw := range e.entries() {
		key := entryKey(raw)
		there[key] = true
		if key == e.referrer.String() {
			ours = true
		} else if !e.kept[key] && !e.gone[key] {
			e.kept[key] = true
			e.keep = append(e.keep, raw)
		}
	}
	whole := !slices.ContainsFunc(e.keep, func(raw json.RawMessage) bool { return !there[entryKey(raw)] })
	return whole && ours == (e.entry != nil), nil
}

// entries are those of the index as last seen.
func (e *edit) entries() []json.RawMessage {
	if e.current == nil {
		return nil
	}
	return e.current.entries
}

// entryKey tells entries apart: by digest, also those that we do not take for
// referrers, and what has none by its bytes.
func entryKey(raw json.RawMessage) string {
	var e struct {
		Digest string `json:"digest"`
	}
	if err := json.Unmarshal(raw, &e); err != nil || e.Digest == "" {
		return string(raw)
	}
	return e.Digest
}

// next are the entries to write: the current ones in their order, then those
// that others lost, then the one that comes.
func (e *edit) next() []json.RawMessage {
	var out []json.RawMessage
	there := map[string]bool{}
	for _, raw := range e.entries() {
		key := entryKey(raw)
		if e.gone[key] || e.entry == nil && key == e.referrer.String() {
			continue
		}
		there[key] = true
		out = append(out, raw)
	}
	for _, raw := range e.keep {
		if !there[entryKey(raw)] {
			out = append(out, raw)
		}
	}
	if e.entry != nil && !there[e.referrer.String()] {
		out = append(out, e.entry)
	}
	return out
}

// write writes the next index. One that would be empty is deleted instead.
func (e *edit) write(ctx context.Context) error {
	entries := e.next()
	if len(entries) == 0 && !e.deleted {
		e.deleted = true // registries that keep the tag get an empty index
		err := e.r.deleteManifest(ctx, e.repository, e.digest)
		if !errors.Is(err, ErrUnsupported) {
			return err
		}
	}
	err := e.put(ctx, entries)
	if (errors.Is(err, ErrRejected) || errors.Is(err, ErrNotFound)) && !IsImmutable(err) {
		pruned, lookErr := e.prune(ctx, entries)
		if lookErr != nil {
			return errors.Join(err, lookErr)
		}
		if pruned {
			err = e.put(ctx, e.next())
		}
	}
	return err
}

func (e *edit) put(ctx context.Context, entries []json.RawMessage) error {
	raw := e.current.encode(entries)
	if len(raw) > MaxManifest {
		return fmt.Errorf("it would have %d bytes, at most %d are written: %w", len(raw), MaxManifest, ErrTooLarge)
	}
	_, err := e.r.store.PutManifest(ctx, e.repository, e.tag, string(types.OCIImageIndex), raw)
	return err
}

// prune finds the entries that name manifests that have been deleted since, for
// which registries refuse the whole index.
func (e *edit) prune(ctx context.Context, entries []json.RawMessage) (found bool, err error) {
	if len(entries) > maxPruned {
		return false, nil
	}
	for _, raw := range entries {
		entry, err := parseEntry(raw)
		if err != nil || entry.digest == e.referrer {
			continue
		}
		_, err = e.r.store.Resolve(ctx, e.repository, entry.digest.String())
		switch {
		case errors.Is(err, ErrNotFound):
			found = true
			e.gone[entryKey(raw)] = true
		case err != nil:
			return false, fmt.Errorf("looking for %s, which it lists: %w", entry.digest, err)
		}
	}
	e.keep = slices.DeleteFunc(e.keep, func(raw json.RawMessage) bool { return e.gone[entryKey(raw)] })
	return found, nil
}
