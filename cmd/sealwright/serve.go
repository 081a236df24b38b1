package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/tracing"
)

// drainTimeout is how long a stop waits for artifacts that have begun. It stays
// below systemd's default of 90 s.
const drainTimeout = 75 * time.Second

// syncEvery is how often is looked for policies that other replicas stored.
const syncEvery = 2 * time.Second

// pruneEvery is how often is looked for what is too old to be kept.
const pruneEvery = time.Hour

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
	tracer   *tracing.Tracer
	health   *control.Health
	door     *door.Door
	rights   *rights.Rights
	config   *configs.Config // that is in force; to other goroutines, current
	current  atomic.Pointer[configs.Config]
	draining []func() // what ends answers that would last

	certificates certificates

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
	server, err := control.Listen(ctx, socket, control.Options{Engine: d.engine, Journal: d.journal, Health: d.health, Rights: d.rights, Log: d.log.Named("control"),
		Collectors: d.collectors(), API: d.ownAPI(local, rights.NewTurns(0, 1, d.engine.GiveWay))})
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
	scheduled.Go(func() { d.engine.PruneAuditEvery(scheduling, pruneEvery) })
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
	return []prometheus.Collector{d.opener, d.metrics, d.sinks, &d.certificates}
}

// receive listens for events, if the configuration says where. Without, the
// Listener is nil.
func (d *service) receive(ctx context.Context) (*control.Listener, error) {
	c := d.config
	if c.Listen == "" {
		return nil, nil
	}
	log := d.log.Named("events")
	var keys control.SignatureKeys
	if d.seal != nil {
		keys = eventKeys{d.signatureKeys}
	}
	l, err := control.ListenAt(ctx, control.ListenOptions{Address: c.Listen, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, ClientCertificates: true, Log: log,
		Handler: control.Network(control.NetworkOptions{Engine: d.engine, Log: d.log.Named("control"), Health: d.health, Door: d.door, Collectors: d.collectors(),
			Events: control.Events(control.EventOptions{Engine: d.engine, Receiver: d.opener.receiver, Log: log, Metrics: d.metrics, Keys: keys}),
			APIs:   d.networkAPIs(), Rights: d.rights})})
	if err != nil {
		return nil, err
	}
	d.certificates.listen(l)
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

// fireAll fires every enabled policy, for whoever sent SIGUSR1: a signal does not tell.
func (d *service) fireAll(ctx context.Context) {
	sender, request := door.Caller{Name: "local", Role: door.Admin}, rand.Text()
	for _, p := range d.engine.Policies() {
		if !p.IsEnabled() {
			continue
		}
		err := d.rights.Change(ctx, rights.Change{Caller: sender, API: "signal", Action: "SIGUSR1", Target: p.Registry + "/" + p.Name, RequestID: request},
			func(ctx context.Context) error {
				_, err := d.engine.FireFor(ctx, request, p.Name)
				return err
			})
		if err != nil {
			d.log.Error("policy not fired", zap.String("policy", p.Name), zap.Error(err))
		}
	}
}
