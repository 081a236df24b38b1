package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) recordsCommand() *cobra.Command {
	c := &cobra.Command{Use: "records", Short: "Verify and export the chain of signature records"}
	c.AddCommand(a.recordsVerifyCommand(), a.recordsExportCommand())
	return c
}

// readJournal lets read have the configuration's journal, beside whoever writes it.
func (a *app) readJournal(ctx context.Context, read func(*journal.Journal) error) error {
	cfg, err := a.read()
	if err != nil {
		return err
	}
	j, err := journal.OpenReadOnly(ctx, cfg.State)
	if err != nil {
		return err
	}
	return errors.Join(read(j), j.Close())
}
