package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
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

// ErrStopping is for what was asked of an engine that stops.
var ErrStopping = errors.New("the engine stops")

// Survey looks at everything a policy covers and signs nothing. It calls found
// for each finding, from one goroutine at a time. An error means that the survey
// could not be carried out; what could not be read of the registry is a finding.
func (s *Setup) Survey(ctx context.Context, name string, deadline time.Duration, found func(Finding)) (Coverage, error) {
	return s.survey(budget.WithLane(ctx, budget.Live), name, deadline, found)
}

// Survey is [Setup.Survey] with the current setup, in the backlog's lane: signing
// goes first. When ctx ends before it is done, or the engine stops (ErrStopping), it
// returns that error, and the sum so far.
func (e *Engine) Survey(ctx context.Context, name string, found func(Finding)) (Coverage, error) {
	setup, err := e.use()
	if err != nil {
		return Coverage{}, ErrStopping
	}
	defer setup.release()
	ctx, cancel := context.WithCancelCause(budget.WithLane(ctx, budget.Backlog))
	var stop sync.WaitGroup
	stop.Go(func() {
		select {
		case <-e.stopping:
			cancel(ErrStopping)
		case <-ctx.Done():
		}
	})
	sum, err := setup.survey(ctx, name, e.opts.Deadline, found)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	stop.Wait()
	return sum, err
}

func (s *Setup) survey(ctx context.Context, name string, deadline time.Duration, found func(Finding)) (Coverage, error) {
	b, err := s.find(name)
	if err != nil {
		return Coverage{}, err
	}
	if b.from.Err != nil {
		return Coverage{}, fmt.Errorf("%w: the old key: %w", errKey, b.from.Err)
	}
	if b.key.Err != nil {
		return Coverage{}, fmt.Errorf("%w %s: %w", errKey, b.Key, b.key.Err)
	}
	if deadline <= 0 {
		deadline = 5 * time.Minute
	}
	v := &survey{bound: b, deadline: deadline, found: found, cut: ctx.Done(),
		sum: Coverage{Policy: b.Name, Registry: b.Registry, Requests: map[string]int64{}}}
	for repository, err := range b.place.registry.Repositories(ctx) {
		if err != nil {
			v.failed(Finding{Repository: repository}, fmt.Errorf("listing repositories: %w", err))
			continue // an error without a name was the last
		}
		if b.match.Repository(repository) {
			v.repository(ctx, repository)
		}
	}
	// Asked last, as some registries know it only once they were listed.
	if why := b.place.registry.Untagged(); b.WantsUntagged() && why != "" {
		v.sum.Unseen = "untagged artifacts: " + why
	}
	return v.sum, ctx.Err()
}

type survey struct {
	bound
	deadline time.Duration
	found    func(Finding)
	cut      <-chan struct{} // closed when the whole survey is to end

	mu  sync.Mutex
	sum Coverage
	// Per repository; a digest is counted once however many tags chose it.
	digests  map[v1.Hash]bool
	unsigned int64                   // digests
	missing  map[policy.Format]int64 // signatures
}

func (v *survey) repository(ctx context.Context, repository string) {
	v.sum.Repositories++
	v.digests, v.unsigned, v.missing = make(map[v1.Hash]bool), 0, make(map[policy.Format]int64)
	q := registry.Query{Repository: repository,
		Tags:     func(tag string) bool { return v.match.Tag(repository, tag) },
		Untagged: v.match.Untagged(repository)}
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
	v.price(ctx, repository)
}

func (v *survey) artifact(ctx context.Context, a registry.Artifact) {
	ctx, cancel := context.WithTimeout(ctx, v.deadline)
	defer cancel()
	for d, err := range targets(ctx, v.bound, a) {
		if d.Digest != a.Digest {
			a.Tags = nil
		}
		switch first := v.first(d.Digest); {
		case errors.Is(err, errGone): // deleted since it was listed
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
	d, err := v.complete(ctx, a.Repository, d)
	if err != nil {
		v.failed(f, err)
		return
	}
	image := v.image(a.Repository, d)
	formats, err := v.wanted(ctx, image)
	if err != nil {
		v.failed(f, err)
		return
	}
	if len(formats) == 0 {
		return // a campaign has nothing to do with it
	}
	var missing []policy.Format
	var left int // out, as the registry will not take it
	for _, format := range formats {
		look, err := image.Look(ctx, format, v.key.signing())
		switch {
		case err != nil:
			v.failed(f, err)
			return
		case look.Immutable:
			left++
		case !look.Signed:
			missing = append(missing, format)
		}
	}
	if left == len(formats) {
		missing = formats
	}
	f.Signed = len(missing) == 0
	v.report(f, missing)
}

func (v *survey) report(f Finding, missing []policy.Format) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sum.Covered++
	if f.Signed {
		v.sum.Signed++
	} else {
		v.sum.Unsigned++
		v.unsigned++
		for _, format := range missing {
			v.missing[format]++
		}
	}
	f.Policy = v.Name
	v.found(f)
}

func (v *survey) failed(f Finding, err error) {
	select {
	case <-v.cut:
		return // nobody knows whether it could have been read
	default:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.Digest != "" {
		v.sum.Covered++
	}
	v.sum.Failed++
	f.Policy, f.Signed, f.Reason, f.Detail = v.Name, false, reasonFor(err), err.Error()
	v.found(f)
}

// price adds what signing the repository's unsigned digests would cost, besides
// what the survey itself did: resolving a tag again (HEAD) for each digest, and
// what its formats cost for each signature. The config blob, which is the same
// for all of them, is written once per repository (POST, PUT) for each kind of
// format.
func (v *survey) price(ctx context.Context, repository string) {
	if v.unsigned == 0 {
		return
	}
	add := func(costs map[string]int64, n int64) {
		for verb, count := range costs {
			v.sum.Requests[verb] += count * n
		}
	}
	add(map[string]int64{"HEAD": 1}, v.unsigned)
	var tagged, referrers int64
	for format, n := range v.missing {
		v.sum.KeyUses += n
		if format == policy.FormatCosign {
			// The payload (POST, PUT), the manifest (PUT), reading it back (GET).
			add(map[string]int64{"POST": 1, "PUT": 2, "GET": 1}, n)
			tagged = 1
			continue
		}
		// The envelope (POST, PUT), the manifest (PUT), reading both back (GET).
		add(map[string]int64{"POST": 1, "PUT": 2, "GET": 2}, n)
		referrers = 1
		if v.place.signatures.WritesFallback(ctx, repository) {
			add(map[string]int64{"GET": 2, "PUT": 1}, n) // the index: read, written, read back
		}
	}
	add(map[string]int64{"POST": 1, "PUT": 1}, tagged+referrers)
}
