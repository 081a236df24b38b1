package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) pruneCommand() *cobra.Command {
	var policies []string
	var apply bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Find duplicate and orphaned signatures of ours; remove them with --apply",
		Long: `Find signatures that are too much in what the policies cover: several by the
policy's key on one artifact in one format, of which one stays, and signatures of
artifacts that have been deleted. An orphan is removed only if everything that is
kept with it is provably by a key of this configuration, over that artifact and
under its repository's name; all else stays and is listed.

Without --apply it is a dry run. A daemon with an embedded journal must be
stopped for --apply.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.loadWithStored(c.Context())
			if err != nil {
				return err
			}
			names, err := prunable(cfg, policies)
			if err != nil {
				return err
			}
			return a.prune(c.Context(), cfg, names, apply)
		},
	}
	policyFlag(c, &policies)
	c.Flags().BoolVar(&apply, "apply", false, "remove what is found; without it only show it")
	return c
}

// prunable returns the policies that are named, or every enabled one.
func prunable(cfg *configs.Config, names []string) ([]string, error) {
	var all, enabled []string
	for _, p := range cfg.Policies {
		all = append(all, p.Name)
		if p.IsEnabled() {
			enabled = append(enabled, p.Name)
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, usageError{fmt.Errorf("--policy: no policy is named %q; allowed: %s", name, listed(all))}
		}
	}
	switch {
	case len(names) > 0:
		return slices.Compact(slices.Sorted(slices.Values(names))), nil
	case len(enabled) == 0:
		return nil, usageError{errors.New("no policy is enabled")}
	}
	return enabled, nil
}

// pruned is what prune prints as JSON.
type pruned struct {
	engine.PruneSum
	Findings []engine.PruneFinding `json:"findings"`
}

func (a *app) prune(ctx context.Context, cfg *configs.Config, names []string, apply bool) error {
	var j *journal.Journal
	if apply {
		var err error
		if j, err = journal.Open(ctx, journal.Options{State: cfg.State}); err != nil {
			if errors.Is(err, journal.ErrInUse) {
				err = fmt.Errorf("%w: stop the daemon for prune --apply, or keep the journal in PostgreSQL", err)
			}
			return err
		}
	}
	result, err := a.pruneWith(ctx, cfg, names, j)
	if j != nil {
		err = errors.Join(err, j.Close())
	}
	if err != nil {
		return err
	}
	if err := a.print(result, result.write); err != nil {
		return err
	}
	if result.Failed > 0 {
		return errIncomplete
	}
	return nil
}

func (a *app) pruneWith(ctx context.Context, cfg *configs.Config, names []string, j *journal.Journal) (pruned, error) {
	result := pruned{Findings: []engine.PruneFinding{}}
	setup, err := (&opener{}).open(ctx, cfg)
	if err != nil {
		return result, usageError{err}
	}
	p := newProgress(a.err, "looking")
	defer p.finish()
	result.PruneSum, err = setup.Prune(ctx, names, j, func(f engine.PruneFinding) {
		p.add(f.Kind == engine.PruneUnread)
		result.Findings = append(result.Findings, f)
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted; what was removed stays so, and the same command goes on: %w", ctx.Err())
	}
	slices.SortStableFunc(result.Findings, func(a, b engine.PruneFinding) int {
		return cmp.Or(strings.Compare(place(a), place(b)), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Digest, b.Digest),
			strings.Compare(a.Tag, b.Tag), strings.Compare(string(a.Format), string(b.Format)))
	})
	return result, errors.Join(err, setup.Close())
}

// place names the repository of a finding, or its registry alone.
func place(f engine.PruneFinding) string {
	return strings.TrimSuffix(f.Registry+": "+f.Repository, ": ")
}

func (p pruned) write(w io.Writer) {
	for i, f := range p.Findings {
		if i == 0 || place(f) != place(p.Findings[i-1]) {
			fmt.Fprintln(w, place(f))
		}
		fmt.Fprintln(w, " ", describePruned(f))
	}
	if len(p.Findings) > 0 {
		fmt.Fprintln(w)
	}
	table(w, func(row func(string, ...any)) {
		row("REPOSITORIES\tARTIFACTS\tDUPLICATES\tORPHANS\tREMOVED\tNOT OURS\tFAILED")
		row("%d\t%d\t%d\t%d\t%d\t%d\t%d", p.Repositories, p.Artifacts, p.Duplicates, p.Orphans, p.Removed, p.NotOurs, p.Failed)
	})
	for _, name := range p.Unseen {
		fmt.Fprintf(w, "%s: cannot see orphans, as the registry does not list the tags of signatures\n", name)
	}
	if !p.Applied && p.Duplicates+p.Orphans > 0 {
		fmt.Fprintln(w, "Nothing was changed; --apply removes the duplicates and orphans.")
	}
}

func describePruned(f engine.PruneFinding) string {
	var what string
	switch f.Kind {
	case engine.PruneDuplicate:
		what = fmt.Sprintf("%s  %s, too many by %s: %d", f.Digest, f.Format, f.Policy, f.Signatures)
	case engine.PruneOrphan:
		what = fmt.Sprintf("%s  its artifact is gone", f.Tag)
		if f.Signatures > 0 {
			what += fmt.Sprintf(": %d", f.Signatures)
		}
	default:
		what = strings.TrimSpace(f.Digest + "  not read")
	}
	switch {
	case f.Removed:
		return what + ", removed"
	case f.Reason != "":
		return what + "  " + f.Reason + ": " + f.Detail
	}
	return what
}
