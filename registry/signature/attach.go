package signature

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry"
)

const (
	// maxRounds is how often the manifest is written when others replace it.
	maxRounds = 8
	// firstPause and lastPause bound the wait before another round; it doubles
	// each time, and half of it is random.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Attached says what Attach achieved.
type Attached struct {
	// Manifest is the digest of the signature manifest as it was read back.
	Manifest v1.Hash
	// Signature is what was found there and verified: the one to attach, or
	// another by the same key that somebody stored at the same time.
	Signature []byte
	// Rounds is how many rounds it took: 1 as a rule, more if others replaced
	// the manifest, 0 if the key's signature had appeared since the look.
	Rounds int
}

// Attach adds sig to the signatures of s. base is what Look found. It returns
// after reading the manifest back and finding there a valid signature by the
// key of v and all layers of base, or else an error: ErrConflict, ErrForeign,
// ErrTooMany or one of the store.
//
// A first signature costs the upload of the payload, that of a config which is
// the same for all images, the manifest and reading it back. If there was a
// manifest, one request more asks whether it changed since the look. Between
// that question and the write another process can still lose a signature to
// ours, as registries have no conditional writes; ours is never lost silently.
func (c *Cosign) Attach(ctx context.Context, s Subject, base Look, sig []byte, v Verifier) (Attached, error) {
	done, err := c.attach(ctx, s, base, sig, v)
	if err != nil {
		return Attached{}, fmt.Errorf("attaching a signature to %s@%s: %w", s.Repository, s.Digest, err)
	}
	return done, nil
}

func (c *Cosign) attach(ctx context.Context, s Subject, base Look, sig []byte, v Verifier) (Attached, error) {
	j := newJudge(s, v)
	if err := v.Verify(j.payload, sig); err != nil {
		return Attached{}, fmt.Errorf("the signature to attach is not by the key: %w", err)
	}
	// Held across the network on purpose: it orders our own changes of one tag,
	// each of which reads, changes and writes it; nobody else waits for it.
	release, err := c.turns.Take(ctx, j.key())
	if err != nil {
		return Attached{}, err
	}
	defer release()

	a := &attachment{c: c, judge: j, sig: sig, ours: newLayer(j.digest, int64(len(j.payload)), sig)}
	if there, err := a.begin(ctx, base); err != nil || there {
		return Attached{Manifest: a.digest, Signature: a.found}, err
	}
	for round := 1; round <= maxRounds; round++ {
		there, err := a.round(ctx, round)
		if err != nil || there {
			return Attached{Manifest: a.digest, Signature: a.found, Rounds: round}, err
		}
	}
	return Attached{}, fmt.Errorf("%w: gave up after %d rounds", ErrConflict, maxRounds)
}

// An attachment is one signature on its way into a manifest.
type attachment struct {
	c *Cosign
	*judge
	sig   []byte
	ours  layer  // sig as a layer
	found []byte // the key's signature, as last read back

	current *manifest // as last seen, nil: none
	digest  v1.Hash   // of current
	// keep are the layers that were in the base or have been seen since: they
	// must be there at the end.
	keep []layer
	kept map[string]bool // :: key of a layer → it is in keep
}

// begin takes the base, or what has taken its place. It reports whether the
// key's signature has meanwhile appeared there.
func (a *attachment) begin(ctx context.Context, base Look) (bool, error) {
	if base.Present {
		parsed, err := parseManifest(base.Manifest)
		if err != nil {
			return false, err
		}
		a.see(parsed, base.Manifest.Digest)
	}
	fresh, err := a.isFresh(ctx, base)
	if err != nil || fresh {
		return false, err
	}
	return a.look(ctx)
}

// isFresh reports whether the base is still what the tag holds. Where nothing
// was, nothing is asked for, unless we wrote there ourselves since.
func (a *attachment) isFresh(ctx context.Context, base Look) (bool, error) {
	if !base.Present {
		return !a.c.recent.has(a.key()), nil
	}
	d, err := a.c.Store.Resolve(ctx, a.subject.Repository, CosignTag(a.subject.Digest))
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking whether it changed: %w", err)
	}
	return d.Digest == base.Manifest.Digest, nil
}

// lies reports whether l states a wrong size for our payload. Verifiers would
// believe it for our signature too and refuse, so it is not kept.
func (a *attachment) lies(l layer) bool {
	return l.fault == nil && l.digest == a.ours.digest && l.size != a.ours.size
}

// look reads the manifest and reports whether all is there that should be.
func (a *attachment) look(ctx context.Context) (bool, error) {
	found, parsed, err := a.c.read(ctx, a.subject.Repository, a.subject.Digest)
	if err != nil {
		return false, fmt.Errorf("reading back: %w", err)
	}
	if parsed == nil {
		a.current = nil
		return false, nil
	}
	whole := a.keeps(parsed)
	a.see(parsed, found.Digest)
	var look Look
	a.judgeOwn(parsed, &look)
	a.found = look.Signature
	if slices.ContainsFunc(parsed.layers, func(l layer) bool { return l.key() == a.ours.key() }) {
		a.found = a.sig
	}
	return look.Signed && whole, nil
}

// see takes note of what the tag holds.
func (a *attachment) see(m *manifest, digest v1.Hash) {
	a.current, a.digest = m, digest
	if a.kept == nil {
		a.kept = map[string]bool{}
	}
	for _, l := range m.layers {
		if key := l.key(); !a.kept[key] && !a.lies(l) {
			a.kept[key] = true
			a.keep = append(a.keep, l)
		}
	}
}

// keeps reports whether m has all layers that were seen before.
func (a *attachment) keeps(m *manifest) bool {
	there := map[string]bool{}
	for _, l := range m.layers {
		there[l.key()] = true
	}
	for _, l := range a.keep {
		if !there[l.key()] {
			return false
		}
	}
	return true
}

// round writes and reports whether all is there that should be. Rounds after
// the first wait and look again before they write.
func (a *attachment) round(ctx context.Context, n int) (bool, error) {
	if n > 1 {
		if err := pause(ctx, n-1); err != nil {
			return false, err
		}
		if there, err := a.look(ctx); err != nil || there {
			return there, err
		}
	}
	if err := a.write(ctx); err != nil {
		return false, err
	}
	return a.look(ctx)
}

// write puts a manifest that has the current layers, those seen before and
// ours.
func (a *attachment) write(ctx context.Context) error {
	layers := plan(a.current, a.lies, slices.Concat(a.keep, []layer{a.ours}))
	config, desc, err := a.c.configFor(ctx, a.subject.Repository, a.current, layers)
	if err != nil {
		return err
	}
	raw, mediaType := compose(a.current, desc, layers)
	if len(layers) > MaxLayers || len(raw) > registry.MaxManifest {
		return fmt.Errorf("%w: it would have %d layers and %d bytes, at most %d and %d are allowed",
			ErrTooMany, len(layers), len(raw), MaxLayers, registry.MaxManifest)
	}
	err = a.upload(ctx, config, mediaType, raw)
	if errors.Is(err, registry.ErrRejected) || errors.Is(err, registry.ErrNotFound) {
		// The store may have believed a blob to be there that has been
		// collected since, which registries call by either name. It believes
		// so no more.
		err = a.upload(ctx, config, mediaType, raw)
	}
	return err
}

// upload puts the blobs and then the manifest that names them.
func (a *attachment) upload(ctx context.Context, config []byte, mediaType string, raw []byte) error {
	repository := a.subject.Repository
	if _, err := a.c.Store.PutBlob(ctx, repository, a.payload); err != nil {
		return fmt.Errorf("writing the payload: %w", err)
	}
	if config != nil {
		if _, err := a.c.Store.PutBlob(ctx, repository, config); err != nil {
			return fmt.Errorf("writing the config: %w", err)
		}
	}
	// Before the write, not after it: one whose answer was lost counts too.
	a.c.recent.add(a.key())
	if _, err := a.c.Store.PutManifest(ctx, repository, CosignTag(a.subject.Digest), mediaType, raw); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// compose returns a manifest like base (nil: a new one) with this config and
// these layers.
func compose(base *manifest, config object, layers []planned) (raw []byte, mediaType string) {
	list := make([]json.RawMessage, 0, len(layers))
	for _, l := range layers {
		list = append(list, l.raw)
	}
	if base != nil {
		return base.fields.with("config", config.encode()).with("layers", encodeList(list)).encode(), base.mediaType
	}
	mediaType = string(types.OCIManifestSchema1)
	return object{
		{Name: "schemaVersion", Value: encode(2)},
		{Name: "mediaType", Value: encode(mediaType)},
		{Name: "config", Value: config.encode()},
		{Name: "layers", Value: encodeList(list)},
	}.encode(), mediaType
}

// pause waits before the next round, longer after each, so that writers who
// collided do not collide again.
func pause(ctx context.Context, round int) error {
	d := min(firstPause<<(round-1), lastPause)
	d = d/2 + rand.N(d/2) //nolint:gosec // spreads load, keeps no secret
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
