package signature

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealwright/sealwright/registry"
)

// cosignLayout is Cosign as a layout, with another repository for signatures
// whose tag cannot be changed in the image's own.
type cosignLayout struct {
	*Cosign
	immutable *recent
}

func (c cosignLayout) look(ctx context.Context, i *Image, k Key) (Look, error) {
	look, err := c.Look(ctx, i.Subject, k)
	if err != nil || look.Signed {
		return look, err
	}
	if i.Elsewhere != "" {
		other, err := c.Look(ctx, i.elsewhere(), k)
		if err != nil || other.Signed {
			return other, err
		}
	}
	look.Immutable = i.Elsewhere == "" && c.immutable.has(i.key())
	return look, nil
}

func (c cosignLayout) sign(ctx context.Context, i *Image, k Key) (Signature, error) {
	payload := Payload(i.Subject)
	raw, err := k.Sign(ctx, payload)
	return Signature{Raw: raw, Content: payload}, err
}

// attach stores the signature in the image's repository or, if the registry
// does not let the tag change there, in the one for such cases.
func (c cosignLayout) attach(ctx context.Context, i *Image, base Look, sig Signature, k Key) (Attached, error) {
	var refusal error
	if !c.immutable.has(i.key()) {
		done, err := c.Attach(ctx, i.Subject, base, sig.Raw, k)
		if !registry.IsImmutable(err) {
			return done, err
		}
		c.immutable.add(i.key())
		refusal = fmt.Errorf("%w: %w", ErrImmutable, err)
	}
	if i.Elsewhere == "" {
		if refusal == nil {
			refusal = ErrImmutable // it said so before
		}
		return Attached{}, refusal
	}
	look, err := c.Look(ctx, i.elsewhere(), k)
	if err == nil && !look.Signed {
		var done Attached
		if done, err = c.Attach(ctx, i.elsewhere(), look, sig.Raw, k); err == nil {
			return done, nil
		}
	}
	if err != nil {
		return Attached{}, errors.Join(err, refusal)
	}
	return Attached{Manifest: look.Manifest.Digest, Signature: look.Signature}, nil
}

// check looks in both places.
func (c cosignLayout) check(ctx context.Context, i *Image, keys []Key) ([]Verified, error) {
	verifiers := make([]Verifier, len(keys))
	for n, k := range keys {
		verifiers[n] = k
	}
	found, err := c.Check(ctx, i.Repository, i.Digest, verifiers)
	if i.Elsewhere == "" {
		return found, err
	}
	others, otherErr := c.Check(ctx, i.Elsewhere, i.Digest, verifiers)
	return append(found, others...), errors.Join(err, otherErr)
}

// key names the image.
func (i *Image) key() string { return i.Repository + "@" + i.Digest.String() }

// elsewhere is the subject with the other repository. The identity stays that
// of the image.
func (i *Image) elsewhere() Subject {
	s := i.Subject
	s.Repository = s.Elsewhere
	return s
}
