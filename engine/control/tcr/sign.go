package tcr

import (
	"context"
	"errors"
	"regexp"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/registry"
)

var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

const (
	maxRepository     = 255 // with the namespace
	repositoryAllowed = "at most 255 lower-case letters and digits, with '.', '_', '-' and '/' between them"
	tagAllowed        = "a tag: 1 to 128 letters, digits, '_', '.' and '-'"
)

// An image is what a request is about.
type image struct{ registry, namespace, repository, tag string }

// repositoryOf reads the namespace and the repository of a request.
func repositoryOf(p *params) (i image, err error) {
	i.namespace, i.repository = p.text("NamespaceName"), p.text("RepositoryName")
	switch {
	case p.err != nil:
		return i, p.err
	case !validNamespace(i.namespace):
		return i, invalid("NamespaceName", i.namespace, namespaceAllowed)
	case !repositoryPattern.MatchString(i.repository) || len(i.namespace)+1+len(i.repository) > maxRepository:
		return i, invalid("RepositoryName", i.repository, repositoryAllowed)
	}
	i.repository = i.namespace + "/" + i.repository
	return i, nil
}

// createSignature has one tag signed by the namespace's policy, soon.
func (a *api) createSignature(ctx context.Context, c *call, p *params) (any, error) {
	where, err := a.instance(c, p, door.Operator)
	if err != nil {
		return nil, err
	}
	i, err := repositoryOf(p)
	if err != nil {
		return nil, err
	}
	i.registry, i.tag = where.Registry, p.text("ImageVersion")
	if err := p.end(); err != nil {
		return nil, err
	}
	if !tagPattern.MatchString(i.tag) {
		return nil, invalid("ImageVersion", i.tag, tagAllowed)
	}
	if c.replayed {
		return replayed(c, a.isSigned(ctx, c, i))
	}
	return a.change(ctx, c, i.registry+"/"+i.repository+":"+i.tag, func(ctx context.Context) error {
		policy, _, err := a.signable(ctx, c, i)
		if err != nil {
			return err
		}
		_, err = a.Engine.Sign(ctx, c.id, policy, i.repository, i.tag)
		if errors.Is(err, engine.ErrPolicy) { // changed since it was looked at
			return refusal(codeDenied, "the signature policy of the namespace does not sign this image")
		}
		return err
	})
}

// signable returns the name of the policy that is to sign an image, and what the
// image is.
func (a *api) signable(ctx context.Context, c *call, i image) (string, registry.Descriptor, error) {
	var none registry.Descriptor
	policy, ok, err := a.policyOf(ctx, c, i.registry, i.namespace)
	switch {
	case err != nil:
		return "", none, err
	case !ok:
		return "", none, notFound("signature policy")
	case policy.Err != nil:
		return "", none, refusal(codeDenied, "the signature policy of the namespace cannot be carried out")
	case !policy.Policy.IsEnabled():
		return "", none, refusal(codeDenied, "the signature policy of the namespace is disabled")
	case registry.IsSignatureTag(i.tag):
		return "", none, refusal("InternalError.ErrorTcrInvalidMediaType", "ImageVersion: the tag is that of a signature, not of an image")
	}
	r, ok := a.Engine.Registry(i.registry)
	if !ok {
		return "", none, notFound("registry")
	}
	d, err := r.Resolve(budget.WithLane(ctx, budget.Live), i.repository, i.tag)
	if errors.Is(err, registry.ErrNotFound) {
		return "", none, notFound("artifact")
	}
	return policy.Policy.Name, d, err
}

// isSigned returns nil if the image carries its policy's signature.
func (a *api) isSigned(ctx context.Context, c *call, i image) error {
	policy, d, err := a.signable(ctx, c, i)
	if err != nil {
		return err
	}
	sig, err := a.Engine.Signature(ctx, policy, i.repository, d)
	if err == nil && sig == nil {
		err = errReplayed
	}
	return err
}
