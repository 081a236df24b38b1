package main

import (
	"context"
	"fmt"

	"github.com/sealwright/sealwright/engine/journal"
)

// unread names the repositories that an execution failed for, such as those that
// may not be listed. The execution itself only says how many there were.
func (a *app) unread(ctx context.Context, j *journal.Journal, x journal.Execution) error {
	if x.Reason != journal.ReasonRepositoriesFailed {
		return nil
	}
	const page = 500
	shown := 0
	for after := int64(0); ; {
		tasks, err := j.Tasks(ctx, x.ID, after, page)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.Status != journal.Failed || t.Reason == journal.ReasonArtifactsFailed {
				continue
			}
			if shown++; shown > failuresShown {
				fmt.Fprintln(a.out, "  and others")
				return nil
			}
			fmt.Fprintf(a.out, "  %s %s: %s\n", t.Repository, t.Reason, t.Detail)
		}
		if len(tasks) < page {
			return nil
		}
		after = tasks[len(tasks)-1].ID
	}
}
