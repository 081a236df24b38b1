package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// A Campaign moves what one policy covers from one key to another. It is fired,
// queued, journaled and resumed as a policy is, under a name of its own that
// says all there is to know about it; no policy's name has a slash.
type Campaign struct {
	Step             Step
	From, To, Policy string // names
}

// A Step is a part of a campaign, each carried out as an execution.
type Step string

// The steps. Remove must not be fired before Resign has succeeded: it would
// find artifacts that it must not touch.
const (
	// Resign signs with To what From has signed.
	Resign Step = "resign"
	// Remove removes the signatures by From where To has signed.
	Remove Step = "remove-old"
)

// Name returns what the campaign is fired by.
func (c Campaign) Name() string {
	return strings.Join([]string{string(c.Step), c.From, c.To, c.Policy}, "/")
}

// parseCampaign reads a campaign's name; false if name is none.
func parseCampaign(name string) (Campaign, bool) {
	part := strings.Split(name, "/")
	if len(part) != 4 || part[0] != string(Resign) && part[0] != string(Remove) {
		return Campaign{}, false
	}
	return Campaign{Step(part[0]), part[1], part[2], part[3]}, true
}

// campaign binds a campaign: its policy with the new key.
func (s *Setup) campaign(c Campaign) (bound, error) {
	b, ok := s.policy(c.Policy)
	if !ok {
		return bound{}, fmt.Errorf("%w: no policy is named %q", ErrPolicy, c.Policy)
	}
	if c.From == c.To {
		return bound{}, fmt.Errorf("%w: key %q cannot follow itself", ErrPolicy, c.From)
	}
	from, hasFrom := s.keys[c.From]
	to, hasTo := s.keys[c.To]
	switch {
	case !hasFrom:
		return bound{}, fmt.Errorf("%w: no key is named %q", ErrPolicy, c.From)
	case !hasTo:
		return bound{}, fmt.Errorf("%w: no key is named %q", ErrPolicy, c.To)
	case b.Key != c.From && b.Key != c.To:
		return bound{}, fmt.Errorf("%w: policy %q signs with %q, neither with %q nor with %q", ErrPolicy, c.Policy, b.Key, c.From, c.To)
	}
	if to.Err == nil && from.Err == nil && from.Signer.Public().Fingerprint() == to.Signer.Public().Fingerprint() {
		return bound{}, fmt.Errorf("%w: %q and %q are the same key", ErrPolicy, c.From, c.To)
	}
	b.Name, b.Key, b.key, b.from, b.step = c.Name(), c.To, to, from, c.Step
	b.Trigger = policy.Trigger{Type: policy.Manual}
	if to.Err == nil && len(to.Certificates) == 0 && slices.ContainsFunc(b.SignatureFormats(), policy.Format.IsNotation) {
		return bound{}, fmt.Errorf("%w: policy %q wants a certificate for its formats, and key %q has none", ErrPolicy, c.Policy, c.To)
	}
	return b, b.possible()
}

// errNotResigned marks an artifact whose old signature must stay.
var errNotResigned = errors.New("the new key has not signed it: the old signature stays")

// old finds the policy's formats in which the old key has signed an image, also
// if that counts no more: keys are replaced because their certificate expires,
// too.
func (b *bound) old(ctx context.Context, image *signature.Image) ([]policy.Format, error) {
	var formats []policy.Format
	for _, format := range b.SignatureFormats() {
		if format.Impossible(b.from.Signer.Public().Algorithm()) != "" {
			continue // so it cannot have
		}
		signatures, err := image.Removable(ctx, format, b.from.signing(), 0)
		if err != nil {
			return nil, fmt.Errorf("reading %s signatures by key %s: %w", format, b.from.Signer.Public().Fingerprint(), err)
		}
		if signatures > 0 {
			formats = append(formats, format)
		}
	}
	return formats, nil
}

// removeOld takes a digest through the last step of a campaign: the old key's
// signatures go where the new key's are.
func (r *run) removeOld(ctx context.Context, d registry.Descriptor, s journal.Subtask) ending {
	// Nobody may change the artifact's signatures meanwhile, in any replica.
	claim, err := r.begin(ctx, s, nil)
	if err != nil {
		return r.conclude(ctx, s, err)
	}
	var removed int
	if err = r.forget(ctx, s.Digest); err == nil {
		d, err = r.policy.complete(ctx, s.Repository, d)
	}
	if err == nil {
		removed, err = r.removeFrom(ctx, r.policy.image(s.Repository, d))
	}
	if err != nil && r.engine.cut.Err() != nil {
		r.fail(errStopping)
		return ending{Subtask: s}
	}
	done := ReasonNothingOld
	if removed > 0 {
		done = ReasonOldRemoved
	}
	r.settle(&claim.Subtask, err, done)
	return r.end(ctx, claim)
}

func (r *run) removeFrom(ctx context.Context, image *signature.Image) (removed int, err error) {
	formats, err := r.policy.old(ctx, image)
	if err != nil {
		return 0, err
	}
	for _, format := range formats {
		look, err := image.Look(ctx, format, r.policy.key.signing())
		if err != nil {
			return removed, fmt.Errorf("reading %s signatures: %w", format, err)
		}
		if !look.Signed {
			return removed, fmt.Errorf("%w (format %s)", errNotResigned, format)
		}
	}
	for _, format := range formats {
		n, err := image.Remove(ctx, format, r.policy.from.signing(), 0)
		if err != nil {
			return removed, fmt.Errorf("removing the old %s signature: %w", format, err)
		}
		removed += n
	}
	return removed, nil
}
