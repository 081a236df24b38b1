package signature

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
)

// A Verified is one valid signature.
type Verified struct {
	// Format is how it is laid out.
	Format policy.Format
	// Identity is what the signature says the repository is called. It is the
	// caller's to judge whether that is the right one.
	Identity string
	// Verifier is the index of the verifier that accepts the signature.
	Verifier int
	// Signature is the raw signature.
	Signature []byte
}

// Check returns the signatures over d that one of the verifiers accepts,
// whatever their identity. None means that d is not signed by these keys. It
// reads every payload, so it costs a request for each different one.
func (c *Cosign) Check(ctx context.Context, repository string, d v1.Hash, verifiers []Verifier) ([]Verified, error) {
	found, err := c.check(ctx, repository, d, verifiers)
	if err != nil {
		return nil, fmt.Errorf("checking signatures of %s@%s: %w", repository, d, err)
	}
	return found, nil
}

func (c *Cosign) check(ctx context.Context, repository string, d v1.Hash, verifiers []Verifier) ([]Verified, error) {
	_, parsed, err := c.read(ctx, repository, d)
	if err != nil || parsed == nil {
		return nil, err
	}
	var out []Verified
	from := &payloads{store: c.Store, repository: repository, limit: MaxLayers}
	for _, s := range parsed.carried(&Look{}) {
		payload, reason, err := from.read(ctx, s.digest)
		if err != nil {
			return nil, err
		}
		if reason != nil || s.stated != int64(len(payload)) {
			continue
		}
		said, err := parsePayload(payload)
		if err != nil || said.digest != d {
			continue
		}
		for i, v := range verifiers {
			if v.Verify(payload, s.sig) == nil {
				out = append(out, Verified{Identity: said.identity, Verifier: i, Signature: s.sig})
			}
		}
	}
	return out, nil
}
