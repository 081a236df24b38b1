package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// A run is one slice of work on one repository.
type run struct {
	engine    *Engine
	setup     *Setup
	execution journal.Execution
	task      journal.Task
	policy    bound
	unusable  error // why the key cannot sign now; only pushes wait for that to pass
	log       *zap.Logger
	memory    memory

	mu       sync.Mutex
	err      error  // the first failure to journal; nothing begins after it
	begun    int    // artifacts
	heldUp   bool   // an artifact gave way until the slice's listing was over
	refusals int    // signatures in a row that the registry refused to store
	refusal  error  // the last of them
	halted   bool   // the execution was ended: its key cannot sign
	another  string // why an artifact of a listing is worth another look
}

// refusalLimit is how many signatures in a row a registry may refuse to store:
// then the key is not used for the rest of the slice, which fails the same way.
const refusalLimit = 3

// noteRefusal counts what storing a signature came to.
func (r *run) noteRefusal(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.refusals = 0
	case errors.Is(err, registry.ErrRejected), errors.Is(err, registry.ErrForbidden), errors.Is(err, registry.ErrUnauthorized):
		r.refusals++
		r.refusal = err
	}
}

// halt ends the execution, as no artifact after this one could be signed. Pushes
// are put off instead, each as any other failure.
func (r *run) halt(ctx context.Context, err error) {
	if r.execution.Trigger == policy.EventBased {
		return
	}
	r.mu.Lock()
	first := !r.halted
	r.halted = true
	r.mu.Unlock()
	if !first {
		return
	}
	reason := reasonFor(err)
	r.log.Error("execution stopped: its key cannot sign", zap.String("key", r.policy.Key), zap.String("reason", reason), zap.Error(err))
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := r.engine.journal.EndExecution(ctx, r.execution.ID, journal.Failed, reason, err.Error()); err != nil && !errors.Is(err, journal.ErrEnded) {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
	}
}

// isHalted reports whether nothing more is to begin.
func (r *run) isHalted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted
}

// refused returns why signing need not be tried.
func (r *run) refused() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusals < refusalLimit {
		return nil
	}
	return fmt.Errorf("key not used, as the registry refused %d signatures before: %w", r.refusals, r.refusal)
}

// repository takes the repository's covered artifacts along the path, several
// at once, and ends the task when all are done.
func (r *run) repository(ctx context.Context) error {
	q := registry.Query{Repository: r.task.Repository, After: r.task.Cursor}
	q.Tags = func(tag string) bool { return r.policy.match.Tag(r.task.Repository, tag) }
	q.Untagged = r.policy.match.Untagged(r.task.Repository)
	end := r.engine.opts.Now().Add(r.engine.opts.Slice)
	listing, cancel := withoutDeadline(ctx)
	defer cancel()
	// A listing that hangs is given up before the job is.
	defer time.AfterFunc(r.engine.opts.Slice+r.engine.opts.Deadline, cancel).Stop()
	cursor, again, listErr := r.stream(listing, q, end)
	r.saveKnown(ctx)
	r.saveLearned(ctx)
	if err := r.failure(); err != nil {
		return err
	}
	if r.isHalted() {
		return nil
	}
	saveCtx, cancel := saving(ctx)
	defer cancel()
	if !again && listing.Err() == nil {
		return r.endTask(saveCtx, listErr)
	}
	stalls, err := r.engine.journal.SaveCursor(saveCtx, r.task.ID, cursor, r.begun > 0 || r.heldUp || r.engine.isStopping())
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	if stalls >= maxStalls {
		return r.endTask(saveCtx, fmt.Errorf("%w: no artifact in %d slices: %w", registry.ErrUnavailable, stalls, cmp.Or(listErr, context.DeadlineExceeded)))
	}
	return journal.Again{}
}

// maxStalls is how many slices in a row may pass without an artifact begun.
const maxStalls = 3

// stream begins artifacts until the listing ends, the slice is over or the
// engine stops, and waits for those begun. again is whether more is left. The
// slice is not over before something was begun.
func (r *run) stream(ctx context.Context, q registry.Query, end time.Time) (cursor string, again bool, err error) {
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	cursor = q.After
	for a, err := range r.policy.place.registry.Artifacts(ctx, q) {
		if err != nil && a.Repository == "" {
			return cursor, false, err
		}
		if r.failure() != nil || r.isHalted() {
			return cursor, true, nil
		}
		m, known, fresh := r.recall(ctx, a)
		switch {
		case err == nil && fresh:
			if r.engine.isStopping() {
				return cursor, true, nil
			}
			r.believe(ctx, a, m)
		case r.policy.drift && !known && (err == nil || errors.Is(err, registry.ErrNotFound)): // left to the policy's own executions
		default:
			release, ok := r.admit(ctx)
			if !ok {
				return cursor, true, nil
			}
			inFlight.Go(func() {
				defer release()
				defer r.survive(ctx, a)
				ctx, cancel := r.engine.artifactContext(ctx, r.engine.opts.Deadline)
				defer cancel()
				r.note(r.artifact(ctx, a, err, known))
			})
		}
		r.begun++
		cursor = cmp.Or(a.Cursor, cursor)
		if !r.engine.opts.Now().Before(end) {
			return cursor, true, nil
		}
	}
	return cursor, false, nil
}

// admit waits for a place among the registry's artifacts in flight and, unless it was
// pushed, for room on the engine's way; false when the engine stops or ctx ends first.
func (r *run) admit(ctx context.Context) (release func(), ok bool) {
	if r.engine.isStopping() {
		return nil, false
	}
	slots := r.policy.place.slots[r.execution.Lane]
	select {
	case slots <- struct{}{}:
	case <-r.engine.stopping:
		return nil, false
	case <-ctx.Done():
		return nil, false
	}
	if r.execution.Lane == journal.Pushes {
		return func() { <-slots }, true
	}
	leave := r.engine.way.enter(ctx, r.engine.stopping, track{r.policy.place, r.execution.Lane})
	if leave == nil {
		<-slots
		r.heldUp = true // by callers, which is no fault of the registry
		return nil, false
	}
	return func() { leave(); <-slots }, true
}

// survive turns a panic while working on an artifact into its failure: the
// others, the job and the process live on.
func (r *run) survive(ctx context.Context, a registry.Artifact) {
	if p := recover(); p != nil {
		r.note([]ending{r.conclude(ctx, r.subtask(a.Descriptor, a.Tags), r.panicked(p))})
	}
}

// note keeps why an artifact of a listing is worth another look.
func (r *run) note(ended []ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range ended {
		if e.Status == journal.Failed && worthAnother(e.Reason) {
			r.another = e.Reason
		}
	}
}

// panicked logs a panic and returns it as an error.
func (r *run) panicked(p any) error {
	r.log.Error("panic while working on an artifact", zap.String("panic", fmt.Sprint(p)), zap.Stack("stack"))
	return fmt.Errorf("panic: %v", p)
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *run) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *run) endTask(ctx context.Context, listErr error) error {
	status, reason, detail := journal.Succeed, "", ""
	switch {
	case listErr == nil:
	case errors.Is(listErr, registry.ErrNotFound):
		reason = ReasonRepositoryGone
	default:
		status, reason, detail = journal.Failed, reasonFor(listErr), listErr.Error()
		r.log.Error("repository could not be listed", zap.String("reason", reason), zap.Error(listErr))
	}
	if err := r.engine.journal.EndTask(ctx, r.task.ID, status, reason, detail); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return nil
}
