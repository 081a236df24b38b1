package engine

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// taskBatch is how many repositories are journaled at once.
const taskBatch = 100

// historyKept is how many executions of a policy keep their tasks and subtasks.
// Signature records are never removed.
const historyKept = 50

// walk carries out an execution's first step: it turns each repository that the
// policy may cover into a task.
func (e *Engine) walk(ctx context.Context, executionID int64) error {
	x, err := e.journal.StartExecution(ctx, executionID)
	if err != nil || x.Status.Final() {
		return err
	}
	log := e.log.With(zap.Int64("execution", x.ID), zap.String("policy", x.Policy))
	setup, err := e.use()
	if err != nil {
		return journal.Again{}
	}
	defer setup.release()
	b, why := setup.active(x)
	if why != "" {
		return e.stopExecution(ctx, x, b, why)
	}
	if err := b.usable(e.opts.Now()); err != nil {
		return e.failExecution(ctx, x, err)
	}
	listing, cancel := withoutDeadline(budget.WithLane(e.opts.Tracer.Within(ctx, x), lane(x.Lane)))
	defer cancel()
	listing, span := e.opts.Tracer.Start(listing, "walk")
	err = e.walkRepositories(listing, x, b)
	span.End(err)
	if err != nil {
		switch {
		case errors.Is(err, errStopping):
			return journal.Again{}
		case ctx.Err() != nil, errors.Is(err, errJournal):
			return err // the job is run again
		}
		reason := reasonFor(err)
		log.Error("execution failed: repositories could not be listed", zap.String("reason", reason), zap.Error(err))
		return e.journal.EndExecution(ctx, x.ID, journal.Failed, reason, err.Error())
	}
	if err := e.journal.EndWalk(ctx, x.ID); err != nil {
		return err
	}
	if _, err := e.journal.Prune(ctx, x.Policy, historyKept); err != nil {
		log.Warn("old history not removed", zap.Error(err))
	}
	return nil
}

// failExecution ends an execution whose key cannot sign.
func (e *Engine) failExecution(ctx context.Context, x journal.Execution, why error) error {
	if now, err := e.journal.Execution(ctx, x.ID); err != nil || now.Status.Final() {
		return err // another task of it was here before
	}
	reason := reasonFor(why)
	e.log.Error("execution failed", zap.Int64("execution", x.ID), zap.String("policy", x.Policy), zap.String("reason", reason), zap.Error(why))
	return e.journal.EndExecution(ctx, x.ID, journal.Failed, reason, why.Error())
}

// stopExecution ends an execution that must not go on. One whose policy was
// edited is fired again, so that what the edit covers is not left to the next
// trigger.
func (e *Engine) stopExecution(ctx context.Context, x journal.Execution, b bound, why string) error {
	e.log.Warn("execution stopped", zap.Int64("execution", x.ID), zap.String("policy", x.Policy), zap.String("reason", why))
	if now, err := e.journal.Execution(ctx, x.ID); err != nil || now.Status.Final() {
		return err // another task of it was here before
	}
	if why == ReasonPolicyChanged {
		// First, so that a crash cannot come in between; it waits for this one.
		f := b.firing(x.Policy, x.Lane)
		f.RequestID = x.RequestID
		if _, err := e.fire(ctx, f); err != nil {
			return err
		}
	}
	return e.journal.EndExecution(ctx, x.ID, journal.Stopped, why, "")
}

var (
	// errJournal marks errors of the journal: the work itself is not at fault.
	errJournal = errors.New("writing the journal")
	// errStopping ends work because the engine stops.
	errStopping = errors.New("stopping")
)

// withoutDeadline returns a context that ends with ctx but does not say when.
// Retries last until a context's deadline; a listing must not spend a whole job
// on a registry that is down.
func withoutDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return out, func() { stop(); cancel(nil) }
}

func (e *Engine) walkRepositories(ctx context.Context, x journal.Execution, b bound) error {
	batch := make([]string, 0, taskBatch)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := e.journal.AddTasks(ctx, x.ID, batch); err != nil {
			return fmt.Errorf("%w: %w", errJournal, err)
		}
		batch = batch[:0]
		return nil
	}
	if b.drift {
		return e.walkRemembered(ctx, x, b)
	}
	for repository, err := range b.place.registry.Repositories(ctx) {
		if e.isStopping() {
			return errStopping
		}
		switch {
		case err != nil && repository == "":
			return fmt.Errorf("listing repositories: %w", err)
		case err != nil:
			// One entry of the catalog is not a repository's name.
			e.log.Warn("repository left out", zap.Int64("execution", x.ID), zap.String("repository", repository), zap.Error(err))
			continue
		case !b.match.Repository(repository):
			continue
		}
		if batch = append(batch, repository); len(batch) == taskBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// task carries out one repository of an execution, for at most one slice.
func (e *Engine) task(ctx context.Context, taskID int64) (err error) {
	t, x, err := e.journal.StartTask(ctx, taskID)
	if err != nil || t.Status.Final() {
		return err
	}
	setup, err := e.use()
	if err != nil {
		return journal.Again{}
	}
	defer setup.release()
	b, why := setup.active(x)
	events := x.Trigger == policy.EventBased
	if why != "" && events && e.opts.Now().Sub(x.CreatedAt) < e.opts.Grace {
		return journal.Again{After: e.opts.PutOff}
	}
	if why != "" {
		return e.stopExecution(ctx, x, b, why)
	}
	unusable := b.usable(e.opts.Now())
	if unusable != nil && !events {
		return e.failExecution(ctx, x, unusable)
	}
	r := &run{engine: e, setup: setup, execution: x, task: t, policy: b, unusable: unusable,
		log: e.log.With(zap.Int64("execution", x.ID), zap.String("policy", x.Policy), zap.String("repository", t.Repository))}
	ctx = budget.WithLane(e.opts.Tracer.Within(ctx, x), lane(x.Lane))
	ctx, span := e.opts.Tracer.Start(ctx, "repository", "repository", t.Repository)
	defer func() { span.End(err) }()
	if unusable == nil {
		if err := r.recollect(ctx); err != nil {
			return err
		}
	}
	if events {
		return r.inbox(ctx)
	}
	return r.repository(ctx)
}

// use returns the current setup, in use until it is released; errStopping when
// Stop has closed it.
func (e *Engine) use() (*Setup, error) {
	for {
		s := e.setup.Load()
		if s.acquire() {
			return s, nil
		}
		if e.isStopping() {
			return nil, errStopping
		}
	}
}

// active returns an execution's policy, or why it must not be carried out.
func (s *Setup) active(x journal.Execution) (bound, string) {
	b, err := s.find(x.Policy)
	switch {
	case err != nil:
		return b, ReasonPolicyGone
	case !b.IsEnabled():
		return b, ReasonPolicyDisabled
	case x.Trigger == policy.EventBased, b.drift:
		// Goes on under the policy as it is now: nothing of it was begun.
		return b, ""
	case b.Version() != x.PolicyVersion:
		return b, ReasonPolicyChanged
	}
	return b, ""
}

func lane(l journal.Lane) budget.Lane {
	if l == journal.Backlog {
		return budget.Backlog
	}
	return budget.Live
}
