package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
)

// pageSize is how many rows of the journal are read at once.
const pageSize = 500

func (a *app) historyCommand() *cobra.Command {
	var policy, digest string
	var limit int
	var failed bool
	c := &cobra.Command{
		Use:   "history [EXECUTION]",
		Short: "Show executions, or one execution's tasks and subtasks, or an artifact's records",
		Args:  cobra.MatchAll(cobra.MaximumNArgs(1), executionArgs),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.read()
			if err != nil {
				return err
			}
			j, err := journal.OpenReadOnly(c.Context(), cfg.State)
			if err != nil {
				return err
			}
			h := &history{app: a, journal: j, failed: failed}
			switch {
			case digest != "":
				err = h.records(c, digest, limit)
			case len(args) == 1:
				err = h.execution(c, args[0])
			default:
				err = h.executions(c, policy, limit)
			}
			return errors.Join(err, j.Close())
		},
	}
	c.Flags().StringVar(&policy, "policy", "", "executions of the policy of this `NAME` only")
	c.Flags().StringVar(&digest, "digest", "", "signature records of the artifact with this `DIGEST`")
	c.Flags().IntVar(&limit, "limit", 20, "at most `N` executions or records, newest first")
	c.Flags().BoolVar(&failed, "failed", false, "with EXECUTION: only failed subtasks")
	return c
}

func executionArgs(_ *cobra.Command, args []string) error {
	for _, arg := range args {
		if _, err := executionID(arg); err != nil {
			return err
		}
	}
	return nil
}

func executionID(arg string) (int64, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("EXECUTION %q: a number from sealwright history", arg)
	}
	return id, nil
}

type history struct {
	app     *app
	journal *journal.Journal
	failed  bool
}

func (h *history) executions(c *cobra.Command, policy string, limit int) error {
	xs, err := h.journal.Executions(c.Context(), journal.ExecutionFilter{Policy: policy, Limit: limit})
	if err != nil {
		return err
	}
	return h.app.print(nonNil(xs), func(w io.Writer) { writeExecutions(w, xs) })
}

// nonNil makes an empty list [] in JSON, not null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeExecutions(w io.Writer, xs []journal.Execution) {
	table(w, func(row func(string, ...any)) {
		row("EXECUTION\tPOLICY\tTRIGGER\tSTATUS\tARTIFACTS\tSIGNED\tALREADY\tFAILED\tCREATED\tTOOK")
		for _, x := range xs {
			took := "-"
			if !x.FinishedAt.IsZero() && !x.StartedAt.IsZero() {
				took = x.FinishedAt.Sub(x.StartedAt).Round(time.Millisecond).String()
			}
			row("%d\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s", x.ID, x.Policy, x.Trigger, statusOf(x), x.Counts.Total,
				x.Counts.Reasons[engine.ReasonSigned]+x.Counts.Reasons[engine.ReasonRestored], x.Counts.Reasons[engine.ReasonAlreadySigned], x.Counts.Failed, stamp(x.CreatedAt), took)
		}
	})
}

func statusOf(x journal.Execution) string {
	if x.Reason == "" {
		return string(x.Status)
	}
	return string(x.Status) + " (" + x.Reason + ")"
}

// executionDetail is one execution with what it consists of.
type executionDetail struct {
	journal.Execution
	TaskList []taskDetail `json:"task_list"`
}

type taskDetail struct {
	journal.Task
	Subtasks []journal.Subtask `json:"subtasks"`
}

func (h *history) execution(c *cobra.Command, arg string) error {
	id, err := executionID(arg)
	if err != nil {
		return err
	}
	x, err := h.journal.Execution(c.Context(), id)
	if err != nil {
		return err
	}
	detail := executionDetail{Execution: x, TaskList: []taskDetail{}}
	for after, more := int64(0), true; more; {
		tasks, err := h.journal.Tasks(c.Context(), id, after, pageSize)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			subtasks, err := h.subtasks(c, t)
			if err != nil {
				return err
			}
			if len(subtasks) > 0 || !h.failed || t.Status == journal.Failed {
				detail.TaskList = append(detail.TaskList, taskDetail{t, subtasks})
			}
			after = t.ID
		}
		more = len(tasks) == pageSize
	}
	return h.app.print(detail, detail.write)
}

func (h *history) subtasks(c *cobra.Command, t journal.Task) ([]journal.Subtask, error) {
	filter := journal.SubtaskFilter{TaskID: t.ID, Limit: pageSize}
	if h.failed {
		filter.Status = journal.Failed
	}
	all := []journal.Subtask{}
	for {
		page, err := h.journal.Subtasks(c.Context(), filter)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < pageSize {
			return all, nil
		}
		filter.After = page[len(page)-1].ID
	}
}

func (d executionDetail) write(w io.Writer) {
	writeExecutions(w, []journal.Execution{d.Execution})
	if d.Detail != "" {
		fmt.Fprintln(w, d.Detail)
	}
	for _, t := range d.TaskList {
		fmt.Fprintf(w, "\n%s  %s %s\n", t.Repository, t.Status, t.Reason)
		if t.Detail != "" {
			fmt.Fprintln(w, " ", t.Detail)
		}
		table(w, func(row func(string, ...any)) {
			for _, s := range t.Subtasks {
				tags := strings.Join(s.Tags, ",")
				if tags == "" {
					tags = "(untagged)"
				}
				if s.TagMoved {
					tags += " (moved)"
				}
				row("  %s\t%s\t%s\t%s\t%s", short(s.Digest), s.Status, s.Reason, tags, s.Detail)
			}
		})
	}
}

func (h *history) records(c *cobra.Command, digest string, limit int) error {
	rs, err := h.journal.Records(c.Context(), journal.RecordFilter{Digest: digest, Limit: limit})
	if err != nil {
		return err
	}
	return h.app.print(nonNil(rs), func(w io.Writer) {
		table(w, func(row func(string, ...any)) {
			row("RECORD\tSTATE\tPOLICY\tIDENTITY\tKEY\tFINGERPRINT\tALGORITHM\tFORMAT\tAT")
			for _, r := range rs {
				state := string(r.State)
				if r.State != journal.Signed && r.Reason != "" {
					state += " (" + r.Reason + ")"
				}
				row("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", r.ID, state, r.Policy, r.Identity, r.Key,
					r.KeyFingerprint[:min(16, len(r.KeyFingerprint))], r.Algorithm, r.Format, stamp(r.CreatedAt))
			}
		})
	})
}
