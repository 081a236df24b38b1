package signature

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/turn"
	"github.com/sealwright/sealwright/registry"
)

// Cosign keeps signatures as cosign does since its first version: in an image
// manifest under the tag sha256-<hex>.sig beside the image, with one layer for
// each signature. It is safe for concurrent use and must not be copied.
type Cosign struct {
	// Store is the registry. Required.
	Store registry.Store

	turns  turn.Order
	recent recent
}

// CosignTag returns the tag under which cosign keeps the signatures of d.
func CosignTag(d v1.Hash) string {
	return d.Algorithm + "-" + d.Hex + ".sig"
}

// Look finds out whether the key of v has signed s. That costs one request if
// it has or if nothing is there; layers with payloads that we would not have
// written cost one more each, at most 16. Layers that are malformed or by
// others do not count and are no error. A tag that holds something else is
// ErrForeign, one with more than MaxLayers layers ErrTooMany.
func (c *Cosign) Look(ctx context.Context, s Subject, v Verifier) (Look, error) {
	look, err := c.look(ctx, s, v)
	if err != nil {
		return Look{}, fmt.Errorf("looking for signatures of %s@%s: %w", s.Repository, s.Digest, err)
	}
	return look, nil
}

func (c *Cosign) look(ctx context.Context, s Subject, v Verifier) (Look, error) {
	found, parsed, err := c.read(ctx, s.Repository, s.Digest)
	if err != nil || parsed == nil {
		return Look{}, err
	}
	look := Look{Manifest: found, Present: true}
	j := newJudge(s, v)
	rest := j.judgeOwn(parsed, &look)
	from := &payloads{store: c.Store, repository: s.Repository, limit: maxFetches}
	return look, j.judgeOthers(ctx, from, rest, &look)
}

// read returns the signature manifest of a digest; nil if there is none.
func (c *Cosign) read(ctx context.Context, repository string, d v1.Hash) (registry.Manifest, *manifest, error) {
	if d.Algorithm != "sha256" {
		return registry.Manifest{}, nil, fmt.Errorf("%w: digest algorithm %.20q, cosign knows sha256", registry.ErrUnsupported, d.Algorithm)
	}
	found, err := c.Store.Manifest(ctx, repository, CosignTag(d))
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return registry.Manifest{}, nil, nil
	case errors.Is(err, registry.ErrTooLarge):
		return registry.Manifest{}, nil, fmt.Errorf("%w: %w", ErrForeign, err)
	case err != nil:
		return registry.Manifest{}, nil, err
	}
	parsed, err := parseManifest(found)
	return found, parsed, err
}

// hash returns the digest of content.
func hash(content []byte) v1.Hash {
	sum := sha256.Sum256(content)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
