// Package rights decides what a caller may do: which registry the name means that a
// vendor's API calls it by, whether the caller sees it, what its role allows, how
// often it may ask, and when it is its turn. It keeps the audit log of what callers
// changed, and sees to it that who is refused leaves a trace.
//
// Who the caller is has been found out before, by package door.
package rights

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

// Why a caller is refused.
var (
	// ErrUnknown is for what is not there, or not for this caller: it cannot tell.
	ErrUnknown = errors.New("there is none that you may see")
	// ErrRole is for what the caller sees and may not do.
	ErrRole = errors.New("your role does not allow this")
	// ErrRate is for a caller who asks too often. It may ask again later.
	ErrRate = errors.New("too many requests")
	// ErrBusy is for a request whose turn does not come. It may be sent again later.
	ErrBusy = errors.New("too many requests are waiting; try again later")
	// ErrSlow is for a read that takes too long.
	ErrSlow = errors.New("it took too long; ask for less at once, or with other filters")
	// ErrOrigin is for a change that a page of another site has a browser ask for.
	ErrOrigin = errors.New("a page of another site asks for this; browsers may change nothing for it here")
)

// ErrPanic is why there is no success for who asked for what ended in a panic.
var ErrPanic = errors.New("panic")

// An Instance is a registry by the name that a vendor's API has for it.
type Instance struct{ ID, Registry string }

// Options are what Rights work with. Journal and Log are required.
type Options struct {
	Journal *journal.Journal
	Log     *zap.Logger
	// PerSecond is how many requests a caller may send for good, and Burst how many
	// at once. Defaults 50 and 100.
	PerSecond float64
	Burst     int
	// Answered is told of each answer: of which API, to which of its operations, or
	// "other", and its code. Nil: nobody is.
	Answered func(api, operation, code string)
	// Clock is time.Now by default. It is called by many goroutines.
	Clock func() time.Time
	// GiveWay is called when a request asks for a slot or a turn, and what it returns when
	// it has had it or has given up. Nil: nothing gives way.
	GiveWay func() (done func())
	// Slots is how many requests are worked on at once. Default: see NewTurns.
	Slots int
}

// Rights are those of all callers. Their methods may be called by many goroutines.
type Rights struct {
	options   Options
	turns     *Turns
	instances atomic.Pointer[[]Instance]

	mu       sync.Mutex
	budgets  map[string]*budget // by caller; of those who are none any more, only of whom something is to be told
	warnings map[[2]string]*warning
}

// A budget is how much a caller may do.
type budget struct {
	requests *rate.Limiter
	// forbidden and invalid are the changes that were not begun, as the caller may not
	// make them, and for all other reasons.
	forbidden, invalid *share
}

// New returns rights that know no instance.
func New(o Options) *Rights {
	if o.PerSecond <= 0 {
		o.PerSecond = 50
	}
	if o.Burst <= 0 {
		o.Burst = 100
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	r := &Rights{options: o, turns: NewTurns(o.Slots, JournalTurns, o.GiveWay), budgets: map[string]*budget{}, warnings: map[[2]string]*warning{}}
	r.instances.Store(&[]Instance{})
	return r
}

// Turns are those of all requests that these rights are about.
func (r *Rights) Turns() *Turns { return r.turns }

// Replace sets the instances. A registry's own name is always one, unless an
// instance of another registry has it.
func (r *Rights) Replace(instances []Instance, registries []string) {
	all := slices.Clone(instances)
	for _, name := range registries {
		if !slices.ContainsFunc(instances, func(i Instance) bool { return i.ID == name }) {
			all = append(all, Instance{ID: name, Registry: name})
		}
	}
	r.instances.Store(&all)
	r.mu.Lock()
	defer r.mu.Unlock()
	// There may be nobody any more of the callers before, but what was left out of the
	// audit log is to be told.
	maps.DeleteFunc(r.budgets, func(_ string, b *budget) bool { return b.forbidden.leftOut.Load()+b.invalid.leftOut.Load() == 0 })
}

// Registry returns the name of the registry that an API calls id, or ErrUnknown.
func (r *Rights) Registry(c door.Caller, id string) (string, error) {
	for _, i := range *r.instances.Load() {
		if i.ID == id && c.Sees(i.Registry) {
			return i.Registry, nil
		}
	}
	return "", ErrUnknown
}

// Instances returns those that the caller sees, each registry once, by the first
// name that it has.
func (r *Rights) Instances(c door.Caller) []Instance {
	var list []Instance
	for _, i := range *r.instances.Load() {
		if c.Sees(i.Registry) && !slices.ContainsFunc(list, func(o Instance) bool { return o.Registry == i.Registry }) {
			list = append(list, i)
		}
	}
	return list
}

// Names returns what APIs call a registry that the caller sees.
func (r *Rights) Names(c door.Caller, registry string) []string {
	var names []string
	for _, i := range *r.instances.Load() {
		if i.Registry == registry && c.Sees(registry) {
			names = append(names, i.ID)
		}
	}
	return names
}

// Allow returns ErrRole if the caller has less than the role.
func Allow(c door.Caller, role door.Role) error {
	if c.Role < role {
		return fmt.Errorf("%w: it is %s, and this needs %s", ErrRole, c.Role, role)
	}
	return nil
}

// Admit counts a request of a caller. It returns ErrRate for one too many. It is for
// [door.Config].
func (r *Rights) Admit(c door.Caller, _ *http.Request) error {
	if !r.budget(c).requests.AllowN(r.options.Clock(), 1) {
		return ErrRate
	}
	return nil
}

func (r *Rights) budget(c door.Caller) *budget {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.budgets[c.Name]
	if b == nil {
		b = &budget{requests: rate.NewLimiter(rate.Limit(r.options.PerSecond), r.options.Burst), forbidden: newShare(), invalid: newShare()}
		r.budgets[c.Name] = b
	}
	return b
}

// notDone is what came of a change that failed, in the audit log. Why is for the log, or
// for who asked: the audit log has more readers.
const notDone = "not done"

// A Change is what a caller wants changed, for the audit log.
type Change struct {
	Caller    door.Caller
	API       string // the dialect
	Action    string // in the dialect's own word
	Target    string // what is changed; no secret
	RequestID string
}

// Change lets do change something, and writes down before that it will, and after it
// what came of it. Nothing is changed that cannot be written down; then the caller may
// send the same request again.
func (r *Rights) Change(ctx context.Context, c Change, do func(context.Context) error) error {
	id, err := r.options.Journal.Audit(ctx, journal.AuditEntry{Caller: c.Caller.Name, API: c.API, Action: c.Action, Target: c.Target, RequestID: c.RequestID})
	if err != nil {
		if ctx.Err() == nil { // who has left may not come again unseen
			c.Caller.Forget()
			note(ctx) // what cannot be written down now cannot in another way either; it is counted
			r.budget(c.Caller).invalid.leftOut.Add(1)
		}
		return err
	}
	note(ctx)
	err = do(ctx)
	outcome := "done"
	if err != nil {
		outcome = notDone
	}
	fields := []zap.Field{zap.String("caller", c.Caller.Name), zap.String("api", c.API), zap.String("action", c.Action),
		zap.String("target", c.Target), zap.String("request", c.RequestID), zap.String("outcome", outcome)}
	if err != nil {
		fields = append(fields, zap.NamedError("why", err))
	}
	r.options.Log.Info("change", fields...)
	if auditErr := r.options.Journal.Audited(context.WithoutCancel(ctx), id, outcome); auditErr != nil {
		// The entry says already who wanted what; the change cannot be undone.
		r.options.Log.Error("audit log: the outcome was not written", append(fields, zap.Error(auditErr))...)
	}
	return err
}
