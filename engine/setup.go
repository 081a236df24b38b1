package engine

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/matcher"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// A Setup is one loaded configuration, opened: what an Engine works with until
// the next one replaces it. Work that has begun keeps the Setup it began with.
type Setup struct {
	// Upkeep may be set before an Engine gets the Setup.
	Upkeep Upkeep
	// Silent says by registry why no event comes from it, as far as none does. It may
	// be set before an Engine gets the Setup.
	Silent map[string]string

	policies []bound // of the configuration
	places   map[string]*Place
	keys     map[string]Key
	stored   atomic.Pointer[storedPolicies] // those of the journal; nil until an Engine has them

	mu    sync.Mutex
	users int           // tasks that work with it
	done  chan struct{} // closed when replaced and the last user has left; nil while in service
}

// A Place is an opened registry with what must exist once for it, also across
// setups: admission, what is known of signatures that are being written, and the
// listing that callers share.
type Place struct {
	registry    registry.Registry
	signatures  *signature.Layouts
	concurrency int
	slots       map[journal.Lane]chan struct{} // admission; not changed any more
	catalog     catalog
}

// NewPlace returns the place of a registry of which at most concurrency
// artifacts of each lane are worked on at once; 0 means 16.
func NewPlace(r registry.Registry, concurrency int) *Place {
	if concurrency <= 0 {
		concurrency = 16
	}
	p := &Place{registry: r, signatures: signature.NewLayouts(r), concurrency: concurrency, slots: map[journal.Lane]chan struct{}{}}
	for _, lane := range []journal.Lane{journal.Pushes, journal.Live, journal.Backlog} {
		p.slots[lane] = make(chan struct{}, concurrency)
	}
	return p
}

// Registry returns the opened registry.
func (p *Place) Registry() registry.Registry { return p.registry }

// bound is a policy with everything it names looked up.
type bound struct {
	policy.Policy
	version   string // of the policy
	match     *matcher.Matcher
	place     *Place
	key       Key
	witnesses signature.Witnesses

	step  Step // of a campaign, else empty
	from  Key  // whose signatures a campaign replaces
	drift bool // in a drift scan: only what is remembered is looked at
}

// NewSetup binds each policy to its registry, its key and the witnesses that
// are given under its name. It fails if a registry or key is missing, a pattern
// is malformed, or a format cannot be made with the key, and reports every such
// fault. The Setup closes the keys when its last user is done with it.
func NewSetup(policies []policy.Policy, places map[string]*Place, keys map[string]Key, witnesses map[string]signature.Witnesses) (*Setup, error) {
	s := &Setup{places: places, keys: keys}
	var errs []error
	for _, p := range policies {
		b, err := s.bind(p, witnesses[p.Name])
		if err != nil {
			errs = append(errs, fmt.Errorf("policy %q: %w", p.Name, err))
			continue
		}
		s.policies = append(s.policies, b)
	}
	return s, errors.Join(errs...)
}

func (s *Setup) bind(p policy.Policy, w signature.Witnesses) (bound, error) {
	place, ok := s.places[p.Registry]
	if !ok {
		return bound{}, fmt.Errorf("no registry is named %q", p.Registry)
	}
	key, ok := s.keys[p.Key]
	if !ok {
		return bound{}, fmt.Errorf("no key is named %q", p.Key)
	}
	m, err := matcher.New(&p)
	if err != nil {
		return bound{}, err
	}
	b := bound{Policy: p, version: p.Version(), match: m, place: place, key: key, witnesses: w}
	return b, b.possible()
}

// possible returns an error if a format cannot be made with the key.
func (b *bound) possible() error {
	if b.key.Err != nil {
		return nil // and so not known; it is asked for again when it is there
	}
	for _, f := range b.SignatureFormats() {
		if why := f.Impossible(b.key.Signer.Public().Algorithm()); why != "" {
			return fmt.Errorf("format %s cannot be made with key %q: %s", f, b.Key, why)
		}
	}
	return nil
}

// find returns the policy, campaign or drift scan of that name, or an error that
// wraps ErrPolicy.
func (s *Setup) find(name string) (bound, error) {
	if of, ok := strings.CutPrefix(name, driftPrefix); ok {
		b, found := s.policy(of)
		if b.drift = true; !found {
			return b, fmt.Errorf("%w: no policy is named %q", ErrPolicy, of)
		}
		return b, nil
	}
	if c, ok := parseCampaign(name); ok {
		return s.campaign(c)
	}
	b, ok := s.policy(name)
	if !ok {
		return b, fmt.Errorf("%w: no policy is named %q", ErrPolicy, name)
	}
	return b, nil
}

// policy returns the policy of that name.
func (s *Setup) policy(name string) (bound, bool) {
	for b := range s.all() {
		if b.Name == name {
			return *b, true
		}
	}
	return bound{}, false
}

// all yields the policies, those of the configuration first.
func (s *Setup) all() iter.Seq[*bound] {
	return func(yield func(*bound) bool) {
		for i := range s.policies {
			if !yield(&s.policies[i]) {
				return
			}
		}
		stored := s.stored.Load()
		if stored == nil {
			return
		}
		for i := range stored.bound {
			if !yield(&stored.bound[i]) {
				return
			}
		}
	}
}

// acquire makes the caller a user of the Setup; false if it was closed.
func (s *Setup) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done != nil {
		return false
	}
	s.users++
	return true
}

func (s *Setup) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 && s.done != nil {
		close(s.done)
	}
}

// Close waits for those who still work with the Setup, and closes its keys.
func (s *Setup) Close() error {
	s.mu.Lock()
	if s.done != nil {
		s.mu.Unlock()
		return nil // closed before
	}
	s.done = make(chan struct{})
	if s.users == 0 {
		close(s.done)
	}
	s.mu.Unlock()
	<-s.done
	var errs []error
	for name, k := range s.keys {
		if k.Signer == nil {
			continue
		}
		if err := k.Signer.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing key %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
