package main

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) recordsVerifyCommand() *cobra.Command {
	var heads []string
	var export, key string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify that no signature record was changed, removed or slipped in",
		Long: `Verify the chain of signature records: that every entry follows from the one
before it, that the last one is the head that was written down, and that every
record is what its newest entry says. The first fault is shown.

Who can write the database can cut off the end of the chain, or write all of it
anew. --head finds that: it is a head that verify or export printed before, and
must still be in the chain.

With --export, verify what export wrote to a file instead, by the public key of
--key alone: signatures, hashes, and that entries which follow one another do.

Exit code 0 only if all is well.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, head := range heads {
				if !headRE.MatchString(head) {
					return usageError{fmt.Errorf("--head %q: allowed: 64 lower-case hexadecimal digits, as verify and export print", head)}
				}
			}
			if export != "" {
				return a.verifyExport(export, key, heads)
			}
			return a.readJournal(c.Context(), func(j *journal.Journal) error { return a.verifyRecords(c.Context(), j, heads) })
		},
	}
	c.Flags().StringArrayVar(&heads, "head", nil, "`HASH` of a head seen earlier, which must be in the chain; repeatable")
	c.Flags().StringVar(&export, "export", "", "verify this `FILE` that export wrote, and not the journal")
	c.Flags().StringVar(&key, "key", "", "with --export: the public key `FILE` (PEM) of who exported")
	c.MarkFlagsRequiredTogether("export", "key")
	return c
}

var headRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (a *app) verifyRecords(ctx context.Context, j *journal.Journal, heads []string) error {
	report, err := j.VerifyChain(ctx, heads...)
	if err != nil {
		return err
	}
	verified := struct {
		Verified bool `json:"verified"`
		journal.ChainReport
	}{report.Fault == nil, report}
	if err := a.print(verified, func(w io.Writer) { writeChain(w, report) }); err != nil {
		return err
	}
	if report.Fault != nil {
		return errIncomplete
	}
	return nil
}

func writeChain(w io.Writer, r journal.ChainReport) {
	if r.Fault != nil {
		fmt.Fprintf(w, "FAULT     %v\n", r.Fault)
		fmt.Fprintf(w, "in order  %d entries, up to %s\n", r.Entries, r.Head)
		return
	}
	fmt.Fprintf(w, "verified  %d entries, %d records\n", r.Entries, r.Records)
	if r.Outside > 0 {
		fmt.Fprintf(w, "outside   %d records are older than the chain\n", r.Outside)
	}
	fmt.Fprintf(w, "head      %s\n", r.Head)
}
