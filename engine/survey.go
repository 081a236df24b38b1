package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// A Finding is what a survey saw of one digest that a policy covers, or of a
// repository or registry that could not be read (then Digest is empty).
type Finding struct {
	Policy     string   `json:"policy"`
	Repository string   `json:"repository,omitempty"`
	Digest     string   `json:"digest,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Signed     bool     `json:"signed"`
	Reason     string   `json:"reason,omitempty"` // why it is not known to be signed; empty: no valid signature is there
	Detail     string   `json:"detail,omitempty"`
}

// A Coverage sums up a survey of one policy.
type Coverage struct {
	Policy       string `json:"policy"`
	Registry     string `json:"registry"`
	Repositories int64  `json:"repositories"`
	Covered      int64  `json:"covered"` // digests
	Signed       int64  `json:"signed"`
	Unsigned     int64  `json:"unsigned"` // no valid signature by the key under the identity
	Failed       int64  `json:"failed"`   // could not be read; counted as not signed
	// Unseen says what the registry cannot show although the policy covers
	// it: untagged artifacts.
	Unseen string `json:"unseen,omitempty"`
	// KeyUses and Requests are what signing the rest would cost: uses of the
	// key, and registry requests by verb on top of those this survey made.
	KeyUses  int64            `json:"key_uses"`
	Requests map[string]int64 `json:"requests"`
}

// Complete reports whether everything the policy covers is known to be signed.
func (c *Coverage) Complete() bool {
	return c.Unsigned == 0 && c.Failed == 0 && c.Unseen == ""
}

// Survey looks at everything a policy covers and signs nothing. It calls found
// for each finding, from one goroutine at a time. An error means that the survey
// could not be carried out; what could not be read of the registry is a finding.
func (s *Setup) Survey(ctx context.Context, name string, deadline time.Duration, found func(Finding)) (Coverage, error) {
	b, ok := s.find(name)
	if !ok {
		return Coverage{}, fmt.Errorf("%w: no policy is named %q", ErrPolicy, name)
	}
	if deadline <= 0 {
		deadline = 5 * time.Minute
	}
	v := &survey{bound: b, deadline: deadline, found: found,
		sum: Coverage{Policy: b.Name, Registry: b.Registry, Requests: map[string]int64{}}}
	if why := b.place.registry.Untagged(); b.WantsUntagged() && why != "" {
		v.sum.Unseen = "untagged artifacts: " + why
	}
	ctx = registry.WithLane(ctx, registry.Live)
	for repository, err := range b.place.registry.Repositories(ctx) {
		if err != nil {
			v.failed(Finding{Repository: repository}, fmt.Errorf("listing repositories: %w", err))
			continue // an error without a name was the last
		}
		if b.match.Repository(repository) {
			v.repository(ctx, repository)
		}
	}
	return v.sum, ctx.Err()
}

type survey struct {
	bound
	deadline time.Duration
	found    func(Finding)

	mu  sync.Mutex
	sum Coverage
	// Per repository; a digest is counted once however many tags chose it.
	digests  map[v1.Hash]bool
	unsigned int64
}

func (v *survey) repository(ctx context.Context, repository string) {
	v.sum.Repositories++
	v.digests, v.unsigned = make(map[v1.Hash]bool), 0
	q := registry.Query{Repository: repository,
		Tags:     func(tag string) bool { return v.match.Tag(repository, tag) },
		Untagged: v.match.Untagged(repository) && v.place.registry.Untagged() == ""}
	var inFlight sync.WaitGroup
	slots := make(chan struct{}, v.place.concurrency)
	for a, err := range v.place.registry.Artifacts(ctx, q) {
		switch {
		case err != nil && a.Repository == "":
			if !errors.Is(err, registry.ErrNotFound) { // deleted since the catalog was read
				v.failed(Finding{Repository: repository}, err)
			}
			continue
		case errors.Is(err, registry.ErrNotFound):
			continue // the tag was deleted since it was listed
		case err != nil:
			v.failed(Finding{Repository: repository, Tags: a.Tags}, err)
			continue
		}
		slots <- struct{}{}
		inFlight.Go(func() {
			defer func() { <-slots }()
			v.artifact(ctx, a)
		})
	}
	inFlight.Wait()
	v.price()
}

func (v *survey) artifact(ctx context.Context, a registry.Artifact) {
	ctx, cancel := context.WithTimeout(ctx, v.deadline)
	defer cancel()
	for d, err := range targets(ctx, v.bound, a) {
		if d.Digest != a.Digest {
			a.Tags = nil
		}
		switch first := v.first(d.Digest); {
		case err != nil && first:
			v.failed(Finding{Repository: a.Repository, Digest: d.Digest.String(), Tags: a.Tags}, err)
		case err != nil: // counted as what it is itself; that it cannot be walked is another finding
			v.failed(Finding{Repository: a.Repository}, err)
		case first:
			v.digest(ctx, a, d)
		}
	}
}

// first reports whether the digest was not met before in this repository.
func (v *survey) first(d v1.Hash) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	met := v.digests[d]
	v.digests[d] = true
	return !met
}

func (v *survey) digest(ctx context.Context, a registry.Artifact, d registry.Descriptor) {
	f := Finding{Repository: a.Repository, Digest: d.Digest.String(), Tags: a.Tags, Signed: true}
	subject := signature.Subject{Repository: a.Repository, Digest: d.Digest, Identity: identity(v.bound, a.Repository)}
	var missing int64
	for _, format := range v.SignatureFormats() {
		if format != policy.FormatCosign {
			v.failed(f, fmt.Errorf("%w: format %s", registry.ErrUnsupported, format))
			return
		}
		look, err := v.place.cosign.Look(ctx, subject, v.signer.Public())
		if err != nil {
			v.failed(f, err)
			return
		}
		if !look.Signed {
			missing++
		}
	}
	f.Signed = missing == 0
	v.report(f, missing)
}

func (v *survey) report(f Finding, missing int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sum.Covered++
	if f.Signed {
		v.sum.Signed++
	} else {
		v.sum.Unsigned++
		v.unsigned += missing
	}
	f.Policy = v.Name
	v.found(f)
}

func (v *survey) failed(f Finding, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.Digest != "" {
		v.sum.Covered++
	}
	v.sum.Failed++
	f.Policy, f.Signed, f.Reason, f.Detail = v.Name, false, reasonFor(err), err.Error()
	v.found(f)
}

// price adds what signing the repository's unsigned digests would cost: per
// signature the payload (POST, PUT), the manifest (PUT), reading it back (GET)
// and resolving the tag again (HEAD), besides what the survey itself did; and
// once per repository the constant config blob (POST, PUT).
func (v *survey) price() {
	n := v.unsigned
	v.sum.KeyUses += n
	if n == 0 {
		return
	}
	for verb, count := range map[string]int64{"HEAD": n, "GET": n, "POST": n + 1, "PUT": 2*n + 1} {
		v.sum.Requests[verb] += count
	}
}
