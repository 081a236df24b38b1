package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/policy"
)

func (a *app) coverageCommand() *cobra.Command {
	var policies []string
	c := &cobra.Command{
		Use:   "coverage",
		Short: "Show per policy what is covered, signed and unsigned, and why",
		Long: `Read the registries and verify, with each policy's own key, the signatures of
everything the policy covers. Exit code 0 only if all of it is signed and
nothing the policy covers is out of sight.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			results, err := a.survey(c.Context(), policies)
			if err != nil {
				return err
			}
			if err := a.print(results, func(w io.Writer) { writeCoverage(w, results) }); err != nil {
				return err
			}
			for _, r := range results {
				if !r.Complete() {
					return errIncomplete
				}
			}
			return nil
		},
	}
	policyFlag(c, &policies)
	return c
}

func (a *app) planCommand() *cobra.Command {
	var policies []string
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be signed and what it would cost; sign nothing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			results, err := a.survey(c.Context(), policies)
			if err != nil {
				return err
			}
			if err := a.print(results, func(w io.Writer) { writePlan(w, results) }); err != nil {
				return err
			}
			for _, r := range results {
				if r.Failed > 0 {
					return errIncomplete
				}
			}
			return nil
		},
	}
	policyFlag(c, &policies)
	return c
}

func policyFlag(c *cobra.Command, policies *[]string) {
	c.Flags().StringArrayVar(policies, "policy", nil, "only the policy of this `NAME`; repeatable")
}

// checkPolicies refuses names that no policy has.
func checkPolicies(all []policy.Policy, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(p policy.Policy) bool { return p.Name == name }) {
			return usageError{fmt.Errorf("--policy: no policy is named %q", name)}
		}
	}
	return nil
}

// surveyed is a policy's coverage with the findings that need attention.
type surveyed struct {
	engine.Coverage
	Key string `json:"key"`
	// Seconds is how long signing the rest takes at the registry's budget, at
	// least.
	Seconds float64 `json:"seconds"`
	// Open lists what is not known to be signed.
	Open []engine.Finding `json:"open"`
}

// survey looks at every enabled policy, or at those named.
func (a *app) survey(ctx context.Context, names []string) ([]surveyed, error) {
	cfg, err := a.loadWithStored(ctx)
	if err == nil {
		err = checkPolicies(cfg.Policies, names)
	}
	if err != nil {
		return nil, err
	}
	setup, err := (&opener{}).open(ctx, cfg)
	if err != nil {
		return nil, usageError{err}
	}
	results, err := a.surveyAll(ctx, cfg, setup, names)
	return results, errors.Join(err, setup.Close())
}

func (a *app) surveyAll(ctx context.Context, cfg *configs.Config, setup *engine.Setup, names []string) ([]surveyed, error) {
	p := newProgress(a.err, "looking")
	defer p.finish()
	results := []surveyed{}
	for _, pol := range cfg.Policies {
		if len(names) == 0 && !pol.IsEnabled() || len(names) > 0 && !slices.Contains(names, pol.Name) {
			continue
		}
		r := surveyed{Key: pol.Key, Open: []engine.Finding{}}
		var err error
		r.Coverage, err = setup.Survey(ctx, pol.Name, 0, func(f engine.Finding) {
			p.add(f.Reason != "")
			if !f.Signed {
				r.Open = append(r.Open, f)
			}
		})
		if err != nil {
			return nil, err
		}
		for _, n := range r.Requests {
			r.Seconds += float64(n) / rate(cfg, pol.Registry)
		}
		results = append(results, r)
	}
	return results, nil
}

func rate(cfg *configs.Config, registry string) float64 {
	for _, r := range cfg.Registries {
		if r.Name == registry {
			return r.Limits.RequestsPerSecond
		}
	}
	return 1
}

func writeCoverage(w io.Writer, results []surveyed) {
	table(w, func(row func(string, ...any)) {
		row("POLICY\tKEY\tREPOSITORIES\tCOVERED\tSIGNED\tUNSIGNED\tUNREADABLE\tCOVERAGE")
		for _, r := range results {
			row("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s", r.Policy, r.Key, r.Repositories, r.Covered, r.Signed, r.Unsigned, r.Failed, percent(r.Signed, r.Covered))
		}
	})
	for _, r := range results {
		if r.Unseen != "" {
			fmt.Fprintf(w, "\n%s: cannot see %s\n", r.Policy, r.Unseen)
		}
		writeOpen(w, "not signed", r)
	}
}

func writePlan(w io.Writer, results []surveyed) {
	table(w, func(row func(string, ...any)) {
		row("POLICY\tCOVERED\tTO SIGN\tKEY\tKEY USES\tREQUESTS TO SIGN\tAT LEAST")
		for _, r := range results {
			row("%s\t%d\t%d\t%s\t%d\t%s\t%s", r.Policy, r.Covered, r.Unsigned, r.Key, r.KeyUses, verbs(r.Requests),
				(time.Duration(r.Seconds*1000) * time.Millisecond).Round(100*time.Millisecond))
		}
	})
	for _, r := range results {
		unreadable := r
		unreadable.Open, r.Open = split(r.Open)
		writeOpen(w, "would be signed", r)
		writeOpen(w, "could not be read", unreadable)
	}
}

// split separates what could not be read from what is unsigned.
func split(open []engine.Finding) (unreadable, unsigned []engine.Finding) {
	for _, f := range open {
		if f.Reason != "" {
			unreadable = append(unreadable, f)
		} else {
			unsigned = append(unsigned, f)
		}
	}
	return unreadable, unsigned
}

func writeOpen(w io.Writer, what string, r surveyed) {
	if len(r.Open) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s by %s:\n", what, r.Policy)
	for _, f := range r.Open {
		fmt.Fprintln(w, " ", describeFinding(f))
	}
}

// describeFinding names what was found: an artifact, a repository or, when
// nothing could be listed, the registry.
func describeFinding(f engine.Finding) string {
	var out string
	switch {
	case f.Repository == "":
		out = "(the registry)"
	case f.Digest == "" && len(f.Tags) == 0:
		out = f.Repository + "  (the repository)"
	case f.Digest == "":
		out = f.Repository + "  " + tagList(f.Tags)
	default:
		out = f.Repository + "@" + f.Digest + "  " + tagList(f.Tags)
	}
	if f.Reason != "" {
		out += "  " + f.Reason + ": " + f.Detail
	}
	return out
}

func tagList(tags []string) string {
	if len(tags) == 0 {
		return "(untagged)"
	}
	return strings.Join(tags, ",")
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	// Rounded down: 100.0 % means all.
	return fmt.Sprintf("%d.%d %%", part*100/whole, part*1000/whole%10)
}

// verbs writes request counts: "GET 3, PUT 7".
func verbs(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, verb := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", verb, counts[verb]))
	}
	return strings.Join(parts, ", ")
}
