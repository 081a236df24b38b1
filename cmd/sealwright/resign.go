package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) resignCommand() *cobra.Command {
	r := &rotation{app: a}
	c := &cobra.Command{
		Use:   "resign",
		Short: "Move what policies cover from one key to another; without --apply show the plan",
		Long: `Sign with the key TO whatever the key FROM has signed of what a policy covers,
for every enabled policy whose key is one of the two. Both signatures are valid
from then on. With --remove-old, and only when all of that has succeeded, remove
the signatures by FROM; where TO's does not verify at that moment, FROM's stays.

Without --apply nothing is changed: it shows what would be signed and what it
would cost. With it the running daemon carries it out or, if none answers, this
command itself. It can be interrupted at any time: the same command goes on.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.quiet = isTerminal(a.err) && !c.Flags().Changed("log-level")
			return r.run(c.Context())
		},
	}
	c.Flags().StringVar(&r.from, "from", "", "`KEY` that has signed")
	c.Flags().StringVar(&r.to, "to", "", "`KEY` to sign with")
	policyFlag(c, &r.policies)
	c.Flags().BoolVar(&r.remove, "remove-old", false, "then remove the signatures by the old key")
	c.Flags().BoolVar(&r.apply, "apply", false, "do it; without it only show the plan")
	return c
}

// A rotation is what resign is told to do.
type rotation struct {
	app           *app
	from, to      string
	policies      []string // names; empty: every enabled one with either key
	remove, apply bool
	quiet         bool // progress and summary say what logs would
}

func (r *rotation) run(ctx context.Context) error {
	cfg, err := r.app.read()
	if err == nil {
		cfg, err = r.app.addStored(ctx, cfg)
	}
	if err == nil {
		err = r.settle(cfg)
	}
	if err != nil {
		return err
	}
	if r.apply {
		return r.carryOut(ctx, cfg)
	}
	return r.plan(ctx, cfg)
}

// settle checks what was asked for and completes it.
func (r *rotation) settle(cfg *configs.Config) error {
	var err error
	if r.from, err = keyNamed(cfg, "--from", r.from); err != nil {
		return err
	}
	if r.to, err = keyNamed(cfg, "--to", r.to); err != nil {
		return err
	}
	if r.from == r.to {
		return usageError{fmt.Errorf("--from and --to: %q cannot follow itself", r.from)}
	}
	var can, enabled []string
	for _, p := range cfg.Policies {
		if p.Key != r.from && p.Key != r.to {
			continue
		}
		can = append(can, p.Name)
		if p.IsEnabled() {
			enabled = append(enabled, p.Name)
		}
	}
	if len(r.policies) == 0 && len(enabled) == 0 {
		return usageError{fmt.Errorf("no enabled policy signs with %q or %q", r.from, r.to)}
	}
	for _, name := range r.policies {
		switch {
		case !slices.Contains(can, name):
			return usageError{fmt.Errorf("--policy: %q is no policy that signs with %q or %q; allowed: %s", name, r.from, r.to, listed(can))}
		case r.apply && !slices.Contains(enabled, name):
			return usageError{fmt.Errorf("--policy: %q is disabled; allowed: %s", name, listed(enabled))}
		}
	}
	r.policies = slices.Compact(slices.Sorted(slices.Values(r.policies)))
	if len(r.policies) == 0 {
		r.policies = enabled
	}
	r.warn(cfg)
	return nil
}

// keyNamed returns the name of the key that a flag names, or its alias.
func keyNamed(cfg *configs.Config, flag, name string) (string, error) {
	if k, ok := cfg.Key(name); ok {
		return k.Name, nil
	}
	names := make([]string, len(cfg.Keys))
	for i, k := range cfg.Keys {
		names[i] = k.Name
	}
	if name == "" {
		return "", usageError{fmt.Errorf("%s is required; allowed: %s", flag, listed(names))}
	}
	return "", usageError{fmt.Errorf("%s: no key is named %q; allowed: %s", flag, name, listed(names))}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// warn names the policies that will go on to sign with the key whose signatures
// are to be removed.
func (r *rotation) warn(cfg *configs.Config) {
	for _, name := range r.policies {
		if p, ok := cfg.Policy(name); ok && r.remove && p.Key == r.from {
			fmt.Fprintf(r.app.err, "warning: policy %q still signs with %q and will do so again; set its key to %q\n", name, r.from, r.to)
		}
	}
}

func (r *rotation) campaign(step engine.Step, policy string) string {
	return engine.Campaign{Step: step, From: r.from, To: r.to, Policy: policy}.Name()
}

// plan shows what would be signed and what it would cost.
func (r *rotation) plan(ctx context.Context, cfg *configs.Config) error {
	if err := cfg.CheckFiles(); err != nil {
		return usageError{err}
	}
	setup, err := (&opener{}).open(ctx, cfg)
	if err != nil {
		return usageError{err}
	}
	results, err := r.survey(ctx, cfg, setup)
	if err = errors.Join(err, setup.Close()); err != nil {
		return err
	}
	if err := r.app.print(results, func(w io.Writer) { r.writePlan(w, results) }); err != nil {
		return err
	}
	if slices.ContainsFunc(results, func(s surveyed) bool { return s.Failed > 0 }) {
		return errIncomplete
	}
	return nil
}

func (r *rotation) survey(ctx context.Context, cfg *configs.Config, setup *engine.Setup) ([]surveyed, error) {
	p := newProgress(r.app.err, "looking")
	defer p.finish()
	results := []surveyed{}
	for _, name := range r.policies {
		s := surveyed{Key: r.to, Open: []engine.Finding{}}
		sum, err := setup.Survey(ctx, r.campaign(engine.Resign, name), 0, func(f engine.Finding) {
			p.add(f.Reason != "")
			if f.Policy = name; !f.Signed {
				s.Open = append(s.Open, f)
			}
		})
		if errors.Is(err, engine.ErrPolicy) {
			err = usageError{err}
		}
		if err != nil {
			return nil, err
		}
		s.Coverage, s.Policy = sum, name
		for _, n := range s.Requests {
			s.Seconds += float64(n) / rate(cfg, s.Registry)
		}
		results = append(results, s)
	}
	return results, nil
}

func (r *rotation) writePlan(w io.Writer, results []surveyed) {
	table(w, func(row func(string, ...any)) {
		row("POLICY\tSIGNED BY %s\tALSO BY %s\tTO SIGN\tKEY USES\tREQUESTS TO SIGN\tAT LEAST", r.from, r.to)
		for _, s := range results {
			row("%s\t%d\t%d\t%d\t%d\t%s\t%s", s.Policy, s.Covered, s.Signed, s.Unsigned, s.KeyUses, verbs(s.Requests),
				(time.Duration(s.Seconds*1000) * time.Millisecond).Round(100*time.Millisecond))
		}
	})
	for _, s := range results {
		unreadable := s
		unreadable.Open, s.Open = split(s.Open)
		writeOpen(w, "would be signed with "+r.to, s)
		writeOpen(w, "could not be read", unreadable)
	}
	if r.remove {
		fmt.Fprintf(w, "\nThen the signatures by %s would be removed, wherever that by %s verifies.\n", r.from, r.to)
	}
	fmt.Fprintln(w, "\nNothing was changed; --apply does it.")
}

// A fireplace is where campaigns are fired: the daemon, or an engine of ours.
type fireplace interface {
	Fire(ctx context.Context, name string) (journal.Execution, error)
	Execution(ctx context.Context, id int64) (journal.Execution, error)
}

// ownFireplace is an engine in this process.
type ownFireplace struct {
	engine  *engine.Engine
	journal *journal.Journal
}

func (o ownFireplace) Fire(ctx context.Context, name string) (journal.Execution, error) {
	return o.engine.Fire(ctx, name)
}

func (o ownFireplace) Execution(ctx context.Context, id int64) (journal.Execution, error) {
	return o.journal.Execution(ctx, id)
}

// carryOut lets the daemon do it or, if none answers, an engine in this process.
func (r *rotation) carryOut(ctx context.Context, cfg *configs.Config) error {
	shown := newProgress(r.app.err, "signing with "+r.to)
	defer shown.finish()
	ended, err := r.campaigns(ctx, control.Dial(socketPath(cfg.State)), shown)
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" && len(ended) == 0 {
		return r.alone(ctx, cfg, shown)
	}
	shown.finish()
	if err != nil {
		return refused(interrupted(ctx, err, "the daemon goes on"))
	}
	j, err := journal.OpenReadOnly(ctx, cfg.State)
	if err != nil {
		return err
	}
	return errors.Join(r.summary(ctx, j, ended), j.Close())
}

// refused marks what is wrong with the request itself.
func refused(err error) error {
	if errors.Is(err, control.ErrRefused) || errors.Is(err, engine.ErrPolicy) {
		return usageError{err}
	}
	return err
}

func interrupted(ctx context.Context, err error, then string) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted; what was done stays, and %s: %w", then, ctx.Err())
	}
	return err
}

// alone carries the rotation out with an engine of its own, as run --once does.
func (r *rotation) alone(ctx context.Context, cfg *configs.Config, shown *progress) (err error) {
	if err := cfg.CheckFiles(); err != nil {
		return usageError{err}
	}
	if r.quiet {
		r.app.logLevel = "warn"
	}
	log, err := r.app.logger(shown)
	if err != nil {
		return err
	}
	setup, err := (&opener{}).open(ctx, cfg)
	if err != nil {
		return usageError{err}
	}
	j, err := journal.Open(ctx, journal.Options{State: cfg.State, Log: log.Named("journal")})
	if err != nil {
		return errors.Join(err, setup.Close())
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	log.Info("no daemon answers: working in this process", zap.String("from", r.from), zap.String("to", r.to))
	e := engine.New(engine.Options{Journal: j, Setup: setup, Log: log.Named("engine")})
	err = e.Start(ctx)
	var ended []journal.Execution
	if err == nil {
		ended, err = r.campaigns(ctx, ownFireplace{e, j}, shown)
	}
	shown.finish()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err = errors.Join(err, e.Stop(drain)); err != nil {
		return refused(interrupted(ctx, err, "the same command goes on"))
	}
	return r.summary(drain, j, ended)
}

// campaigns fires the first step for every policy and, when all have succeeded
// and that is wanted, the second.
func (r *rotation) campaigns(ctx context.Context, at fireplace, shown *progress) ([]journal.Execution, error) {
	ended, err := r.step(ctx, at, engine.Resign, shown)
	if err != nil || !r.remove {
		return ended, err
	}
	if !allSucceeded(ended) {
		fmt.Fprintf(shown, "not everything was signed with %s: the signatures by %s stay\n", r.to, r.from)
		return ended, nil
	}
	removed, err := r.step(ctx, at, engine.Remove, shown)
	return append(ended, removed...), err
}

func allSucceeded(xs []journal.Execution) bool {
	return !slices.ContainsFunc(xs, func(x journal.Execution) bool { return x.Status != journal.Succeed })
}

// step fires one step for every policy, and waits for all of them.
func (r *rotation) step(ctx context.Context, at fireplace, step engine.Step, shown *progress) ([]journal.Execution, error) {
	var ended []journal.Execution
	for _, name := range r.policies {
		x, err := at.Fire(ctx, r.campaign(step, name))
		if err != nil {
			return ended, err
		}
		ended = append(ended, x)
	}
	for i, x := range ended {
		var err error
		if ended[i], err = followCounting(ctx, x.ID, at, shown); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// followCounting waits until an execution has ended, and shows how far it is.
func followCounting(ctx context.Context, id int64, at fireplace, shown *progress) (journal.Execution, error) {
	var done, failed int64
	return follow(ctx, id, func(ctx context.Context, id int64) (journal.Execution, error) {
		x, err := at.Execution(ctx, id)
		for ; done < x.Counts.Total-x.Counts.InProgress; done++ {
			shown.add(failed < x.Counts.Failed)
			failed = min(failed+1, x.Counts.Failed)
		}
		return x, err
	})
}

// summary prints how the executions ended, and fails if one did not succeed.
func (r *rotation) summary(ctx context.Context, j *journal.Journal, ended []journal.Execution) error {
	if err := r.app.print(ended, func(w io.Writer) { writeCampaigns(w, ended) }); err != nil {
		return err
	}
	for _, x := range ended {
		if x.Status != journal.Succeed && r.app.output == "text" {
			if err := r.app.failures(ctx, j, x); err != nil {
				return err
			}
		}
	}
	if !allSucceeded(ended) {
		return errIncomplete
	}
	return nil
}

func writeCampaigns(w io.Writer, xs []journal.Execution) {
	table(w, func(row func(string, ...any)) {
		row("EXECUTION\tPOLICY\tSTEP\tSTATUS\tARTIFACTS\tSIGNED\tALREADY\tREMOVED\tNOTHING OLD\tFAILED\tTOOK")
		for _, x := range xs {
			step, rest, _ := strings.Cut(x.Policy, "/")
			n := x.Counts.Reasons
			row("%d\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s", x.ID, rest[strings.LastIndexByte(rest, '/')+1:], step, statusOf(x), x.Counts.Total,
				n[engine.ReasonSigned], n[engine.ReasonAlreadySigned], n[engine.ReasonOldRemoved], n[engine.ReasonNothingOld], x.Counts.Failed,
				x.FinishedAt.Sub(x.StartedAt).Round(time.Millisecond))
		}
	})
}
