package signature

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry"
)

const (
	// maxCarriers bounds the signature manifests that one look reads, each with
	// its content: two requests. Anybody who may push can add more.
	maxCarriers = 16
	// maxContent bounds a signature that is read, in bytes. Bundles have about
	// 900, envelopes with a chain of certificates and a timestamp 10,000.
	maxContent = 256 << 10
)

// emptyConfig is the config of every manifest that is no image. It is the same
// for all, so it is uploaded once per repository.
const emptyConfig = "{}"

// A carrier is a manifest that refers to an image and carries one signature, as
// its only layer.
type carrier struct {
	// artifactType is what the manifest says it is. Empty: what configType
	// says, as in manifests that notation writes.
	artifactType string
	// configType is the media type of its config.
	configType string
	// configArtifactType repeats the type in the config's descriptor, where
	// cosign writes it. Empty: it is not there. It is not read.
	configArtifactType string
	// contentType and content are its layer.
	contentType string
	content     []byte
	annotations map[string]string
	// manifest is what was read; not set in one that is to be written.
	manifest registry.Manifest
}

// A kind is what carriers of one format have in common.
type kind struct {
	artifactType string
	contentType  string
	// rank orders candidates by their annotations, as listings show them: lower
	// ranks are read first, negative ones never. Rank 0 is for those that say
	// they are ours. It is only a hint, as some listings show no annotations
	// and anybody can write them. Nil: all have rank 0.
	rank func(annotations map[string]string) int
}

// A candidate is a manifest that may be a carrier.
type candidate struct {
	digest v1.Hash
	rank   int
}

// lookCarriers lets judge decide on the signatures of kind k that refer to the
// image until one counts. judge returns it, or why it does not count. At most 16
// are read; if the next one says that it is ours, that is ErrTooMany, as signing
// again would not help.
func (i *Image) lookCarriers(ctx context.Context, k kind, judge func(*carrier) ([]byte, error)) (Look, error) {
	candidates, err := i.candidates(ctx, k)
	if err != nil {
		return Look{}, err
	}
	var look Look
	for n, c := range candidates {
		rest := len(candidates) - n
		switch {
		case look.Signed:
			look.Others += rest
			return look, nil
		case n == maxCarriers && c.rank == 0:
			return Look{}, fmt.Errorf("%w: %d of type %s refer to the image and say that they are ours, but none of %d does count",
				ErrTooMany, len(candidates), k.artifactType, maxCarriers)
		case n == maxCarriers:
			look.refuse(c.digest, fmt.Errorf("not read, as %d others were", maxCarriers))
			look.Others += rest - 1
			return look, nil
		}
		if err := i.lookAt(ctx, c.digest, k, judge, &look); err != nil {
			return Look{}, err
		}
	}
	return look, nil
}

// lookAt judges one candidate.
func (i *Image) lookAt(ctx context.Context, digest v1.Hash, k kind, judge func(*carrier) ([]byte, error), look *Look) error {
	c, reason, err := i.carrier(ctx, digest, k)
	if err != nil {
		return err
	}
	var sig []byte
	if reason == nil {
		sig, reason = judge(c)
	}
	if reason != nil {
		look.refuse(digest, reason)
		return nil
	}
	look.accept(sig)
	look.Manifest = c.manifest
	return nil
}

// checkCarriers passes all signatures of kind k that refer to the image to
// each, at most registry.MaxReferrers. Malformed ones are left out.
func (i *Image) checkCarriers(ctx context.Context, k kind, each func(*carrier)) error {
	candidates, err := i.candidates(ctx, k)
	if err != nil {
		return err
	}
	for _, at := range candidates {
		c, reason, err := i.carrier(ctx, at.digest, k)
		if err != nil {
			return err
		}
		if reason == nil {
			each(c)
		}
	}
	return nil
}

// candidates returns the referrers that may be of kind k, in the order in which
// they are to be read, each once.
func (i *Image) candidates(ctx context.Context, k kind) ([]candidate, error) {
	all, err := i.signatures(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing what refers to it: %w", err)
	}
	seen := map[v1.Hash]bool{}
	var out []candidate
	for _, r := range all {
		if r.ArtifactType != k.artifactType || seen[r.Digest] {
			continue
		}
		seen[r.Digest] = true
		c := candidate{digest: r.Digest}
		if k.rank != nil {
			c.rank = k.rank(r.Annotations)
		}
		if c.rank >= 0 {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	return out, nil
}

// carrier reads a signature manifest and its content. It returns the reason why
// it is none of kind k and this image, or an error when that cannot be known
// now.
func (i *Image) carrier(ctx context.Context, digest v1.Hash, k kind) (c *carrier, reason, err error) {
	m, err := i.layouts.store.Manifest(ctx, i.Repository, digest.String())
	if blobIsBad(err) {
		return nil, fmt.Errorf("reading its manifest: %w", err), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading signature manifest %s: %w", digest, err)
	}
	c, content, reason := parseCarrier(m, i.Digest, k)
	if reason != nil {
		return nil, reason, nil
	}
	c.content, err = i.layouts.store.Blob(ctx, i.Repository, content.digest, maxContent)
	if blobIsBad(err) {
		return nil, fmt.Errorf("reading its content: %w", err), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading signature %s: %w", content.digest, err)
	}
	if int64(len(c.content)) != content.size {
		return nil, fmt.Errorf("its manifest says that its content has %d bytes, it has %d", content.size, len(c.content)), nil
	}
	return c, nil, nil
}

// parseCarrier reads a manifest that may carry a signature of kind k over
// subject, and returns the layer that is its content.
func parseCarrier(m registry.Manifest, subject v1.Hash, k kind) (*carrier, layer, error) {
	c := &carrier{artifactType: k.artifactType, contentType: k.contentType, manifest: m}
	if types.MediaType(m.MediaType) != types.OCIManifestSchema1 {
		return nil, layer{}, fmt.Errorf("its media type is %.80q", m.MediaType)
	}
	fields, err := parseObject(m.Raw)
	if err != nil {
		return nil, layer{}, err
	}
	if err := fields.refersTo(subject); err != nil {
		return nil, layer{}, err
	}
	if c.configType, err = fields.carries(k.artifactType); err != nil {
		return nil, layer{}, err
	}
	if err := fields.decode("annotations", &c.annotations); err != nil {
		return nil, layer{}, err
	}
	layers, err := parseLayers(fields.value("layers"))
	switch {
	case err != nil:
		return nil, layer{}, err
	case len(layers) != 1:
		return nil, layer{}, fmt.Errorf("it has %d layers, not 1", len(layers))
	case layers[0].fault != nil:
		return nil, layer{}, fmt.Errorf("its layer: %w", layers[0].fault)
	case layers[0].mediaType != k.contentType:
		return nil, layer{}, fmt.Errorf("its layer is of type %.80q, not %q", layers[0].mediaType, k.contentType)
	case layers[0].size > maxContent:
		return nil, layer{}, fmt.Errorf("its layer has %d bytes, at most %d are read", layers[0].size, maxContent)
	}
	return c, layers[0], nil
}

// refersTo returns nil if the manifest is a version 2 one whose subject is d.
func (o object) refersTo(d v1.Hash) error {
	if o.value("mediaType") != nil {
		if t, err := o.text("mediaType"); err != nil || types.MediaType(t) != types.OCIManifestSchema1 {
			return fmt.Errorf("it says its media type is %.80s", o.value("mediaType"))
		}
	}
	var version int
	if err := o.decode("schemaVersion", &version); err != nil || version != 2 {
		return errors.New("its schemaVersion is not 2")
	}
	subject, err := parseObject(o.value("subject"))
	if err != nil {
		return fmt.Errorf("its subject: %w", err)
	}
	if said, err := subject.text("digest"); err != nil || said != d.String() {
		return fmt.Errorf("it refers to %.80s", subject.value("digest"))
	}
	return nil
}

// carries returns the media type of the config if the manifest's type is t,
// which it says itself or by its config's media type.
func (o object) carries(t string) (configType string, err error) {
	config, err := parseObject(o.value("config"))
	if err != nil {
		return "", fmt.Errorf("its config: %w", err)
	}
	if configType, err = config.text("mediaType"); err != nil {
		return "", fmt.Errorf("its config: %w", err)
	}
	said := configType
	if o.value("artifactType") != nil {
		if said, err = o.text("artifactType"); err != nil {
			return "", err
		}
	}
	if said != t {
		return "", fmt.Errorf("it is of type %.80q, not %q", said, t)
	}
	return configType, nil
}

// refuse notes that a manifest does not count.
func (l *Look) refuse(manifest v1.Hash, reason error) {
	l.Others++
	if len(l.Reasons) < maxReasons {
		l.Reasons = append(l.Reasons, fmt.Sprintf("%s: %v", manifest, reason))
	}
}

// putCarrier stores c as a referrer of the image, so that it is listed, reads
// it back and returns what was read. A first signature of a repository costs
// the upload of two blobs, others of one, the manifest, and two reads.
func (i *Image) putCarrier(ctx context.Context, c carrier) (*carrier, error) {
	raw, err := c.compose(i.Subject)
	if err != nil {
		return nil, err
	}
	digest, err := i.uploadCarrier(ctx, c, raw)
	if errors.Is(err, registry.ErrRejected) || errors.Is(err, registry.ErrNotFound) {
		// The store may have believed a blob to be there that has been
		// collected since, which registries call by either name. It believes
		// so no more.
		digest, err = i.uploadCarrier(ctx, c, raw)
	}
	if err != nil {
		return nil, err
	}
	k := kind{artifactType: cmp.Or(c.artifactType, c.configType), contentType: c.contentType}
	back, reason, err := i.carrier(ctx, digest, k)
	if err != nil {
		return nil, fmt.Errorf("reading back: %w", err)
	}
	if reason != nil {
		return nil, fmt.Errorf("reading back %s: %w", digest, reason)
	}
	return back, nil
}

// uploadCarrier puts the blobs and then the manifest that names them.
func (i *Image) uploadCarrier(ctx context.Context, c carrier, raw []byte) (v1.Hash, error) {
	if _, err := i.layouts.store.PutBlob(ctx, i.Repository, []byte(emptyConfig)); err != nil {
		return v1.Hash{}, fmt.Errorf("writing the config: %w", err)
	}
	if _, err := i.layouts.store.PutBlob(ctx, i.Repository, c.content); err != nil {
		return v1.Hash{}, fmt.Errorf("writing the signature: %w", err)
	}
	digest, err := i.layouts.referrers.Put(ctx, i.Repository, i.Digest, string(types.OCIManifestSchema1), raw)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing the manifest: %w", err)
	}
	return digest, nil
}

// A referringManifest is written with its members in the order that cosign has
// them.
type referringManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Config        typedDescriptor   `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	Subject       descriptor        `json:"subject"`
	ArtifactType  string            `json:"artifactType,omitempty"`
}

type typedDescriptor struct {
	descriptor
	ArtifactType string `json:"artifactType,omitempty"`
}

// compose returns the manifest of c, which refers to s.
func (c carrier) compose(s Subject) (json.RawMessage, error) {
	if err := s.canBeReferredTo(); err != nil {
		return nil, err
	}
	describe := func(mediaType, content string) descriptor {
		return descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: hash([]byte(content)).String()}
	}
	return encode(referringManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        typedDescriptor{describe(c.configType, emptyConfig), c.configArtifactType},
		Layers:        []descriptor{describe(c.contentType, string(c.content))},
		Annotations:   c.annotations,
		Subject:       descriptor{MediaType: s.MediaType, Size: s.Size, Digest: s.Digest.String()},
		ArtifactType:  c.artifactType,
	}), nil
}

// canBeReferredTo returns nil if all is known that a manifest says of its
// subject.
func (s Subject) canBeReferredTo() error {
	if s.MediaType == "" || s.Size <= 0 {
		return fmt.Errorf("the media type and size of %s are needed to refer to it", s.Digest)
	}
	return nil
}
