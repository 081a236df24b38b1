package signature

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

// remove removes from the image's repository and from the one for tags that
// cannot be changed there.
func (c cosignLayout) remove(ctx context.Context, i *Image, k Key, much cut) (int, error) {
	removed, kept, err := c.Cosign.remove(ctx, i.Subject, k, much)
	if err != nil || i.Elsewhere == "" || i.Elsewhere == i.Repository {
		return removed, err
	}
	much.keep -= kept
	others, _, err := c.Cosign.remove(ctx, i.elsewhere(), k, much)
	if err != nil {
		err = fmt.Errorf("in %s: %w", i.Elsewhere, err)
	}
	return removed + others, err
}

// remove rewrites the signature manifest of s without the layers that are
// signatures by the key of v, or deletes it if that leaves none. It returns how
// many layers went and how many stayed after reading back that ours are gone and
// that all others it saw are there, byte for byte.
func (c *Cosign) remove(ctx context.Context, s Subject, v Verifier, much cut) (removed, kept int, err error) {
	j := newJudge(s, v)
	// Held across the network on purpose, as by attach.
	release, err := c.turns.Take(ctx, j.key())
	if err != nil {
		return 0, 0, err
	}
	defer release()

	r := &removal{c: c, judge: j, cut: much, seen: map[string]bool{},
		from: &payloads{store: c.Store, repository: s.Repository, limit: MaxLayers}}
	done, err := r.look(ctx)
	removed = len(r.drop)
	if err != nil || done || much.dry {
		return removed, len(r.stay), err
	}
	for round := 1; round <= maxRounds; round++ {
		if done, err = r.round(ctx, round); err != nil {
			return 0, len(r.stay), err
		}
		if done {
			return removed, len(r.stay), nil
		}
	}
	if r.digest == r.deleted {
		return 0, len(r.stay), fmt.Errorf("the tag still names %s, which the registry was asked to delete: %w", r.digest, registry.ErrUnsupported)
	}
	return 0, len(r.stay), fmt.Errorf("%w: gave up after %d rounds", ErrConflict, maxRounds)
}

// A removal is layers on their way out of a manifest.
type removal struct {
	c *Cosign
	*judge
	cut
	from *payloads

	current *manifest    // as last seen, nil: none
	digest  v1.Hash      // of current
	drop    map[int]bool // layers of current that go
	stay    []layer      // signatures by the key in current that stay

	// first are the signatures by the key that stayed at the first look, and
	// others the layers by nobody or others that have been seen since. As many
	// of the former and all of the latter must be there at the end.
	first, others []layer
	looked        bool
	seen          map[string]bool // :: key of a layer → it is in others
	deleted       v1.Hash         // what we deleted, zero: nothing
}

// look reads the manifest, and reports whether it has none of the layers that
// are to go, and all of the others. Whoever deleted all of it meanwhile meant
// to: nothing is put back.
func (r *removal) look(ctx context.Context) (bool, error) {
	found, parsed, err := r.c.read(ctx, r.subject.Repository, r.subject.Digest)
	if err != nil {
		return false, err
	}
	r.current, r.digest = parsed, found.Digest
	if parsed == nil {
		r.drop, r.stay = nil, nil
		return true, nil
	}
	if err := r.choose(ctx); err != nil {
		return false, err
	}
	if !r.looked {
		r.looked, r.first = true, r.stay
	}
	return len(r.drop) == 0 && len(r.lost()) == 0, nil
}

// lost lists the layers that have been seen, are to stay, and are not in the
// current manifest.
func (r *removal) lost() []layer {
	there := map[string]bool{}
	for _, l := range r.current.layers {
		there[l.key()] = true
	}
	want := r.others
	if len(r.stay) < len(r.first) {
		want = slices.Concat(want, r.first)
	}
	return slices.DeleteFunc(slices.Clone(want), func(l layer) bool { return there[l.key()] })
}

// choose decides which layers of the current manifest go.
func (r *removal) choose(ctx context.Context) error {
	r.drop, r.stay = map[int]bool{}, nil
	stated := map[v1.Hash]int64{}
	verdicts := map[string]bool{}
	for i, l := range r.current.layers {
		if _, ok := stated[l.digest]; !ok && l.fault == nil {
			stated[l.digest] = l.size
		}
		sig, err := l.signature()
		if err != nil {
			r.spare(l)
			continue
		}
		key := l.digest.String() + string(sig)
		counts, again := verdicts[key]
		if !again {
			if counts, err = r.counts(ctx, signed{i, l.digest, sig, stated[l.digest]}); err != nil {
				return err
			}
			verdicts[key] = counts
		}
		switch {
		case !counts:
			r.spare(l)
		case again || len(r.stay) >= r.keep:
			r.drop[i] = true
		default:
			r.stay = append(r.stay, l)
		}
	}
	return nil
}

// spare notes a layer that is none of ours.
func (r *removal) spare(l layer) {
	if key := l.key(); !r.seen[key] {
		r.seen[key] = true
		r.others = append(r.others, l)
	}
}

// counts reports whether s is a signature by the key over the subject. It
// returns an error only if that cannot be decided now.
func (r *removal) counts(ctx context.Context, s signed) (bool, error) {
	if s.digest == r.judge.digest {
		return r.valid(s, r.payload) == nil, nil
	}
	payload, reason, err := r.from.read(ctx, s.digest)
	if err != nil {
		return false, err
	}
	return reason == nil && r.speaks(payload) == nil && r.valid(s, payload) == nil, nil
}

// round writes and reports whether all is as it should be. Rounds after the
// first wait and look again before they write.
func (r *removal) round(ctx context.Context, n int) (bool, error) {
	if n > 1 {
		if err := pause(ctx, n-1); err != nil {
			return false, err
		}
		if done, err := r.look(ctx); err != nil || done {
			return done, err
		}
	}
	if err := r.write(ctx); err != nil {
		return false, err
	}
	done, err := r.look(ctx)
	if err != nil {
		return false, fmt.Errorf("reading back: %w", err)
	}
	return done, nil
}

// write puts the manifest that is to be, or deletes it.
func (r *removal) write(ctx context.Context) error {
	layers := r.rest()
	if len(layers) == 0 {
		if r.digest == r.deleted {
			return nil // some registries take a moment
		}
		r.deleted = r.digest
		return deleteManifest(ctx, r.c.Store, r.subject.Repository, registry.Descriptor{Digest: r.digest})
	}
	config, desc, err := r.c.configFor(ctx, r.subject.Repository, r.current, layers)
	if err != nil {
		return err
	}
	raw, mediaType := compose(r.current, desc, layers)
	err = r.upload(ctx, config, mediaType, raw)
	if errors.Is(err, registry.ErrRejected) || errors.Is(err, registry.ErrNotFound) {
		// As in attach: the config may have been collected.
		err = r.upload(ctx, config, mediaType, raw)
	}
	return err
}

// rest lists the layers that stay: those of the current manifest, and those of
// others that have been lost since.
func (r *removal) rest() []planned {
	var out []planned
	for i, l := range r.current.layers {
		if !r.drop[i] {
			out = append(out, planned{l, i})
		}
	}
	for _, l := range r.lost() {
		out = append(out, planned{l, -1})
	}
	return out
}

func (r *removal) upload(ctx context.Context, config []byte, mediaType string, raw []byte) error {
	repository := r.subject.Repository
	if config != nil {
		if _, err := r.c.Store.PutBlob(ctx, repository, config); err != nil {
			return fmt.Errorf("writing the config: %w", err)
		}
	}
	r.c.recent.add(r.key())
	if _, err := r.c.Store.PutManifest(ctx, repository, CosignTag(r.subject.Digest), mediaType, raw); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}
