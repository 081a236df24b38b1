package signature

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// Owners are those whose signatures are ours.
type Owners struct {
	Keys []Key
	// Identities are what they may call the repository.
	Identities []string
}

// errNoKey says that a signature is somebody else's.
var errNoKey = errors.New("its signature is by none of the keys")

// A Leftover is what a tag keeps of the signatures of a digest, all of which
// are ours.
type Leftover struct {
	Repository string
	Digest     v1.Hash // of what was signed
	Tag        string
	Manifest   v1.Hash // what the tag names
	Signatures int

	carriers []v1.Hash // that the manifest lists, if it is a fallback index
}

// Leftover reads the signatures of a digest that are kept under a tag: that of
// the cosign format or the fallback index of referrers. It does not look for
// the digest itself. Unless every signature and everything else under the tag is
// by one of the owners, over this very digest, it returns an error that wraps
// ErrNotOurs. Certificates that have expired, or whose root is another one by
// now, do not matter: whose a signature is remains proved.
func (l *Layouts) Leftover(ctx context.Context, repository string, digest v1.Hash, tag string, by Owners) (Leftover, error) {
	o := Leftover{Repository: repository, Digest: digest, Tag: tag}
	var err error
	switch tag {
	case CosignTag(digest):
		err = l.leftByCosign(ctx, &o, by)
	case registry.FallbackTag(digest):
		err = l.leftByReferrers(ctx, &o, by)
	default:
		err = fmt.Errorf("%w: it is no tag of signatures of %s", ErrNotOurs, digest)
	}
	if err != nil {
		return Leftover{}, fmt.Errorf("reading %s:%s: %w", repository, tag, err)
	}
	return o, nil
}

// RemoveLeftover deletes what Leftover has read: those very manifests. What the
// tag names by now, if it is something else, stays.
func (l *Layouts) RemoveLeftover(ctx context.Context, o Leftover) error {
	if err := l.removeLeftover(ctx, o); err != nil {
		return fmt.Errorf("removing %s:%s: %w", o.Repository, o.Tag, err)
	}
	return nil
}

func (l *Layouts) removeLeftover(ctx context.Context, o Leftover) error {
	if o.carriers == nil {
		release, err := l.cosign.turns.Take(ctx, (&judge{subject: Subject{Repository: o.Repository, Digest: o.Digest}}).key())
		if err != nil {
			return err
		}
		defer release()
	}
	for _, digest := range o.carriers {
		if err := l.removeCarrier(ctx, o.Repository, o.Digest, digest); err != nil {
			return err
		}
	}
	// Where there is a referrers API, the index is nobody's but the tag's.
	d, err := l.store.Resolve(ctx, o.Repository, o.Tag)
	if blobIsBad(err) || err == nil && d.Digest != o.Manifest {
		return nil
	}
	if err != nil {
		return err
	}
	if err := deleteManifest(ctx, l.store, o.Repository, d); err != nil {
		return err
	}
	return l.awaitGone(ctx, o.Repository, o.Tag, o.Manifest)
}

func (l *Layouts) leftByCosign(ctx context.Context, o *Leftover, by Owners) error {
	found, m, err := l.cosign.read(ctx, o.Repository, o.Digest)
	switch {
	case err != nil:
		return err
	case m == nil:
		return registry.ErrNotFound
	case len(m.layers) == 0:
		return fmt.Errorf("%w: there is no signature in it", ErrNotOurs)
	}
	from := &payloads{store: l.store, repository: o.Repository, limit: MaxLayers}
	for n, layer := range m.layers {
		sig, reason := layer.signature()
		var payload []byte
		if reason == nil {
			if payload, reason, err = from.read(ctx, layer.digest); err != nil {
				return err
			}
		}
		if reason == nil {
			reason = by.ownPayload(o.Digest, payload, sig)
		}
		if reason != nil {
			return fmt.Errorf("%w: layer %d: %w", ErrNotOurs, n, reason)
		}
	}
	o.Manifest, o.Signatures = found.Digest, len(m.layers)
	return nil
}

// ownPayload returns nil if sig is the owners' over payload, which speaks of
// the digest.
func (o Owners) ownPayload(digest v1.Hash, payload, sig []byte) error {
	said, err := parsePayload(payload)
	if err != nil {
		return err
	}
	for _, k := range o.Keys {
		if k.Verify(payload, sig) == nil {
			return o.owns(digest, said)
		}
	}
	return errNoKey
}

// owns returns nil if a claim that one of the keys made is about the digest
// and a repository of the owners.
func (o Owners) owns(digest v1.Hash, said claim) error {
	switch {
	case said.digest != digest:
		return fmt.Errorf("it speaks of %s", said.digest)
	case said.identity == "" || !slices.Contains(o.Identities, said.identity):
		return fmt.Errorf("it speaks of %.80q, not %q", said.identity, o.Identities)
	}
	return nil
}

func (l *Layouts) leftByReferrers(ctx context.Context, o *Leftover, by Owners) error {
	m, err := l.store.Manifest(ctx, o.Repository, o.Tag)
	if err != nil {
		return err
	}
	if types.MediaType(m.MediaType) != types.OCIImageIndex {
		return fmt.Errorf("%w: it is of type %.80q, no index of referrers", ErrNotOurs, m.MediaType)
	}
	index, err := parseObject(m.Raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	entries, err := parseLayers(index.value("manifests"))
	if err != nil || len(entries) == 0 {
		return fmt.Errorf("%w: it lists no signature", ErrNotOurs)
	}
	i := l.Image(Subject{Repository: o.Repository, Digest: o.Digest}, Witnesses{})
	for n, e := range entries {
		reason := e.fault
		if reason == nil {
			if reason, err = i.ownCarrier(ctx, e.digest, by); err != nil {
				return err
			}
		}
		if reason != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrNotOurs, n, reason)
		}
		if !slices.Contains(o.carriers, e.digest) {
			o.carriers = append(o.carriers, e.digest)
		}
	}
	o.Manifest, o.Signatures = m.Digest, len(o.carriers)
	return nil
}

// ownCarrier returns the reason why a manifest is no signature of the owners
// over the image, or an error if that cannot be known now.
func (i *Image) ownCarrier(ctx context.Context, digest v1.Hash, by Owners) (reason, err error) {
	m, err := i.layouts.store.Manifest(ctx, i.Repository, digest.String())
	if blobIsBad(err) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range []policy.Format{policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE} {
		k := kindOf(f)
		if _, _, reason = parseCarrier(m, i.Digest, k); reason != nil {
			continue
		}
		c, reason, err := i.carrier(ctx, digest, k)
		if reason != nil || err != nil {
			return reason, err
		}
		return by.ownContent(f, i.Digest, c.content), nil
	}
	return reason, nil
}

func kindOf(f policy.Format) kind {
	if f == policy.FormatBundle {
		return kind{artifactType: bundleType, contentType: bundleType}
	}
	return kind{artifactType: notationType, contentType: notationLayout{format: f}.contentType()}
}

// ownContent returns nil if a bundle or an envelope is by one of the owners over
// the digest.
func (o Owners) ownContent(f policy.Format, digest v1.Hash, content []byte) error {
	if f == policy.FormatBundle {
		b, err := parseBundle(content)
		if err != nil {
			return err
		}
		for _, k := range o.Keys {
			if name, err := b.identity(Subject{Digest: digest}, k); err == nil {
				return o.owns(digest, claim{digest, name})
			}
		}
		return errNoKey
	}
	e, err := notationLayout{format: f}.read(content)
	if err != nil {
		return err
	}
	for _, k := range o.Keys {
		if e.isBy(k) == nil {
			return o.owns(digest, claim{e.claim.digest, e.claim.identity})
		}
	}
	return errNoKey
}
