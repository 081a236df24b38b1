package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) triggerCommand() *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:   "trigger NAME",
		Short: "Ask the running daemon to fire a policy, and follow it",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.read()
			if err != nil {
				return err
			}
			daemon := control.Dial(socketPath(cfg.State))
			x, err := daemon.Fire(c.Context(), args[0])
			if err != nil {
				if errors.Is(err, control.ErrRefused) {
					return usageError{err}
				}
				if dial := (*net.OpError)(nil); errors.As(err, &dial) {
					err = dial // without the request around it
				}
				return fmt.Errorf("no daemon answers: %w (is sealwright run running with this configuration?)", err)
			}
			if !detach {
				fmt.Fprintf(a.err, "execution %d of %s: %s\n", x.ID, x.Policy, x.Status)
				if x, err = a.followDaemon(c.Context(), x.ID, daemon); err != nil {
					return err
				}
			}
			if err := a.print(x, func(w io.Writer) { writeExecutions(w, []journal.Execution{x}) }); err != nil {
				return err
			}
			if x.Status.Final() && x.Status != journal.Succeed {
				return errIncomplete
			}
			return nil
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "do not follow the execution")
	return c
}

// followDaemon waits until an execution of the daemon has ended, and shows how
// far it is.
func (a *app) followDaemon(ctx context.Context, id int64, daemon *control.Client) (journal.Execution, error) {
	shown := newProgress(a.err, "signing")
	defer shown.finish()
	var done, failed int64
	return follow(ctx, id, func(ctx context.Context, id int64) (journal.Execution, error) {
		x, err := daemon.Execution(ctx, id)
		for ; done < x.Counts.Total-x.Counts.InProgress; done++ {
			shown.add(failed < x.Counts.Failed)
			failed = min(failed+1, x.Counts.Failed)
		}
		return x, err
	})
}
