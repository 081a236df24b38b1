package registry

import (
	"sync"
	"time"
)

const (
	// capabilityLifetime is how long it is remembered what a registry is
	// capable of: registries are upgraded under the same name.
	capabilityLifetime = time.Hour
	// maxFollowed is how many fallback indexes are looked for in vain, in a
	// registry that has the API and has not listed anything yet, before it is
	// taken to have none.
	maxFollowed = 32
)

// A Capability is how a registry keeps referrers.
type Capability struct {
	// API: it has the referrers API. Else referrers are listed in fallback
	// indexes.
	API bool
	// Reason says, for people, how that was found out.
	Reason string
}

// String returns "referrers API" or "fallback tag".
func (c Capability) String() string {
	if c.API {
		return "referrers API"
	}
	return "fallback tag"
}

// capabilities remember what one registry is capable of.
type capabilities struct {
	now func() time.Time

	mu    sync.Mutex
	known Capability
	until time.Time // the zero time: nothing is known

	// Of a registry with the API:
	proven  bool // it has listed something
	partial bool // it did not list what it should
	vain    int  // fallback indexes looked for that are not there
}

// get returns what is known, if anything is.
func (c *capabilities) get() (known Capability, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known, c.now().Before(c.until)
}

// learn remembers what an answer has shown. One that confirms what is known
// does not prolong it, so that everything is found out anew from time to time.
func (c *capabilities) learn(shown Capability) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Before(c.until) && c.known.API == shown.API {
		return
	}
	c.known, c.until = shown, now.Add(capabilityLifetime)
	c.proven, c.partial, c.vain = false, false, 0
}

// prove remembers that the API lists what is put.
func (c *capabilities) prove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven = true
}

// distrust remembers that the API does not list what it should.
func (c *capabilities) distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = true
}

// followed remembers whether there was a fallback index beside an answer of the
// API.
func (c *capabilities) followed(there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there {
		c.partial = c.known.API
	} else {
		c.vain++
	}
}

// incomplete reports whether a registry with the API may have referrers in
// fallback indexes alone.
func (c *capabilities) incomplete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.partial || !c.proven && c.vain < maxFollowed
}
