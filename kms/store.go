package kms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
)

// Defaults of StoreConfig.
const (
	DefaultRequestsPerSecond = 50
	DefaultConcurrency       = 16
	DefaultTimeout           = 10 * time.Second
)

// A StoreConfig describes one key store. Its zero value is the store that the
// vendor's usual environment variables and files describe.
type StoreConfig struct {
	// Name is for messages. Default: the scheme of the key's URI.
	Name string
	// Endpoint is the URL of the store instead of the vendor's usual one.
	Endpoint string
	// Region is the vendor's name of the region.
	Region string
	// Namespace is Vault's.
	Namespace string
	// Project is Huawei's project id.
	Project string
	// CAFile is the path of PEM certificates that are trusted besides the
	// system's.
	CAFile string
	// Auth is how to log in. Its zero value is the vendor's usual way.
	Auth Auth
	// Limits are what the store may be asked at most, by all its keys together.
	// Defaults DefaultRequestsPerSecond and DefaultConcurrency.
	Limits budget.Limits
	// Timeout bounds one attempt. Default DefaultTimeout.
	Timeout time.Duration
	// Helper is the unix socket of sealwright-pkcs11, for pkcs11: keys.
	Helper string
	// Plugin is the absolute path of a program that speaks sigstore's key store
	// plugin protocol, for plugin: keys.
	Plugin string
	// Transport sends requests instead of an own http.Transport.
	Transport http.RoundTripper
}

// Auth says how to log in to a key store. Which fields are used depends on the
// store; the paths of files are read again when the store refuses what they
// held, so that credentials can be renewed in place.
type Auth struct {
	TokenFile      string // hashivault
	RoleID         string // hashivault, AppRole
	SecretIDFile   string // hashivault, AppRole
	KubernetesRole string // hashivault, Kubernetes
	JWTFile        string // hashivault, Kubernetes. Default: the pod's service account token
	Mount          string // hashivault: path of the auth method. Default: approle, kubernetes
	AccessKey      string // awskms, huaweikms, tencentkms, alikms: the public half
	SecretKeyFile  string // the same: path of the secret half
	ConfigFile     string // awskms, gcpkms, ocikms: path of the vendor's own credentials file
	Profile        string // awskms, ocikms: section of that file
}

// A Store is one key store as its keys share it: one budget, one circuit
// breaker, one pool of connections. It is safe for concurrent use.
type Store struct {
	config  StoreConfig
	budget  *budget.Budget
	breaker breaker
	tally   tally
	base    http.RoundTripper
	shared  sync.Map // what else an adapter's keys have in common, such as a login
}

// NewStore returns the store that cfg describes. It sends no request. An error
// is about cfg.CAFile.
func NewStore(cfg StoreConfig) (*Store, error) {
	if cfg.Limits.RequestsPerSecond <= 0 {
		cfg.Limits.RequestsPerSecond = DefaultRequestsPerSecond
	}
	if cfg.Limits.Concurrency <= 0 {
		cfg.Limits.Concurrency = DefaultConcurrency
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	base := cfg.Transport
	if base == nil {
		var err error
		if base, err = newBase(cfg); err != nil {
			return nil, err
		}
	}
	return &Store{config: cfg, budget: budget.New(cfg.Limits), base: base}, nil
}

// client returns an HTTP client for a vendor's library. It neither retries nor
// follows redirects; answers are cut at maxAnswer.
func (s *Store) client() *http.Client {
	return &http.Client{
		Transport: limitedAnswers{s.base},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// maxAttempts is how often a call is made if its context has no deadline.
const maxAttempts = 5

// call makes one kind of request to the store, again if need be, until ctx
// ends; at most maxAttempts times if ctx has no deadline. Each attempt waits
// for the store's budget, has its own deadline and is counted under op.
// request must honour its context, must not retry by itself, and wraps what
// went wrong in the package's sentinels (see StoreError); of those ErrThrottled
// and ErrUnavailable are tried again.
func (s *Store) call(ctx context.Context, op string, request func(ctx context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, op, request)
		if err == nil || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		wait := max(backoff(attempt), retryAfter(err))
		deadline, bounded := ctx.Deadline()
		if bounded && time.Until(deadline) <= wait || !bounded && attempt == maxAttempts {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err // says more than that the time was up
		}
	}
}

// mayPass reports whether err may be gone at another attempt before the
// caller's deadline. A pause that outlasts the deadline will not.
func mayPass(err error) bool {
	return !errors.Is(err, budget.ErrPaused) && (errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnavailable))
}

func (s *Store) attempt(ctx context.Context, op string, request func(ctx context.Context) error) error {
	if err := s.budget.Acquire(ctx); err != nil {
		if errors.Is(err, budget.ErrPaused) {
			err = fmt.Errorf("%w: %w", ErrThrottled, err)
		}
		return err
	}
	defer s.budget.Release()
	sentToSee, err := s.breaker.allow()
	if err != nil {
		return err
	}
	sent := time.Now()
	bounded, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	err = contained(bounded, request)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	case bounded.Err() != nil:
		err = fmt.Errorf("%w: no answer within %s", ErrUnavailable, s.config.Timeout)
	case errors.Is(err, ErrThrottled):
		s.budget.Throttled(sent, retryAfter(err))
	}
	s.tally.add(op, outcome(err))
	s.breaker.report(sentToSee, err)
	return err
}

// contained makes a request whose panics are errors: much of it is the code of
// vendors, which reads what others wrote, and one store's answer must not end
// the signing with all the others. What a panic says can be anything, a secret
// too, unless it is the runtime's.
func contained(ctx context.Context, request func(ctx context.Context) error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		why := fmt.Sprintf("%T", p)
		if fault, ok := p.(runtime.Error); ok {
			why = fault.Error()
		}
		err = &StoreError{Kind: ErrUnsupported, Code: codePanic, Message: why}
	}()
	return request(ctx)
}

// codePanic is the code of an error that was a panic.
const codePanic = "panic while asking"

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// backoff is how long to wait after that many attempts: twice as long each
// time, half of it at random.
func backoff(attempt int) time.Duration {
	d := min(firstBackoff<<min(attempt-1, 10), lastBackoff)
	return d/2 + rand.N(d/2) //nolint:gosec // spreads load, keeps no secret
}

// A StoreError is what a key store answered.
type StoreError struct {
	Kind       error         // one of the package's sentinels
	Code       string        // the store's own, or "HTTP 503"
	Message    string        // the store's words, shortened, on one line
	RetryAfter time.Duration // how long the store asks us to wait, 0: not said
}

// Error implements error.
func (e *StoreError) Error() string {
	text := e.Kind.Error()
	if e.Code != "" {
		text += ": " + plain(e.Code)
	}
	if e.Message != "" {
		text += ": " + plain(e.Message)
	}
	return text
}

// Unwrap returns the sentinel.
func (e *StoreError) Unwrap() error { return e.Kind }

func retryAfter(err error) time.Duration {
	var answer *StoreError
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

// kindOfStatus is what an HTTP status means where the answer says no more.
func kindOfStatus(status int) error {
	switch {
	case status == http.StatusTooManyRequests:
		return ErrThrottled
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return ErrNotFound
	case status >= 500, status == http.StatusRequestTimeout:
		return ErrUnavailable
	}
	return ErrUnsupported
}

// Requests returns how many calls were made so far, by what was asked for and
// what came of it ("ok", "throttled", "unavailable", "denied", "failed").
func (s *Store) Requests() map[Request]int64 { return s.tally.counts() }

// Budget returns how the store's budget stands.
func (s *Store) Budget() budget.State { return s.budget.State() }

// A Request is a kind of call to a key store.
type Request struct{ Operation, Outcome string }

type tally struct {
	mu sync.Mutex
	n  map[Request]int64
}

func (t *tally) add(op, outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[Request]int64{}
	}
	t.n[Request{op, outcome}]++
}

func (t *tally) counts() map[Request]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[Request]int64, len(t.n))
	for r, n := range t.n {
		out[r] = n
	}
	return out
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrThrottled):
		return "throttled"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrDenied):
		return "denied"
	}
	return "failed"
}
