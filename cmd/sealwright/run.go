package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// drainTimeout is how long a stop waits for artifacts that have begun. It stays
// below systemd's default of 90 s.
const drainTimeout = 75 * time.Second

// syncEvery is how often is looked for policies that other replicas stored.
const syncEvery = 2 * time.Second

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
	open := &opener{}
	setup, err := open.open(ctx, cfg)
	if err != nil {
		return usageError{err}
	}
	metrics := control.NewMetrics()
	tracer, err := openTracer(ctx, cfg.Tracing, log.Named("tracing"))
	if err != nil {
		return errors.Join(usageError{err}, setup.Close())
	}
	defer closeTracer(tracer, log)
	j, err := journal.Open(ctx, journal.Options{State: cfg.State, Log: log.Named("journal"),
		Ended: func(x journal.Execution) { metrics.Ended(x); tracer.Executed(x) }})
	if err != nil {
		return errors.Join(err, setup.Close())
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	for _, w := range cfg.Warnings() {
		log.Warn("configuration", zap.String("field", w.Field), zap.String("problem", w.Problem))
	}
	callers := rights.New(rights.Options{Journal: j, Log: log.Named("audit")})
	nobody, err := door.New(door.Config{Admit: admits(tcr.NewLimiter(0).Admit, callers.Admit)})
	if err != nil {
		return errors.Join(err, setup.Close())
	}
	d := &service{app: a, log: log, door: nobody, rights: callers, opener: open, journal: j, state: cfg.State, progress: shown, config: cfg, metrics: metrics,
		sinks: &sinks{journal: j, log: log.Named("sinks")}}
	d.current.Store(cfg)
	var opened []openedSink
	if d.seal, err = openSeal(cfg.SignatureKeys); err == nil {
		d.signatureKeys = apig.NewKeys(apig.KeysOptions{Journal: j, Seal: d.seal})
		opened, err = d.openSinks(cfg.Sinks)
	}
	if err == nil {
		err = d.reseal(ctx)
	}
	if err == nil {
		err = d.admit(cfg)
	}
	if err != nil {
		return errors.Join(usageError{err}, setup.Close())
	}
	d.warnOfKeys()
	d.engine = engine.New(engine.Options{Journal: j, Setup: setup, Log: log.Named("engine"), Observe: d.observe,
		PushToSigned: d.metrics.PushToSigned, Lost: d.metrics.Lost, KeyUsed: d.metrics.KeyUsed, Fired: d.metrics.Fired,
		Tracer: tracer})
	if err := d.engine.Sync(ctx); err != nil {
		if errors.Is(err, engine.ErrNameTaken) {
			err = usageError{err}
		}
		return errors.Join(err, setup.Close())
	}
	d.health = control.NewHealth(control.HealthOptions{Dependencies: d.engine.Dependencies, Log: log.Named("health")})
	if o.full {
		if err := d.doubt(ctx, o.policies); err != nil {
			return err
		}
	}
	d.sinks.start(opened)
	defer d.sinks.abandon() // unless a stop in order has come before
	if o.once {
		return d.once(ctx, o.policies)
	}
	return d.serve(ctx)
}

// A service is a running engine with what feeds it.
type service struct {
	app      *app
	log      *zap.Logger
	opener   *opener
	engine   *engine.Engine
	journal  *journal.Journal
	state    string
	progress *progress
	metrics  *control.Metrics
	health   *control.Health
	door     *door.Door
	rights   *rights.Rights
	config   *configs.Config // that is in force; to other goroutines, current
	current  atomic.Pointer[configs.Config]
	draining []func() // what ends answers that would last

	seal          *apig.Seal // nil: no signature keys
	signatureKeys *apig.Keys
	opening       *opening // nil: none is under way
	sinks         *sinks
}

// doubt makes the next execution of each policy, or of those that are named,
// verify everything.
func (d *service) doubt(ctx context.Context, names []string) error {
	for _, p := range d.engine.Policies() {
		if len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		if err := d.engine.Doubt(ctx, p.Name); err != nil {
			return err
		}
	}
	return nil
}

func (d *service) observe(o engine.Outcome) {
	d.progress.add(o.Status == journal.Failed)
	d.metrics.Outcome(o)
}

// signals delivers what the daemon listens to until the returned stop is called.
func signals() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	return ch, func() { signal.Stop(ch) }
}

// serve runs until a signal or ctx stops it.
func (d *service) serve(ctx context.Context) error {
	sig, stopSignals := signals()
	defer stopSignals()
	socket := socketPath(d.state)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return fmt.Errorf("control socket: %w (set RUNTIME_DIRECTORY to a directory of your own)", err)
	}
	server, err := control.Listen(ctx, socket, control.Options{Engine: d.engine, Journal: d.journal, Health: d.health, Log: d.log.Named("control"),
		Collectors: d.collectors(), API: d.ownAPI(local)})
	if err != nil {
		return err
	}
	listening, err := d.receive(ctx)
	if err != nil {
		return errors.Join(err, server.Close(ctx, socket))
	}
	if err := d.engine.Start(ctx); err != nil {
		return errors.Join(err, listening.Close(ctx), server.Close(ctx, socket))
	}
	scheduling, stopScheduling := context.WithCancel(ctx)
	var scheduled sync.WaitGroup
	scheduled.Go(func() { d.engine.Schedule(scheduling) })
	scheduled.Go(func() { d.engine.SyncEvery(scheduling, syncEvery) })
	watchdog, stopWatchdog := startWatchdog(d.log, d.journal.Ping)
	notify(d.log, ready)
	d.log.Info("running", zap.String("version", version()), zap.Int("policies", len(d.engine.Policies())),
		zap.Int("pid", os.Getpid()), zap.Duration("watchdog", watchdog))
	d.listen(ctx, sig)

	notify(d.log, stopping)
	d.log.Info("stopping, finishing what has begun")
	stopScheduling()
	scheduled.Wait()
	drain, cancel := d.drain(sig)
	defer cancel()
	for _, end := range d.draining {
		end()
	}
	err = listening.Close(drain) // takes seconds at most; what it took is in the journal
	err = errors.Join(err, d.engine.Stop(drain), server.Close(drain, socket))
	d.sinks.finish(drain, sinkPatience)
	stopWatchdog()
	d.log.Info("stopped")
	return err
}

// collectors are the metrics besides those of the engine and the process.
func (d *service) collectors() []prometheus.Collector {
	return []prometheus.Collector{d.opener, d.metrics, d.sinks}
}

// receive listens for events, if the configuration says where. Without, the
// Listener is nil.
func (d *service) receive(ctx context.Context) (*control.Listener, error) {
	c := d.config
	if c.Listen == "" {
		return nil, nil
	}
	log := d.log.Named("events")
	var prove func(context.Context, string, *http.Request, []byte) error
	if d.seal != nil {
		prove = d.provenBy
	}
	l, err := control.ListenAt(ctx, control.ListenOptions{Address: c.Listen, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, ClientCertificates: true, Log: log,
		Handler: control.Network(control.NetworkOptions{Engine: d.engine, Health: d.health, Door: d.door, Collectors: d.collectors(),
			Events: control.Events(control.EventOptions{Engine: d.engine, Receiver: d.opener.receiver, Log: log, Metrics: d.metrics, Prove: prove}),
			APIs:   d.networkAPIs()})})
	if err != nil {
		return nil, err
	}
	d.log.Info("listening", zap.String("address", l.Address()), zap.Bool("tls", c.TLS.CertFile != ""))
	return l, nil
}

// listen acts on signals until one of them, or ctx, asks to stop.
func (d *service) listen(ctx context.Context, sig <-chan os.Signal) {
	again := time.NewTicker(reopenEvery)
	defer again.Stop()
	defer d.abandon()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			d.reopen(ctx)
		case <-d.opening.ended():
			d.settle()
		case s := <-sig:
			switch s {
			case syscall.SIGHUP:
				d.reload(ctx)
			case syscall.SIGUSR1:
				d.fireAll(ctx)
			default:
				return
			}
		}
	}
}

// drain returns the context of a stop: it ends after drainTimeout, or at the
// second signal to stop.
func (d *service) drain(sig <-chan os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-sig:
				if s == syscall.SIGTERM || s == syscall.SIGINT {
					d.log.Warn("second signal, stopping at once")
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// fireAll fires every enabled policy.
func (d *service) fireAll(ctx context.Context) {
	for _, p := range d.engine.Policies() {
		if !p.IsEnabled() {
			continue
		}
		if _, err := d.engine.Fire(ctx, p.Name); err != nil {
			d.log.Error("policy not fired", zap.String("policy", p.Name), zap.Error(err))
		}
	}
}

// once fires policies, waits for them, prints a summary.
func (d *service) once(ctx context.Context, names []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(names) == 0 {
		for _, p := range d.engine.Policies() {
			if p.IsEnabled() {
				names = append(names, p.Name)
			}
		}
	}
	if len(names) == 0 {
		return usageError{errors.New("no policy is enabled")}
	}
	var ids []int64
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue // named twice
		}
		x, err := d.engine.Fire(ctx, name)
		if err != nil {
			if errors.Is(err, engine.ErrPolicy) {
				err = usageError{err}
			}
			return err
		}
		ids = append(ids, x.ID)
	}
	if err := d.engine.Start(ctx); err != nil {
		return err
	}
	ended, waitErr := d.await(ctx, ids)
	stop() // a second signal ends the process as usual
	d.progress.finish()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := d.engine.Stop(drain); err != nil {
		return err
	}
	d.sinks.finish(drain, drainTimeout)
	if waitErr != nil {
		return fmt.Errorf("interrupted; what was signed stays, and the same command goes on: %w", waitErr)
	}
	return d.app.summary(drain, d.journal, ended)
}

// await waits until all executions have ended.
func (d *service) await(ctx context.Context, ids []int64) ([]journal.Execution, error) {
	ended := make([]journal.Execution, 0, len(ids))
	for _, id := range ids {
		x, err := follow(ctx, id, d.journal.Execution)
		if err != nil {
			return nil, err
		}
		ended = append(ended, x)
	}
	return ended, nil
}

// followEvery is how often an execution is asked how far it got.
const followEvery = 200 * time.Millisecond

// follow waits until an execution has ended.
func follow(ctx context.Context, id int64, ask func(context.Context, int64) (journal.Execution, error)) (journal.Execution, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		x, err := ask(ctx, id)
		if err != nil || x.Status.Final() {
			return x, err
		}
		select {
		case <-ctx.Done():
			return x, ctx.Err()
		case <-tick.C:
		}
	}
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
