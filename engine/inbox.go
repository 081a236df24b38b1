package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/event"
)

const (
	// settling is how long after a push by digest alone the repository is looked
	// through for artifacts without tags: what belongs to an index or gets a tag
	// is pushed before those are.
	settling = 20 * time.Second
	// inboxBatch is how many pushes of a repository are looked at together.
	inboxBatch = 32
	// pushDeadline bounds one attempt to deal with a push, so that others of its
	// repository do not wait for a registry that is down.
	pushDeadline = 30 * time.Second
	// putOff is how long a push waits that could not be dealt with.
	putOff = 15 * time.Second
	// maxEarly is how often a tag is looked at again, within about 20 seconds,
	// because it does not name what the event says: CNCF distribution, for one,
	// tells of a push before it sets the tag.
	maxEarly = 4
	// maxAttempts is how often a push is looked at, within about 15 hours, before
	// it is left to the policy's reconcile schedule.
	maxAttempts = 100
)

// A Receipt says what became of a delivery's pushes. Each counts once for every
// policy that may cover it.
type Receipt struct {
	New       int // waits to be looked at
	Known     int // waited already
	Uncovered int // no event_based policy covers it
}

// Receive journals what a registry says was pushed, for each enabled event_based
// policy that may cover it. When it returns, the pushes are durable and will be
// looked at; after an error the sender should deliver them again, which does no
// harm. The id of the request that says it is kept with them, and with the records
// of what is signed.
func (e *Engine) Receive(ctx context.Context, requestID, registryName string, pushes []event.Push) (Receipt, error) {
	var r Receipt
	setup, err := e.use()
	if err != nil {
		return r, err
	}
	defer setup.release()
	covered := make([]bool, len(pushes))
	for b := range setup.all() {
		if b.Registry != registryName || b.Trigger.Type != policy.EventBased || !b.IsEnabled() {
			continue
		}
		var list []journal.Push
		for n, p := range pushes {
			if b.mayCover(p) {
				covered[n] = true
				list = append(list, e.inboxed(p))
			}
		}
		if len(list) == 0 {
			continue
		}
		fresh, err := e.journal.Deliver(ctx, journal.Firing{Policy: b.Name, PolicyVersion: b.Version(), Registry: b.Registry,
			Trigger: policy.EventBased, Lane: journal.Pushes, RequestID: requestID}, list)
		if err != nil {
			return r, err
		}
		r.New += fresh
		r.Known += len(list) - fresh
	}
	for _, ok := range covered {
		if !ok {
			r.Uncovered++
		}
	}
	return r, nil
}

// mayCover reports whether the policy would cover what was pushed, if it is what
// the event says.
func (b *bound) mayCover(p event.Push) bool {
	if p.Tag == "" {
		return b.match.Untagged(p.Repository)
	}
	return b.match.Tag(p.Repository, p.Tag)
}

// inboxed returns a push as the journal keeps it.
func (e *Engine) inboxed(p event.Push) journal.Push {
	now := e.opts.Now()
	out := journal.Push{Repository: p.Repository, Tag: p.Tag, Digest: p.Digest, At: p.At}
	if p.At.IsZero() || p.At.After(now) { // a clock that is ahead must not make latencies negative
		out.At = now
	}
	if p.Tag == "" {
		out.Due = now.Add(e.opts.Settling)
	}
	return out
}

// Waiting returns how many pushes were not dealt with yet, and when the oldest
// of them came; the zero time if there is none.
func (e *Engine) Waiting(ctx context.Context) (int64, time.Time, error) {
	return e.journal.Waiting(ctx)
}

// inbox deals with the pushes of one repository that are due, until none is left
// or the slice is over. The last one ends the task.
func (r *run) inbox(ctx context.Context) error {
	end := r.engine.opts.Now().Add(r.engine.opts.Slice)
	for {
		due, err := r.engine.journal.Due(ctx, r.task.ID, inboxBatch)
		if err != nil {
			return fmt.Errorf("%w: %w", errJournal, err)
		}
		settled := r.lookAt(ctx, due)
		r.saveKnown(ctx)
		r.saveLearned(ctx)
		if err := r.failure(); err != nil {
			return err
		}
		next, err := r.settlePushes(ctx, settled)
		if err != nil || next.IsZero() {
			return err
		}
		now := r.engine.opts.Now()
		if next.After(now) || !now.Before(end) || r.engine.isStopping() || ctx.Err() != nil {
			return journal.Again{After: max(0, next.Sub(now))}
		}
	}
}

func (r *run) settlePushes(ctx context.Context, settled []journal.Settled) (time.Time, error) {
	ctx, cancel := saving(ctx)
	defer cancel()
	next, err := r.engine.journal.Settle(ctx, r.task.ID, settled)
	if err != nil {
		return next, fmt.Errorf("%w: %w", errJournal, err)
	}
	return next, nil
}

// lookAt takes pushes along the path, several at once, and returns those that
// were: not those that the engine's stop came before.
func (r *run) lookAt(ctx context.Context, due []journal.Delivered) []journal.Settled {
	var inFlight sync.WaitGroup
	var mu sync.Mutex
	var settled []journal.Settled
	for _, d := range due {
		if d.Tag == "" {
			continue // last, when it is known what has tags
		}
		release, ok := r.admit(ctx)
		if !ok {
			break
		}
		inFlight.Go(func() {
			defer release()
			s, ok := r.pushed(ctx, d)
			if !ok {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			settled = append(settled, s)
		})
	}
	inFlight.Wait()
	for _, d := range due {
		if d.Tag == "" && r.failure() == nil {
			if s, ok := r.pushedByDigest(ctx, d); ok {
				settled = append(settled, s)
			}
		}
	}
	return settled
}

// pushed deals with one pushed tag; false if it came to no end.
func (r *run) pushed(ctx context.Context, d journal.Delivered) (s journal.Settled, ok bool) {
	ctx, cancel := r.engine.artifactContext(askedBy(ctx, d.RequestID), min(pushDeadline, r.engine.opts.Deadline))
	defer cancel()
	a := registry.Artifact{Repository: d.Repository, Tags: []string{d.Tag}}
	defer func() {
		if p := recover(); p != nil {
			r.conclude(ctx, r.subtask(a.Descriptor, a.Tags), r.panicked(p))
			s, ok = r.again(d, ReasonInternal), r.failure() == nil
		}
	}()
	if !r.policy.match.Tag(d.Repository, d.Tag) {
		return journal.Settled{Delivered: d}, true // edited since it came
	}
	if r.unusable != nil {
		return r.unread(ctx, d, r.unusable)
	}
	var err error
	a.Descriptor, err = r.policy.place.registry.Resolve(ctx, d.Repository, d.Tag)
	settled := journal.Settled{Delivered: d}
	missing := errors.Is(err, registry.ErrNotFound)
	if d.Attempts < maxEarly && (missing || err == nil && d.Digest != "" && a.Digest.String() != d.Digest) {
		settled.Again = r.engine.opts.Now().Add(r.engine.opts.PutOff >> 6 << (2 * d.Attempts))
		settled.Attempts++
		if missing {
			return settled, true
		}
	}
	if err != nil && !missing {
		return r.unread(ctx, d, fmt.Errorf("resolving: %w", err))
	}
	// What is remembered is not believed: the artifact may have been deleted, and
	// its signatures with it, before it was pushed.
	_, known, _ := r.recall(ctx, a)
	for _, e := range r.artifact(ctx, a, err, known) {
		switch {
		case !e.Status.Final():
			return journal.Settled{}, false // stopped, or not journaled
		case e.Status == journal.Failed && worthAnother(e.Reason):
			return r.again(d, e.Reason), true
		case e.Reason == ReasonSigned || e.Reason == ReasonRestored:
			if r.engine.opts.PushToSigned != nil {
				r.engine.opts.PushToSigned(r.engine.opts.Now().Sub(d.At))
			}
		}
	}
	return settled, r.failure() == nil
}

// worthAnother reports whether a failure may pass by itself, or when somebody
// mends what it names.
func worthAnother(reason string) bool {
	switch reason {
	case ReasonTooLarge, ReasonCorrupt, ReasonUnsupported, ReasonForeignTag, ReasonTooMany, ReasonImmutable:
		return false
	}
	return true
}

// unread puts off a push of which nothing could be found out. History is told of
// it when it is given up.
func (r *run) unread(ctx context.Context, d journal.Delivered, err error) (journal.Settled, bool) {
	if reason := reasonFor(err); worthAnother(reason) {
		if s := r.again(d, reason); !s.Again.IsZero() {
			r.log.Warn("pushed artifact put off", zap.String("tag", d.Tag), zap.String("reason", reason), zap.Error(err))
			return s, true
		}
	}
	r.conclude(ctx, r.subtask(registry.Descriptor{}, []string{d.Tag}), err)
	return journal.Settled{Delivered: d}, r.failure() == nil
}

// again puts a push off, longer each time.
func (r *run) again(d journal.Delivered, reason string) journal.Settled {
	if d.Attempts >= maxAttempts-1 {
		r.log.Error("pushed artifact given up; the policy's next reconcile finds it",
			zap.String("tag", d.Tag), zap.Int("attempts", d.Attempts+1), zap.String("reason", reason))
		return journal.Settled{Delivered: d}
	}
	wait := min(r.engine.opts.PutOff<<min(d.Attempts, 8), 40*r.engine.opts.PutOff)
	d.Attempts++
	return journal.Settled{Delivered: d, Again: r.engine.opts.Now().Add(wait)}
}

// A search is how far the look for what no tag and no index names got. It is the
// task's cursor.
type search struct {
	// Told is how often a push had been told of when the search began: what was
	// pushed later may be missing from it.
	Told int64 `json:"told"`
	// Another is why something that was found is worth another look, or empty.
	Another string `json:"another,omitempty"`
	After   string `json:"after"` // registry.Query.After
}

// pushedByDigest looks through the repository for artifacts that no tag and no
// index names, where the registry lists them; false if it came to no end.
func (r *run) pushedByDigest(ctx context.Context, d journal.Delivered) (s journal.Settled, ok bool) {
	if r.unusable != nil {
		return r.again(d, reasonFor(r.unusable)), true
	}
	if !r.policy.match.Untagged(d.Repository) {
		return journal.Settled{Delivered: d}, true // edited since it came
	}
	at := search{Told: d.Told}
	if r.task.Cursor != "" {
		if err := json.Unmarshal([]byte(r.task.Cursor), &at); err != nil {
			at = search{Told: d.Told} // from the beginning
		}
	}
	more, err := r.search(askedBy(ctx, d.RequestID), &at, d.Repository)
	if r.failure() != nil || ctx.Err() != nil || r.engine.isStopping() {
		return journal.Settled{}, false
	}
	cursor := ""
	if more {
		raw, err := json.Marshal(at)
		if err != nil {
			panic(fmt.Sprintf("encoding a search: %v", err)) // strings and numbers always encode
		}
		cursor = string(raw)
	}
	saveCtx, cancel := saving(ctx)
	defer cancel()
	if _, err := r.engine.journal.SaveCursor(saveCtx, r.task.ID, cursor, true); err != nil {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
		return journal.Settled{}, false
	}
	r.task.Cursor = cursor
	switch {
	case more, at.Told != d.Told:
		return journal.Settled{Delivered: d, Again: r.engine.opts.Now()}, true
	case err != nil && !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrUnsupported):
		r.log.Warn("repository could not be looked through for untagged artifacts", zap.Error(err))
		return r.again(d, reasonFor(err)), true
	case at.Another != "":
		return r.again(d, at.Another), true
	}
	return journal.Settled{Delivered: d}, true
}

// search goes on for at most one slice; more is whether it is not at its end.
func (r *run) search(ctx context.Context, at *search, repository string) (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	listing, cancel := withoutDeadline(ctx)
	defer cancel()
	r.another = at.Another
	at.After, more, err = r.stream(listing, registry.Query{Repository: repository, Untagged: true, After: at.After},
		r.engine.opts.Now().Add(r.engine.opts.Slice))
	at.Another = r.another
	return more, err
}
