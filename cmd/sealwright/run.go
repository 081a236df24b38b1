package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/control/tcr"
	"github.com/sealwright/sealwright/engine/journal"
)

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon, or with --once fire policies and exit",
		Long: `Run the daemon: fire scheduled policies, sign what registries say was pushed,
resume what was interrupted, answer on the control socket.

  SIGTERM, SIGINT  stop taking work, finish what has begun, exit; twice: at once
  SIGHUP           reload the configuration; a bad one is refused, the old stays
  SIGUSR1          fire every enabled policy now

With --once: fire every enabled policy, or those named by --policy, wait for
them, print a summary and exit.

What was verified not long ago is believed without asking the registry for its
signature; --full verifies everything in the next execution of each policy.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(o.policies) > 0 && !o.once {
				return usageError{errors.New("--policy needs --once")}
			}
			cfg, err := a.load()
			if err == nil && len(o.policies) > 0 {
				err = a.fireable(c.Context(), cfg, o.policies)
			}
			if err != nil {
				return err
			}
			if o.once && isTerminal(a.err) && !c.Flags().Changed("log-level") {
				a.logLevel = "warn" // progress and summary say the rest
			}
			return a.run(c.Context(), cfg, o)
		},
	}
	c.Flags().BoolVar(&o.once, "once", false, "fire, wait, print a summary, exit")
	c.Flags().BoolVar(&o.full, "full", false, "verify also what was verified not long ago")
	c.Flags().StringArrayVar(&o.policies, "policy", nil, "with --once: fire the policy of this `NAME` only; repeatable")
	return c
}

// runOptions are the flags of run.
type runOptions struct {
	once, full bool
	policies   []string
}

// fireable refuses policies that cannot be fired, before one of them is.
func (a *app) fireable(ctx context.Context, cfg *configs.Config, names []string) error {
	cfg, err := a.addStored(ctx, cfg)
	if err == nil {
		err = checkPolicies(cfg.Policies, names)
	}
	if err != nil {
		return err
	}
	for _, p := range cfg.Policies {
		if slices.Contains(names, p.Name) && !p.IsEnabled() {
			return usageError{fmt.Errorf("--policy: %q is disabled", p.Name)}
		}
	}
	return nil
}

// run opens everything in the order in which it is closed again, and hands over
// to the daemon or to the one-shot.
func (a *app) run(ctx context.Context, cfg *configs.Config, o runOptions) (err error) {
	shown, to := &progress{}, a.err
	if o.once {
		shown = newProgress(a.err, "signing")
		defer shown.finish()
		to = shown
	}
	log, err := a.logger(to)
	if err != nil {
		return err
	}
	metrics := control.NewMetrics()
	tracer, err := openTracer(ctx, cfg.Tracing, log.Named("tracing"))
	if err != nil {
		return usageError{err}
	}
	defer closeTracer(tracer, log)
	j, err := journal.Open(ctx, journal.Options{State: cfg.State, Log: log.Named("journal"),
		Ended: func(x journal.Execution) { metrics.Ended(x); tracer.Executed(x) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	d, opened, err := a.build(ctx, cfg, &service{app: a, log: log, journal: j, state: cfg.State, progress: shown, config: cfg, metrics: metrics, tracer: tracer})
	if err != nil {
		return err
	}
	if o.full {
		if err := d.doubt(ctx, o.policies); err != nil {
			return errors.Join(err, d.engine.Stop(ctx))
		}
	}
	d.sinks.start(opened)
	defer d.sinks.abandon() // unless a stop in order has come before
	if o.once {
		return d.once(ctx, o.policies)
	}
	return d.serve(ctx)
}

// build makes a service of a configuration and what is open already. It closes what it
// opened if it fails.
func (a *app) build(ctx context.Context, cfg *configs.Config, d *service) (_ *service, opened []openedSink, err error) {
	for _, w := range cfg.Warnings() {
		d.log.Warn("configuration", zap.String("field", w.Field), zap.String("problem", w.Problem))
	}
	d.opener, d.sinks = &opener{}, &sinks{journal: d.journal, log: d.log.Named("sinks")}
	setup, err := d.opener.open(ctx, cfg)
	if err != nil {
		return nil, nil, usageError{err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, setup.Close())
		}
	}()
	d.current.Store(cfg)
	d.rights = rights.New(rights.Options{Journal: d.journal, Log: d.log.Named("audit"), Answered: d.metrics.Answered,
		GiveWay: func() func() { return d.engine.GiveWay() }})
	if d.door, err = door.New(door.Config{Admit: admits(control.Known, tcr.NewLimiter(0).Admit, d.rights.Admit)}); err != nil {
		return nil, nil, err
	}
	if d.seal, err = d.opener.openSeal(ctx, cfg.SignatureKeys); notNow(err) {
		return nil, nil, err // a key store's: another start may go well
	} else if err != nil {
		return nil, nil, usageError{err}
	}
	d.signatureKeys = apig.NewKeys(apig.KeysOptions{Journal: d.journal, Seal: d.seal})
	if opened, err = d.openSinks(cfg); err == nil {
		err = d.admit(cfg)
	}
	if err != nil {
		return nil, nil, usageError{err}
	}
	if err := d.reseal(ctx); err != nil {
		return nil, nil, err
	}
	d.warnOfKeys()
	d.engine = engine.New(engine.Options{Journal: d.journal, Setup: setup, Log: d.log.Named("engine"), Observe: d.observe,
		PushToSigned: d.metrics.PushToSigned, Lost: d.metrics.Lost, KeyUsed: d.metrics.KeyUsed, Fired: d.metrics.Fired, Tracer: d.tracer})
	d.health = control.NewHealth(control.HealthOptions{Dependencies: d.dependencies, Log: d.log.Named("health")})
	return d, opened, d.engine.Sync(ctx)
}

// socketPath is where the daemon with that state listens: in the state
// directory, or, when the state is a database elsewhere, in the runtime
// directory.
func socketPath(state string) string {
	if !isURL(state) {
		return filepath.Join(state, control.SocketName)
	}
	dir := os.Getenv("RUNTIME_DIRECTORY") // set by systemd
	if dir == "" {
		dir = "/run/sealwright"
	}
	return filepath.Join(dir, control.SocketName)
}

func isURL(state string) bool {
	return strings.HasPrefix(state, "postgres://") || strings.HasPrefix(state, "postgresql://")
}

// shownState hides what a database URL may hold of credentials.
func shownState(state string) string {
	if isURL(state) {
		return "the configured database"
	}
	return state
}
