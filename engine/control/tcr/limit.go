package tcr

import (
	"net/http"
	"sync"

	"golang.org/x/time/rate"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// PerSecond is how often a caller may call one action, as Tencent has it.
const PerSecond = 20

// A Limiter counts how often each caller calls each action of the API. Its methods
// may be called by many goroutines.
type Limiter struct {
	perSecond float64

	mu      sync.Mutex
	budgets map[[2]string]*rate.Limiter // by caller and action; there are few of both
}

// NewLimiter returns a limiter; 0 means PerSecond.
func NewLimiter(perSecond float64) *Limiter {
	if perSecond <= 0 {
		perSecond = PerSecond
	}
	return &Limiter{perSecond: perSecond, budgets: map[[2]string]*rate.Limiter{}}
}

// Admit returns [rights.ErrRate] for a call too many. Requests of other APIs do not
// count. It is for [door.Config], where a request that is refused is not remembered:
// Tencent's SDKs send it again with the same signature.
func (l *Limiter) Admit(c door.Caller, r *http.Request) error {
	if !Handles(r) {
		return nil
	}
	name := r.Header.Get("X-TC-Action")
	if _, known := actionOf(name); !known {
		name = "" // anybody can think of more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{c.Name, name}
	budget := l.budgets[key]
	if budget == nil {
		budget = rate.NewLimiter(rate.Limit(l.perSecond), max(1, int(l.perSecond)))
		l.budgets[key] = budget
	}
	if !budget.Allow() {
		return rights.ErrRate
	}
	return nil
}
