package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// clockTolerance is how much the clocks of replicas may differ. A last tick that
// is further ahead was fired while a clock was wrong, and is not believed.
const clockTolerance = time.Minute

// ahead reports whether a tick is too far in the future to be believed.
func (j *Journal) ahead(tick int64) bool { return tick > micros(j.now().Add(clockTolerance)) }

// LastTick returns the newest tick of a policy that was fired, or that
// SetFirstTick recorded. It is known only if it belongs to this schedule, by its
// text, and is not more than a minute in the future, which only a clock that was
// set back can make it.
func (j *Journal) LastTick(ctx context.Context, name, schedule string) (time.Time, bool, error) {
	var tick int64
	err := j.store.reader().queryRow(ctx, `SELECT last_tick FROM policies WHERE name = $1 AND schedule = $2`, name, schedule).Scan(&tick)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("reading the last tick of policy %q: %w", name, err)
	}
	if tick == 0 || j.ahead(tick) {
		return time.Time{}, false, nil
	}
	return fromMicros(tick), true, nil
}

// SetFirstTick records t as fired unless LastTick knows a tick of this schedule:
// a policy that is seen for the first time, or with another schedule, is not
// owed the past.
func (j *Journal) SetFirstTick(ctx context.Context, name, schedule string, t time.Time) error {
	err := j.write(ctx, policyKey(name), func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `INSERT INTO policies (name, last_tick, schedule) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET last_tick = excluded.last_tick, schedule = excluded.schedule, last_execution = 0
			WHERE policies.last_tick = 0 OR policies.schedule <> excluded.schedule OR policies.last_tick > $4`,
			name, micros(t), schedule, micros(j.now().Add(clockTolerance)))
		return err
	})
	if err != nil {
		return fmt.Errorf("recording the first tick of policy %q: %w", name, err)
	}
	return nil
}

// ForgetTick forgets the last tick of a policy that is not scheduled any more,
// or is disabled: should it be scheduled again, it is not owed the time between.
func (j *Journal) ForgetTick(ctx context.Context, name string) error {
	n, err := scanID(j.store.reader().queryRow(ctx, `SELECT COUNT(*) FROM policies WHERE name = $1 AND last_tick <> 0`, name))
	if err == nil && n > 0 { // seldom, and then only once
		err = j.write(ctx, policyKey(name), func(ctx context.Context, q querier) error {
			_, err := q.exec(ctx, `UPDATE policies SET last_tick = 0, schedule = '', last_execution = 0 WHERE name = $1`, name)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("forgetting the last tick of policy %q: %w", name, err)
	}
	return nil
}

// saveTick remembers a firing and the execution that serves it.
func saveTick(ctx context.Context, q querier, f Firing, execution int64) error {
	_, err := q.exec(ctx, `UPDATE policies SET last_tick = $2, schedule = $3, last_execution = $4 WHERE name = $1`,
		f.Policy, micros(f.Tick), f.Schedule, execution)
	return err
}

// saveLaterTick lets a tick that was fired before, while the clock was wrong,
// pass for good when its time has come.
func saveLaterTick(ctx context.Context, q querier, f Firing, p policyRow, execution int64) error {
	if micros(f.Tick) <= p.lastTick {
		return nil
	}
	return saveTick(ctx, q, f, execution)
}

// alreadyFired recognises what every replica but the first meets at a tick,
// without a transaction. Only fire knows for sure that a tick is new.
func (j *Journal) alreadyFired(ctx context.Context, f Firing) (e Execution, fired bool, err error) {
	if f.Tick.IsZero() {
		return Execution{}, false, nil
	}
	q := j.store.reader()
	var p policyRow
	err = q.queryRow(ctx, `SELECT last_tick, last_execution FROM policies WHERE name = $1`, f.Policy).Scan(&p.lastTick, &p.lastExecution)
	if errors.Is(err, sql.ErrNoRows) || err == nil && micros(f.Tick) > p.lastTick {
		return Execution{}, false, nil
	}
	if err == nil {
		e, fired, err = j.firedBefore(ctx, q, f, p)
	}
	if err != nil {
		return Execution{}, false, fmt.Errorf("firing policy %q: %w", f.Policy, err)
	}
	return e, fired, nil
}

// firedBefore reports whether a tick was fired before, or has been overtaken.
func (j *Journal) firedBefore(ctx context.Context, q querier, f Firing, p policyRow) (Execution, bool, error) {
	tick := micros(f.Tick)
	if tick == 0 {
		return Execution{}, false, nil
	}
	e, err := executionOfTick(ctx, q, f.Policy, tick, p)
	if err != nil {
		return Execution{}, false, err
	}
	overtaken := tick < p.lastTick && !j.ahead(p.lastTick)
	return e, e.ID != 0 || tick == p.lastTick || overtaken, nil
}

// executionOfTick returns the execution that a tick led to, an empty one if it
// led to none or that is unknown.
func executionOfTick(ctx context.Context, q querier, name string, tick int64, p policyRow) (Execution, error) {
	id := p.lastExecution
	if tick != p.lastTick {
		var err error
		id, err = scanID(q.queryRow(ctx, `SELECT id FROM executions WHERE policy = $1 AND tick = $2`, name, tick))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return Execution{}, err
		}
	}
	e, err := executionByID(ctx, q, id)
	if errors.Is(err, ErrNotFound) {
		return Execution{}, nil // coalesced into another one, or pruned
	}
	return e, err
}
