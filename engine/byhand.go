package engine

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// Sign asks by hand that a policy, whatever fires it otherwise, sees to what one
// tag names. It is journaled as a push of the tag, in an execution of its own:
// when Sign returns it is durable, and the registry is looked at whatever was
// done with the artifact before. Like a push, it is tried again for hours if the
// registry or the key fails. The id of the request that asks is kept with it and
// its records. Errors about the policy wrap ErrPolicy.
func (e *Engine) Sign(ctx context.Context, requestID, name, repository, tag string) (journal.Execution, error) {
	setup, err := e.use()
	if err != nil {
		return journal.Execution{}, err
	}
	defer setup.release()
	b, ok := setup.policy(name)
	switch {
	case !ok:
		return journal.Execution{}, fmt.Errorf("%w: no policy is named %q", ErrPolicy, name)
	case !b.IsEnabled():
		return journal.Execution{}, fmt.Errorf("%w: %q is disabled", ErrPolicy, name)
	case !b.match.Tag(repository, tag):
		return journal.Execution{}, fmt.Errorf("%w: %q does not cover %s:%s", ErrPolicy, name, repository, tag)
	}
	x, err := e.journal.DeliverAlone(ctx, journal.Firing{Policy: b.Name, PolicyVersion: b.Version(), Registry: b.Registry,
		Trigger: policy.EventBased, Lane: journal.Pushes, RequestID: requestID}, journal.Push{Repository: repository, Tag: tag, At: e.opts.Now()})
	if err != nil {
		return x, err
	}
	e.log.Info("tag to be signed by hand", zap.String("policy", name), zap.String("repository", repository),
		zap.String("tag", tag), zap.String("request", requestID), zap.Int64("execution", x.ID))
	return x, nil
}

// Signature returns the signature of a manifest by a policy's key, in the first
// of the policy's formats, as it is in the registry now and verified; nil if there
// is none. Errors about the policy wrap ErrPolicy.
func (e *Engine) Signature(ctx context.Context, name, repository string, d registry.Descriptor) ([]byte, error) {
	setup, err := e.use()
	if err != nil {
		return nil, err
	}
	defer setup.release()
	b, ok := setup.policy(name)
	if !ok {
		return nil, fmt.Errorf("%w: no policy is named %q", ErrPolicy, name)
	}
	if b.key.Err != nil {
		return nil, fmt.Errorf("%w: %w %s: %w", ErrPolicy, errKey, b.Key, b.key.Err)
	}
	ctx = budget.WithLane(ctx, budget.Live)
	if d, err = b.complete(ctx, repository, d); err != nil {
		return nil, err
	}
	format := b.SignatureFormats()[0]
	look, err := b.image(repository, d).Look(ctx, format, b.key.signing())
	if err != nil {
		return nil, fmt.Errorf("reading %s signatures: %w", format, err)
	}
	return look.Signature, nil
}
