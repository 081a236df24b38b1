package engine

import (
	"context"
	"sync"

	"github.com/sealwright/sealwright/engine/journal"
)

// unended are the claims of this process whose end could not be written, as when the
// journal's disk is full: what the key was used for is in the registry by then, and
// only this process knows how it came out. Nobody else can have the artifact before
// the claim's time is over, so its next turn begins with the end of the last one.
type unended struct {
	mu  sync.Mutex
	end map[string]func(context.Context) ending
}

// keep has end tried again when it is the artifact's turn.
func (u *unended) keep(artifact string, end func(context.Context) ending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.end == nil {
		u.end = map[string]func(context.Context) ending{}
	}
	u.end[artifact] = end
}

// take returns what ends the artifact's last turn, nil if that has ended.
func (u *unended) take(artifact string) func(context.Context) ending {
	u.mu.Lock()
	defer u.mu.Unlock()
	end := u.end[artifact]
	delete(u.end, artifact)
	return end
}

// takeAll returns what ends all turns that have not.
func (u *unended) takeAll() (all []func(context.Context) ending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, end := range u.end {
		all = append(all, end)
	}
	u.end = nil
	return all
}

// turnOf names an artifact among those of all registries.
func turnOf(registry string, s journal.Subtask) string {
	return registry + "\n" + s.Repository + "@" + s.Digest
}

// end journals what became of a claim. If it cannot, that is tried again before
// anything else is done to the artifact.
func (r *run) end(ctx context.Context, claim *journal.Claim) ending {
	saved, cancel := saving(ctx)
	defer cancel()
	e := r.saved(claim.Subtask, claim.Records, r.engine.journal.End(saved, claim))
	if !e.Status.Final() {
		r.engine.unended.keep(turnOf(claim.Registry, claim.Subtask), func(ctx context.Context) ending { return r.end(ctx, claim) })
	}
	return e
}

// endLast journals what became of the artifact's last turn, and reports whether all is
// journaled. Whoever calls it has the artifact to itself.
func (r *run) endLast(ctx context.Context, s journal.Subtask) error {
	end := r.engine.unended.take(turnOf(r.policy.Registry, s))
	if end == nil || end(ctx).Status.Final() {
		return nil
	}
	return errJournal
}
