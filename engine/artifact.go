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

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// An ending is what became of one manifest of an artifact. Its status is not
// final if the engine's stop, or the journal, came in between.
type ending struct {
	journal.Subtask
	// whole is whether every signature that the policy wants is known to be in
	// the registry.
	whole bool
}

// errFailed is for traces, which are not told more.
var errFailed = errors.New("failed")

func (e ending) failed() error {
	if e.Status == journal.Failed {
		return errFailed
	}
	return nil
}

// artifact takes one listed artifact, and of an index what the policy wants of
// it, along the path, and remembers it if all is well. ctx is an artifactContext.
// known is whether all was verified before.
func (r *run) artifact(ctx context.Context, a registry.Artifact, listed error, known bool) (ended []ending) {
	since := r.engine.opts.Now()
	if listed != nil {
		err := fmt.Errorf("resolving: %w", listed)
		if errors.Is(listed, registry.ErrNotFound) {
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		return []ending{r.conclude(ctx, r.subtask(a.Descriptor, a.Tags), err)}
	}
	for d, err := range targets(ctx, r.policy, a) {
		tags := a.Tags
		if d.Digest != a.Digest {
			tags = nil // they name the index, not what is in it
		}
		if err != nil {
			ended = append(ended, r.conclude(ctx, r.subtask(d, tags), err))
			continue
		}
		ended = append(ended, r.digest(ctx, d, tags, known))
	}
	r.learn(ctx, a, ended, since)
	return ended
}

// artifactContext returns the context of one artifact: it has its own deadline,
// outlives the job's context, and ends early only when the engine is cut. So an
// artifact that has begun is finished even when the engine stops.
func (e *Engine) artifactContext(ctx context.Context, deadline time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
	stop := context.AfterFunc(e.cut, cancel)
	return ctx, func() { stop(); cancel() }
}

// digest makes sure that one digest carries the policy's signatures, and
// journals what became of it.
func (r *run) digest(ctx context.Context, d registry.Descriptor, tags []string, known bool) (e ending) {
	s := r.subtask(d, tags)
	ctx, span := r.engine.opts.Tracer.Start(ctx, "artifact", "digest", s.Digest)
	defer func() { span.End(e.failed(), "status", string(e.Status), "reason", e.Reason) }()
	// Not by registry: two of them may be names of one host.
	unlock, err := r.engine.busy.Take(ctx, s.Repository+"@"+s.Digest)
	if err != nil {
		return r.conclude(ctx, s, fmt.Errorf("waiting for the artifact: %w", err))
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return r.conclude(ctx, s, fmt.Errorf("waiting for the artifact: %w", err))
	}
	if err := r.endLast(ctx, s); err != nil {
		r.fail(err)
		return ending{Subtask: s}
	}
	before, seen, err := r.seen(ctx, s)
	switch {
	case err != nil:
		r.fail(err)
		return ending{Subtask: s}
	case seen && !r.isAnotherTry(before):
		// Another tag of the same artifact: only the tags are new.
		before.Tags = tags
		r.put(ctx, before)
		return ending{Subtask: before}
	case r.policy.step == Remove:
		return r.removeOld(ctx, d, s)
	default:
		return r.sign(ctx, d, s, known)
	}
}

// isAnotherTry reports whether an artifact that this execution has dealt with is
// to be dealt with again: it was pushed, and failed before.
func (r *run) isAnotherTry(before journal.Subtask) bool {
	return r.execution.Trigger == policy.EventBased && before.Status != journal.Succeed
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

// sign is the path of one digest from "already signed?" to the record.
func (r *run) sign(ctx context.Context, d registry.Descriptor, s journal.Subtask, known bool) ending {
	seen, err := r.look(ctx, d, s)
	if err == nil && len(seen.jobs) > 0 {
		if known {
			r.lost(s.Digest)
		}
		if r.isHalted() {
			return ending{Subtask: s} // the execution has ended meanwhile
		}
		err = r.refused()
	}
	if err != nil {
		return r.conclude(ctx, s, err)
	}
	if len(seen.jobs) == 0 {
		r.settle(&s, nil, seen.nothingToDo())
		return r.found(ctx, s, seen)
	}
	claim, err := r.begin(ctx, s, seen.jobs)
	if err != nil {
		return r.conclude(ctx, s, err)
	}
	if claim.Touched {
		// Another worker may have signed after we looked, with this key or
		// another; or the signature was lost since. Only the registry knows.
		seen, err = r.look(ctx, d, s)
	}
	if err == nil {
		err = r.signAll(ctx, seen, claim)
		r.noteRefusal(err)
	}
	if err != nil && r.engine.cut.Err() != nil {
		r.fail(errStopping) // as after a crash: the journal says how far it got
		return ending{Subtask: s}
	}
	done, signed := seen.nothingToDo(), 0 // as somebody else has signed meanwhile
	for _, rec := range claim.Records {
		if rec.Reason == ReasonSigned {
			signed++
		}
	}
	if signed > 0 {
		if done = ReasonSigned; known {
			done = ReasonRestored
		}
		claim.Subtask.TagMoved = r.tagMoved(ctx, s)
	}
	r.settle(&claim.Subtask, err, done)
	closeRecords(claim, err)
	e := r.end(ctx, claim)
	e.whole = e.whole && signed+len(seen.found) >= seen.wanted
	if stopsAll(err) {
		r.halt(ctx, err)
	}
	return e
}

// begin journals that the key is about to be used, and claims the digest among
// all workers. It waits for another worker's claim to end.
func (r *run) begin(ctx context.Context, s journal.Subtask, jobs []job) (*journal.Claim, error) {
	records := make([]journal.Record, len(jobs))
	for i, j := range jobs {
		records[i] = r.record(ctx, s, j)
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
// becomes Signed only after the signature was read back and verified. A format
// whose tag the registry does not let change is left out if another one of the
// policy is there. A panic is an error, so that the claim is given up.
func (r *run) signAll(ctx context.Context, seen sighting, claim *journal.Claim) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	signed := len(seen.found)
	var immutable error
	for _, j := range seen.jobs {
		i := slices.IndexFunc(claim.Records, func(rec journal.Record) bool { return rec.Format == j.format })
		if i < 0 { // a signature in this format was lost since the claim was made
			return fmt.Errorf("%w: format %s was not claimed", signature.ErrConflict, j.format)
		}
		err := r.signOne(ctx, seen.image, j, &claim.Records[i])
		switch {
		case errors.Is(err, signature.ErrImmutable):
			immutable = err
			claim.Records[i].State, claim.Records[i].Reason = journal.Broken, ReasonImmutable
		case err != nil:
			return err
		default:
			signed++
		}
	}
	if signed > 0 && immutable != nil {
		r.log.Warn("signature left out: the registry does not let its tag change, another format is there",
			zap.String("digest", claim.Subtask.Digest), zap.Error(immutable))
		return nil
	}
	return immutable
}

func (r *run) signOne(ctx context.Context, image *signature.Image, j job, rec *journal.Record) error {
	key := r.policy.key.signing()
	key.Sign = r.counted(key.Sign)
	signing, span := r.engine.opts.Tracer.Start(ctx, "sign", "key", r.policy.Key, "format", string(j.format))
	sig, err := image.Sign(signing, j.format, key)
	span.End(err)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errKey, r.policy.Key, err)
	}
	rec.Signature = base64.StdEncoding.EncodeToString(sig.Raw)
	attaching, span := r.engine.opts.Tracer.Start(ctx, "attach", "format", string(j.format))
	stored, err := image.Attach(attaching, j.format, j.look, sig, key)
	span.End(err)
	if err != nil {
		return fmt.Errorf("storing the signature: %w", err)
	}
	rec.State, rec.Reason, rec.StoredAs = journal.Signed, ReasonSigned, stored.Manifest.String()
	if !bytes.Equal(stored.Signature, sig.Raw) {
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
