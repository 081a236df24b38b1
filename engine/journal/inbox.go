package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// A Push is something that was pushed, by what an event says.
type Push struct {
	Repository string
	// Tag names it. Empty: it was pushed by digest alone, which is a reason to
	// look through the repository for artifacts that no tag names.
	Tag string
	// Digest is what the tag names, by the event: "sha256:…", or empty where it
	// does not say.
	Digest string
	// At is when it was pushed, by the event's own clock.
	At time.Time
	// Due is when it is to be looked at. Zero: at once. A push of a tag that
	// waits is due at once when the tag is pushed again; one without a tag waits
	// anew, but for at most 5 minutes in all.
	Due time.Time
}

const (
	// eventWindow is how long an execution that events began takes more of them.
	eventWindow = time.Minute
	// maxSettling bounds how long pushes by digest keep putting one another off.
	maxSettling = 5 * time.Minute
)

// Deliver journals pushes that a policy may cover, and the jobs that look at
// them. When it returns, they are durable. They join the policy's newest
// execution of trigger event_based if that goes on and is younger than a minute,
// and begin a new one otherwise; such executions do not wait for others. A push
// of a tag that waits already is counted, not kept twice. What is remembered of
// digests that were pushed without a tag is forgotten. It returns how many were
// new.
func (j *Journal) Deliver(ctx context.Context, f Firing, pushes []Push) (fresh int, err error) {
	if f.Trigger != policy.EventBased {
		return 0, fmt.Errorf("delivering pushes to policy %q: trigger %q", f.Policy, f.Trigger)
	}
	if len(pushes) == 0 {
		return 0, nil
	}
	pushes = slices.Clone(pushes)
	// Replicas take row locks in the same order.
	slices.SortStableFunc(pushes, func(a, b Push) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Tag, b.Tag))
	})
	err = j.write(ctx, policyKey(f.Policy), func(ctx context.Context, q querier) error {
		fresh = 0
		if _, err := lockPolicy(ctx, q, f.Policy); err != nil {
			return err
		}
		id, err := j.eventExecution(ctx, q, f)
		if err != nil {
			return err
		}
		for rest := pushes; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].Repository == rest[0].Repository {
				n++
			}
			added, err := j.deliverTo(ctx, q, f, id, rest[:n])
			if err != nil {
				return err
			}
			fresh += added
			rest = rest[n:]
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delivering pushes to policy %q: %w", f.Policy, err)
	}
	return fresh, nil
}

// DeliverAlone is Deliver of one push, in an execution of its own, which it
// returns: an artifact that another execution has dealt with is looked at again.
func (j *Journal) DeliverAlone(ctx context.Context, f Firing, p Push) (e Execution, err error) {
	if f.Trigger != policy.EventBased {
		return e, fmt.Errorf("delivering a push to policy %q: trigger %q", f.Policy, f.Trigger)
	}
	err = j.write(ctx, policyKey(f.Policy), func(ctx context.Context, q querier) error {
		if _, err := lockPolicy(ctx, q, f.Policy); err != nil {
			return err
		}
		id, err := j.newEventExecution(ctx, q, f)
		if err != nil {
			return err
		}
		if _, err := j.deliverTo(ctx, q, f, id, []Push{p}); err != nil {
			return err
		}
		e, err = executionByID(ctx, q, id)
		return err
	})
	if err != nil {
		return Execution{}, fmt.Errorf("delivering a push to policy %q: %w", f.Policy, err)
	}
	return e, nil
}

// eventExecution returns the execution that takes pushes.
func (j *Journal) eventExecution(ctx context.Context, q querier, f Firing) (int64, error) {
	now := j.now()
	id, err := scanID(q.queryRow(ctx, `SELECT id FROM executions WHERE policy = $1 AND policy_version = $2 AND trigger_type = 'event_based'
		AND finished_at = 0 AND status = 'InProgress' AND created_at > $3 ORDER BY id DESC LIMIT 1`,
		f.Policy, f.PolicyVersion, micros(now.Add(-eventWindow))))
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	return j.newEventExecution(ctx, q, f)
}

// newEventExecution begins an execution that takes pushes. It has no walk: its
// repositories come with the events.
func (j *Journal) newEventExecution(ctx context.Context, q querier, f Firing) (int64, error) {
	return scanID(q.queryRow(ctx, `INSERT INTO executions
		(policy, policy_version, registry, trigger_type, tick, lane, status, walked, created_at, started_at, request_id)
		VALUES ($1, $2, $3, 'event_based', 0, 'pushes', 'InProgress', 1, $4, $4, $5) RETURNING id`,
		f.Policy, f.PolicyVersion, f.Registry, micros(j.now()), f.RequestID))
}

// deliverTo adds pushes of one repository to its task, and sees to it that a job
// looks at them when they are due.
func (j *Journal) deliverTo(ctx context.Context, q querier, f Firing, execution int64, pushes []Push) (fresh int, err error) {
	now := j.now()
	due := slices.MinFunc(pushes, func(a, b Push) int { return a.Due.Compare(b.Due) }).Due
	wake := int64(0) // nothing to wait for
	if due.After(now) {
		wake = micros(due)
	}
	task, err := j.eventTask(ctx, q, execution, pushes[0].Repository, wake)
	if err != nil {
		return 0, err
	}
	for _, p := range pushes {
		seq, err := scanID(q.queryRow(ctx, `INSERT INTO pushes (task_id, tag, digest, pushed_at, received_at, due_at, request_id)
			VALUES ($1, $2, $3, $4, $5, $6, $8) ON CONFLICT (task_id, tag) DO UPDATE SET seq = pushes.seq + 1, attempts = 0, digest = excluded.digest,
			pushed_at = excluded.pushed_at, request_id = excluded.request_id,
			due_at = CASE WHEN excluded.tag = '' AND excluded.due_at > pushes.received_at + $7 THEN pushes.due_at ELSE excluded.due_at END RETURNING seq`,
			task, p.Tag, p.Digest, micros(cmp.Or(p.At, now)), micros(now), micros(cmp.Or(p.Due, now)), maxSettling.Microseconds(), f.RequestID))
		if err != nil {
			return 0, err
		}
		if seq == 0 {
			fresh++
		}
		if p.Tag != "" || p.Digest == "" { // a tag is looked at in any case
			continue
		}
		// It may have been deleted in between, and its signatures with it.
		if err := forget(ctx, q, f.Registry, p.Repository, p.Digest); err != nil {
			return 0, err
		}
	}
	return fresh, nil
}

// eventTask returns the task of a repository, which is new, or open, or opened
// again. wake is when it has something to do, 0 for now.
func (j *Journal) eventTask(ctx context.Context, q querier, execution int64, repository string, wake int64) (int64, error) {
	now := micros(j.now())
	id, err := scanID(q.queryRow(ctx, `INSERT INTO tasks (execution_id, repository, status, wake_at, created_at, updated_at)
		VALUES ($1, $2, 'Pending', $3, $4, $4) ON CONFLICT (execution_id, repository) DO NOTHING RETURNING id`, execution, repository, wake, now))
	if err == nil {
		return id, j.queue.insert(ctx, q, job{args: taskArgs{TaskID: id}, lane: Pushes, at: fromMicros(wake)})
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	var status Status
	var round, sleeps int64
	err = q.queryRow(ctx, `SELECT id, status, round, wake_at FROM tasks WHERE execution_id = $1 AND repository = $2`, execution, repository).
		Scan(&id, &status, &round, &sleeps)
	if err != nil || !status.Final() && (sleeps == 0 || wake > 0 && wake >= sleeps) {
		return id, err // its job looks at what is due before it ends or sleeps
	}
	// The job of a task that sleeps, or has just ended, cannot be called: a new
	// one takes its place.
	_, err = q.exec(ctx, `UPDATE tasks SET status = 'Pending', reason = '', detail = '', round = $2, wake_at = $3, updated_at = $4 WHERE id = $1`,
		id, round+1, wake, now)
	if err != nil {
		return 0, err
	}
	return id, j.queue.insert(ctx, q, job{args: taskArgs{TaskID: id, Round: round + 1}, lane: Pushes, at: fromMicros(wake)})
}

// A Delivered push waits in the inbox.
type Delivered struct {
	Push
	// Attempts is how often it was looked at in vain.
	Attempts int
	// Told is how often it was pushed again while it waited.
	Told int64
	// RequestID is the id of the request that told of it last.
	RequestID string

	id int64
}

// Due returns pushes of a task that are due, the oldest first, at most limit.
func (j *Journal) Due(ctx context.Context, taskID int64, limit int) ([]Delivered, error) {
	due, err := collect(ctx, j.store.reader(), scanDelivered, `SELECT p.id, p.seq, p.attempts, p.request_id, t.repository, p.tag, p.digest, p.pushed_at, p.due_at
		FROM pushes p JOIN tasks t ON t.id = p.task_id WHERE p.task_id = $1 AND p.due_at <= $2 ORDER BY p.id LIMIT $3`,
		taskID, micros(j.now()), limit)
	if err != nil {
		return nil, fmt.Errorf("reading the pushes of task %d: %w", taskID, err)
	}
	return due, nil
}

func scanDelivered(s scanner) (Delivered, error) {
	var d Delivered
	var pushed, due int64
	err := s.Scan(&d.id, &d.Told, &d.Attempts, &d.RequestID, &d.Repository, &d.Tag, &d.Digest, &pushed, &due)
	d.At, d.Due = fromMicros(pushed), fromMicros(due)
	return d, err
}

// A Settled push was looked at. Its Attempts are those until now.
type Settled struct {
	Delivered
	// Again is when to look at it again. Zero: it is dealt with, unless it was
	// pushed again meanwhile.
	Again time.Time
}

// Settle removes pushes that were dealt with from the inbox and puts the others
// off. It returns when the task has something to do again, which may be now; if
// nothing is left, it ends the task, as EndTask with Succeed does, and returns
// the zero time.
func (j *Journal) Settle(ctx context.Context, taskID int64, settled []Settled) (next time.Time, err error) {
	t, err := taskByID(ctx, j.store.reader(), taskID)
	if err == nil {
		err = j.writeExecution(ctx, t.ExecutionID, func(ctx context.Context, q querier, e *Execution) error {
			next, err = j.settle(ctx, q, e, taskID, settled)
			return err
		})
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("settling the pushes of task %d: %w", taskID, err)
	}
	return next, nil
}

func (j *Journal) settle(ctx context.Context, q querier, e *Execution, taskID int64, settled []Settled) (time.Time, error) {
	for _, s := range settled {
		var err error
		if s.Again.IsZero() {
			_, err = q.exec(ctx, `DELETE FROM pushes WHERE id = $1 AND seq = $2`, s.id, s.Told)
		} else {
			_, err = q.exec(ctx, `UPDATE pushes SET attempts = $4, due_at = $3 WHERE id = $1 AND seq = $2`, s.id, s.Told, micros(s.Again), s.Attempts)
		}
		if err != nil {
			return time.Time{}, err
		}
	}
	next, err := scanID(q.queryRow(ctx, `SELECT COALESCE(MIN(due_at), 0) FROM pushes WHERE task_id = $1`, taskID))
	switch {
	case err != nil:
		return time.Time{}, err
	case next == 0:
		return time.Time{}, j.endTask(ctx, q, e, taskID, outcome{status: Succeed})
	}
	wake := next
	if next <= micros(j.now()) {
		wake = 0
	}
	_, err = q.exec(ctx, `UPDATE tasks SET wake_at = $2, updated_at = $3 WHERE id = $1`, taskID, wake, micros(j.now()))
	return fromMicros(next), err
}

// Waiting returns how many pushes are in the inbox, and when the oldest of them
// came; the zero time if there is none.
func (j *Journal) Waiting(ctx context.Context) (n int64, oldest time.Time, err error) {
	var first int64
	err = j.store.reader().queryRow(ctx, `SELECT COUNT(*), COALESCE(MIN(received_at), 0) FROM pushes`).Scan(&n, &first)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("counting the pushes that wait: %w", err)
	}
	return n, fromMicros(first), nil
}
