package engine

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/policy"
)

// maxNap bounds a scheduler's sleep, so that a stepped clock or a suspended
// machine is noticed soon.
const maxNap = 30 * time.Second

// tickBook remembers the last tick of each name; the journal is one.
type tickBook interface {
	LastTick(ctx context.Context, name, cron string) (time.Time, bool, error)
	SetFirstTick(ctx context.Context, name, cron string, t time.Time) error
	ForgetTick(ctx context.Context, name string) error
}

// A schedule says when something is fired: a policy, or the drift scan of one.
type schedule struct {
	name string
	cron string // "": never
}

// A scheduler fires what has a schedule. Every replica computes the ticks; the
// journal lets each (name, tick) through once. Ticks missed while nothing ran
// become one: the latest.
type scheduler struct {
	ticks tickBook
	now   func() time.Time
	// fire records that something is due at tick. It must advance the tick book,
	// or the tick is fired again.
	fire func(ctx context.Context, due schedule, tick time.Time) error
	log  *zap.Logger
}

// run fires until ctx ends. A value on changed makes it ask current for the
// schedules anew.
func (s *scheduler) run(ctx context.Context, current func() []schedule, changed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	idle := map[string]bool{} // names whose ticks are forgotten
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
		nap := maxNap
		for _, p := range current() {
			wait, err := s.look(ctx, p, idle)
			if err != nil && ctx.Err() == nil {
				s.log.Error("policy not fired, will try again", zap.String("policy", p.name), zap.Error(err))
				wait = time.Second
			}
			nap = min(nap, wait)
		}
		timer.Reset(nap)
	}
}

// look fires p if it is due. What has no schedule, for example because its
// policy is disabled, is owed nothing when that changes.
func (s *scheduler) look(ctx context.Context, p schedule, idle map[string]bool) (time.Duration, error) {
	if p.cron != "" {
		delete(idle, p.name)
		return s.due(ctx, p)
	}
	if idle[p.name] {
		return maxNap, nil
	}
	idle[p.name] = true
	return maxNap, s.ticks.ForgetTick(ctx, p.name)
}

// due fires p if a tick has passed since its last one and returns how long to
// wait for the next.
func (s *scheduler) due(ctx context.Context, p schedule) (time.Duration, error) {
	ticks, err := policy.ParseCron(p.cron)
	if err != nil {
		return maxNap, err
	}
	now := s.now().UTC()
	last, known, err := s.ticks.LastTick(ctx, p.name, p.cron)
	if err != nil {
		return 0, err
	}
	if !known {
		// What is new, or has a new schedule, is not owed the past.
		if err := s.ticks.SetFirstTick(ctx, p.name, p.cron, now); err != nil {
			return 0, err
		}
		last = now
	}
	if tick := latestTick(ticks, last, now); !tick.IsZero() {
		if err := s.fire(ctx, p, tick); err != nil {
			return 0, err
		}
	}
	next := ticks.Next(now)
	if next.IsZero() {
		return maxNap, nil
	}
	return next.Sub(now), nil
}

// latestTick returns the last tick in (after, now], zero if there is none. It
// looks back in growing windows, so that a long outage of a frequent schedule
// costs few steps.
func latestTick(s policy.Schedule, after, now time.Time) time.Time {
	for window := time.Minute; ; window *= 2 {
		from := now.Add(-window)
		if !from.After(after) {
			from = after
		}
		var latest time.Time
		for t := s.Next(from); !t.IsZero() && !t.After(now); t = s.Next(t) {
			latest = t
		}
		if !latest.IsZero() || from.Equal(after) || window > 1<<61 {
			return latest
		}
	}
}
