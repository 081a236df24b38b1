package signature

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sealwright/sealwright/engine/policy"
)

// bundleLayout keeps signatures as cosign does since its third version: as
// sigstore bundles, v0.3, each in a manifest that refers to the image. Unlike
// cosign's they also name the repository.
type bundleLayout struct{ *Layouts }

func (b bundleLayout) look(ctx context.Context, i *Image, k Key) (Look, error) {
	look, err := Look{}, bundleSupports(i.Subject, k)
	if err == nil {
		look, err = i.lookCarriers(ctx, bundlesBy(keyHint(k.PublicKey)), func(c *carrier) ([]byte, error) {
			return i.witnessedBundle(ctx, c.content, k)
		})
	}
	if err != nil {
		return Look{}, fmt.Errorf("looking for bundles of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return look, nil
}

func (b bundleLayout) sign(ctx context.Context, i *Image, k Key) (Signature, error) {
	if err := errors.Join(bundleSupports(i.Subject, k), i.canBeReferredTo(), i.logTakes(k)); err != nil {
		return Signature{}, err
	}
	if i.Identity == "" {
		return Signature{}, errors.New("signing a bundle: the identity is missing")
	}
	if len(k.PublicKey) == 0 || k.Sign == nil {
		return Signature{}, errors.New("signing a bundle: the key has no public half or cannot sign")
	}
	payload := newStatement(i.Subject)
	raw, err := k.Sign(ctx, dsse.PAE(payloadInToto, payload))
	if err != nil {
		return Signature{}, err
	}
	stamp, err := i.timestamp(ctx, raw)
	if err != nil {
		return Signature{}, err
	}
	envelope := newEnvelope(payload, raw)
	var entry []byte
	if i.Log != nil {
		if entry, err = i.Log.Enter(ctx, envelope, k.PublicKey); err != nil {
			return Signature{}, fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	content, err := newBundle(keyHint(k.PublicKey), envelope, stamp, entry)
	if err != nil {
		return Signature{}, fmt.Errorf("encoding the bundle: %w", err)
	}
	if _, err := i.witnessedBundle(ctx, content, k); err != nil {
		return Signature{}, fmt.Errorf("the bundle that was made does not count: %w", err)
	}
	return Signature{Raw: raw, Content: content, Timestamped: stamp != nil}, nil
}

// attach adds a bundle to those that are there. Others change nothing about
// it, so it takes one round.
func (b bundleLayout) attach(ctx context.Context, i *Image, _ Look, sig Signature, k Key) (Attached, error) {
	done, err := b.put(ctx, i, sig, k)
	if err != nil {
		return Attached{}, fmt.Errorf("attaching a bundle to %s@%s: %w", i.Repository, i.Digest, err)
	}
	return done, nil
}

func (b bundleLayout) put(ctx context.Context, i *Image, sig Signature, k Key) (Attached, error) {
	if _, err := i.witnessedBundle(ctx, sig.Content, k); err != nil {
		return Attached{}, fmt.Errorf("the bundle to attach does not count: %w", err)
	}
	back, err := i.putCarrier(ctx, newBundleCarrier(sig.Content, keyHint(k.PublicKey), time.Now()))
	if err != nil {
		return Attached{}, err
	}
	raw, err := i.witnessedBundle(ctx, back.content, k)
	if err != nil {
		return Attached{}, fmt.Errorf("reading back %s: %w", back.manifest.Digest, err)
	}
	return Attached{Manifest: back.manifest.Digest, Signature: raw, Rounds: 1}, nil
}

func (b bundleLayout) check(ctx context.Context, i *Image, keys []Key) ([]Verified, error) {
	var out []Verified
	err := i.checkCarriers(ctx, bundlesBy(""), func(c *carrier) {
		parsed, err := parseBundle(c.content)
		if err != nil {
			return
		}
		for n, k := range keys {
			if name, err := parsed.identity(i.Subject, k); err == nil {
				out = append(out, Verified{Identity: name, Verifier: n, Signature: parsed.sig})
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("checking bundles of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return out, nil
}

// witnessedBundle returns the signature of a bundle that is k's over the image
// and has all witnesses that it should have, or why it is none.
func (i *Image) witnessedBundle(ctx context.Context, content []byte, k Key) ([]byte, error) {
	b, err := parseBundle(content)
	if err != nil {
		return nil, err
	}
	if err := b.counts(i.Subject, k); err != nil {
		return nil, err
	}
	if err := i.stamped(ctx, b.stamps, b.sig); err != nil {
		return nil, err
	}
	return b.sig, i.logged(b, k)
}

// bundleSupports returns nil if k can sign s in a bundle.
func bundleSupports(s Subject, k Key) error {
	if k.Algorithm.Family() == policy.SM2 {
		return unsuitable("no verifier of bundles knows SM2")
	}
	if s.Digest.Algorithm != "sha256" {
		return unsuitable("digest algorithm %.20q, bundles know sha256", s.Digest.Algorithm)
	}
	return nil
}
