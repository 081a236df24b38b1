package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// An Outcome is what became of an artifact under a policy.
type Outcome struct {
	journal.Subtask
	Policy, Key string
	Formats     []policy.Format
	// Records are of the signatures that were tried.
	Records []journal.Record
}

// tell tells the observer of a subtask that was journaled.
func (r *run) tell(s journal.Subtask, records []journal.Record) {
	if r.engine.opts.Observe != nil {
		r.engine.opts.Observe(Outcome{Subtask: s, Policy: r.policy.Name, Key: r.policy.Key, Formats: r.policy.SignatureFormats(), Records: records})
	}
}

// closeRecords gives every record of a claim its end; those that are not
// Signed by now either failed or turned out not to be needed.
func closeRecords(claim *journal.Claim, err error) {
	for i := range claim.Records {
		rec := &claim.Records[i]
		rec.TagMoved = claim.Subtask.TagMoved
		if rec.State != journal.Signing {
			continue
		}
		rec.State, rec.Reason = journal.Broken, ReasonAlreadySigned
		if err != nil {
			rec.Reason = reasonFor(err)
		}
	}
}

func (r *run) subtask(d registry.Descriptor, tags []string) journal.Subtask {
	s := journal.Subtask{ExecutionID: r.execution.ID, TaskID: r.task.ID, Repository: r.task.Repository,
		MediaType: d.MediaType, Tags: tags}
	if d.Digest != (v1.Hash{}) {
		s.Digest = d.Digest.String()
	}
	return s
}

// requestKey is the context key of the id of the request that asks for an artifact.
type requestKey struct{}

// askedBy returns the context of an artifact that a request of its own asks for, as a
// delivery of events does.
func askedBy(ctx context.Context, requestID string) context.Context {
	return context.WithValue(ctx, requestKey{}, requestID)
}

// requestID returns the id of the request that asks for an artifact: its own, or that of
// its execution.
func (r *run) requestID(ctx context.Context) string {
	own, _ := ctx.Value(requestKey{}).(string)
	return cmp.Or(own, r.execution.RequestID)
}

func (r *run) record(ctx context.Context, s journal.Subtask, j job) journal.Record {
	pub := r.policy.key.Signer.Public()
	return journal.Record{ExecutionID: s.ExecutionID, RequestID: r.requestID(ctx), Policy: r.policy.Name, PolicyVersion: r.policy.version,
		Trigger: r.execution.Trigger, Registry: r.policy.Registry, Repository: s.Repository, Digest: s.Digest,
		Tags: s.Tags, Identity: identity(r.policy, s.Repository), Format: j.format, Key: r.policy.Key, KeyFingerprint: pub.Fingerprint(),
		KeyVersion: r.policy.key.Signer.Version(),
		Algorithm:  pub.Algorithm(), State: journal.Signing}
}

// conclude journals a subtask that ended before the key was used.
func (r *run) conclude(ctx context.Context, s journal.Subtask, err error) ending {
	switch {
	case errors.Is(err, errJournal):
		r.fail(err)
		return ending{Subtask: s}
	case r.engine.cut.Err() != nil:
		r.fail(errStopping)
		return ending{Subtask: s}
	}
	r.settle(&s, err, "")
	return r.found(ctx, s, sighting{})
}

// settle gives a subtask its end: done with that reason, or failed by err.
func (r *run) settle(s *journal.Subtask, err error, done string) {
	switch reason := reasonFor(err); {
	case err == nil:
		s.Status, s.Reason = journal.Succeed, done
	case errors.Is(err, journal.ErrClaimed):
		s.Status, s.Reason, s.Detail = journal.Failed, ReasonBusy, err.Error()
	case errors.Is(err, errGone):
		s.Status, s.Reason, s.Detail = journal.Stopped, reason, err.Error()
	default:
		s.Status, s.Reason, s.Detail = journal.Failed, reason, err.Error()
	}
}

// saveTimeout bounds the journaling of an outcome, which must not be lost to
// the artifact's own deadline.
const saveTimeout = 30 * time.Second

// saving returns the context of a journal call: a deadline of its own.
func saving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
}

// put journals a subtask that was seen before: nothing new is said about it.
func (r *run) put(ctx context.Context, s journal.Subtask) {
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := r.engine.journal.PutSubtask(ctx, s); err != nil {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
	}
}

// found journals a subtask that ended without a use of the key.
func (r *run) found(ctx context.Context, s journal.Subtask, seen sighting) ending {
	ctx, cancel := saving(ctx)
	defer cancel()
	e := r.saved(s, nil, r.engine.journal.Found(ctx, s, seen.found))
	e.whole = e.whole && len(seen.found) == seen.wanted
	return e
}

// saved tells of a subtask that was journaled, with err.
func (r *run) saved(s journal.Subtask, records []journal.Record, err error) ending {
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
		s.Status = journal.InProgress
		return ending{Subtask: s}
	}
	log := r.log.With(zap.String("digest", s.Digest), zap.Strings("tags", s.Tags), zap.String("reason", s.Reason))
	switch {
	case s.Status == journal.Failed:
		log.Error("artifact not signed", zap.String("detail", s.Detail))
	case s.Reason == ReasonSigned, s.Reason == ReasonRestored:
		if len(records) > 0 {
			log = log.With(zap.String("request", records[0].RequestID))
		}
		log.Info("artifact signed", zap.Bool("tag_moved", s.TagMoved))
	default:
		log.Debug("artifact needs no signature")
	}
	r.tell(s, records)
	return ending{Subtask: s, whole: s.Status == journal.Succeed}
}
