package swr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

const (
	typeCosign = "signature.cosign"
	// lookTime bounds what is asked of the registry for one request.
	lookTime = 30 * time.Second
	// referredCosign is the artifact type of a signature that cosign attaches as a
	// referrer.
	referredCosign = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// An accessory is what belongs to an artifact, as SWR shows it.
type accessory struct {
	ID                int32  `json:"id"`
	ArtifactID        int32  `json:"artifact_id"`
	SubjectArtifactID int32  `json:"subject_artifact_id"`
	Size              int64  `json:"size"`
	Digest            string `json:"digest"`
	Type              string `json:"type"`
	CreatedAt         string `json:"created_at,omitempty"`
}

// listAccessories lists signatures that are in the registry now, by whomever they
// are. That they are there does not prove that they are right: as with SWR, who
// pulls the image verifies them.
func (a *API) listAccessories(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	if _, err := c.choice("type", typeCosign); err != nil {
		return nil, err
	}
	reference := c.path["reference"]
	if !referenceRE.MatchString(reference) {
		return nil, invalid("reference", problem(reference), referenceAllowed)
	}
	r, ok := a.Engine.Registry(c.registry)
	if !ok {
		return nil, notFound()
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	subject, err := r.Resolve(ctx, c.repository(), reference)
	if err != nil {
		return nil, fmt.Errorf("resolving %s %s: %w", c.repository(), reference, err)
	}
	found, err := signatures(ctx, r, c.repository(), subject.Digest)
	if err != nil {
		return nil, err
	}
	list := []accessory{}
	for _, d := range paged(found, offset, limit) {
		one, err := a.accessory(ctx, c, subject.Digest, d)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return struct {
		Accessories []accessory `json:"accessories"`
		Total       int         `json:"total"`
	}{list, len(found)}, nil
}

// signatures returns the manifests in which cosign keeps signatures of a digest: the
// one under its tag, and referrers.
func signatures(ctx context.Context, r registry.Registry, repository string, subject v1.Hash) ([]registry.Descriptor, error) {
	var found []registry.Descriptor
	m, err := r.Manifest(ctx, repository, signature.CosignTag(subject))
	switch {
	case errors.Is(err, registry.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("reading the signatures of %s@%s: %w", repository, subject, err)
	case registry.IsSignature(m):
		found = append(found, registry.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))})
	}
	referrers, err := registry.NewReferrers(r).List(ctx, repository, subject, func(artifactType string) bool { return artifactType == referredCosign })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(referrers, func(x, y registry.Referrer) int { return cmp.Compare(x.Digest.Hex, y.Digest.Hex) })
	for _, f := range referrers {
		if !slices.ContainsFunc(found, func(d registry.Descriptor) bool { return d.Digest == f.Digest }) {
			found = append(found, f.Descriptor)
		}
	}
	return found, nil
}

// accessory describes a signature. When it was made is known of our own.
func (a *API) accessory(ctx context.Context, c *call, subject v1.Hash, d registry.Descriptor) (accessory, error) {
	id := artifactID(c.registry, c.repository(), d.Digest.String())
	out := accessory{ID: derived("accessory", c.registry, c.repository(), subject.String(), d.Digest.String()), ArtifactID: id,
		SubjectArtifactID: artifactID(c.registry, c.repository(), subject.String()), Size: d.Size, Digest: d.Digest.String(), Type: typeCosign}
	records, err := a.Journal.Records(ctx, journal.RecordFilter{Digest: subject.String(), Registry: c.registry, Repository: c.repository()})
	if err != nil {
		return out, err
	}
	for _, r := range records {
		if r.State == journal.Signed && r.StoredAs == out.Digest {
			out.CreatedAt = stamp(r.FinishedAt)
			break
		}
	}
	return out, nil
}
