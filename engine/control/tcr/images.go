package tcr

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// atOnce is how many images of a page are looked at together.
const atOnce = 8

// An imageInfo is what DescribeImages says of a tag. Registries do not tell when it
// was set.
type imageInfo struct {
	Digest       string
	Size         int64
	ImageVersion string
	UpdateTime   string
	Kind         string
	KmsSignature string
}

type images struct {
	ImageInfoList []imageInfo
	TotalCount    int
	answer
}

// A search says which tags of a repository are wanted.
type search struct {
	version string // all or a part of the tag; empty: any
	exact   bool   // all of it
	digest  v1.Hash
}

func (s search) matches(tag string) bool {
	switch {
	case registry.IsSignatureTag(tag):
		return false
	case s.exact && s.version != "":
		return tag == s.version
	}
	return strings.Contains(tag, s.version)
}

// describeImages lists tags of a repository, with the signatures by the key of the
// namespace's policy. The registry is asked about each.
func (a *api) describeImages(ctx context.Context, c *call, p *params) (any, error) {
	where, err := a.instance(c, p, door.Viewer)
	if err != nil {
		return nil, err
	}
	i, err := repositoryOf(p)
	if err != nil {
		return nil, err
	}
	s := search{version: p.optional("ImageVersion"), exact: p.flag("ExactMatch")}
	digest, page := p.optional("Digest"), pageOf(p)
	if err := p.end(); err != nil {
		return nil, err
	}
	if digest != "" {
		if s.digest, err = v1.NewHash(digest); err != nil || s.digest.Algorithm != "sha256" {
			return nil, invalid("Digest", digest, "sha256: and 64 lower-case hexadecimal digits")
		}
	}
	r, ok := a.Engine.Registry(where.Registry)
	if !ok || !c.caller.SeesNamespace(where.Registry, i.namespace) {
		return nil, notFound("repository")
	}
	policy, _, err := a.policyOf(ctx, c, where.Registry, i.namespace)
	if err != nil {
		return nil, err
	}
	ctx = budget.WithLane(ctx, budget.Backlog)
	tags, err := tagsOf(ctx, r, i.repository, s)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, notFound("repository")
	}
	if err != nil {
		return nil, err
	}
	l := look{engine: a.Engine, registry: r, repository: i.repository, policy: policy}
	list, err := l.all(ctx, cut(page, tags))
	return images{list, len(tags), c.done()}, err
}

// tagsOf returns the tags that are wanted, sorted.
func tagsOf(ctx context.Context, r registry.Registry, repository string, s search) ([]string, error) {
	found := map[string]bool{}
	if s.digest != (v1.Hash{}) {
		q := registry.Query{Repository: repository, Tags: s.matches}
		for a, err := range r.Artifacts(ctx, q) {
			if err != nil && a.Repository == "" {
				return nil, fmt.Errorf("listing images: %w", err)
			}
			if err == nil && a.Digest == s.digest {
				for _, tag := range a.Tags {
					found[tag] = true
				}
			}
		}
		return slices.Sorted(maps.Keys(found)), nil
	}
	lister, ok := r.(registry.TagLister)
	if !ok {
		return nil, fmt.Errorf("listing tags: %w", registry.ErrUnsupported)
	}
	for tag, err := range lister.AllTags(ctx, repository) {
		if err != nil && tag == "" {
			return nil, fmt.Errorf("listing tags: %w", err)
		}
		if err == nil && s.matches(tag) {
			found[tag] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// A look is at images of one repository.
type look struct {
	engine     *engine.Engine
	registry   registry.Registry
	repository string
	policy     engine.KnownPolicy // zero if there is none
}

// all returns what there is to say of tags; those that were deleted since they were
// listed are left out.
func (l look) all(ctx context.Context, tags []string) ([]imageInfo, error) {
	list := make([]imageInfo, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for n, tag := range tags {
		group.Go(func() (err error) {
			list[n], err = l.one(ctx, tag)
			if errors.Is(err, registry.ErrNotFound) {
				err = nil
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(list, func(i imageInfo) bool { return i.Digest == "" }), err
}

func (l look) one(ctx context.Context, tag string) (imageInfo, error) {
	d, size, err := l.read(ctx, tag)
	if err != nil {
		return imageInfo{}, fmt.Errorf("reading %s:%s: %w", l.repository, tag, err)
	}
	i := imageInfo{Digest: d.Digest.String(), Size: size, ImageVersion: tag, Kind: "Artifact::" + d.MediaType}
	if l.policy.Policy.Name == "" || l.policy.Err != nil {
		return i, nil
	}
	sig, err := l.engine.Signature(ctx, l.policy.Policy.Name, l.repository, d)
	switch {
	case errors.Is(err, engine.ErrPolicy), errors.Is(err, signature.ErrForeign), errors.Is(err, signature.ErrTooMany),
		errors.Is(err, registry.ErrTooLarge), errors.Is(err, registry.ErrCorrupt):
		// What is there is no signature of the policy's, whoever put it there, or the
		// key cannot tell.
		return i, nil
	case err != nil:
		return i, err
	}
	i.KmsSignature = base64.StdEncoding.EncodeToString(sig)
	return i, nil
}

// read returns what a tag names, and how many bytes an image has in all; of an
// index only its own.
func (l look) read(ctx context.Context, tag string) (registry.Descriptor, int64, error) {
	m, err := l.registry.Manifest(ctx, l.repository, tag)
	if errors.Is(err, registry.ErrTooLarge) || errors.Is(err, registry.ErrCorrupt) {
		d, err := l.registry.Resolve(ctx, l.repository, tag)
		return d, d.Size, err
	}
	return m.Descriptor, sizeOf(m), err
}

// sizeOf adds up what a manifest says, as far as it can be true.
func sizeOf(m registry.Manifest) int64 {
	const most = 1 << 53 // what JavaScript can count
	type part struct{ Size int64 }
	var said struct {
		Config part
		Layers []part
	}
	if json.Unmarshal(m.Raw, &said) != nil {
		return m.Size
	}
	total := m.Size
	for _, p := range append(said.Layers, said.Config) {
		if p.Size > 0 && total < most {
			total += min(p.Size, most)
		}
	}
	return min(total, most)
}
