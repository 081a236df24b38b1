package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/turn"
)

const (
	// MaxReferrers is how many referrers of one subject are read at most.
	MaxReferrers = 1024
	// maxInspected is how many manifests are read at most because a listing
	// leaves their type out.
	maxInspected = 64
	// maxTypes is how many manifests' types are remembered.
	maxTypes = 4096
)

// A Referrer is a manifest that names another one as its subject.
type Referrer struct {
	Descriptor
	// ArtifactType is what the listing says, or the manifest where the listing
	// says nothing.
	ArtifactType string
	// Annotations are those of the listing, which may lack what the manifest
	// has.
	Annotations map[string]string
}

// Referrers reads and writes what refers to manifests in one registry: by its
// referrers API where it has one, else by the fallback index under the tag
// sha256-<hex> that the distribution specification describes. It is safe for
// concurrent use and must not be copied. There should be one per registry: it
// orders its own changes and remembers what the registry is capable of.
type Referrers struct {
	store Store
	api   referrersAPI // nil: the store has none, as a directory
	known capabilities
	types *lru[place, string] // of manifests whose listing leaves them out
	turns turn.Order          // by repository and subject
}

// NewReferrers returns the referrers of the registry behind store. It sends no
// request.
func NewReferrers(store Store) *Referrers {
	api, _ := store.(referrersAPI)
	return &Referrers{
		store: store, api: api,
		known: capabilities{now: time.Now},
		types: newLRU[place, string](maxTypes),
	}
}

// List returns the referrers of subject whose artifact type want accepts, in
// the registry's order. More than MaxReferrers of them, or pages without end,
// are ErrTooLarge. None is no error. That they really name subject is not
// checked.
//
// Entries that are malformed, or name no manifest, are passed over. One whose
// type the listing leaves out is taken if want accepts ""; else the type is read
// from its manifest, once.
//
// It costs one request per page with the referrers API, which as a rule means
// one, and one without it, once that is known. The fallback index of a registry
// with the API is as a rule not read: the specification wants such a registry
// to list what was in it, and verifiers look no further either. It is read too
// while nothing has shown yet that the registry lists anything at all, and when
// it did not list what we put there.
func (r *Referrers) List(ctx context.Context, repository string, subject v1.Hash, want func(artifactType string) bool) ([]Referrer, error) {
	list, err := r.list(ctx, repository, subject, want)
	if err != nil {
		return nil, fmt.Errorf("listing the referrers of %s@%s: %w", plain(repository), subject, err)
	}
	return list, nil
}

func (r *Referrers) list(ctx context.Context, repository string, subject v1.Hash, want func(string) bool) ([]Referrer, error) {
	if err := checkSubject(repository, subject); err != nil {
		return nil, err
	}
	found := newSelection(want)
	further, absent, err := r.listed(ctx, repository, subject, found)
	if err != nil {
		return nil, err
	}
	if further {
		index, _, err := r.fallback(ctx, repository, subject)
		if err != nil {
			return nil, err
		}
		r.known.followed(index != nil && len(index.entries) > 0)
		if index != nil {
			if absent != nil && absent.nameUnknown() { // yet there is something in that repository
				r.known.learn(Capability{Reason: absent.Error()})
			}
			if err := found.add(index.entries); err != nil {
				return nil, err
			}
		}
	}
	return r.inspect(ctx, repository, found)
}

func checkSubject(repository string, subject v1.Hash) error {
	if err := checkRepository(repository); err != nil {
		return err
	}
	_, _, err := parseRef(subject.String())
	return err
}

// listed adds what the API lists, and reports whether the fallback index is to
// be read, too. absent is why there is no answer of the API, if it was asked.
func (r *Referrers) listed(ctx context.Context, repository string, subject v1.Hash, found *selection) (further bool, absent *absentAPI, err error) {
	if !r.usesAPI() {
		return true, nil, nil
	}
	listsAny := false
	err = pages(ctx, r.api, repository, subject, func(entries []json.RawMessage) error {
		listsAny = listsAny || len(entries) > 0
		return found.add(entries)
	})
	if errors.As(err, &absent) {
		if absent.sure() {
			r.known.learn(Capability{Reason: absent.Error()})
		}
		return true, absent, nil
	}
	if err != nil {
		return false, nil, err
	}
	r.known.learn(Capability{API: true, Reason: "it answered with an OCI index"})
	if listsAny {
		r.known.prove()
	}
	return r.known.incomplete(), nil, nil
}

// usesAPI reports whether the API is to be asked.
func (r *Referrers) usesAPI() bool {
	known, found := r.known.get()
	return r.api != nil && (known.API || !found)
}

// inspect finds out the types that listings left out, and returns what is
// wanted.
func (r *Referrers) inspect(ctx context.Context, repository string, found *selection) ([]Referrer, error) {
	var list []Referrer
	for _, c := range found.candidates {
		if c.unclear {
			artifactType, err := r.artifactType(ctx, repository, c.Digest)
			if err != nil {
				return nil, err
			}
			if artifactType == "" || !found.want(artifactType) {
				continue
			}
			c.ArtifactType = artifactType
		}
		if len(list) == MaxReferrers {
			return nil, tooMany()
		}
		list = append(list, c.Referrer)
	}
	return list, nil
}

// artifactType reads a manifest's type; "" is that of one that is missing or
// cannot be used.
func (r *Referrers) artifactType(ctx context.Context, repository string, digest v1.Hash) (string, error) {
	at := place{repository: repository, digest: digest}
	if known, found := r.types.get(at); found {
		return known, nil
	}
	m, err := r.store.Manifest(ctx, repository, digest.String())
	if ctx.Err() == nil && unusable(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("finding out its type: %w", err)
	}
	s, err := parseShape(m.Raw)
	if err != nil {
		return "", nil //nolint:nilerr // it was parsed before; what fails now is of no use
	}
	r.types.put(at, s.artifactType())
	return s.artifactType(), nil
}

// unusable reports an error of a manifest that no retry mends.
func unusable(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) ||
		errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupported)
}

// Capability returns how the registry keeps referrers. If that is not known
// yet, it asks in a repository, which should be there: what a registry says of
// others may mean nothing (ErrNotFound). Answers that do not tell, such as 401,
// 429 or 5xx, are errors. What was found is remembered for an hour.
func (r *Referrers) Capability(ctx context.Context, repository string) (Capability, error) {
	if r.api == nil {
		return Capability{Reason: "it is no registry host, so there is nothing to ask"}, nil
	}
	if known, found := r.known.get(); found {
		return known, nil
	}
	nothing := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	_, _, err := r.listed(ctx, repository, nothing, newSelection(func(string) bool { return false }))
	if err != nil {
		return Capability{}, fmt.Errorf("asking for the referrers API in %s: %w", plain(repository), err)
	}
	if known, found := r.known.get(); found {
		return known, nil
	}
	return Capability{}, fmt.Errorf("asking for the referrers API in %s: the registry only says that this is unknown: %w",
		plain(repository), ErrNotFound)
}
