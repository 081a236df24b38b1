package journal

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// A Firing asks for an execution of a policy.
type Firing struct {
	Policy, PolicyVersion, Registry string
	Trigger                         policy.TriggerType
	// Tick is when a schedule was due; zero for everything but a schedule.
	Tick time.Time
	// Schedule is the text of the schedule that Tick belongs to, see LastTick.
	Schedule string
	Lane     Lane
	// RequestID is the id of the request that asks for the firing, or for the pushes. An
	// execution that none asks for gets an id of its own, TRIGGER-RANDOM.
	RequestID string
}

// FireResult says what became of a firing.
type FireResult string

// The results of a firing.
const (
	// Created: there is a new execution. It waits if another one of its policy
	// is active.
	Created FireResult = "created"
	// Duplicate: this tick, or a later one, was fired before, by this process
	// or by another replica. A later one that is still to come, by the
	// journal's clock, does not count: the clock was wrong when it was fired.
	Duplicate FireResult = "duplicate"
	// Coalesced: an execution of the policy already waits to start; it serves
	// this firing too.
	Coalesced FireResult = "coalesced"
)

// Fire records a firing and, unless the execution has to wait for the one
// before it, the job that carries it out. A policy has at most one active and
// one waiting execution.
//
// A firing that joins the waiting execution brings it up to its own policy
// version, and into the live lane if that is the firing's. The execution of a
// Duplicate may be unknown (its ID is 0) if it is not the newest tick's.
func (j *Journal) Fire(ctx context.Context, f Firing) (Execution, FireResult, error) {
	if e, fired, err := j.alreadyFired(ctx, f); err != nil {
		return Execution{}, "", err
	} else if fired {
		return e, Duplicate, nil
	}
	var e Execution
	var result FireResult
	err := j.write(ctx, policyKey(f.Policy), func(ctx context.Context, q querier) error {
		var err error
		e, result, err = j.fire(ctx, q, f)
		return err
	})
	if err != nil {
		return Execution{}, "", fmt.Errorf("firing policy %q: %w", f.Policy, err)
	}
	return e, result, nil
}

func (j *Journal) fire(ctx context.Context, q querier, f Firing) (Execution, FireResult, error) {
	p, err := lockPolicy(ctx, q, f.Policy)
	if err != nil {
		return Execution{}, "", err
	}
	if e, fired, err := j.firedBefore(ctx, q, f, p); err != nil {
		return Execution{}, "", err
	} else if fired {
		return e, Duplicate, saveLaterTick(ctx, q, f, p, e.ID)
	}
	active, waiting, err := openExecutions(ctx, q, f.Policy)
	if err != nil {
		return Execution{}, "", err
	}
	id, result := waiting, Coalesced
	if waiting == 0 {
		result = Created
		id, err = j.createExecution(ctx, q, f, active == 0)
	} else {
		err = join(ctx, q, waiting, f)
	}
	if err != nil {
		return Execution{}, "", err
	}
	if !f.Tick.IsZero() {
		if err := saveTick(ctx, q, f, id); err != nil {
			return Execution{}, "", err
		}
	}
	e, err := executionByID(ctx, q, id)
	return e, result, err
}

// policyRow is what is remembered of a policy.
type policyRow struct{ lastTick, lastExecution int64 }

// policyKey is the writer's key of what locks a policy.
func policyKey(name string) string { return "policy\n" + name }

// lockPolicy makes the transaction the only one that starts or ends executions
// of a policy until it commits. An upsert locks the row in both databases, also
// the first time.
func lockPolicy(ctx context.Context, q querier, name string) (policyRow, error) {
	var p policyRow
	err := q.queryRow(ctx, `INSERT INTO policies (name) VALUES ($1)
		ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING last_tick, last_execution`, name).
		Scan(&p.lastTick, &p.lastExecution)
	return p, err
}

// openExecutions returns the policy's active and its waiting execution, 0 for
// none, those aside that events began. The caller has locked the policy.
func openExecutions(ctx context.Context, q querier, name string) (active, waiting int64, err error) {
	rs, err := q.query(ctx, `SELECT id, status FROM executions
		WHERE policy = $1 AND finished_at = 0 AND status IN ('Initialized', 'Pending', 'InProgress')
		AND trigger_type <> 'event_based'`, name)
	if err != nil {
		return 0, 0, err
	}
	defer rs.Close()
	for rs.Next() {
		var id int64
		var s Status
		if err := rs.Scan(&id, &s); err != nil {
			return 0, 0, err
		}
		if s == Initialized {
			waiting = id
		} else {
			active = id
		}
	}
	return active, waiting, rs.Err()
}

func (j *Journal) createExecution(ctx context.Context, q querier, f Firing, now bool) (int64, error) {
	status := Initialized
	if now {
		status = Pending
	}
	id, err := scanID(q.queryRow(ctx, `INSERT INTO executions
		(policy, policy_version, registry, trigger_type, tick, lane, status, created_at, request_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
		f.Policy, f.PolicyVersion, f.Registry, f.Trigger, micros(f.Tick), f.Lane, status, micros(j.now()), cmp.Or(f.RequestID, string(f.Trigger)+"-"+rand.Text())))
	if err != nil || !now {
		return id, err
	}
	return id, j.queue.insert(ctx, q, job{args: walkArgs{id}, lane: f.Lane})
}

// join lets a waiting execution serve one more firing. One that no request has asked for
// becomes that of the request that does.
func join(ctx context.Context, q querier, id int64, f Firing) error {
	_, err := q.exec(ctx, `UPDATE executions SET policy_version = $2, registry = $3,
		lane = CASE WHEN $4 = 'live' THEN 'live' ELSE lane END,
		request_id = CASE WHEN $5 <> '' AND (request_id = '' OR request_id LIKE trigger_type || '-%') THEN $5 ELSE request_id END WHERE id = $1`,
		id, f.PolicyVersion, f.Registry, string(f.Lane), f.RequestID)
	return err
}

// promote starts the execution that waited for the one that just ended.
func (j *Journal) promote(ctx context.Context, q querier, name string) error {
	active, waiting, err := openExecutions(ctx, q, name)
	if err != nil || active != 0 || waiting == 0 {
		return err
	}
	var lane Lane
	err = q.queryRow(ctx, `UPDATE executions SET status = 'Pending' WHERE id = $1 RETURNING lane`, waiting).Scan(&lane)
	if err != nil {
		return err
	}
	return j.queue.insert(ctx, q, job{args: walkArgs{waiting}, lane: lane})
}
