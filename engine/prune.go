package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// What a PruneFinding is about.
const (
	// PruneDuplicate: a policy's key has signed an artifact several times in one
	// format; the signature that verifiers find first stays.
	PruneDuplicate = "duplicate"
	// PruneOrphan: a tag holds signatures of an artifact that is no more.
	PruneOrphan = "orphan"
	// PruneUnread: something could not be looked at.
	PruneUnread = "unread"
)

// PruneNotOurs is the reason of an orphan that stays because not all of it is
// provably by one of our keys, over that digest and under a name that one of the
// policies gives the repository.
const PruneNotOurs = "not_ours"

// A PruneFinding is something that is too much in a registry, or could not be
// looked at.
type PruneFinding struct {
	Kind       string        `json:"kind"`
	Registry   string        `json:"registry"`
	Repository string        `json:"repository,omitempty"`
	Digest     string        `json:"digest,omitempty"` // of what was signed
	Tag        string        `json:"tag,omitempty"`    // of an orphan: where it is kept
	Policy     string        `json:"policy,omitempty"` // of a duplicate: whose key
	Format     policy.Format `json:"format,omitempty"` // of a duplicate
	Signatures int           `json:"signatures"`       // that are too much; 0: not known, or not ours
	Removed    bool          `json:"removed"`
	Reason     string        `json:"reason,omitempty"` // why it stays, or was not looked at
	Detail     string        `json:"detail,omitempty"`
}

// A PruneSum sums up what Prune found.
type PruneSum struct {
	Applied      bool  `json:"applied"` // false: a dry run
	Repositories int64 `json:"repositories"`
	Artifacts    int64 `json:"artifacts"`  // digests that were looked at for duplicates
	Duplicates   int64 `json:"duplicates"` // signatures
	Orphans      int64 `json:"orphans"`    // signatures
	Removed      int64 `json:"removed"`    // signatures
	NotOurs      int64 `json:"not_ours"`   // orphaned tags that stay
	Failed       int64 `json:"failed"`     // findings: unread, or not removed
	// Unseen names the registries that list no tags of signatures, so that
	// orphans in them are not seen.
	Unseen []string `json:"unseen,omitempty"`
}

// Prune looks for signatures of ours that are too much in what the named
// policies cover: duplicates by a policy's key, and orphans by any key of the
// setup. It calls found for each finding, from one goroutine at a time. With a
// journal it removes them, each under a claim that keeps other workers away;
// with nil it is a dry run, which writes nothing. What is anybody else's, or not
// provably ours, stays. An error means that nothing was looked at, or that ctx
// ended; what failed in the registry is a finding.
//
// An artifact is taken for gone only if the registry says that there is no such
// manifest, twice when its signatures are removed. Signatures that are kept for
// another repository are not orphans of the one they are in.
func (s *Setup) Prune(ctx context.Context, names []string, j *journal.Journal, found func(PruneFinding)) (PruneSum, error) {
	sum := PruneSum{Applied: j != nil}
	var pruners []*pruner
	for _, name := range names {
		b, ok := s.policy(name)
		switch {
		case !ok:
			return sum, fmt.Errorf("%w: no policy is named %q", ErrPolicy, name)
		case b.key.Err != nil:
			return sum, fmt.Errorf("%w %s: %w", errKey, b.Key, b.key.Err)
		}
		i := slices.IndexFunc(pruners, func(p *pruner) bool { return p.registry == b.Registry })
		if i < 0 {
			i, pruners = len(pruners), append(pruners, &pruner{setup: s, registry: b.Registry, place: b.place, journal: j, found: found, sum: &sum})
		}
		pruners[i].policies = append(pruners[i].policies, b)
	}
	ctx = budget.WithLane(ctx, budget.Live)
	for _, p := range pruners {
		p.all(ctx)
	}
	return sum, ctx.Err()
}

// pruneDeadline bounds the work on one artifact or tag.
const pruneDeadline = 5 * time.Minute

// A pruner looks at one registry.
type pruner struct {
	setup    *Setup
	registry string // its name
	place    *Place
	policies []bound
	journal  *journal.Journal // nil: a dry run
	found    func(PruneFinding)

	mu   sync.Mutex // guards sum, done and calls of found
	sum  *PruneSum
	done map[string]bool // :: digest, format, key and identity → looked at, in this repository
}

func (p *pruner) all(ctx context.Context) {
	lister, lists := p.place.registry.(registry.TagLister)
	if !lists {
		p.sum.Unseen = append(p.sum.Unseen, p.registry)
	}
	for repository, err := range p.place.registry.Repositories(ctx) {
		if err != nil {
			p.unread(PruneFinding{Repository: repository}, fmt.Errorf("listing repositories: %w", err))
			continue // an error without a name was the last
		}
		covered := false
		p.done = make(map[string]bool)
		for _, b := range p.policies {
			if b.match.Repository(repository) {
				covered = true
				p.duplicates(ctx, b, repository)
			}
		}
		if covered {
			p.sum.Repositories++
		}
		if covered && lists {
			p.orphans(ctx, repository, lister)
		}
	}
}

// duplicates looks at every artifact of a repository that a policy covers.
func (p *pruner) duplicates(ctx context.Context, b bound, repository string) {
	q := registry.Query{Repository: repository,
		Tags:     func(tag string) bool { return b.match.Tag(repository, tag) },
		Untagged: b.match.Untagged(repository) && p.place.registry.Untagged() == ""}
	crew := p.crew()
	defer crew.Wait()
	for a, err := range p.place.registry.Artifacts(ctx, q) {
		switch {
		case errors.Is(err, registry.ErrNotFound): // deleted since it was listed
		case err != nil:
			p.unread(PruneFinding{Repository: repository, Policy: b.Name}, err)
		default:
			crew.begin(ctx, func(ctx context.Context) { p.artifact(ctx, b, a) })
		}
	}
}

func (p *pruner) artifact(ctx context.Context, b bound, a registry.Artifact) {
	for d, err := range targets(ctx, b, a) {
		if err != nil {
			p.unread(PruneFinding{Repository: a.Repository, Digest: d.Digest.String(), Policy: b.Name}, err)
			continue
		}
		image := b.image(a.Repository, d)
		for _, format := range b.SignatureFormats() {
			if p.first(b, a.Repository, d, format) {
				p.extra(ctx, b, image, format)
			}
		}
	}
}

// first reports whether a digest was not yet looked at for signatures by the
// policy's key, and counts it.
func (p *pruner) first(b bound, repository string, d registry.Descriptor, format policy.Format) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	digest := d.Digest.String()
	if !p.done[digest] {
		p.done[digest] = true
		p.sum.Artifacts++
	}
	what := fmt.Sprint(digest, " ", format, " ", b.key.Signer.Public().Fingerprint(), " ", identity(b, repository), " ", b.SignatureRepository)
	met := p.done[what]
	p.done[what] = true
	return !met
}

// extra looks for signatures by the policy's key beyond the first.
func (p *pruner) extra(ctx context.Context, b bound, image *signature.Image, format policy.Format) {
	f := PruneFinding{Kind: PruneDuplicate, Repository: image.Repository, Digest: image.Digest.String(), Policy: b.Name, Format: format}
	n, err := image.Removable(ctx, format, b.key.signing(), 1)
	if err != nil {
		p.unread(f, err)
		return
	}
	if n == 0 {
		return
	}
	f.Signatures = n
	p.settle(ctx, f, func() error {
		_, err := image.Remove(ctx, format, b.key.signing(), 1)
		return err
	})
}

// orphans looks at every tag of a repository that is one of signatures.
func (p *pruner) orphans(ctx context.Context, repository string, lister registry.TagLister) {
	owners := p.owners(repository)
	crew := p.crew()
	defer crew.Wait()
	for tag, err := range lister.AllTags(ctx, repository) {
		if err != nil && tag == "" && !errors.Is(err, registry.ErrNotFound) {
			p.unread(PruneFinding{Repository: repository}, err)
		}
		if err != nil {
			continue
		}
		if digest, ok := signedBy(tag); ok {
			crew.begin(ctx, func(ctx context.Context) { p.orphan(ctx, repository, tag, digest, owners) })
		}
	}
}

// signedBy returns the digest whose signatures a tag holds by its name.
func signedBy(tag string) (v1.Hash, bool) {
	if !registry.IsSignatureTag(tag) {
		return v1.Hash{}, false
	}
	d := v1.Hash{Algorithm: "sha256", Hex: tag[len("sha256-"):][:64]}
	return d, tag == signature.CosignTag(d) || tag == registry.FallbackTag(d)
}

// owners are all keys of the setup, and all names that its policies give a
// repository.
func (p *pruner) owners(repository string) signature.Owners {
	var o signature.Owners
	for _, k := range p.setup.keys {
		if k.Err == nil {
			o.Keys = append(o.Keys, k.signing())
		}
	}
	for b := range p.setup.all() {
		if name := identity(*b, repository); b.Registry == p.registry && !slices.Contains(o.Identities, name) {
			o.Identities = append(o.Identities, name)
		}
	}
	return o
}

func (p *pruner) orphan(ctx context.Context, repository, tag string, digest v1.Hash, by signature.Owners) {
	f := PruneFinding{Kind: PruneOrphan, Repository: repository, Digest: digest.String(), Tag: tag}
	gone, err := p.isGone(ctx, repository, digest)
	if err == nil && !gone {
		return
	}
	var left signature.Leftover
	if err == nil {
		left, err = p.place.signatures.Leftover(ctx, repository, digest, tag, by)
	}
	switch {
	case errors.Is(err, registry.ErrNotFound): // deleted since it was listed
		return
	case errors.Is(err, signature.ErrNotOurs), errors.Is(err, signature.ErrForeign), errors.Is(err, signature.ErrTooMany):
		f.Reason, f.Detail = PruneNotOurs, err.Error()
		p.report(f)
		return
	case err != nil:
		p.unread(f, err)
		return
	}
	f.Signatures = left.Signatures
	p.settle(ctx, f, func() error {
		gone, err := p.isGone(ctx, repository, digest)
		switch {
		case err != nil:
			return err
		case !gone:
			return errBack
		}
		return p.place.signatures.RemoveLeftover(ctx, left)
	})
}

// errBack says that an orphan is none any more.
var errBack = errors.New("what was signed is there again: its signatures stay")

// isGone reports whether the registry says that there is no such manifest.
func (p *pruner) isGone(ctx context.Context, repository string, digest v1.Hash) (bool, error) {
	_, err := p.place.registry.Resolve(ctx, repository, digest.String())
	if errors.Is(err, registry.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// settle removes what was found, unless this is a dry run, and reports it.
func (p *pruner) settle(ctx context.Context, f PruneFinding, remove func() error) {
	if p.journal != nil {
		switch err := p.claimed(ctx, f, remove); {
		case errors.Is(err, errBack):
			return
		case err != nil:
			f.Reason, f.Detail = reasonFor(err), err.Error()
		default:
			f.Removed = true
		}
	}
	p.report(f)
}

// claimed removes while no other worker may change the artifact's signatures.
// It waits for another one's claim to end.
func (p *pruner) claimed(ctx context.Context, f PruneFinding, remove func() error) (err error) {
	hold, err := p.journal.Hold(ctx, p.registry, f.Repository, f.Digest, pruneDeadline+time.Minute)
	for errors.Is(err, journal.ErrClaimed) {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200*time.Millisecond + rand.N(300*time.Millisecond)): //nolint:gosec // jitter is no secret
		}
		hold, err = p.journal.Hold(ctx, p.registry, f.Repository, f.Digest, pruneDeadline+time.Minute)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	defer func() {
		ctx, cancel := saving(ctx)
		defer cancel()
		err = errors.Join(err, hold.Release(ctx))
	}()
	// What is removed on purpose is not to be believed, nor taken for lost.
	if err := p.journal.Forget(ctx, p.registry, f.Repository, f.Digest); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return remove()
}

// unread reports what could not be looked at.
func (p *pruner) unread(f PruneFinding, err error) {
	f.Kind, f.Reason, f.Detail = PruneUnread, reasonFor(err), err.Error()
	p.report(f)
}

func (p *pruner) report(f PruneFinding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int64(f.Signatures)
	switch f.Kind {
	case PruneDuplicate:
		p.sum.Duplicates += n
	case PruneOrphan:
		p.sum.Orphans += n
	}
	switch {
	case f.Removed:
		p.sum.Removed += n
	case f.Reason == PruneNotOurs:
		p.sum.NotOurs++
	case f.Reason != "":
		p.sum.Failed++
	}
	f.Registry = p.registry
	p.found(f)
}

// A crew works on several things at once, but no more than a place allows.
type crew struct {
	sync.WaitGroup
	slots chan struct{}
}

func (p *pruner) crew() *crew { return &crew{slots: make(chan struct{}, p.place.concurrency)} }

// begin waits for a free hand. The work has its own deadline.
func (c *crew) begin(ctx context.Context, work func(context.Context)) {
	c.slots <- struct{}{}
	c.Go(func() {
		defer func() { <-c.slots }()
		ctx, cancel := context.WithTimeout(ctx, pruneDeadline)
		defer cancel()
		work(ctx)
	})
}
