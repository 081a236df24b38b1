package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink"
)

// sinkTolerance is how long a sink may be down before anybody need act. A sink that is
// back is noticed within 5 minutes.
const sinkTolerance = 15 * time.Minute

// dependencies are what health is about: what signing needs, and the sinks.
func (d *service) dependencies() []engine.Dependency {
	return append(d.engine.Dependencies(), d.sinks.dependencies()...)
}

func (s *sinks) dependencies() []engine.Dependency {
	s.mu.Lock()
	running := slices.Clone(s.running)
	s.mu.Unlock()
	list := make([]engine.Dependency, 0, len(running))
	for _, d := range running {
		list = append(list, engine.Dependency{Kind: engine.SinkDependency, Name: d.name, Probe: func(ctx context.Context) error {
			left, err := d.runner.Undelivered(ctx)
			if err != nil {
				return err
			}
			return standing(left, d.runner.Counts(), time.Now())
		}})
	}
	return list
}

// standing says what is wrong with a sink by what it was not given yet and how the last
// try went. It fails if that went wrong and the oldest record has waited for too long;
// only one of the two is a lag: another replica may deliver, a new sink may be catching
// up, an outage may be over at the next try.
func standing(left journal.Undelivered, c sink.Counts, now time.Time) error {
	waits := now.Sub(left.Oldest)
	late, down := waits >= sinkTolerance, c.LastError != ""
	if left.Entries == 0 || !late && !down {
		return nil
	}
	backlog := fmt.Sprintf("%d records are not delivered, the oldest for %s", left.Entries, waits.Round(time.Second))
	switch {
	case late && down:
		return fmt.Errorf("%s: %s", backlog, c.LastError)
	case down:
		return fmt.Errorf("%w: %s: %s", engine.ErrLagging, backlog, c.LastError)
	}
	return fmt.Errorf("%w: %s", engine.ErrLagging, backlog)
}
