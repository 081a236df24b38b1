package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// looksAfterPut is how often a registry with the API is asked whether it lists
// what was just put: some take a moment.
const looksAfterPut = 3

// ErrConflict says that other writers kept replacing what was to be changed.
var ErrConflict = errors.New("other writers kept replacing it")

// Put writes raw, a manifest whose subject is subject, and makes sure that it is
// listed: the registry says so, or the fallback index names it. Blobs that it
// names must be there: ErrRejected, and PutBlob sends them again. It returns the
// manifest's digest. A manifest that is there already is no error.
//
// It costs one request with the referrers API, and four without it: the
// manifest, and the fallback index read, written and read again, as registries
// have no conditional writes. Writers that replace each other's index are
// waited for; ErrConflict if that never ends. One that had read the index before
// our write, and writes after we read ours back, can still lose our entry, as it
// can lose anybody's. A fallback tag that holds something else is ErrCorrupt and
// left alone.
func (r *Referrers) Put(ctx context.Context, repository string, subject v1.Hash, mediaType string, raw []byte) (v1.Hash, error) {
	digest, err := r.put(ctx, repository, subject, mediaType, raw)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("adding a referrer of %s@%s: %w", plain(repository), subject, err)
	}
	return digest, nil
}

func (r *Referrers) put(ctx context.Context, repository string, subject v1.Hash, mediaType string, raw []byte) (v1.Hash, error) {
	if err := checkSubject(repository, subject); err != nil {
		return v1.Hash{}, err
	}
	entry, err := newReferrerEntry(subject, mediaType, raw)
	if err != nil {
		return v1.Hash{}, err
	}
	digest := entry.digest
	if r.api == nil {
		_, err = r.store.PutManifest(ctx, repository, digest.String(), mediaType, raw)
	} else {
		var listed string
		listed, err = r.api.putReferrer(ctx, repository, digest.String(), mediaType, raw)
		if err == nil && listed == subject.String() {
			r.known.learn(Capability{API: true, Reason: "it said OCI-Subject when a referrer was put"})
			r.known.prove()
			return digest, nil
		}
	}
	if err != nil {
		return v1.Hash{}, err
	}
	there, err := r.lists(ctx, repository, subject, digest)
	if err != nil || there {
		return digest, err
	}
	e := newEdit(r, repository, subject, digest)
	e.entry = entry.raw
	return digest, r.change(ctx, e)
}

// lists reports whether the API lists a referrer that was just put. If there is
// an API that does not, the fallback index is from now on read beside it.
func (r *Referrers) lists(ctx context.Context, repository string, subject, referrer v1.Hash) (bool, error) {
	for look := 1; r.usesAPI(); look++ {
		there, err := r.listsOnce(ctx, repository, subject, referrer)
		var absent *absentAPI
		if errors.As(err, &absent) {
			if absent.sure() || absent.nameUnknown() { // we just wrote there
				r.known.learn(Capability{Reason: absent.Error()})
			}
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("asking whether it is listed: %w", err)
		}
		r.known.learn(Capability{API: true, Reason: "it answered with an OCI index"})
		if there {
			r.known.prove()
			return true, nil
		}
		if look == looksAfterPut {
			r.known.distrust()
			return false, nil
		}
		if err := pause(ctx, backoff(look)); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (r *Referrers) listsOnce(ctx context.Context, repository string, subject, referrer v1.Hash) (bool, error) {
	there := false
	err := pages(ctx, r.api, repository, subject, func(entries []json.RawMessage) error {
		for _, raw := range entries {
			e, err := parseEntry(raw)
			there = there || err == nil && e.digest == referrer
		}
		return nil
	})
	return there, err
}

// Remove deletes a referrer of subject, and its entry in the fallback index. One
// that is not there is no error. Registries that delete nothing are
// ErrUnsupported; the entry in their fallback index is gone even so.
//
// It costs one request with the referrers API, once that is known, else also
// those that read, write and read again the index. An index that would be empty
// is deleted, or left empty where that is not possible.
func (r *Referrers) Remove(ctx context.Context, repository string, subject, referrer v1.Hash) error {
	if err := r.remove(ctx, repository, subject, referrer); err != nil {
		return fmt.Errorf("removing %s from the referrers of %s@%s: %w", referrer, plain(repository), subject, err)
	}
	return nil
}

func (r *Referrers) remove(ctx context.Context, repository string, subject, referrer v1.Hash) error {
	if err := checkSubject(repository, subject); err != nil {
		return err
	}
	if _, _, err := parseRef(referrer.String()); err != nil {
		return err
	}
	// The entry goes first: registries refuse indexes that name what is not
	// there, and some refuse to delete what an index names.
	if known, found := r.known.get(); !found || !known.API || r.known.incomplete() {
		if err := r.change(ctx, newEdit(r, repository, subject, referrer)); err != nil {
			return err
		}
	}
	return r.deleteManifest(ctx, repository, referrer)
}

func (r *Referrers) deleteManifest(ctx context.Context, repository string, digest v1.Hash) error {
	deleter, can := r.store.(Deleter)
	if !can {
		return fmt.Errorf("deleting a manifest: %w", ErrUnsupported)
	}
	return deleter.Delete(ctx, repository, digest)
}

// change makes a change of a fallback index while no other of ours is under
// way there.
func (r *Referrers) change(ctx context.Context, e *edit) error {
	// Held across the network on purpose: it orders our own changes of one
	// tag, each of which reads and writes it; nobody else waits for it.
	done, err := r.turns.Take(ctx, e.repository+":"+e.tag)
	if err != nil {
		return err
	}
	defer done()
	if err := e.run(ctx); err != nil {
		return fmt.Errorf("index of referrers under the tag %s: %w", e.tag, err)
	}
	return nil
}
