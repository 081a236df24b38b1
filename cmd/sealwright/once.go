package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
)

// once fires policies, waits for them, prints a summary.
func (d *service) once(ctx context.Context, names []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(names) == 0 {
		for _, p := range d.engine.Policies() {
			if p.IsEnabled() {
				names = append(names, p.Name)
			}
		}
	}
	if len(names) == 0 {
		return usageError{errors.New("no policy is enabled")}
	}
	var ids []int64
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue // named twice
		}
		x, err := d.engine.Fire(ctx, name)
		if err != nil {
			if errors.Is(err, engine.ErrPolicy) {
				err = usageError{err}
			}
			return err
		}
		ids = append(ids, x.ID)
	}
	if err := d.engine.Start(ctx); err != nil {
		return err
	}
	ended, waitErr := d.await(ctx, ids)
	stop() // a second signal ends the process as usual
	d.progress.finish()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := d.engine.Stop(drain); err != nil {
		return err
	}
	d.sinks.finish(drain, drainTimeout)
	if waitErr != nil {
		return fmt.Errorf("interrupted; what was signed stays, and the same command goes on: %w", waitErr)
	}
	return d.app.summary(drain, d.journal, ended)
}

// await waits until all executions have ended.
func (d *service) await(ctx context.Context, ids []int64) ([]journal.Execution, error) {
	ended := make([]journal.Execution, 0, len(ids))
	for _, id := range ids {
		x, err := follow(ctx, id, d.journal.Execution)
		if err != nil {
			return nil, err
		}
		ended = append(ended, x)
	}
	return ended, nil
}

// followEvery is how often an execution is asked how far it got.
const followEvery = 200 * time.Millisecond

// follow waits until an execution has ended.
func follow(ctx context.Context, id int64, ask func(context.Context, int64) (journal.Execution, error)) (journal.Execution, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		x, err := ask(ctx, id)
		if err != nil || x.Status.Final() {
			return x, err
		}
		select {
		case <-ctx.Done():
			return x, ctx.Err()
		case <-tick.C:
		}
	}
}
