package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/tracing"
	"github.com/sealwright/sealwright/engine/turn"
)

// Options are what an Engine works with.
type Options struct {
	Journal *journal.Journal
	Setup   *Setup
	Log     *zap.Logger      // nil: no logs
	Now     func() time.Time // nil: time.Now
	// Deadline bounds one artifact, retries included. Default 3 minutes.
	Deadline time.Duration
	// Slice bounds one stretch of work on a repository; a longer listing
	// continues in the next one. The jobs of a replica that died are taken over
	// by another when Slice and Deadline are over. Default 1 minute.
	Slice time.Duration
	// Workers is how many repositories of one lane are worked on at once.
	// Default 8.
	Workers int
	// Settling is how long after a push by digest alone a repository is looked
	// through for untagged artifacts. Default 20 seconds.
	Settling time.Duration
	// PutOff is how long a push that could not be dealt with waits for the next
	// attempt; then twice as long each time, at most 40 times. Default 15 seconds.
	PutOff time.Duration
	// Grace is how old pushes may be whose policy this process does not know, or
	// knows as disabled, before they are dropped: a replica may have taken them
	// that got its configuration earlier. Default 10 minutes.
	Grace time.Duration
	// StoredQuota is how many policies may be stored for one registry. Default 10,000.
	StoredQuota int
	// CatalogAge is how long a listing of a registry's repositories is used again for
	// callers of APIs. Default 10 seconds; negative: not at all.
	CatalogAge time.Duration
	// Observe, when set, is told of each artifact's outcome. It must not block,
	// nor may the functions below.
	Observe func(Outcome)
	// KeyUsed, when set, is told of each use of a key, by its name, and what came of it.
	KeyUsed func(key string, took time.Duration, err error)
	// Tracer traces executions; nil traces nothing.
	Tracer *tracing.Tracer
	// Fired, when set, is told of each firing.
	Fired func(journal.Firing, journal.FireResult)
	// PushToSigned, when set, is told how long after it was pushed, by the event's
	// own time, an artifact was signed.
	PushToSigned func(time.Duration)
	// Lost, when set, is told the policy of a signature that was verified before
	// and is not in the registry any more.
	Lost func(policy string)
}

// An Engine fires policies and carries out their executions.
type Engine struct {
	opts     Options
	journal  *journal.Journal
	log      *zap.Logger
	setup    atomic.Pointer[Setup]
	storing  sync.Mutex    // held while the setup, or what is stored in it, is replaced
	changed  chan struct{} // 1-buffered: the setup was replaced
	stopping chan struct{} // closed: begin no more artifacts
	stopOnce sync.Once
	way      way
	busy     turn.Order      // one artifact is worked on once in this process
	unended  unended         // what the journal could not be told of artifacts
	cut      context.Context //nolint:containedctx // ends artifacts that have begun; the engine's life, not a call's
	cutNow   context.CancelFunc
	retired  sync.WaitGroup
	listings sync.WaitGroup // of registries' repositories
	doubts   sync.Map       // names of policies whose Doubt waits for their key
	known    atomic.Pointer[knownPolicies]
}

// New returns an engine; nothing runs before Start.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Deadline <= 0 {
		o.Deadline = 3 * time.Minute
	}
	if o.Slice <= 0 {
		o.Slice = time.Minute
	}
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Settling <= 0 {
		o.Settling = settling
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Minute
	}
	if o.StoredQuota <= 0 {
		o.StoredQuota = storedQuota
	}
	if o.CatalogAge == 0 {
		o.CatalogAge = catalogAge
	}
	if o.PutOff <= 0 {
		o.PutOff = putOff
	}
	e := &Engine{opts: o, journal: o.Journal, log: o.Log, changed: make(chan struct{}, 1), stopping: make(chan struct{}), way: newWay()}
	e.setup.Store(o.Setup)
	e.cut, e.cutNow = context.WithCancel(context.Background())
	return e
}

// Start begins to carry out what the journal holds, interrupted work first.
func (e *Engine) Start(ctx context.Context) error {
	return e.journal.StartJobs(ctx, journal.Handlers{Walk: e.walk, Task: e.task}, journal.JobOptions{
		PushWorkers:    e.opts.Workers,
		LiveWorkers:    e.opts.Workers,
		BacklogWorkers: e.opts.Workers,
		Slice:          e.opts.Slice,
		// A job waits for the artifacts that it has begun.
		Grace:       e.opts.Deadline + saveTimeout + graceMargin,
		WalkTimeout: walkTimeout,
	})
}

// Schedule fires what is due by a schedule until ctx ends: scheduled policies,
// the reconciling of event_based ones, drift scans.
func (e *Engine) Schedule(ctx context.Context) {
	s := &scheduler{ticks: e.journal, now: e.opts.Now, log: e.log.Named("scheduler"),
		fire: func(ctx context.Context, due schedule, tick time.Time) error {
			b, err := e.setup.Load().find(due.name)
			if errors.Is(err, ErrPolicy) {
				return nil // replaced since; the schedules are asked for anew
			}
			if err == nil {
				_, err = e.fire(ctx, journal.Firing{Policy: due.name, PolicyVersion: b.Version(), Registry: b.Registry,
					Trigger: policy.Scheduled, Tick: tick, Lane: journal.Backlog, Schedule: due.cron})
			}
			return err
		}}
	s.run(ctx, e.schedules, e.changed)
}

// schedules returns what may be due by a schedule.
func (e *Engine) schedules() []schedule {
	setup := e.setup.Load()
	out := make([]schedule, 0, 2*len(setup.policies))
	for b := range setup.all() {
		own, drift := schedule{name: b.Name}, schedule{name: driftPrefix + b.Name}
		if b.IsEnabled() {
			own.cron = b.Trigger.Schedule()
		}
		if b.IsEnabled() && setup.Upkeep.Remember > 0 {
			drift.cron = setup.Upkeep.DriftScan
		}
		out = append(out, own, drift)
	}
	return out
}

// Stop begins no more artifacts, lets those that have begun finish, and returns
// when they have. When ctx ends first, they are cut. What was cut or not begun
// stays in the journal and goes on when another engine starts on it. Stop closes
// the setup; the engine is of no use afterwards.
func (e *Engine) Stop(ctx context.Context) error {
	e.stopOnce.Do(func() { close(e.stopping) })
	defer e.listings.Wait() // cut by then
	defer e.cutNow()
	defer context.AfterFunc(ctx, e.cutNow)()
	err := e.journal.StopJobs(ctx)
	for _, end := range e.unended.takeAll() {
		if !end(ctx).Status.Final() {
			break // nor can the others; as after a crash, the next start finds out
		}
	}
	e.retired.Wait()
	return errors.Join(err, e.setup.Load().Close())
}

// walkTimeout bounds the listing of a registry's repositories. A replica that
// died while it walked is replaced after that time.
const walkTimeout = 10 * time.Minute

// graceMargin is what a job may take beyond its slice and its last artifact.
const graceMargin = 10 * time.Second

// Policies returns the policies of the current setup.
func (e *Engine) Policies() []policy.Policy {
	var out []policy.Policy
	for b := range e.setup.Load().all() {
		out = append(out, b.Policy)
	}
	return out
}

// Replace makes the engine work with next, and with the policies that are stored,
// from now on. Tasks that have begun keep the old setup, which is closed when the
// last of them ends. It must not be called after Stop.
func (e *Engine) Replace(next *Setup) {
	e.storing.Lock()
	defer e.storing.Unlock()
	was := e.setup.Load().stored.Load()
	next.store(was)
	if now := next.stored.Load(); now != nil {
		e.tellBroken(was, now)
		e.tellSilent(was, e.setup.Load(), next)
	}
	old := e.setup.Swap(next)
	e.retired.Go(func() {
		if err := old.Close(); err != nil {
			e.log.Warn("closing the replaced setup", zap.Error(err))
		}
	})
	e.noteChange()
}

// noteChange makes the scheduler ask for the schedules anew.
func (e *Engine) noteChange() {
	select {
	case e.changed <- struct{}{}:
	default: // a change is already to be noticed
	}
}

// ErrPolicy is wrapped by Fire's errors about the policy that was named.
var ErrPolicy = errors.New("cannot fire policy")

// Fire fires the policy of that name by hand, in the live lane. A policy whose
// execution is under way is fired again when that ends; any number of such
// firings make one execution.
func (e *Engine) Fire(ctx context.Context, name string) (journal.Execution, error) {
	return e.FireFor(ctx, "", name)
}

// FireFor is Fire for a request that has an id, which is kept with the execution and
// its records. Without one they get one of their own.
func (e *Engine) FireFor(ctx context.Context, requestID, name string) (journal.Execution, error) {
	setup := e.setup.Load()
	b, err := setup.find(name)
	switch {
	case err != nil:
		return journal.Execution{}, err
	case !b.IsEnabled():
		return journal.Execution{}, fmt.Errorf("%w: %q is disabled", ErrPolicy, name)
	case b.drift && setup.Upkeep.Remember <= 0:
		return journal.Execution{}, fmt.Errorf("%w: %q has nothing to scan, as remember is 0", ErrPolicy, name)
	}
	f := b.firing(name, journal.Live)
	f.RequestID = requestID
	return e.fire(ctx, f)
}

// firing is one by hand.
func (b *bound) firing(name string, lane journal.Lane) journal.Firing {
	return journal.Firing{Policy: name, PolicyVersion: b.Version(), Registry: b.Registry, Trigger: policy.Manual, Lane: lane}
}

func (e *Engine) fire(ctx context.Context, f journal.Firing) (journal.Execution, error) {
	x, result, err := e.journal.Fire(ctx, f)
	if err != nil {
		return x, fmt.Errorf("firing policy %q: %w", f.Policy, err)
	}
	if e.opts.Fired != nil {
		e.opts.Fired(f, result)
	}
	e.log.Info("policy fired", zap.String("policy", f.Policy), zap.String("trigger", string(f.Trigger)),
		zap.String("request", x.RequestID), zap.Int64("execution", x.ID), zap.String("result", string(result)))
	return x, nil
}

// isStopping reports whether no more artifacts may begin.
func (e *Engine) isStopping() bool {
	select {
	case <-e.stopping:
		return true
	default:
		return false
	}
}
