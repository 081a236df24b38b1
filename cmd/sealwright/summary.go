package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
)

// summary prints how executions ended, and fails if one did not succeed.
func (a *app) summary(ctx context.Context, j *journal.Journal, ended []journal.Execution) error {
	if err := a.print(ended, func(w io.Writer) { writeExecutions(w, ended) }); err != nil {
		return err
	}
	failed := false
	for _, x := range ended {
		if x.Status == journal.Succeed {
			continue
		}
		failed = true
		if a.output == "text" {
			if err := a.failures(ctx, j, x); err != nil {
				return err
			}
		}
	}
	if failed {
		return errIncomplete
	}
	return nil
}

// failuresShown is how many failed artifacts a summary names; history has all.
const failuresShown = 20

func (a *app) failures(ctx context.Context, j *journal.Journal, x journal.Execution) error {
	if x.Detail != "" {
		fmt.Fprintf(a.out, "\n%s: %s: %s\n", x.Policy, x.Reason, x.Detail)
	}
	if err := a.unread(ctx, j, x); err != nil {
		return err
	}
	failed, err := j.Subtasks(ctx, journal.SubtaskFilter{ExecutionID: x.ID, Status: journal.Failed, Limit: failuresShown})
	if err != nil || len(failed) == 0 {
		return err
	}
	fmt.Fprintf(a.out, "\nnot signed by %s (sealwright history %d shows all):\n", x.Policy, x.ID)
	for _, s := range failed {
		fmt.Fprintf(a.out, "  %s@%s %s %s: %s\n", s.Repository, short(s.Digest), strings.Join(s.Tags, ","), s.Reason, s.Detail)
	}
	return nil
}

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
