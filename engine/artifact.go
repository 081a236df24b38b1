package engine

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// artifact takes one listed artifact, and of an index what the policy wants of
// it, along the path. It has its own deadline: an artifact that has begun is
// finished even when the engine stops.
func (r *run) artifact(ctx context.Context, a registry.Artifact, listed error) {
	ctx, cancel := r.engine.artifactContext(ctx)
	defer cancel()
	if listed != nil {
		err := fmt.Errorf("resolving: %w", listed)
		if errors.Is(listed, registry.ErrNotFound) {
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		r.conclude(ctx, r.subtask(a.Descriptor, a.Tags), err)
		return
	}
	for d, err := range targets(ctx, r.policy, a) {
		tags := a.Tags
		if d.Digest != a.Digest {
			tags = nil // they name the index, not what is in it
		}
		if err != nil {
			r.conclude(ctx, r.subtask(d, tags), err)
			continue
		}
		r.digest(ctx, d, tags)
	}
}

// artifactContext returns the context of one artifact: it has its own deadline,
// outlives the job's context, and ends early only when the engine is cut.
func (e *Engine) artifactContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.Deadline)
	stop := context.AfterFunc(e.cut, cancel)
	return ctx, func() { stop(); cancel() }
}

// digest makes sure that one digest carries the policy's signatures, and
// journals what became of it.
func (r *run) digest(ctx context.Context, d registry.Descriptor, tags []string) {
	s := r.subtask(d, tags)
	// Not by registry: two of them may be names of one host.
	unlock, err := r.engine.busy.lock(ctx, s.Repository+"@"+s.Digest)
	if err != nil {
		r.conclude(ctx, s, fmt.Errorf("waiting for the artifact: %w", err))
		return
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		r.conclude(ctx, s, fmt.Errorf("waiting for the artifact: %w", err))
		return
	}
	known, seen, err := r.seen(ctx, s)
	switch {
	case err != nil:
		r.fail(err)
	case seen && known.Status.Final():
		// Another tag of the same artifact: only the tags are new.
		known.Tags = tags
		r.put(ctx, known)
	default:
		r.sign(ctx, s)
	}
}

func (r *run) seen(ctx context.Context, s journal.Subtask) (journal.Subtask, bool, error) {
	ctx, cancel := saving(ctx)
	defer cancel()
	known, seen, err := r.engine.journal.Seen(ctx, s.ExecutionID, s.Repository, s.Digest)
	if err != nil {
		err = fmt.Errorf("%w: %w", errJournal, err)
	}
	return known, seen, err
}

// A job is the signature of one subtask in one format.
type job struct {
	subject signature.Subject
	format  policy.Format
	look    signature.Look
}

// sign is the path of one digest from "already signed?" to the record.
func (r *run) sign(ctx context.Context, s journal.Subtask) {
	jobs, found, err := r.look(ctx, s)
	if err == nil && len(jobs) > 0 {
		err = r.refused()
	}
	if err != nil {
		r.conclude(ctx, s, err)
		return
	}
	if len(jobs) == 0 {
		r.settle(&s, nil, ReasonAlreadySigned)
		r.found(ctx, s, found)
		return
	}
	claim, err := r.begin(ctx, s, jobs)
	if err != nil {
		r.conclude(ctx, s, err)
		return
	}
	if claim.Touched {
		// Another worker may have signed after we looked, with this key or
		// another; or the signature was lost since. Only the registry knows.
		jobs, _, err = r.look(ctx, s)
	}
	if err == nil {
		err = r.signAll(ctx, jobs, claim)
		r.noteRefusal(err)
	}
	if err != nil && r.engine.cut.Err() != nil {
		r.fail(errStopping) // as after a crash: the journal says how far it got
		return
	}
	done := ReasonAlreadySigned // by somebody else, meanwhile
	if slices.ContainsFunc(claim.Records, func(rec journal.Record) bool { return rec.Reason == ReasonSigned }) {
		done = ReasonSigned
		claim.Subtask.TagMoved = r.tagMoved(ctx, s)
	}
	r.settle(&claim.Subtask, err, done)
	closeRecords(claim, err)
	r.end(ctx, claim)
}

// look returns a job for each of the policy's formats in which the digest is
// not validly signed by the policy's key under the policy's identity, and a
// record of what was found for each in which it is.
func (r *run) look(ctx context.Context, s journal.Subtask) (jobs []job, found []journal.Record, err error) {
	digest, err := v1.NewHash(s.Digest)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: digest %q: %w", registry.ErrUnsupported, s.Digest, err)
	}
	subject := signature.Subject{Repository: s.Repository, Digest: digest, Identity: identity(r.policy, s.Repository)}
	for _, format := range r.policy.SignatureFormats() { // each of them cosign: see bind
		look, err := r.policy.place.cosign.Look(ctx, subject, r.policy.signer.Public())
		if err != nil {
			return nil, nil, fmt.Errorf("reading signatures: %w", err)
		}
		j := job{subject: subject, format: format, look: look}
		if !look.Signed {
			jobs = append(jobs, j)
			continue
		}
		rec := r.record(s, j)
		rec.Signature, rec.StoredAs = base64.StdEncoding.EncodeToString(look.Signature), look.Manifest.Digest.String()
		found = append(found, rec)
	}
	return jobs, found, nil
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

// begin journals that the key is about to be used, and claims the digest among
// all workers. It waits for another worker's claim to end.
func (r *run) begin(ctx context.Context, s journal.Subtask, jobs []job) (*journal.Claim, error) {
	records := make([]journal.Record, len(jobs))
	for i, j := range jobs {
		records[i] = r.record(s, j)
	}
	for waited := false; ; waited = true {
		claim, err := r.tryBegin(ctx, s, records)
		switch {
		case err == nil:
			claim.Touched = claim.Touched || waited
			return claim, nil
		case !errors.Is(err, journal.ErrClaimed):
			return nil, fmt.Errorf("%w: %w", errJournal, err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200*time.Millisecond + rand.N(300*time.Millisecond)): //nolint:gosec // jitter is no secret
		}
	}
}

func (r *run) tryBegin(ctx context.Context, s journal.Subtask, records []journal.Record) (*journal.Claim, error) {
	ctx, cancel := saving(ctx)
	defer cancel()
	return r.engine.journal.Begin(ctx, r.policy.Registry, s, records, r.engine.opts.Deadline+time.Minute)
}

// signAll uses the key once for each job and stores the signature; a record
// becomes Signed only after the signature was read back and verified. A panic is
// an error, so that the claim is given up.
func (r *run) signAll(ctx context.Context, jobs []job, claim *journal.Claim) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	for _, j := range jobs {
		i := slices.IndexFunc(claim.Records, func(rec journal.Record) bool { return rec.Format == j.format })
		if i < 0 { // a signature in this format was lost since the claim was made
			return fmt.Errorf("%w: format %s was not claimed", signature.ErrConflict, j.format)
		}
		if err := r.signOne(ctx, j, &claim.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) signOne(ctx context.Context, j job, rec *journal.Record) error {
	sig, err := r.policy.signer.Sign(ctx, signature.Payload(j.subject))
	if err != nil {
		return fmt.Errorf("%w %s: %w", errKey, r.policy.Key, err)
	}
	rec.Signature = base64.StdEncoding.EncodeToString(sig)
	stored, err := r.policy.place.cosign.Attach(ctx, j.subject, j.look, sig, r.policy.signer.Public())
	if err != nil {
		return fmt.Errorf("storing the signature: %w", err)
	}
	rec.State, rec.Reason, rec.StoredAs = journal.Signed, ReasonSigned, stored.Manifest.String()
	if !bytes.Equal(stored.Signature, sig) {
		rec.Signature, rec.Reason = base64.StdEncoding.EncodeToString(stored.Signature), ReasonAlreadySigned
	}
	return nil
}

// tagMoved reports whether a tag that chose the artifact points elsewhere by
// now. The signature is the digest's and stays right; the record says what the
// tag's next reader will find.
func (r *run) tagMoved(ctx context.Context, s journal.Subtask) bool {
	for _, tag := range s.Tags {
		d, err := r.policy.place.registry.Resolve(ctx, s.Repository, tag)
		if errors.Is(err, registry.ErrNotFound) || err == nil && d.Digest.String() != s.Digest {
			r.log.Warn("tag moved while its artifact was signed", zap.String("tag", tag), zap.String("digest", s.Digest))
			return true
		}
	}
	return false
}
