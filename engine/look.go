package engine

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// A job is the signature of one subtask in one format.
type job struct {
	format policy.Format
	look   signature.Look
}

// A sighting is what was found of one digest's signatures.
type sighting struct {
	image  *signature.Image
	wanted int              // signatures
	jobs   []job            // what is missing
	found  []journal.Record // what is there
}

// nothingToDo is the reason of a subtask without a new signature.
func (s sighting) nothingToDo() string {
	if len(s.found) == 0 && len(s.jobs) == 0 {
		return ReasonNothingOld
	}
	return ReasonAlreadySigned
}

// look returns a job for each of the policy's formats in which the digest is
// not validly signed by the policy's key under the policy's identity, and a
// record of what was found for each in which it is.
func (r *run) look(ctx context.Context, d registry.Descriptor, s journal.Subtask) (seen sighting, err error) {
	ctx, span := r.engine.opts.Tracer.Start(ctx, "look")
	defer func() { span.End(err) }()
	d, err = r.policy.complete(ctx, s.Repository, d)
	if err != nil {
		return sighting{}, err
	}
	seen = sighting{image: r.policy.image(s.Repository, d)}
	formats, err := r.policy.wanted(ctx, seen.image)
	if err != nil {
		return seen, err
	}
	seen.wanted = len(formats)
	for _, format := range formats {
		look, err := seen.image.Look(ctx, format, r.policy.key.signing())
		if err != nil {
			return seen, fmt.Errorf("reading %s signatures: %w", format, err)
		}
		j := job{format: format, look: look}
		if !look.Signed {
			seen.jobs = append(seen.jobs, j)
			continue
		}
		rec := r.record(ctx, s, j)
		rec.Signature, rec.StoredAs = base64.StdEncoding.EncodeToString(look.Signature), look.Manifest.Digest.String()
		seen.found = append(seen.found, rec)
	}
	return seen, seen.leaveImmutable()
}

// leaveImmutable gives up the signatures that the registry has refused before,
// as their key would be used in vain. The other formats make them good; it is an
// error if there are none.
func (s *sighting) leaveImmutable() error {
	asked := len(s.jobs)
	s.jobs = slices.DeleteFunc(s.jobs, func(j job) bool { return j.look.Immutable })
	if asked > 0 && len(s.jobs)+len(s.found) == 0 {
		return fmt.Errorf("key not used, as the registry refused a signature before: %w", signature.ErrImmutable)
	}
	return nil
}

// wanted returns the formats in which an image must be signed: the policy's, or
// in a campaign those in which the old key has signed it.
func (b *bound) wanted(ctx context.Context, image *signature.Image) ([]policy.Format, error) {
	if b.step == "" {
		return b.SignatureFormats(), nil
	}
	return b.old(ctx, image)
}

// complete returns a descriptor with its size, which some listings do not say
// and some formats write down.
func (b *bound) complete(ctx context.Context, repository string, d registry.Descriptor) (registry.Descriptor, error) {
	formats := b.SignatureFormats()
	if d.Size > 0 || len(formats) == 1 && formats[0] == policy.FormatCosign {
		return d, nil
	}
	whole, err := b.place.registry.Resolve(ctx, repository, d.Digest.String())
	if err != nil {
		return d, fmt.Errorf("resolving: %w", err)
	}
	return whole, nil
}

// image returns the signatures of a manifest, as the policy wants them.
func (b *bound) image(repository string, d registry.Descriptor) *signature.Image {
	return b.place.signatures.Image(signature.Subject{Repository: repository, Digest: d.Digest, MediaType: d.MediaType,
		Size: d.Size, Identity: identity(*b, repository),
		Elsewhere: strings.ReplaceAll(b.SignatureRepository, "{repository}", repository)}, b.witnesses)
}

// identity is the public name of a repository that is written into signatures:
// the registry's host, or the policy's domain, and the repository; never a tag.
func identity(b bound, repository string) string {
	host := b.Domain
	if host == "" {
		host = b.place.registry.Host()
	}
	return host + "/" + repository
}
